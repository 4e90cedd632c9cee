"""What is done before an old pod goes for a new one: its node gets the images, its requests come to their end. Pure.

The old pods serve meanwhile, so that nobody waits for more than the new one's load.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.rollout import LONGEST_WHY, HeldStatus
from triton_vllm_operator.api.status import shorten
from triton_vllm_operator.api.times import format_time, parse_time
from triton_vllm_operator.health.failures.placing import lacks_claim
from triton_vllm_operator.health.failures.pods import Problem, cannot_begin, find_problem, is_refused_by_node
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import DEPLOYMENT, JOB, creation_time, name_of, start_time, true_condition
from triton_vllm_operator.manifests.prepull import RAN, build_prepull_job, find_needs
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.fetching import Fetching
from triton_vllm_operator.reconcile.model import Child, Observed
from triton_vllm_operator.reconcile.plan import Plan
from triton_vllm_operator.reconcile.rolling import deployed_revision
from triton_vllm_operator.rollout.moment import Moment
from triton_vllm_operator.rollout.step import Step

_LOOK: Final = timedelta(seconds=10)
_LOOK_AT_REQUESTS: Final = timedelta(seconds=2)
_PATIENCE: Final = timedelta(seconds=60)
"""With a Job whose pod no node takes: what is not prepared is done when the new pod starts."""
_LONGEST_PULL: Final = timedelta(minutes=30)
_SHOWN_NODES: Final = 3
_REFUSED_ALIKE: Final = re.compile(r"(?i)service ?account|runtime ?class|priority ?class")
"""Of other things, as by a LimitRange, the pod that prepares may be refused, and the one that serves not."""
_UNDER_WAY: Final = Problem(Reason.PREPARING_NODE, "")
_LOST_ALIKE: Final = frozenset(
    {Reason.IMAGE_PULL_FAILED, Reason.CONTAINER_CONFIG_INVALID, Reason.UNSCHEDULABLE, Reason.PODS_REFUSED}
)
"""What ails the pod that prepares, and would ail the new one: a pod that goes for it is lost."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A step that is held back."""

    plan: Plan
    step: Step
    jobs: tuple[Json, ...] = ()
    """What prepares the nodes; it stays until the old pods go, since it is what says that they are prepared."""
    wants_loads: bool = False
    """Whether it must be known how many requests the old pods have."""


@dataclass(frozen=True, slots=True)
class _Hindrance:
    """What keeps an old pod from going yet."""

    problem: Problem
    look_again_at: datetime


def find_hold(observed: Observed, plan: Plan, step: Step, now: datetime) -> Hold | None:
    """What holds a step back that takes an old pod away, or the place of others; None if nothing does."""
    serving = [pod for pod in observed.pods if pod.name in step.old and pod.serves]
    moment = step.moment
    if plan.revision is None or moment is None or not serving or (moment.begins and not _is_settled(observed)):
        return None
    if step.would_preempt:
        why = step.status.message if step.status is not None else ""
        problem = Problem(Reason.UNSCHEDULABLE, f"a new pod would preempt others: {why}")
        return _hold(observed, Hold(plan, step), moment, _Hindrance(problem, now + _LOOK), now)
    if not step.takes_away:
        return None
    lacking = _find_lacking(observed, plan.revision, serving)
    owner = observed.resource.owner
    jobs = {node: build_prepull_job(owner, plan.revision, node, needs) for node, needs in lacking.items()}
    hindrance = _find_unprepared(observed, plan.revision.name, lacking, jobs, now)
    waits = plan.live.rollout.wait_for_idle_seconds
    if hindrance is None and plan.live.replicas == 1 and waits:
        if observed.loads is None:
            return Hold(plan, step, wants_loads=True)
        hindrance = _find_busy(observed, plan.revision.name, waits, observed.loads, serving, now)
    return (
        None if hindrance is None else _hold(observed, Hold(plan, step, tuple(jobs.values())), moment, hindrance, now)
    )


def _is_settled(observed: Observed) -> bool:
    """Whether the newest revision is what runs: in the middle of another rollout it is too late to hold one back."""
    newest = observed.newest
    deployed = {deployed_revision(deployment) for deployment in observed.children_of(DEPLOYMENT)}
    is_deployed = newest is not None and deployed == {newest.hash}
    return is_deployed and not any(pod.lives and pod.revision not in deployed for pod in observed.pods)


def _hold(observed: Observed, held: Hold, moment: Moment, hindrance: _Hindrance, now: datetime) -> Hold:
    plan, step, problem = held.plan, held.step, hindrance.problem
    since = _since(observed, moment.revision, problem.reason) or now
    told = HeldStatus(
        reason=problem.reason,
        message=shorten(problem.message, LONGEST_WHY),
        time=format_time(since),
    )
    status = step.status.model_copy(update={"held": told, "since": None}) if step.status is not None else None
    stays = replace(step, way=moment.in_force, status=status, look_again_at=hindrance.look_again_at)
    if not moment.begins:
        return replace(held, step=stays)
    # Until it begins there is no revision, as while a model is fetched.
    startup = timedelta(seconds=plan.live.probe.startup_deadline_seconds)
    is_in_vain = problem.reason in _LOST_ALIKE and now - since >= startup
    waits = Fetching(plan.source_job, problem, is_in_vain, hindrance.look_again_at).beside_others()
    return replace(
        held,
        plan=replace(plan, revision=observed.newest, fetching=waits),
        step=replace(stays, old=frozenset()),
    )


