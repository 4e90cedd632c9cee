"""Which pod is replaced, since its engine is dead. Pure.

What was replaced stands in the status, which is written before the pod is deleted: an operator that is killed between
the two finds it there and deletes that pod, and no other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.recovery import MOST_REPLACED, Recovery, RecoveryPolicy, RecoveryStatus, ReplacedPod
from triton_vllm_operator.api.status import shorten
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.reconcile.model import News, Replacement

_DEAD: Final = frozenset({Reason.ENGINE_DEAD, Reason.GENERATE_TIMED_OUT})
"""Verdicts upon which a pod is replaced. One that answers with errors, or slowly, lives."""
REPLACED: Final = "PodReplaced"
_HOUR: Final = timedelta(hours=1)
_FIRST_WAIT: Final = timedelta(minutes=1)
_LONGEST_WAIT: Final = timedelta(minutes=16)
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_MESSAGE_LIMIT: Final = 512


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is done about dead pods."""

    replacement: Replacement | None = None
    status: RecoveryStatus | None = None
    """As it should be."""
    remedies: dict[str, str] = field(default_factory=dict)
    """What is done about each of them, by its name."""
    look_again_at: datetime | None = None

    @property
    def news(self) -> tuple[News, ...]:
        """That a pod is replaced."""
        done = open_replacement(self.status)
        if self.replacement is None or done is None:
            return ()
        return (News(REPLACED, f"pod {done.name} is replaced: {done.reason}: {done.message}", done.uid),)


def decide_recovery(
    pods: Iterable[Pod], before: RecoveryStatus | None, settings: Recovery, patience: timedelta, now: datetime
) -> Recovered:
    """What is done now about the pods of one LLMDeployment.

    `patience` is how long a successor may take to generate before another pod is replaced.
    """
    pods = tuple(pods)
    status = _note_recovery(before, pods, now)
    dead = sorted((pod for pod in pods if is_dead(pod)), key=lambda pod: pod.name)
    known = {replaced.uid for replaced in _replaced(status)}
    if unfinished := next((pod for pod in dead if pod.uid in known), None):
        return Recovered(_replace(unfinished), status, {unfinished.name: _IN_HAND})
    if not dead or settings.policy is RecoveryPolicy.REPORT:
        return Recovered(status=status)
    recent = [replaced for replaced in _replaced(status) if _time(replaced) > now - _HOUR]
    if len(recent) >= settings.max_per_hour:
        free = _time(recent[0]) + _HOUR
        spent = f"{len(recent)} were replaced within an hour (spec.recovery.maxPerHour), the next is at {free:{_TIME}}"
        return Recovered(status=status, remedies=dict.fromkeys(_names(dead), spent), look_again_at=free)
    until = _wait(pods, recent, patience, now)
    if until is not None and until > now:
        waits = f"the pod before it was replaced at {recent[-1].time}, and this one is at {until:{_TIME}} at the latest"
        return Recovered(status=status, remedies=dict.fromkeys(_names(dead), waits), look_again_at=until)
    if any(pod.terminating for pod in pods):
        return Recovered(status=status, remedies=dict.fromkeys(_names(dead), _ONE_BY_ONE))
    chosen, *others = dead
    remedies = {chosen.name: _IN_HAND, **dict.fromkeys(_names(others), _ONE_BY_ONE)}
    replaced = (*_replaced(status), _as_replaced(chosen, now))
    kept = tuple(each for each in replaced if _time(each) > now - _HOUR)[-MOST_REPLACED:]
    return Recovered(_replace(chosen), RecoveryStatus(replaced=kept), remedies)


_IN_HAND: Final = "it is replaced"
_ONE_BY_ONE: Final = "it is replaced once those before it are"


def is_dead(pod: Pod) -> bool:
    """Whether a pod generated, and its engine is dead or gives no sign of life for the threshold of its probe."""
    gate = pod.gate
    if gate is None or gate.generates or not gate.has_generated or not pod.lives or not pod.running:
        return False
    return gate.reason in _DEAD and gate.container_id == pod.container_id


def open_replacement(status: RecoveryStatus | None) -> ReplacedPod | None:
    """The last pod that was replaced, while its successor has not generated; None if all have."""
    return _replaced(status)[-1] if _replaced(status) and status is not None and not status.recovered_time else None


def _wait(pods: tuple[Pod, ...], recent: list[ReplacedPod], patience: timedelta, now: datetime) -> datetime | None:
    """When the next may be replaced: successors that die as well are replaced less and less often."""
    if not recent:
        return None
    last = _time(recent[-1])
    again: datetime = last + min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (len(recent) - 1))
    starts = any(pod.lives and (pod.gate is None or not pod.gate.has_generated) for pod in pods)
    return max(again, last + patience) if starts and now < last + patience else again


def _note_recovery(before: RecoveryStatus | None, pods: tuple[Pod, ...], now: datetime) -> RecoveryStatus | None:
    """The status with when all pods had generated again, once they have."""
    if before is None or before.recovered_time or not pods or not all(pod.serves for pod in pods):
        return before
    gone = {replaced.uid for replaced in _replaced(before)}.isdisjoint(pod.uid for pod in pods)
    return before.model_copy(update={"recovered_time": f"{now:{_TIME}}"}) if gone else before


def _replace(pod: Pod) -> Replacement:
    return Replacement(pod.name, pod.uid, pod.gate.reason if pod.gate else "")


def _as_replaced(pod: Pod, now: datetime) -> ReplacedPod:
    gate = pod.gate
    said = (gate.detail or gate.reason) if gate else ""
    return ReplacedPod(
        name=pod.name,
        uid=pod.uid,
        reason=gate.reason if gate else "",
        message=shorten(said, _MESSAGE_LIMIT),
        time=f"{now:{_TIME}}",
    )


def _replaced(status: RecoveryStatus | None) -> tuple[ReplacedPod, ...]:
    return (status.replaced or ()) if status is not None else ()


def _time(replaced: ReplacedPod) -> datetime:
    try:
        return datetime.strptime(replaced.time, _TIME).replace(tzinfo=UTC)
    except ValueError:
        # Somebody else has written it.
        return datetime.min.replace(tzinfo=UTC)


def _names(pods: list[Pod]) -> list[str]:
    return [pod.name for pod in pods]
