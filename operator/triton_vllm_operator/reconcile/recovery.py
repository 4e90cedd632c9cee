"""Which pod is replaced, since its engine is dead. Pure.

What was replaced stands in the status, which is written before the pod is deleted: an operator that is killed between
the two finds it there and deletes that pod, and no other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.recovery import (
    LONGEST_MESSAGE,
    MOST_REPLACED,
    Recovery,
    RecoveryPolicy,
    RecoveryStatus,
    ReplacedPod,
)
from triton_vllm_operator.api.status import shorten
from triton_vllm_operator.api.times import LONG_AGO, format_time, parse_time
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.reconcile.model import News, Replacement

DEAD: Final = frozenset({Reason.ENGINE_DEAD, Reason.GENERATE_TIMED_OUT})
"""Verdicts upon which a pod is replaced. One that answers with errors, or slowly, lives."""
REPLACED: Final = "PodReplaced"
_HOUR: Final = timedelta(hours=1)
_FIRST_WAIT: Final = timedelta(minutes=1)
_LONGEST_WAIT: Final = timedelta(minutes=16)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is done about dead pods."""

    replacement: Replacement | None = None
    status: RecoveryStatus | None = None
    """As it should be."""
    remedies: Mapping[str, str] = field(default_factory=dict)
    """What is done about each of them, by its name."""
    look_again_at: datetime | None = None

    @property
    def news(self) -> tuple[News, ...]:
        """That a pod is replaced."""
        done = open_replacement(self.status)
        if self.replacement is None or done is None:
            return ()
        return (News(REPLACED, f"pod {done.name} is replaced: {done.reason}: {done.message}", done.uid),)


@dataclass(frozen=True, slots=True)
class Terms:
    """On which pods are replaced."""

    settings: Recovery
    wanted: int
    """Pods."""
    patience: timedelta
    """How long a successor may take to generate, and a pod to go, before another pod is replaced."""
    silent: frozenset[str] = frozenset()
    """Uids of pods of which this process has seen itself that they are dead: a verdict may be of yesterday."""
    hung: frozenset[str] = frozenset()
    """Uids of pods that load for longer than they may, and have said nothing for long."""


def decide_recovery(pods: Iterable[Pod], before: RecoveryStatus | None, terms: Terms, now: datetime) -> Recovered:
    """What is done now about the pods of one LLMDeployment."""
    pods = tuple(pods)
    status = _note_recovery(before, pods, terms.wanted, now)
    dead = sorted((pod for pod in pods if is_dead(pod) or pod.uid in terms.hung), key=lambda pod: pod.name)
    sure = [pod for pod in dead if pod.uid in terms.silent | terms.hung]
    if not dead or terms.wanted == 0 or terms.settings.policy is RecoveryPolicy.REPORT:
        return Recovered(status=status)
    opened = open_replacement(status)
    open_uids = {replaced.uid for replaced in _replaced(status)} if opened else set()
    if unfinished := next((pod for pod in sure if pod.uid in open_uids), None):
        return Recovered(_replace(unfinished), status, _remedies(dead, _ONE_BY_ONE, unfinished))
    recent = _recent(status, now)
    last = recent[-1] if recent else _time(opened) if opened and _time(opened) < now else None
    until, why = _find_wait(pods, open_uids, recent, last, terms)
    if until is not None and until > now:
        return Recovered(status=status, remedies=_remedies(dead, why), look_again_at=until)
    if not sure:
        return Recovered(status=status, remedies=_remedies(dead, _ASKED_AGAIN))
    chosen = sure[0]
    kept = tuple(replaced for replaced in _replaced(status) if _is_recent(replaced, now))
    after = RecoveryStatus(replaced=(*kept, _as_replaced(chosen, now))[-MOST_REPLACED:])
    return Recovered(_replace(chosen), after, _remedies(dead, _ONE_BY_ONE, chosen))


