"""How the next pod is replaced: beside an old one, or in its place. Pure.

What a step found stands in the status, so that a restarted operator goes on with it: above all that a new pod waited
in vain for a place, after which the rest of this rollout replaces.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.rollout import LONGEST_WHY, Rollout, RolloutStatus, RolloutStrategy, RolloutWay
from triton_vllm_operator.api.status import shorten
from triton_vllm_operator.api.times import format_time, parse_time
from triton_vllm_operator.rollout.estimate import Estimate

_AGAIN: Final = timedelta(seconds=15)
"""Between two looks at what is free, while pods are replaced in place."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A rollout as it stands."""

    revision: str
    """Name of the revision whose pods are to replace the others."""
    in_force: RolloutWay
    """What the Deployment does."""
    begins: bool
    """Whether the Deployment does not know of the revision yet."""
    left: int
    """Pods of earlier revisions that are there to stay."""
    waits: bool
    """Whether a pod of the revision has no node yet."""
    goes: bool
    """Whether a pod of this LLMDeployment is being deleted: its place is taken until its object is gone."""
    starts: bool = False
    """Whether pods of the revision have not generated yet, or are not there."""
    leaves_nobody: bool = False
    """Whether no other pod answers while one is replaced in its place."""
    start_seconds: int | None = None
    """How long the last start took; None if none has come to its end."""
    paused: bool = False
    """Whether nothing is to be changed."""
    preempts: bool = False
    """Whether a pod may take the place of others, which one that only starts early must not."""

    @property
    def gap(self) -> str:
        """What users notice of a replacement; empty if nothing."""
        if not self.leaves_nobody:
            return ""
        took = f", about {self.start_seconds} s by the last start" if self.start_seconds is not None else ""
        return f"; nobody answers until the new pod generates{took}"


@dataclass(frozen=True, slots=True)
class Step:
    """What is done next."""

    way: RolloutWay
    status: RolloutStatus | None = None
    """None while nothing is rolled out."""
    look_again_at: datetime | None = None
    wants_places: bool = False
    """Whether it must be known what is free before anything is decided."""
    frees_place: bool = False
    """Whether an own pod is being deleted, whose place one that has no node yet may get."""

    @property
    def awaits_place(self) -> bool:
        """Whether it is no fault yet that a new pod has no node: an old one goes, or will if no place is found."""
        if self.status is None:
            return False
        is_tried = self.way is RolloutWay.SURGE and self.status.reason != Reason.REPLACING_PODS
        return is_tried or self.frees_place

    @property
    def turns_at(self) -> datetime | None:
        """When the step turns into a replacement, if the pod has no node until then."""
        waits = self.status is not None and self.status.waiting_since and self.way is RolloutWay.SURGE
        return self.look_again_at if waits else None


def decide_step(
    settings: Rollout, moment: Moment, before: RolloutStatus | None, estimate: Estimate | None, now: datetime
) -> Step:
    """What is done next about pods of earlier revisions."""
    return replace(_decide(settings, moment, before, estimate, now), frees_place=moment.goes)


def _decide(
    settings: Rollout, moment: Moment, before: RolloutStatus | None, estimate: Estimate | None, now: datetime
) -> Step:
    if moment.paused:
        return Step(moment.in_force, before)
    known = before if before is not None and before.revision == moment.revision else None
    if moment.left == 0:
        # It is told of until the new pods generate.
        return Step(moment.in_force, known if moment.goes or moment.starts else None)
    if settings.strategy is RolloutStrategy.SURGE:
        return _step(moment, before, RolloutWay.SURGE, Reason.REPLACING_PODS, "spec.rollout.strategy is Surge")
    if settings.strategy is RolloutStrategy.REPLACE:
        why = f"spec.rollout.strategy is Replace{moment.gap}"
        return _step(moment, before, RolloutWay.REPLACE, Reason.REPLACING_PODS, why)
    if known is not None and known.reason == Reason.SURGE_TIMED_OUT:
        return Step(RolloutWay.REPLACE, known)
    is_surging = known is not None and not moment.begins and moment.in_force is RolloutWay.SURGE
    if known is not None and is_surging and not moment.waits:
        return Step(RolloutWay.SURGE, known.model_copy(update={"waiting_since": None}))
    if estimate is None:
        return Step(moment.in_force, known, wants_places=True)
    if moment.begins or known is None:
        return _begin(moment, known, estimate, now)
    if moment.in_force is RolloutWay.REPLACE:
        return _go_on_replacing(moment, known, estimate, now)
    return _go_on_surging(settings, moment, known, estimate, now)


def _begin(moment: Moment, known: RolloutStatus | None, estimate: Estimate, now: datetime) -> Step:
    if estimate.fits:
        return _step(moment, known, RolloutWay.SURGE, Reason.SURGE_FITS, estimate.message)
    if estimate.fits is False:
        return _replace(moment, known, estimate, now)
    if moment.preempts:
        why = f"what is free is not known ({estimate.message}), and a new pod might preempt others{moment.gap}"
        return _step(moment, known, RolloutWay.REPLACE, Reason.CAPACITY_UNKNOWN, why)
    why = f"what is free is not known ({estimate.message}): a new pod is tried beside the old ones"
    return _step(moment, known, RolloutWay.SURGE, Reason.CAPACITY_UNKNOWN, why)


def _go_on_replacing(moment: Moment, known: RolloutStatus, estimate: Estimate, now: datetime) -> Step:
    if estimate.fits and not moment.waits:
        return _step(moment, known, RolloutWay.SURGE, Reason.SURGE_FITS, estimate.message)
    return Step(RolloutWay.REPLACE, known, now + _AGAIN)


def _go_on_surging(settings: Rollout, moment: Moment, known: RolloutStatus, estimate: Estimate, now: datetime) -> Step:
    # The place that an old pod leaves may be the one that the new pod waits for.
    if (estimate.fits_soon if moment.goes else estimate.fits) is False:
        return _replace(moment, known, estimate, now)
    if moment.goes:
        return Step(RolloutWay.SURGE, known.model_copy(update={"waiting_since": None}))
    since = parse_time(known.waiting_since or "") or now
    until = since + timedelta(seconds=settings.surge_timeout_seconds)
    if until <= now:
        why = (
            f"the scheduler found no place for a new pod within {settings.surge_timeout_seconds} s "
            f"(spec.rollout.surgeTimeoutSeconds); by the operator's own count, {estimate.message}{moment.gap}"
        )
        return _step(moment, known, RolloutWay.REPLACE, Reason.SURGE_TIMED_OUT, why)
    return Step(RolloutWay.SURGE, known.model_copy(update={"waiting_since": format_time(since)}), until)


def _replace(moment: Moment, known: RolloutStatus | None, estimate: Estimate, now: datetime) -> Step:
    why = f"{estimate.message}{moment.gap}"
    step = _step(moment, known, RolloutWay.REPLACE, Reason.REPLACING_NO_SPARE_GPU, why)
    return Step(step.way, step.status, now + _AGAIN)


def _step(moment: Moment, known: RolloutStatus | None, way: RolloutWay, reason: Reason, message: str) -> Step:
    """What was counted is told once for each turn: it changes all the time."""
    if known is not None and (known.revision, known.way, known.reason) == (moment.revision, way, reason):
        return Step(way, known)
    status = RolloutStatus(
        revision=moment.revision,
        way=way,
        reason=reason,
        message=shorten(message, LONGEST_WHY),
        start_seconds=moment.start_seconds,
    )
    return Step(way, status)
