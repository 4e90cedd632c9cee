"""The conditions of an LLMDeployment. Pure."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.reasons import ConditionType, Reason
from triton_vllm_operator.api.rollout import RollbackStatus
from triton_vllm_operator.api.status import Condition, ConditionStatus, LLMDeploymentStatus, shorten
from triton_vllm_operator.api.times import format_time
from triton_vllm_operator.health.failures.last_words import NO_WORDS
from triton_vllm_operator.health.failures.pods import Problem, find_gate_failure, find_problem
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.reconcile.recovery import DEAD
from triton_vllm_operator.reconcile.situation import Finding, Situation
from triton_vllm_operator.rollout.step import Step

_IN_VAIN: Final = frozenset({Reason.MODEL_NOT_SERVABLE, Reason.MODEL_NOT_FOUND})
"""What a pod fails for, and its successors will, until somebody changes the spec or the files."""
_UNREACHABLE_AFTER: Final = timedelta(seconds=15)
"""Several probes of a loading container: long enough for the first one after its port has opened."""


_SEEN_WITHIN: Final = timedelta(seconds=15)
_UNDER_WAY: Final = frozenset(
    {
        Reason.CREATING_PODS,
        Reason.STARTING,
        Reason.REPLACING_PODS,
        Reason.SURGE_FITS,
        Reason.REPLACING_NO_SPARE_GPU,
        Reason.CAPACITY_UNKNOWN,
        Reason.SURGE_TIMED_OUT,
        Reason.SURGE_REFUSED,
        Reason.SCALING_DOWN,
    }
)
"""What Progressing says while nothing is wrong."""
_UNTIL: Final = "no pod is kept until the spec changes, or after: kubectl llm restart NAME (or kubectl rollout restart)"
_NOT_PLANNED_YET: Final = Finding(
    ConditionStatus.UNKNOWN, Reason.NOT_PLANNED, "the model was not looked into yet, or the spec is not accepted"
)


def startup_deadline(pod: Pod, seconds: int) -> datetime | None:
    """When a pod that has not generated yet has taken too long.

    Its time begins when it has a node, and anew when its weights are there: fetching them is not starting.
    """
    began = pod.initialized_at or pod.scheduled_at
    if pod.has_proof or began is None:
        return None
    if _has_generated(pod) and pod.started_at is not None:
        # It worked, and its container was started anew.
        began = max(began, pod.started_at)
    return began + timedelta(seconds=seconds)


def refusal_deadline(situation: Situation) -> datetime | None:
    """When Kubernetes has refused the pods for too long: in the middle of a roll a quota may do so for a while."""
    since = situation.pods_refused_since
    return since + timedelta(seconds=situation.startup_deadline_seconds) if since else None


def unreachable_from(pod: Pod, situation: Situation) -> datetime | None:
    """When a pod whose port is open, and that no probe reaches, is called unreachable."""
    if _has_generated(pod) or pod.containers_ready_at is None or pod.name not in situation.unreached:
        return None
    return pod.containers_ready_at + _UNREACHABLE_AFTER


def _find_problem(pod: Pod, situation: Situation) -> Problem | None:
    return find_problem(pod, situation.last_words.get(pod.name, NO_WORDS))


def _gate_failure(pod: Pod, situation: Situation) -> Problem | None:
    return find_gate_failure(pod, situation.remedies.get(pod.name, ""))


def _has_generated(pod: Pod) -> bool:
    return pod.gate is not None and pod.gate.has_generated


def find_conditions(situation: Situation, now: datetime) -> dict[ConditionType, Finding]:
    """All conditions, in the order in which they are shown."""
    accepted = _accepted(situation)
    degraded = _degraded(situation, now)
    ready = _ready(situation)
    progressing = _progressing(situation, ready, now)
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
    is_after = degraded.status is ConditionStatus.TRUE and progressing.reason in _UNDER_WAY
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


def _true(reason: Reason, message: str) -> Finding:
    return Finding(ConditionStatus.TRUE, reason, message)


def _false(reason: Reason, message: str) -> Finding:
    return Finding(ConditionStatus.FALSE, reason, message)


def _accepted(situation: Situation) -> Finding:
    if situation.refused is not None:
        return _false(situation.refused.reason, situation.refused.message)
    if situation.unchecked:
        return _true(Reason.ARGUMENTS_UNCHECKED, situation.unchecked)
    return _true(Reason.VALID, "the spec is valid for its runtime")


def _available(situation: Situation) -> Finding:
    serving = sum(pod.serves for pod in situation.alive)
    if serving:
        return _true(Reason.GENERATES, f"{serving} of {situation.replicas} wanted pods generate")
    return _false(Reason.NO_POD_GENERATES, "no pod generates")


def _ready(situation: Situation) -> Finding:
    blocked = situation.refused or situation.waiting
    if situation.replicas == 0 and not situation.alive and not situation.held_back and blocked is None:
        return _true(Reason.SCALED_TO_ZERO, "spec.replicas is 0")
    serving = [pod for pod in situation.current if pod.serves]
    complete = len(serving) == len(situation.current) == situation.replicas > 0 and not situation.leftover
    if complete and situation.rollback is None and not situation.held_back and blocked is None:
        cut_off = (f"pod {name} by its last proof alone, since no probe reaches it now" for name in situation.cut_off)
        paused = ("changes are paused",) if situation.paused else ()
        remarks = (*situation.differences, *situation.warnings, *cut_off, *paused)
        but = f"; but {', '.join(remarks)}" if remarks else ""
        return _true(Reason.ALL_REPLICAS_GENERATE, f"{situation.replicas} of {situation.replicas} pods generate{but}")
    return _false(Reason.NO_POD_GENERATES, "")


def _progressing(situation: Situation, ready: Finding, now: datetime) -> Finding:
    if situation.refused is not None:
        return _false(Reason.NOT_ACCEPTED, "the spec is not accepted; what was accepted before keeps running")
    if ready.status is ConditionStatus.TRUE:
        return _false(Reason.SETTLED, "nothing is left to do")
    if situation.held_back or (situation.paused and situation.leftover):
        return Finding(ConditionStatus.UNKNOWN, Reason.PAUSED, _say_paused(situation))
    if situation.waiting is not None:
        status = ConditionStatus.FALSE if situation.waits_in_vain else ConditionStatus.TRUE
        return Finding(status, situation.waiting.reason, situation.waiting.message)
    if (stopped := situation.stopped) is not None and stopped.reason in set(Reason):
        # Pods that still end say the same of themselves.
        return _false(Reason(stopped.reason), f"{stopped.message}; {_UNTIL}")
    late = (pod for pod in situation.current if _is_late(pod, situation, now))
    if (pod := next(late, None)) is not None:
        return _overdue(pod, situation)
    left = (pod for pod in situation.current if _has_generated(pod) and pod.name not in situation.remedies)
    if stuck := next(filter(None, (_gate_failure(pod, situation) for pod in left)), None):
        # Nothing is under way: this pod is replaced by nobody but its owner.
        return _false(stuck.reason, stuck.message)
    if problem := _problem(situation) or _unreachable(situation, now):
        status = ConditionStatus.FALSE if _is_in_vain(problem, situation, now) else ConditionStatus.TRUE
        return Finding(status, problem.reason, problem.message + _warned(situation))
    is_there = len(situation.current) == situation.replicas and not situation.leftover
    if situation.rollback is not None and is_there and all(pod.serves for pod in situation.current):
        return _false(Reason.ROLLED_BACK, _say_rolled_back(situation.rollback))
    return _moving(situation)


def _say_rolled_back(rollback: RollbackStatus) -> str:
    return (
        f"{rollback.to} runs again since {rollback.time}, for {rollback.revision}, which the spec asks for, did not "
        f"generate: {rollback.message}; another spec, or kubectl llm restart NAME, tries anew"
    )


def _say_paused(situation: Situation) -> str:
    written = f"{', '.join(situation.held_back)} would be written"
    waits = "a rollout stands still" if situation.leftover else written
    return f"changes are paused: {waits}; to go on: kubectl annotate llm NAME {names.ANNOTATION_PAUSED}-"


def _is_late(pod: Pod, situation: Situation, now: datetime) -> bool:
    deadline = startup_deadline(pod, situation.startup_deadline_seconds)
    return deadline is not None and deadline <= now


def _overdue(pod: Pod, situation: Situation) -> Finding:
    """Of a pod that has not generated in time: it is under way again only if it is replaced."""
    text = (
        f"pod {pod.name} has not generated within {situation.startup_deadline_seconds} s"
        " (probe.startupDeadlineSeconds, and more for large weights)"
    )
    if (problem := _find_problem(pod, situation) or _gate_failure(pod, situation)) is not None:
        text += f"; {problem.message}"
    done = situation.remedies.get(pod.name)
    finding = _true if done else _false
    return finding(Reason.STARTUP_DEADLINE_EXCEEDED, text + (f"; it stands still: {done}" if done else ""))


def _is_in_vain(problem: Problem, situation: Situation, now: datetime) -> bool:
    if problem.reason is Reason.PODS_REFUSED:
        deadline = refusal_deadline(situation)
        return deadline is not None and deadline <= now
    return problem.reason in _IN_VAIN


def _warned(situation: Situation) -> str:
    return f"; it was seen before: {', '.join(situation.warnings)}" if situation.warnings else ""


def _problem(situation: Situation) -> Problem | None:
    if situation.pods_refused and len(situation.current) < situation.replicas:
        return Problem(Reason.PODS_REFUSED, situation.pods_refused)
    # One that is tried beside the old pods may wait for its place: an old one goes if it waits in vain.
    told = (pod for pod in situation.current if pod.scheduled_at is not None or not situation.step.awaits_place)
    found = (_find_problem(pod, situation) or _gate_failure(pod, situation) for pod in told)
    problem = next((problem for problem in found if problem), None)
    if problem is not None and problem.reason is Reason.UNSCHEDULABLE and (why := _lacks_nodes(situation)):
        # What the scheduler counts says less.
        return replace(problem, message=f"{why}; {problem.message}")
    return problem


def _lacks_nodes(situation: Situation) -> str:
    """Why no node would do, as the plan of memory found."""
    memory = situation.memory
    return memory.message if memory is not None and memory.reason is Reason.NO_MATCHING_NODE else ""


def _unreachable(situation: Situation, now: datetime) -> Problem | None:
    for pod in situation.current:
        since = unreachable_from(pod, situation)
        if since is not None and since <= now:
            return Problem(
                Reason.POD_UNREACHABLE,
                f"pod {pod.name} is up, but the operator cannot reach it at {pod.ip}:{names.PORT_HTTP}; "
                "let a NetworkPolicy admit the operator's namespace to this port",
            )
    return None


def _moving(situation: Situation) -> Finding:
    current, wanted = len(situation.current), situation.replicas
    if situation.leftover and current <= wanted:
        because = f": {situation.changed} changed" if situation.changed else ""
        left = f"{len(situation.leftover)} pods of an earlier revision are left to replace{because}"
        return _rolling(situation.step, left)
    if current > wanted or situation.leftover:
        return _true(Reason.SCALING_DOWN, f"{current + len(situation.leftover) - wanted} pods too many are going")
    started = _starting(situation)
    return started if situation.step.status is None else _rolling(situation.step, started.message)


def _starting(situation: Situation) -> Finding:
    """What the pods of the revision are at."""
    current, wanted = len(situation.current), situation.replicas
    if current < wanted:
        return _true(Reason.CREATING_PODS, f"{current} of {wanted} pods exist")
    starting = [pod for pod in situation.current if not pod.serves and not _is_seen_soon(pod)]
    for pod in starting:
        if situation.scheduler and pod.scheduled_at is None:
            # A scheduler that is not there says nothing, in no condition and no event.
            waits = f"pod {pod.name} waits for the scheduler {situation.scheduler}, which has not looked at it yet"
            return _true(Reason.STARTING, f"{waits}; is spec.scheduling.schedulerName right?")
        if pod.prepares:
            where = f"kubectl logs {pod.name} -c {names.PREPARE_CONTAINER}"
            return _true(Reason.STARTING, f"pod {pod.name} fetches or checks its weights; see {where}")
    if not starting:
        return _true(Reason.STARTING, "the last pods have generated, and are not in the Service yet")
    return _true(Reason.STARTING, f"pod {starting[0].name} has not generated yet")


def _is_seen_soon(pod: Pod) -> bool:
    return pod.gate is not None and pod.gate.generates


def _rolling(step: Step, left: str) -> Finding:
    """Which way pods are replaced, and why."""
    if (rollout := step.status) is None or rollout.reason not in set(Reason):
        return _true(Reason.REPLACING_PODS, left)
    until = (
        f"; the new pod has no node yet, and an old one goes at {format_time(step.turns_at)}" if step.turns_at else ""
    )
    return _true(Reason(rollout.reason), f"{left}; {rollout.message}{until}")


def _degraded_pod(situation: Situation, now: datetime) -> Finding | None:
    """What is wrong with a pod that worked; None if nothing is."""
    for pod in situation.alive:
        # What has not worked yet cannot have failed: it is Progressing that speaks of it.
        if not _has_generated(pod) or pod.serves:
            continue
        if problem := _gate_failure(pod, situation) or _find_problem(pod, situation) or _find_unready(pod, now):
            return _true(problem.reason, problem.message)
    return None


def _find_unready(pod: Pod, now: datetime) -> Problem | None:
    """Of a pod that generates by its last proof, and that Kubernetes calls not ready."""
    lost_at = unready_from(pod)
    if lost_at is None or now < lost_at:
        return None
    return Problem(
        Reason.POD_NOT_READY,
        f"pod {pod.name} generated, but Kubernetes calls it not ready: its node does not answer, or its server does "
        f"not answer kubelet; see kubectl describe pod {pod.name}",
    )


def unready_from(pod: Pod) -> datetime | None:
    """When a pod that generates is called not ready: Kubernetes takes a moment to see that it does."""
    if pod.gate is None or not pod.gate.generates or pod.ready or not pod.running or pod.generates_since is None:
        return None
    return pod.generates_since + _SEEN_WITHIN


def _degraded(situation: Situation, now: datetime) -> Finding:
    if (found := _degraded_pod(situation, now)) is not None:
        return found
    if (replaced := situation.replaced) is not None and replaced.reason in DEAD:
        said = f": {replaced.message.rstrip('.')}" if replaced.message != replaced.reason else ""
        return _true(
            Reason(replaced.reason),
            f"pod {replaced.name} was replaced at {replaced.time} ({replaced.reason}{said}); "
            "its successor has not generated yet",
        )
    return _false(Reason.NOTHING_FAILED, "nothing that worked has failed")


def _stalled(ready: Finding, progressing: Finding) -> Finding:
    """Whether nothing comes of waiting: https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md."""
    if ready.status is ConditionStatus.TRUE or progressing.status is not ConditionStatus.FALSE:
        return _false(Reason.NOT_STALLED, "what is wanted is there or under way")
    return _true(ready.reason, ready.message)
