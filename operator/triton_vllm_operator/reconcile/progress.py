"""The condition Progressing: what is under way, and what keeps it from its end. Pure."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.rollout import RollbackStatus
from triton_vllm_operator.api.status import ConditionStatus
from triton_vllm_operator.api.times import LONG_AGO, format_time
from triton_vllm_operator.health.failures.pods import Problem
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.reconcile.deadlines import refusal_deadline, startup_deadline, unreachable_from
from triton_vllm_operator.reconcile.situation import Finding, Situation, fails, holds
from triton_vllm_operator.rollout.step import Step

_UNTIL_CHANGED: Final = frozenset({Reason.MODEL_NOT_SERVABLE, Reason.MODEL_NOT_FOUND})
"""What a pod fails for, and its successors will, until somebody changes the spec or the files."""
UNDER_WAY: Final = frozenset(
    {
        Reason.CREATING_PODS,
        Reason.STARTING,
        Reason.REPLACING_PODS,
        Reason.SURGE_FITS,
        Reason.REPLACING_NO_SPARE_GPU,
        Reason.CAPACITY_UNKNOWN,
        Reason.SURGE_TIMED_OUT,
        Reason.SURGE_REFUSED,
        Reason.PREPARING_NODE,
        Reason.WAITING_FOR_IDLE,
        Reason.SCALING_DOWN,
    }
)
"""What is said while nothing is wrong."""


def find_progress(situation: Situation, ready: Finding, now: datetime) -> Finding:
    """The condition Progressing."""
    if situation.refused is not None:
        return fails(Reason.NOT_ACCEPTED, "the spec is not accepted; what was accepted before keeps running")
    if ready.status is ConditionStatus.TRUE:
        return fails(Reason.SETTLED, "nothing is left to do")
    if situation.held_back or (situation.paused and situation.of_others):
        return Finding(ConditionStatus.UNKNOWN, Reason.PAUSED, _say_paused(situation))
    if situation.waiting is not None:
        status = ConditionStatus.FALSE if situation.waits_in_vain else ConditionStatus.TRUE
        return Finding(status, situation.waiting.reason, situation.waiting.message)
    if (stopped := situation.stopped) is not None and stopped.reason in set(Reason):
        # Pods that still end say the same of themselves.
        return fails(Reason(stopped.reason), f"{stopped.message}; {_say_kept_from(situation.name)}")
    late = (pod for pod in situation.current if _is_late(pod, situation, now))
    if (pod := next(late, None)) is not None:
        return _overdue(pod, situation)
    left = (pod for pod in situation.current if pod.has_generated and pod.name not in situation.remedies)
    if stuck := next(filter(None, (situation.find_gate_failure(pod) for pod in left)), None):
        # Nothing is under way: this pod is replaced by nobody but its owner.
        return fails(stuck.reason, stuck.message)
    if problem := _problem(situation) or _unreachable(situation, now):
        status = ConditionStatus.FALSE if _is_in_vain(problem, situation, now) else ConditionStatus.TRUE
        return Finding(status, problem.reason, problem.message + _warned(situation))
    is_there = len(situation.current) == situation.replicas and not situation.leftover
    if situation.rollback is not None and is_there and all(pod.serves for pod in situation.current):
        return fails(Reason.ROLLED_BACK, _say_rolled_back(situation.name, situation.rollback))
    return _moving(situation)


def _say_kept_from(name: str) -> str:
    restart = f"kubectl llm restart {name} (or kubectl rollout restart)"
    return f"no pod is kept until the spec changes, or after: {restart}"


def _say_rolled_back(name: str, rollback: RollbackStatus) -> str:
    return (
        f"{rollback.to} runs again since {rollback.time}, for {rollback.revision}, which the spec asks for, did not "
        f"generate: {rollback.message}; to go back to the spec that runs: kubectl llm rollout undo {name}; another "
        f"spec, or kubectl llm restart {name}, tries anew"
    )


def _say_paused(situation: Situation) -> str:
    written = f"{', '.join(situation.held_back)} would be written"
    waits = "a rollout stands still" if situation.of_others else written
    return f"changes are paused: {waits}; to go on: kubectl annotate llm {situation.name} {names.ANNOTATION_PAUSED}-"


def _is_late(pod: Pod, situation: Situation, now: datetime) -> bool:
    deadline = startup_deadline(pod, situation.startup_deadline_seconds)
    return deadline is not None and deadline <= now


def _overdue(pod: Pod, situation: Situation) -> Finding:
    """Of a pod that has not generated in time: it is under way again only if it is replaced."""
    text = (
        f"pod {pod.name} has not generated within {situation.startup_deadline_seconds} s"
        " (probe.startupDeadlineSeconds, and more for large weights)"
    )
    if (problem := situation.find_problem(pod) or situation.find_gate_failure(pod)) is not None:
        text += f"; {problem.message}"
    done = situation.remedies.get(pod.name)
    finding = holds if done else fails
    return finding(Reason.STARTUP_DEADLINE_EXCEEDED, text + (f"; it stands still: {done}" if done else ""))


def _is_in_vain(problem: Problem, situation: Situation, now: datetime) -> bool:
    if problem.reason is Reason.PODS_REFUSED:
        deadline = refusal_deadline(situation)
        return deadline is not None and deadline <= now
    return problem.reason in _UNTIL_CHANGED


def _warned(situation: Situation) -> str:
    return f"; it was seen before: {', '.join(situation.warnings)}" if situation.warnings else ""


def _problem(situation: Situation) -> Problem | None:
    if situation.pods_refused and len(situation.current) < situation.replicas:
        return Problem(Reason.PODS_REFUSED, situation.pods_refused)
    # One that is tried beside the old pods may wait for its place: an old one goes if it waits in vain.
    told = (pod for pod in situation.current if pod.scheduled_at is not None or not situation.step.awaits_place)
    found = (situation.find_problem(pod) or situation.find_gate_failure(pod) for pod in told)
    problem = next((problem for problem in found if problem), None)
    if problem is None or problem.reason is not Reason.UNSCHEDULABLE:
        return problem
    # What the scheduler counts says less.
    before = f"{why}; " if (why := _lacks_nodes(situation)) else ""
    return replace(problem, message=f"{before}{problem.message}{_say_gone(situation)}")


def _say_gone(situation: Situation) -> str:
    """What became of the pods before those that start."""
    lost = (pod for pod in situation.pods if pod.terminating and pod.node in situation.lost_nodes)
    if (pod := next(lost, None)) is not None:
        holds_on = f"pod {pod.name} is not gone and keeps its place, since its node {pod.node} is not ready"
        return f"; {holds_on}: kubectl delete node {pod.node}, if it will not come back"
    refused = [pod for pod in situation.pods if pod.phase == "Failed" and pod not in situation.alive]
    newest_first = sorted(refused, key=lambda pod: (pod.created_at or LONG_AGO, pod.name), reverse=True)
    problems = (situation.find_problem(pod) for pod in newest_first)
    told = (problem for problem in problems if problem is not None and problem.reason is Reason.NODE_REFUSED_POD)
    if (problem := next(told, None)) is not None:
        return f"; before it, {problem.message}"
    disrupted = (pod for pod in situation.pods if pod.terminating and pod.disruption)
    return f"; pod {pod.name} goes: {pod.disruption}" if (pod := next(disrupted, None)) is not None else ""


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
        return _rolling(situation.step, f"{_say_left(situation)}{because}{_say_serving(situation.leftover)}")
    if current > wanted or situation.leftover:
        return holds(Reason.SCALING_DOWN, f"{current + len(situation.leftover) - wanted} pods too many are going")
    started = _starting(situation)
    return started if situation.step.status is None else _rolling(situation.step, started.message)


def _say_left(situation: Situation) -> str:
    old = situation.leftover
    # A restart replaces pods of the revision that runs.
    which = " of an earlier revision" if any(pod.revision != situation.revision for pod in old) else ""
    return f"1 pod{which} is left to replace" if len(old) == 1 else f"{len(old)} pods{which} are left to replace"


def _say_serving(old: tuple[Pod, ...]) -> str:
    """Whether users have an answer meanwhile."""
    serving = sum(pod.serves for pod in old)
    if not serving:
        return ""
    if len(old) == 1:
        return "; it serves until then"
    if serving == 1:
        return "; 1 of them serves until then"
    return f"; {'they' if serving == len(old) else f'{serving} of them'} serve until then"


def _starting(situation: Situation) -> Finding:
    """What the pods of the revision are at, and what became of those before them."""
    current, wanted = len(situation.current), situation.replicas
    if current < wanted:
        return holds(Reason.CREATING_PODS, f"{current} of {wanted} pods exist{_say_gone(situation)}")
    return holds(Reason.STARTING, _say_starting(situation) + _say_gone(situation))


def _say_starting(situation: Situation) -> str:
    starting = [pod for pod in situation.current if not pod.serves and not _is_seen_soon(pod)]
    for pod in starting:
        if situation.scheduler and pod.scheduled_at is None:
            # A scheduler that is not there says nothing, in no condition and no event.
            waits = f"pod {pod.name} waits for the scheduler {situation.scheduler}, which has not looked at it yet"
            return f"{waits}; is spec.scheduling.schedulerName right?"
        if pod.prepares:
            return (
                f"pod {pod.name} fetches or checks its weights; "
                f"see kubectl logs {pod.name} -c {names.PREPARE_CONTAINER}"
            )
    if not starting:
        return "the last pods have generated, and are not in the Service yet"
    loads = (
        f", and has been loading since {format_time(began)}" if (began := starting[0].loads_since) is not None else ""
    )
    return f"pod {starting[0].name} has not generated yet{loads}"


def _is_seen_soon(pod: Pod) -> bool:
    return pod.gate is not None and pod.gate.generates


def _rolling(step: Step, left: str) -> Finding:
    """Which way pods are replaced, and why."""
    if step.status is None or (rollout := step.status.held or step.status).reason not in set(Reason):
        return holds(Reason.REPLACING_PODS, left)
    until = (
        f"; the new pod has no node yet, and an old one goes at {format_time(step.turns_at)}" if step.turns_at else ""
    )
    return holds(Reason(rollout.reason), f"{left}; {rollout.message}{until}")
