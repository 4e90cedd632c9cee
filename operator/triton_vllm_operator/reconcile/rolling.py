"""The next step of a rollout, from what is observed. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from triton_vllm_operator.api import names
from triton_vllm_operator.api.rollout import RolloutWay
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.api.times import LONG_AGO
from triton_vllm_operator.health.failures.placing import count_short_nodes, lacks_claim
from triton_vllm_operator.kube.cache import UPDATED
from triton_vllm_operator.kube.deployment import awaits_controller, find_surge
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.requests import Amounts, add_all, pod_requests
from triton_vllm_operator.kube.resources import DEPLOYMENT, as_dict, metadata_of, true_condition
from triton_vllm_operator.manifests.deployment import find_way
from triton_vllm_operator.manifests.pod import longest_end
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.memory.offers import count_shares
from triton_vllm_operator.reconcile.deadlines import stuck_from
from triton_vllm_operator.reconcile.model import Child, Observed
from triton_vllm_operator.reconcile.plan import Plan
from triton_vllm_operator.reconcile.refused import find_refusal
from triton_vllm_operator.reconcile.volumes import awaits_volume
from triton_vllm_operator.rollout.estimate import Estimate, Wanted, estimate
from triton_vllm_operator.rollout.moment import Moment
from triton_vllm_operator.rollout.own import Own
from triton_vllm_operator.rollout.quota import read_refusal
from triton_vllm_operator.rollout.step import Step, decide_step, first_way


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
    moment = _find_moment(observed, plan, plan.revision, deployment, _Pods(tuple(fresh), tuple(old)), now)
    # As Kubernetes counts, which makes a new pod first, and has one more than wanted at most (reconcileOldReplicaSets):
    # https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/deployment/rolling.go.
    leaving = max(0, len(old) + sum(pod.serves for pod in fresh) - plan.live.replicas)
    found = _find_lack(observed, fresh) or _estimate(observed, plan.revision, fresh, old, leaving)
    step = decide_step(plan.live.rollout, moment, observed.resource.status.rollout, found, now)
    return replace(step, old=frozenset(pod.name for pod in old))


@dataclass(frozen=True, slots=True)
class _Pods:
    """Those that are there to stay."""

    fresh: tuple[Pod, ...]
    """Of the template that is wanted."""
    old: tuple[Pod, ...]


def _find_moment(
    observed: Observed, plan: Plan, revision: Revision, deployment: Child, pods: _Pods, now: datetime
) -> Moment:
    scheduling, replicas, fresh, old = revision.spec.scheduling, plan.live.replicas, pods.fresh, pods.old
    waiting = [pod for pod in fresh if _has_no_place(observed, pod)]
    failure = find_refusal(observed)
    refused = failure.message if failure is not None and len(fresh) < replicas else ""
    quota = read_refusal(refused)
    return Moment(
        revision=revision.name,
        in_force=_find_way(observed, plan, deployment),
        begins=deployed_revision(deployment) != revision.hash,
        left=len(old) if replicas else 0,
        serves=any(pod.serves for pod in (*fresh, *old)),
        waits=bool(waiting) and len(fresh) - len(waiting) < replicas,
        waits_since=min((pod.created_at for pod in waiting if pod.created_at is not None), default=None),
        leaves=len(old) + sum(pod.serves for pod in fresh) > replicas,
        unjudged=bool(waiting) and not any(pod.unschedulable or pod.scheduled_at for pod in waiting),
        refused=refused,
        makes_instead=quota is not None and quota.takes_once_gone(_find_freed(observed, revision, old)),
        makes_none_beside=quota is not None and quota.is_full_of(_find_staying(observed, revision, pods)),
        starts=sum(pod.serves for pod in fresh) < replicas,
        surge_kept=_find_surge_kept(observed, replicas, deployment, bool(refused)),
        goes=any(pod.terminating and not ((overdue := stuck_from(pod)) and overdue <= now) for pod in observed.pods),
        leaves_nobody=replicas == 1 and not any(pod.serves for pod in fresh),
        start_seconds=_find_start_seconds(observed),
        end_seconds=_find_end_seconds(observed, revision, old),
        edited=observed.resource.generation != observed.resource.status.observed_generation,
        paused=observed.resource.paused,
        preempts=scheduling is not None and scheduling.priority_class_name is not None,
    )


def _find_requests(observed: Observed, revision: Revision, pods: Iterable[Pod]) -> Iterator[Amounts]:
    """What own pods ask for; of one whose revision is gone, with what a new one asks for."""
    of_revisions = {each.hash: pod_requests(as_dict(each.pod_template.get("spec"))) for each in observed.revisions}
    mine = pod_requests(as_dict(revision.pod_template.get("spec")))
    return (of_revisions.get(pod.revision, mine) for pod in pods)


def _find_staying(observed: Observed, revision: Revision, pods: _Pods) -> Amounts:
    """What the quota will not have back before an old pod goes."""
    return add_all(_find_requests(observed, revision, (*pods.fresh, *pods.old)))


def _find_freed(observed: Observed, revision: Revision, old: Iterable[Pod]) -> Amounts:
    """What the quota will have back once one more old pod is gone, at most."""
    going = (pod for pod in observed.pods if pod.terminating)
    largest: dict[str, Decimal] = {}
    for asks in _find_requests(observed, revision, old):
        largest |= {name: max(amount, largest.get(name, Decimal(0))) for name, amount in asks.items()}
    return add_all((largest, *_find_requests(observed, revision, going)))


def _find_end_seconds(observed: Observed, revision: Revision, old: Iterable[Pod]) -> int:
    """How long a pod may take to go."""
    of_revisions = {each.hash: longest_end(each.spec) for each in observed.revisions}
    mine = longest_end(revision.spec)
    return max((of_revisions.get(pod.revision, mine) for pod in old), default=mine)


def _find_way(observed: Observed, plan: Plan, deployment: Child) -> RolloutWay:
    """How the Deployment replaces its pods; where somebody chose another way, as the operator last wrote it."""
    told = observed.resource.status.rollout
    return find_way(deployment.body) or (told.way if told is not None else first_way(plan.live.rollout))


def _find_surge_kept(observed: Observed, replicas: int, deployment: Child, is_refused: bool) -> int:
    """By how much it may exceed what is wanted if it is to keep as many pods as it may have now."""
    before = observed.deployed_replicas or 0
    alive = [pod for pod in observed.pods if pod.lives]
    revisions = {deployed_revision(deployment), *(pod.revision for pod in alive)}
    is_rolling = is_refused or len(revisions) > 1 or len({pod.template for pod in alive}) > 1
    is_lowered = replicas < before or awaits_controller(deployment.body)
    if replicas == 0 or not (is_rolling and is_lowered):
        return 0
    return max(before + find_surge(deployment.body) - replicas, 0)


def _makes_none(deployment: Child) -> bool:
    """Whether Kubernetes makes no pod of the newest template: then none of those that are there is of it."""
    is_refused = true_condition(deployment.body, "ReplicaFailure") is not None
    return is_refused and as_dict(deployment.body.get("status")).get(UPDATED) == 0


def _has_no_place(observed: Observed, pod: Pod) -> bool:
    """Whether it has no node, or one that lacks for it what an old pod has: a volume, or the memory of a shared GPU."""
    return pod.scheduled_at is None or awaits_volume(observed, pod) or _awaits_memory(observed, pod)


def _awaits_memory(observed: Observed, pod: Pod) -> bool:
    """Whether an old pod beside it may have the memory that it waits for: to the scheduler a share is a GPU.

    Until the nodes are known it is taken for one.
    """
    beside = (other for other in observed.pods if other.serves and other.name != pod.name)
    if not pod.waits_for_memory or not any(other.node == pod.node for other in beside):
        return False
    nodes = observed.places.nodes if observed.places is not None else ()
    return observed.places is None or any(node.name == pod.node and count_shares(node) > 1 for node in nodes)


def _find_lack(observed: Observed, fresh: list[Pod]) -> Estimate | None:
    """Of a pod that has a node, or that no node can take: what it lacks is not counted."""
    memory = next((pod.waits_for_memory for pod in fresh if _awaits_memory(observed, pod)), "")
    if memory and observed.places is not None:
        return Estimate(None, None, None, f"it has a share of a GPU, and not its memory: {memory}")
    held = next((pod.held for pod in fresh if pod.scheduled_at is not None and awaits_volume(observed, pod)), "")
    if held:
        return Estimate(None, None, None, f"it has a node, and no volume there: {held}")
    lacking = next((pod.unschedulable for pod in fresh if pod.scheduled_at is None and lacks_claim(pod)), "")
    return Estimate(False, False, False, f"no node takes a new pod: {lacking}") if lacking else None


def _estimate(
    observed: Observed, revision: Revision, fresh: list[Pod], old: list[Pod], leaving: int
) -> Estimate | None:
    if observed.places is None:
        return None
    spec = revision.spec
    requests = pod_requests(as_dict(revision.pod_template.get("spec")))
    short = max((count_short_nodes(pod) for pod in fresh), default=0)
    wanted = Wanted(requests, spec.scheduling or Scheduling(), spec.gpu_resource or "", short)
    return estimate(observed.places, wanted, _find_own(observed, revision, old), leaving)


def _newest(pods: list[Pod]) -> list[Pod]:
    """Those of the template of the last that was made: `kubectl rollout restart` changes it, and no revision."""
    last = max(pods, key=lambda pod: (pod.created_at or LONG_AGO, pod.scheduled_at is None), default=None)
    return [pod for pod in pods if last is not None and pod.template == last.template]


def deployed_revision(deployment: Child) -> str:
    """The revision whose pods a Deployment makes."""
    template = as_dict(as_dict(deployment.body.get("spec")).get("template"))
    return str(as_dict(metadata_of(template).get("labels")).get(names.LABEL_REVISION, ""))


def _find_start_seconds(observed: Observed) -> int | None:
    """How long the last start took that came to an end."""
    status = observed.resource.status
    took = status.timeline.start_seconds if status.timeline is not None else None
    return took if took is not None or status.rollout is None else status.rollout.start_seconds


def _find_own(observed: Observed, revision: Revision, old: list[Pod]) -> Iterator[Own]:
    """Own pods that have a node."""
    of_revisions = {each.hash: each.spec.scheduling for each in observed.revisions}
    names_of_old = {pod.name for pod in old}
    placed = [pod for pod in observed.pods if pod.holds_node]
    for pod, asks in zip(placed, _find_requests(observed, revision, placed), strict=True):
        yield Own(
            pod.node,
            asks,
            goes=pod.terminating,
            is_old=pod.name in names_of_old,
            serves=pod.serves,
            is_alike=of_revisions.get(pod.revision) == revision.spec.scheduling,
        )
