"""The next step of a rollout, from what is observed. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from triton_vllm_operator.api import names
from triton_vllm_operator.api.rollout import RolloutWay
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.api.timeline import StepName
from triton_vllm_operator.api.times import LONG_AGO
from triton_vllm_operator.kube.cache import UPDATED
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.requests import Amounts, pod_requests
from triton_vllm_operator.kube.resources import DEPLOYMENT, as_dict, metadata_of, true_condition
from triton_vllm_operator.manifests.deployment import find_way
from triton_vllm_operator.manifests.pod import longest_end
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.deadlines import stuck_from
from triton_vllm_operator.reconcile.model import Child, Observed
from triton_vllm_operator.reconcile.plan import Plan
from triton_vllm_operator.reconcile.volumes import awaits_volume
from triton_vllm_operator.rollout.estimate import Estimate, Wanted, estimate
from triton_vllm_operator.rollout.own import Own
from triton_vllm_operator.rollout.step import Moment, Step, decide_step, first_way


def find_step(observed: Observed, plan: Plan, now: datetime) -> Step:
    """What is done next about old pods."""
    deployment = next(iter(observed.children_of(DEPLOYMENT)), None)
    if plan.revision is None or deployment is None:
        return Step(first_way(plan.live.rollout) if deployment is None else _find_way(observed, plan, deployment))
    alive = [pod for pod in observed.pods if pod.lives]
    makes_none = deployed_revision(deployment) == plan.revision.hash and _makes_none(deployment)
    fresh = [] if makes_none else _newest([pod for pod in alive if pod.revision == plan.revision.hash])
    new = {pod.name for pod in fresh}
    old = [pod for pod in alive if pod.name not in new]
    moment = _find_moment(observed, plan, plan.revision, deployment, fresh, old, now)
    # As Kubernetes counts, which makes a new pod first, and has one more than wanted at most (reconcileOldReplicaSets):
    # https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/deployment/rolling.go.
    leaving = max(0, len(old) + sum(pod.serves for pod in fresh) - plan.live.replicas)
    found = _without_volume(observed, fresh) or _estimate(observed, plan.revision, old, leaving)
    step = decide_step(plan.live.rollout, moment, observed.resource.status.rollout, found, now)
    return replace(step, old=frozenset(pod.name for pod in old))


def _find_moment(
    observed: Observed,
    plan: Plan,
    revision: Revision,
    deployment: Child,
    fresh: list[Pod],
    old: list[Pod],
    now: datetime,
) -> Moment:
    scheduling, replicas = revision.spec.scheduling, plan.live.replicas
    waiting = [pod for pod in fresh if _has_no_place(observed, pod)]
    failure = true_condition(deployment.body, "ReplicaFailure")
    return Moment(
        revision=revision.name,
        in_force=_find_way(observed, plan, deployment),
        begins=deployed_revision(deployment) != revision.hash,
        left=len(old) if replicas else 0,
        serves=any(pod.serves for pod in old),
        waits=bool(waiting),
        waits_since=min((pod.created_at for pod in waiting if pod.created_at is not None), default=None),
        refused=failure.message if failure is not None and len(fresh) < replicas else "",
        starts=sum(pod.serves for pod in fresh) < replicas,
        goes=any(pod.terminating and not ((overdue := stuck_from(pod)) and overdue <= now) for pod in observed.pods),
        leaves_nobody=replicas == 1 and not any(pod.serves for pod in fresh),
        start_seconds=_find_start_seconds(observed),
        end_seconds=longest_end(revision.spec),
        edited=observed.resource.generation != observed.resource.status.observed_generation,
        paused=observed.resource.paused,
        preempts=scheduling is not None and scheduling.priority_class_name is not None,
    )


def _find_way(observed: Observed, plan: Plan, deployment: Child) -> RolloutWay:
    """How the Deployment replaces its pods; where somebody chose another way, as the operator last wrote it."""
    told = observed.resource.status.rollout
    return find_way(deployment.body) or (told.way if told is not None else first_way(plan.live.rollout))


def _makes_none(deployment: Child) -> bool:
    """Whether Kubernetes makes no pod of the newest template: then none of those that are there is of it."""
    is_refused = true_condition(deployment.body, "ReplicaFailure") is not None
    return is_refused and as_dict(deployment.body.get("status")).get(UPDATED) == 0


def _has_no_place(observed: Observed, pod: Pod) -> bool:
    """Whether it has no node, or one that cannot get a volume which another node holds."""
    return pod.scheduled_at is None or awaits_volume(observed, pod)


def _without_volume(observed: Observed, fresh: list[Pod]) -> Estimate | None:
    """Of a pod that has a node: what it lacks there is not counted."""
    held = next((pod.held for pod in fresh if pod.scheduled_at is not None and awaits_volume(observed, pod)), "")
    return Estimate(None, None, None, f"it has a node, and no volume there: {held}") if held else None


def _estimate(observed: Observed, revision: Revision, old: list[Pod], leaving: int) -> Estimate | None:
    if observed.places is None:
        return None
    spec = revision.spec
    requests = pod_requests(as_dict(revision.pod_template.get("spec")))
    wanted = Wanted(requests, spec.scheduling or Scheduling(), spec.gpu_resource or "")
    return estimate(observed.places, wanted, _find_own(observed, requests, old), leaving)


def _newest(pods: list[Pod]) -> list[Pod]:
    """Those of the template of the last that was made: `kubectl rollout restart` changes it, and no revision."""
    last = max(pods, key=lambda pod: (pod.created_at or LONG_AGO, pod.scheduled_at is None), default=None)
    return [pod for pod in pods if last is not None and pod.template == last.template]


def deployed_revision(deployment: Child) -> str:
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


def _find_own(observed: Observed, requests: Amounts, old: list[Pod]) -> Iterator[Own]:
    """Own pods that have a node; of one whose revision is gone, with what a new one asks for."""
    of_revisions = {each.hash: pod_requests(as_dict(each.pod_template.get("spec"))) for each in observed.revisions}
    names_of_old = {pod.name for pod in old}
    for pod in observed.pods:
        if pod.holds_node:
            asks = of_revisions.get(pod.revision, requests)
            yield Own(pod.node, asks, goes=pod.terminating, is_old=pod.name in names_of_old, serves=pod.serves)
