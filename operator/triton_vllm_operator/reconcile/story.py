"""What `kubectl describe llm` tells: an Event for each change that somebody would want to have seen. Pure."""

from typing import Final, NamedTuple

from triton_vllm_operator.api.reasons import ConditionType
from triton_vllm_operator.api.status import Condition, ConditionStatus, LLMDeploymentStatus
from triton_vllm_operator.reconcile.model import News


class _Turn(NamedTuple):
    """A condition that turns to a status."""

    kind: ConditionType
    to: ConditionStatus
    reason: str
    """Of the Event."""
    is_warning: bool = True
    tells_first: bool = True
    """Whether it is told of a condition that was not there before, or was Unknown."""


_TURNS: Final = (
    _Turn(ConditionType.ACCEPTED, ConditionStatus.FALSE, "NotAccepted"),
    _Turn(ConditionType.MEMORY_FITS, ConditionStatus.FALSE, "MemoryDoesNotFit"),
    _Turn(ConditionType.READY, ConditionStatus.TRUE, "Ready", is_warning=False),
    # What has not been ready yet only starts.
    _Turn(ConditionType.READY, ConditionStatus.FALSE, "NotReady", tells_first=False),
    _Turn(ConditionType.DEGRADED, ConditionStatus.TRUE, "Degraded"),
    _Turn(ConditionType.STALLED, ConditionStatus.TRUE, "Stalled"),
)
_REVISION: Final = "RevisionChanged"


def find_story(before: LLMDeploymentStatus, after: LLMDeploymentStatus, changed: str) -> tuple[News, ...]:
    """What happened between two statuses; `changed` are the fields by which pods of earlier revisions differ."""
    turns = (_tell(turn, before.condition(turn.kind), after.condition(turn.kind)) for turn in _TURNS)
    return (*_tell_revision(before, after, changed), *(news for news in turns if news is not None))


def _tell(turn: _Turn, before: Condition | None, after: Condition | None) -> News | None:
    if after is None or after.status is not turn.to:
        return None
    was = before.status if before is not None else ConditionStatus.UNKNOWN
    if was is turn.to or (was is ConditionStatus.UNKNOWN and not turn.tells_first):
        return None
    about = f"{after.reason} {after.last_transition_time}"
    return News(turn.reason, f"{after.reason}: {after.message}", about, turn.is_warning)


def _tell_revision(before: LLMDeploymentStatus, after: LLMDeploymentStatus, changed: str) -> tuple[News, ...]:
    if before.revision is None or after.revision is None or before.revision == after.revision:
        return ()
    because = f" since {changed} changed" if changed else ""
    if (back := after.rollback) is not None and back.to == after.revision:
        because = f", since those of {back.revision}, which the spec asks for, did not generate ({back.reason})"
    message = f"pods are replaced by those of {after.revision}{because}"
    return (News(_REVISION, message, f"{before.revision} {after.revision}", is_warning=False),)