def _since(observed: Observed, revision: str, *reasons: Reason) -> datetime | None:
    """Since when the rollout of that revision is held back for one of these reasons; None if it is not."""
    rollout = observed.resource.status.rollout
    held = rollout.held if rollout is not None and rollout.revision == revision else None
    return parse_time(held.time) if held is not None and held.reason in reasons else None


def _find_lacking(observed: Observed, revision: Revision, serving: Iterable[Pod]) -> Mapping[str, frozenset[str]]:
    """What pods of a revision need and those of old ones on their nodes do not have, by the names of these."""
    wanted, there = find_needs(revision.pod_template), _needs_on_nodes(observed)
    lacking = {pod.node: wanted - there.get(pod.node, frozenset()) for pod in serving if pod.node}
    return {node: images for node, images in sorted(lacking.items()) if images}


def _needs_on_nodes(observed: Observed) -> Mapping[str, frozenset[str]]:
    """What own pods run with."""
    of_revisions = {each.hash: find_needs(each.pod_template) for each in observed.revisions}
    found: dict[str, frozenset[str]] = {}
    for pod in observed.pods:
        if pod.node and pod.running:
            found[pod.node] = found.get(pod.node, frozenset()) | of_revisions.get(pod.revision, frozenset())
    return found


def _find_unprepared(
    observed: Observed, revision: str, lacking: Mapping[str, frozenset[str]], jobs: Mapping[str, Json], now: datetime
) -> _Hindrance | None:
    """Nodes that have not got yet what a new pod needs."""
    there = {child.name: child for child in observed.children_of(JOB)}
    found = {node: _find_pull(observed, revision, there.get(name_of(job)), now) for node, job in jobs.items()}
    waiting = {node: problem for node, problem in found.items() if problem is not None}
    if not waiting:
        return None
    # One that fails is told of first: it needs somebody.
    node, problem = min(waiting.items(), key=lambda each: (each[1].reason is Reason.PREPARING_NODE, each[0]))
    if problem.reason is Reason.PREPARING_NODE:
        shown = [*list(waiting)[:_SHOWN_NODES], *(["..."] if len(waiting) > _SHOWN_NODES else [])]
        who = f"node {shown[0]} gets" if len(shown) == 1 else f"nodes {', '.join(shown)} get"
        says = f"before an old pod goes, {who} what the new one needs: {', '.join(sorted(lacking[node]))}"
        problem = Problem(problem.reason, says + (f"; {problem.message}" if problem.message else ""))
    return _Hindrance(problem, now + _LOOK)


def _find_pull(observed: Observed, revision: str, there: Child | None, now: datetime) -> Problem | None:
    """What a Job still waits for; None if it has ended, or will not come to its end."""
    since = _since(observed, revision, Reason.PREPARING_NODE, *_LOST_ALIKE) or now
    if there is None:
        # It is made now, or the API server does not take it.
        return _UNDER_WAY if now - since < _PATIENCE else None
    failed = true_condition(there.body, "Failed")
    if true_condition(there.body, "Complete") or (failed is not None and failed.reason == RAN):
        return None
    pod = next((pod for pod in observed.fetch_pods if pod.job_uid == there.uid and pod.lives), None)
    if pod is not None and pod.ended is not None:
        # Something beside it, as a sidecar of a mesh, keeps the Job from its end.
        return None
    problem = find_problem(pod) if pod is not None else None
    podless = observed.podless.get(there.name, "") if pod is None else ""
    if _REFUSED_ALIKE.search(podless):
        return Problem(Reason.PODS_REFUSED, f"Kubernetes makes no pod that prepares a node for the new one: {podless}")
    if problem is not None and pod is not None and lacks_claim(pod):
        return problem
    if problem is not None and problem.reason is Reason.IMAGE_PULL_FAILED:
        return problem
    if problem is not None and pod is not None and is_refused_by_node(pod):
        return replace(problem, reason=Reason.CONTAINER_CONFIG_INVALID)
    if pod is not None and cannot_begin(pod):
        # Its images are there, and what it would do is nothing.
        return None
    # A queue may suspend it: then it has no start.
    began = start_time(there.body) or creation_time(there.body) or since
    is_placed = failed is not None or (pod is not None and pod.scheduled_at is not None)
    said = problem.message if problem is not None else podless
    said = f"Job {there.name} failed: {failed.message}" if failed is not None else said
    is_late = now - began >= (_LONGEST_PULL if is_placed else _PATIENCE)
    return None if is_late else replace(_UNDER_WAY, message=said)


def _find_busy(
    observed: Observed, revision: str, waits: int, loads: Mapping[str, int | None], serving: list[Pod], now: datetime
) -> _Hindrance | None:
    """An old pod that has requests, or that did not answer, while it may: for so many seconds."""
    busy = next((pod for pod in serving if pod.name not in loads or loads[pod.name]), None)
    since = _since(observed, revision, Reason.WAITING_FOR_IDLE) or now
    until = since + timedelta(seconds=waits)
    if busy is None or until <= now:
        return None
    has = "has requests" if busy.name in loads else "does not say whether it has requests"
    says = (
        f"pod {busy.name} {has}, and nobody else would answer: it goes once it has none, at "
        f"{format_time(until)} at the latest (spec.rollout.waitForIdleSeconds)"
    )
    return _Hindrance(Problem(Reason.WAITING_FOR_IDLE, says), min(until, now + _LOOK_AT_REQUESTS))
