"""The conditions of an LLMDeployment. Pure."""

from datetime import datetime
from typing import Final

from triton_vllm_operator.api.reasons import ConditionType, Reason
from triton_vllm_operator.api.status import Condition, ConditionStatus, LLMDeploymentStatus, shorten
from triton_vllm_operator.api.times import format_time
from triton_vllm_operator.health.failures.pods import Problem
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.reconcile.deadlines import unready_from
from triton_vllm_operator.reconcile.progress import UNDER_WAY, find_progress
from triton_vllm_operator.reconcile.recovery import DEAD
from triton_vllm_operator.reconcile.situation import Finding, Situation, fails, holds

_NOT_PLANNED_YET: Final = Finding(
    ConditionStatus.UNKNOWN, Reason.NOT_PLANNED, "the model was not looked into yet, or the spec is not accepted"
)


def find_conditions(situation: Situation, now: datetime) -> dict[ConditionType, Finding]:
    """All conditions, in the order in which they are shown."""
    accepted = _accepted(situation)
    degraded = _degraded(situation, now)
    ready = _ready(situation)
    progressing = find_progress(situation, ready, now)
    if ready.status is not ConditionStatus.TRUE:
        # One sentence that says why: the first of these that has something to say.
        why = _find_why(accepted, _degraded_pod(situation, now), degraded, progressing)
        kept = "; what was accepted before keeps running" if why is accepted and situation.revision else ""
        ready = Finding(ConditionStatus.FALSE, why.reason, why.message + kept)
    return {
        ConditionType.ACCEPTED: accepted,
        ConditionType.MEMORY_FITS: situation.memory or _NOT_PLANNED_YET,
        ConditionType.AVAILABLE: _available(situation),
        ConditionType.PROGRESSING: progressing,
        ConditionType.READY: ready,
        ConditionType.DEGRADED: degraded,
        ConditionType.STALLED: _stalled(ready, progressing),
    }


def _find_why(accepted: Finding, of_pod: Finding | None, degraded: Finding, progressing: Finding) -> Finding:
    """The first that has something to say; of what was replaced before, only while nothing is wrong since."""
    if accepted.status is ConditionStatus.FALSE:
        return accepted
    if of_pod is not None:
        return of_pod
    is_after = degraded.status is ConditionStatus.TRUE and progressing.reason in UNDER_WAY
    return degraded if is_after else progressing


def to_conditions(
    findings: dict[ConditionType, Finding], before: LLMDeploymentStatus, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The findings with their times: a time changes only when the status of its condition does."""
    return tuple(
        Condition(
            type=kind,
            status=finding.status,
            observed_generation=generation,
            last_transition_time=_since(kind, finding.status, before, now),
            reason=finding.reason,
            message=shorten(finding.message),
        )
        for kind, finding in findings.items()
    )


def _since(kind: ConditionType, status: ConditionStatus, before: LLMDeploymentStatus, now: datetime) -> str:
    old = before.condition(kind)
    if old is not None and old.status == status:
        return old.last_transition_time
    return format_time(now)


def _accepted(situation: Situation) -> Finding:
    if situation.refused is not None:
        return fails(situation.refused.reason, situation.refused.message)
    if situation.unchecked:
        return holds(Reason.ARGUMENTS_UNCHECKED, situation.unchecked)
    return holds(Reason.VALID, "the spec is valid for its runtime")


def _available(situation: Situation) -> Finding:
    serving = sum(pod.serves for pod in situation.alive)
    if serving > situation.replicas:
        return holds(Reason.GENERATES, f"{serving} pods generate, and {situation.replicas} are wanted")
    if serving:
        return holds(Reason.GENERATES, f"{serving} of {situation.replicas} wanted pods generate")
    return fails(Reason.NO_POD_GENERATES, "no pod generates")


def _ready(situation: Situation) -> Finding:
    blocked = situation.refused or situation.waiting
    if situation.replicas == 0 and not situation.alive and not situation.held_back and blocked is None:
        up = f"kubectl scale llm {situation.name} --replicas=1"
        return holds(Reason.SCALED_TO_ZERO, f"spec.replicas is 0, and nobody answers; to start a pod: {up}")
    serving = [pod for pod in situation.current if pod.serves]
    complete = len(serving) == len(situation.current) == situation.replicas > 0 and not situation.leftover
    if complete and situation.rollback is None and not situation.held_back and blocked is None:
        cut_off = (f"pod {name} by its last proof alone, since no probe reaches it now" for name in situation.cut_off)
        paused = ("changes are paused",) if situation.paused else ()
        remarks = (*situation.differences, *situation.warnings, *cut_off, *paused)
        but = f"; but {', '.join(remarks)}" if remarks else ""
        return holds(Reason.ALL_REPLICAS_GENERATE, f"{situation.replicas} of {situation.replicas} pods generate{but}")
    return fails(Reason.NO_POD_GENERATES, "")


def _degraded_pod(situation: Situation, now: datetime) -> Finding | None:
    """What is wrong with a pod that worked; None if nothing is."""
    for pod in situation.alive:
        # What has not worked yet cannot have failed: it is Progressing that speaks of it.
        if not pod.has_generated or pod.serves:
            continue
        if (
            problem := situation.find_gate_failure(pod)
            or situation.find_problem(pod)
            or _find_unready(pod, situation, now)
        ):
            return holds(problem.reason, problem.message)
    return None


def _find_unready(pod: Pod, situation: Situation, now: datetime) -> Problem | None:
    """Of a pod that generates by its last proof, and that Kubernetes calls not ready."""
    lost_at = unready_from(pod)
    if lost_at is None or now < lost_at:
        return None
    if (why := situation.lost_nodes.get(pod.node)) is not None:
        return Problem(
            Reason.NODE_NOT_READY,
            f"pod {pod.name} is out of the Service, since its node {pod.node} is not ready: {why.rstrip('.')}; "
            "Kubernetes makes another pod minutes after a node was lost, at once after: kubectl delete node",
        )
    return Problem(
        Reason.POD_NOT_READY,
        f"pod {pod.name} generated, but Kubernetes calls it not ready: its node does not answer, or its server does "
        f"not answer kubelet; see kubectl describe pod {pod.name}",
    )


def _degraded(situation: Situation, now: datetime) -> Finding:
    if (found := _degraded_pod(situation, now)) is not None:
        return found
    if (replaced := situation.replaced) is not None and replaced.reason in DEAD:
        said = f": {replaced.message.rstrip('.')}" if replaced.message != replaced.reason else ""
        return holds(
            Reason(replaced.reason),
            f"pod {replaced.name} was replaced at {replaced.time} ({replaced.reason}{said}); "
            "its successor has not generated yet",
        )
    return fails(Reason.NOTHING_FAILED, "nothing that worked has failed")


def _stalled(ready: Finding, progressing: Finding) -> Finding:
    """Whether nothing comes of waiting: https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md."""
    if ready.status is ConditionStatus.TRUE or progressing.status is not ConditionStatus.FALSE:
        return fails(Reason.NOT_STALLED, "what is wanted is there or under way")
    return holds(ready.reason, ready.message)
