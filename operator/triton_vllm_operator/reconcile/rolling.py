"""The next step of a rollout, from what is observed. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.rollout import RolloutWay
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.api.timeline import StepName
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.requests import pod_requests
from triton_vllm_operator.kube.resources import DEPLOYMENT, as_dict, metadata_of
from triton_vllm_operator.manifests.deployment import find_way
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.model import Child, Observed
from triton_vllm_operator.reconcile.plan import Plan
from triton_vllm_operator.rollout.estimate import Own, Wanted, estimate
from triton_vllm_operator.rollout.step import Moment, Step, decide_step

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def find_step(observed: Observed, plan: Plan, now: datetime) -> Step:
    """What is done next about pods of earlier revisions."""
    deployment = next(iter(observed.children_of(DEPLOYMENT)), None)
    in_force = find_way(deployment.body) if deployment is not None else RolloutWay.REPLACE
    if plan.revision is None or deployment is None:
        return Step(in_force)
    moment = _find_moment(observed, plan, plan.revision, deployment, in_force)
    places = observed.places
    found = estimate(places, _find_wanted(plan.revision), _find_own(observed)) if places is not None else None
    return decide_step(plan.live.rollout, moment, observed.resource.status.rollout, found, now)


def _find_moment(observed: Observed, plan: Plan, revision: Revision, deployment: Child, in_force: RolloutWay) -> Moment:
    alive = [pod for pod in observed.pods if pod.lives]
    mine = _newest([pod for pod in alive if pod.revision == revision.hash])
    others = [pod for pod in alive if pod not in mine]
    scheduling = revision.spec.scheduling
    return Moment(
        revision=revision.name,
        in_force=in_force,
        begins=_revision_of(deployment) != revision.hash,
        left=len(others) if plan.live.replicas else 0,
        waits=any(pod.scheduled_at is None for pod in mine),
        starts=sum(pod.serves for pod in mine) < plan.live.replicas,
        goes=any(pod.terminating for pod in observed.pods),
        leaves_nobody=plan.live.replicas == 1,
        start_seconds=_find_start_seconds(observed),
        paused=observed.resource.paused,
        preempts=scheduling is not None and scheduling.priority_class_name is not None,
    )


def _newest(pods: list[Pod]) -> list[Pod]:
    """Those of the template of the last that was made: `kubectl rollout restart` changes it, and no revision."""
    last = max(pods, key=lambda pod: (pod.created_at or _LONG_AGO, pod.scheduled_at is None), default=None)
    return [pod for pod in pods if last is not None and pod.template == last.template]


def _revision_of(deployment: Child) -> str:
    """The revision whose pods a Deployment makes."""
    template = as_dict(as_dict(deployment.body.get("spec")).get("template"))
    return str(as_dict(metadata_of(template).get("labels")).get(names.LABEL_REVISION, ""))


def _find_start_seconds(observed: Observed) -> int | None:
    """How long the last start took that came to an end, once its pod had its image and its weights."""
    status = observed.resource.status
    steps = [status.timeline.step(name) for name in (StepName.LOADED, StepName.GENERATED)] if status.timeline else []
    seconds = [step.seconds for step in steps if step is not None and step.seconds is not None]
    if len(seconds) == len(steps) > 0:
        return sum(seconds)
    return status.rollout.start_seconds if status.rollout is not None else None


def _find_wanted(revision: Revision) -> Wanted:
    spec = revision.spec
    requests = pod_requests(as_dict(revision.pod_template.get("spec")))
    return Wanted(requests, spec.scheduling or Scheduling(), spec.gpu_resource or "")


def _find_own(observed: Observed) -> Iterator[Own]:
    requests = {each.hash: pod_requests(as_dict(each.pod_template.get("spec"))) for each in observed.revisions}
    for pod in observed.pods:
        if pod.node and pod.phase not in ("Succeeded", "Failed"):
            yield Own(pod.node, requests.get(pod.revision, {}), pod.terminating)