_HUNG: Final = "it did not start in time, and its log stands still"
_IN_HAND: Final = "it is replaced"
_ONE_BY_ONE: Final = "it is replaced once those before it are"
_ASKED_AGAIN: Final = "it is replaced if it gives no sign of life once more"


def _remedies(dead: list[Pod], text: str, in_hand: Pod | None = None) -> Mapping[str, str]:
    return {pod.name: _IN_HAND if pod is in_hand else text for pod in dead}


def is_dead(pod: Pod) -> bool:
    """Whether a pod generated, and its engine is dead or gives no sign of life for the threshold of its probe."""
    gate = pod.gate
    if gate is None or gate.generates or not gate.has_generated or not pod.lives or not pod.running:
        return False
    return gate.reason in DEAD and gate.container_id == pod.container_id


def open_replacement(status: RecoveryStatus | None) -> ReplacedPod | None:
    """The last pod that was replaced, while its successor has not generated; None if all have."""
    return _replaced(status)[-1] if _replaced(status) and status is not None and not status.recovered_time else None


def _find_wait(
    pods: tuple[Pod, ...], open_uids: set[str], recent: list[datetime], last: datetime | None, terms: Terms
) -> tuple[datetime | None, str]:
    """Until when nothing is replaced, and why; successors that die as well are replaced less and less often."""
    if last is None:
        return None, ""
    most = terms.settings.max_per_hour
    if len(recent) >= most:
        free = recent[len(recent) - most] + _HOUR
        spent = (
            f"{len(recent)} were replaced within an hour, the next is at {format_time(free)}; sooner: a larger "
            "spec.recovery.maxPerHour, or kubectl delete pod"
        )
        return free, spent
    until: datetime = last + min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** max(0, len(recent) - 1))
    goes = any(pod.terminating and pod.uid in open_uids for pod in pods)
    fresh = (pod for pod in pods if pod.lives and pod.uid not in terms.hung)
    starts = any(pod.gate is None or not pod.gate.has_generated for pod in fresh)
    until = max(until, last + terms.patience) if goes or starts else until
    return until, f"a pod was replaced at {format_time(last)}, and this one is at {format_time(until)} at the latest"


def _note_recovery(
    before: RecoveryStatus | None, pods: tuple[Pod, ...], wanted: int, now: datetime
) -> RecoveryStatus | None:
    """The status with when all wanted pods had generated again, once they have."""
    if open_replacement(before) is None or before is None:
        return before
    there = [pod for pod in pods if pod.lives]
    if len(there) < wanted or not all(pod.serves for pod in there):
        return before
    return before.model_copy(update={"recovered_time": format_time(now)})


def _recent(status: RecoveryStatus | None, now: datetime) -> list[datetime]:
    """When pods were replaced within an hour, the oldest first."""
    return sorted(min(now, _time(replaced)) for replaced in _replaced(status) if _is_recent(replaced, now))


def _is_recent(replaced: ReplacedPod, now: datetime) -> bool:
    """The clock of another operator may be ahead, by less than an hour: what is further ahead somebody else wrote."""
    return now - _HOUR < _time(replaced) < now + _HOUR


def _replace(pod: Pod) -> Replacement:
    return Replacement(pod.name, pod.uid, _reason(pod))


def _as_replaced(pod: Pod, now: datetime) -> ReplacedPod:
    said = pod.gate.detail or pod.gate.reason if is_dead(pod) and pod.gate else _HUNG
    return ReplacedPod(
        name=pod.name,
        uid=pod.uid,
        reason=_reason(pod),
        message=shorten(said, LONGEST_MESSAGE),
        time=format_time(now),
    )


def _reason(pod: Pod) -> str:
    return pod.gate.reason if is_dead(pod) and pod.gate else Reason.STARTUP_DEADLINE_EXCEEDED


def _replaced(status: RecoveryStatus | None) -> tuple[ReplacedPod, ...]:
    return (status.replaced or ()) if status is not None else ()


def _time(replaced: ReplacedPod) -> datetime:
    return parse_time(replaced.time) or LONG_AGO
