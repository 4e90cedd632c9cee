"""Whether an earlier revision runs again, since that of the spec never generated. Pure.

The spec is its owner's and stays as it is; what was decided stands in the status. Another spec, or
`kubectl rollout restart`, tries anew.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from triton_vllm_operator.api.platform import Pods
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.rollout import LONGEST_WHY, OnFailure, RollbackStatus, RolloutStatus
from triton_vllm_operator.api.status import shorten
from triton_vllm_operator.api.times import LONG_AGO, format_time, parse_time
from triton_vllm_operator.health.failures.last_words import NO_WORDS
from triton_vllm_operator.health.failures.pods import Problem, find_gate_failure, find_problem, say_when_gone
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.reconcile.children import KEPT_FAILED
from triton_vllm_operator.reconcile.deadlines import late_from
from triton_vllm_operator.reconcile.model import Observed
from triton_vllm_operator.reconcile.plan import Plan
from triton_vllm_operator.reconcile.refill import find_refill
from triton_vllm_operator.reconcile.refused import find_refusal, say_refusal
from triton_vllm_operator.reconcile.stopping import find_end, find_restart


def find_rollback(observed: Observed, plan: Plan, startup_seconds: int, now: datetime) -> RollbackStatus | None:
    """Why an earlier revision runs; None if that of the spec does."""
    revision, before, restart = plan.revision, observed.resource.status.rollback, find_restart(observed)
    if revision is None:
        return None
    # While a spec is not accepted, as where the API server does not take a child, it asks for no other revision.
    if before is not None and (plan.refused or (before.revision, before.restarted_at) == (revision.name, restart)):
        return before if _find_revision(observed, before.to) is not None else None
    if plan.live.rollout.on_failure is not OnFailure.ROLLBACK or observed.resource.paused:
        return None
    good = observed.resource.status.generated
    if good is None or good == revision.name or _find_revision(observed, good) is None:
        return None
    if (problem := _find_failure(observed, revision, startup_seconds, now)) is None:
        return None
    return RollbackStatus(
        revision=revision.name,
        to=good,
        reason=problem.reason,
        message=shorten(say_when_gone(problem.message), LONGEST_WHY),
        time=format_time(now),
        restarted_at=restart,
    )


def roll_back(observed: Observed, plan: Plan, rollback: RollbackStatus | None, settings: Pods, now: datetime) -> Plan:
    """The plan with the revision that runs instead, which becomes the newest again."""
    target = _find_revision(observed, rollback.to) if rollback is not None else None
    if target is None:
        return plan
    newest = max(revision.number for revision in observed.revisions)
    # What was found of memory, and is fetched, is of the other revision.
    revision = target if target.number == newest else replace(target, number=newest + 1)
    refill = find_refill(observed, revision, plan.live, settings, now)
    return replace(plan, revision=revision, memory=None, fetching=refill)


def _find_revision(observed: Observed, name: str) -> Revision | None:
    return next((revision for revision in observed.revisions if revision.name == name), None)


def _find_failure(observed: Observed, revision: Revision, startup_seconds: int, now: datetime) -> Problem | None:
    """What all pods of a revision failed for, none of which ever generated; None while one may still do so."""
    stopped = observed.resource.status.stopped
    if stopped is not None and stopped.revision == revision.name and stopped.reason in set(Reason):
        return Problem(Reason(stopped.reason), stopped.message)
    mine = [pod for pod in observed.pods if pod.revision == revision.hash and pod.lives]
    if any(pod.has_generated for pod in mine):
        return None
    if (end := find_end(observed.pods, revision.hash, observed.last_words)) is not None:
        return end
    deadline = generation_deadline(observed.resource.status.rollout, revision, startup_seconds)
    lost = _find_loss(observed, revision, startup_seconds, now)
    if deadline is not None and now >= deadline and lost is not None:
        return lost
    if not mine or any((late := late_from(pod, startup_seconds)) is None or now < late for pod in mine):
        return None
    found = (_find_problem(pod, observed) for pod in mine)
    return next((problem for problem in found if problem is not None), None) or Problem(
        Reason.STARTUP_DEADLINE_EXCEEDED, f"no pod generated within {startup_seconds} s"
    )


def generation_deadline(rollout: RolloutStatus | None, revision: Revision, startup_seconds: int) -> datetime | None:
    """When a rollout has taken too long of whose pods none stays: each that follows would begin anew."""
    is_of_this = rollout is not None and rollout.revision == revision.name
    since = parse_time(rollout.since or "") if rollout is not None and is_of_this else None
    return since + timedelta(seconds=startup_seconds) if since is not None else None


def _find_loss(observed: Observed, revision: Revision, startup_seconds: int, now: datetime) -> Problem | None:
    """Why no pod of a revision stays: nodes end them, or Kubernetes makes none; None if one may stay yet."""
    failed = [pod for pod in observed.pods if pod.revision == revision.hash and pod.phase == "Failed"]
    since = min((pod.created_at or LONG_AGO for pod in failed), default=LONG_AGO)
    if failed and (len(failed) >= KEPT_FAILED or now - since >= timedelta(seconds=startup_seconds)):
        return _find_problem(max(failed, key=lambda pod: (pod.created_at or LONG_AGO, pod.name)), observed)
    refusal = find_refusal(observed)
    if refusal is None or any(pod.revision == revision.hash and pod.lives for pod in observed.pods):
        return None
    return Problem(Reason.PODS_REFUSED, say_refusal(refusal))


def _find_problem(pod: Pod, observed: Observed) -> Problem | None:
    return find_problem(pod, observed.last_words.get(pod.name, NO_WORDS)) or find_gate_failure(pod)
