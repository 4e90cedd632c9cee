"""What is done before an old pod goes for a new one: its node gets the images, its requests come to their end. Pure.

The old pods serve meanwhile, so that nobody waits for more than the new one's load.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.rollout import LONGEST_WHY, HeldStatus
from triton_vllm_operator.api.status import shorten
from triton_vllm_operator.api.times import format_time, parse_time
from triton_vllm_operator.health.failures.pods import Problem, find_problem
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import DEPLOYMENT, JOB, name_of, start_time, true_condition
from triton_vllm_operator.manifests.prepull import build_prepull_job, find_images
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.fetching import Fetching
from triton_vllm_operator.reconcile.model import Observed
from triton_vllm_operator.reconcile.plan import Plan
from triton_vllm_operator.reconcile.rolling import deployed_revision
from triton_vllm_operator.rollout.step import Step

_LOOK: Final = timedelta(seconds=10)
_LOOK_AT_REQUESTS: Final = timedelta(seconds=2)
_PATIENCE: Final = timedelta(seconds=60)
"""With a Job whose pod no node takes: what is not prepared is done when the new pod starts."""
_LONGEST_PULL: Final = timedelta(minutes=30)
_SHOWN_NODES: Final = 3


@dataclass(frozen=True, slots=True)
class Hold:
    """Why no old pod goes yet, and what is done meanwhile."""

    plan: Plan
    step: Step
    jobs: tuple[Json, ...] = ()
    wants_loads: bool = False
    """Whether it must be known how many requests the old pods have."""


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why no old pod goes yet."""

    problem: Problem
    look_again_at: datetime
    jobs: tuple[Json, ...] = ()


def find_hold(observed: Observed, plan: Plan, step: Step, now: datetime) -> Hold | None:
    """What holds a step back that takes an old pod away; None if nothing does."""
    serving = [pod for pod in observed.pods if pod.name in step.old and pod.serves]
    if plan.revision is None or not step.takes_away or not serving or (step.begins and _is_rolling(observed)):
        return None
    reason = _find_unprepared(observed, plan.revision, serving, now)
    if reason is None and plan.live.replicas == 1 and plan.live.rollout.wait_for_idle_seconds:
        if observed.loads is None:
            return Hold(plan, step, wants_loads=True)
        reason = _find_busy(observed, plan, observed.loads, serving, now)
    return None if reason is None else _hold(observed, plan, step, reason, now)


def _is_rolling(observed: Observed) -> bool:
    """Whether an earlier rollout has not come to its end: then it is too late to hold anything back."""
    deployed = {deployed_revision(deployment) for deployment in observed.children_of(DEPLOYMENT)}
    return any(pod.lives and pod.revision not in deployed for pod in observed.pods)


def _hold(observed: Observed, plan: Plan, step: Step, reason: _Reason, now: datetime) -> Hold:
    held = HeldStatus(
        reason=reason.problem.reason,
        message=shorten(reason.problem.message, LONGEST_WHY),
        time=format_time(_since(observed, reason.problem.reason) or now),
    )
    status = step.status.model_copy(update={"held": held}) if step.status is not None else None
    stays = replace(step, way=step.in_force, status=status, look_again_at=reason.look_again_at, takes_away=False)
    if not step.begins:
        return Hold(plan, stays, reason.jobs)
    # Until it begins there is no revision, as while a model is fetched.
    waits = Fetching(plan.source_job, reason.problem, False, reason.look_again_at).beside_others()
    before = replace(plan, revision=observed.newest, fetching=waits)
    return Hold(before, replace(stays, old=frozenset()), reason.jobs)


def _since(observed: Observed, reason: Reason) -> datetime | None:
    rollout = observed.resource.status.rollout
    held = rollout.held if rollout is not None else None
    return parse_time(held.time) if held is not None and held.reason == reason else None


def _find_unprepared(observed: Observed, revision: Revision, serving: list[Pod], now: datetime) -> _Reason | None:
    """Nodes of old pods that lack images of the new ones, while these are brought there."""
    wanted, there = find_images(revision.pod_template), _images_on_nodes(observed)
    lacking = {pod.node: wanted - there.get(pod.node, frozenset()) for pod in serving if pod.node}
    jobs = {
        node: build_prepull_job(observed.resource.owner, revision.pod_template, revision.spec.gpu_resource, node)
        for node, images in sorted(lacking.items())
        if images
    }
    found = {node: _find_pull(observed, job, now) for node, job in jobs.items()}
    waiting = {node: problem for node, problem in found.items() if problem is not None}
    if not waiting:
        return None
    # One that fails is told of first: it needs somebody.
    node, problem = min(waiting.items(), key=lambda each: (each[1].reason is Reason.PREPARING_NODE, each[0]))
    if problem.reason is Reason.PREPARING_NODE:
        missing = ", ".join(sorted(lacking[node]))
        shown = [*list(waiting)[:_SHOWN_NODES], *(["..."] if len(waiting) > _SHOWN_NODES else [])]
        problem = Problem(
            problem.reason, f"before an old pod goes, {', '.join(shown)} gets what the new one needs: {missing}"
        )
    return _Reason(problem, now + _LOOK, tuple(jobs.values()))


def _images_on_nodes(observed: Observed) -> Mapping[str, frozenset[str]]:
    """What own pods run with."""
    of_revisions = {each.hash: find_images(each.pod_template) for each in observed.revisions}
    found: dict[str, frozenset[str]] = {}
    for pod in observed.pods:
        if pod.node and pod.running:
            found[pod.node] = found.get(pod.node, frozenset()) | of_revisions.get(pod.revision, frozenset())
    return found


def _find_pull(observed: Observed, job: Json, now: datetime) -> Problem | None:
    """What a Job still waits for; None if it has ended, or will not come to its end."""
    there = next((child for child in observed.children_of(JOB) if child.name == name_of(job)), None)
    under_way = Problem(Reason.PREPARING_NODE, "")
    if there is None:
        return under_way
    if any(true_condition(there.body, kind) for kind in ("Complete", "Failed")):
        return None
    pod = next((pod for pod in observed.fetch_pods if pod.job_uid == there.uid), None)
    problem = find_problem(pod) if pod is not None else None
    if problem is not None and problem.reason is Reason.IMAGE_PULL_FAILED:
        # A pod that goes for one which cannot start is lost.
        return problem
    began = start_time(there.body) or now
    is_placed = pod is not None and pod.scheduled_at is not None
    return under_way if now - began < (_LONGEST_PULL if is_placed else _PATIENCE) else None


def _find_busy(
    observed: Observed, plan: Plan, loads: Mapping[str, int], serving: Iterable[Pod], now: datetime
) -> _Reason | None:
    """An old pod that has requests, while it may."""
    busy = next((pod for pod in serving if loads.get(pod.name)), None)
    since = _since(observed, Reason.WAITING_FOR_IDLE) or now
    until = since + timedelta(seconds=plan.live.rollout.wait_for_idle_seconds)
    if busy is None or until <= now:
        return None
    says = (
        f"pod {busy.name} has requests, and nobody else would answer: it goes once it has none, at "
        f"{format_time(until)} at the latest (spec.rollout.waitForIdleSeconds)"
    )
    return _Reason(Problem(Reason.WAITING_FOR_IDLE, says), min(until, now + _LOOK_AT_REQUESTS))
