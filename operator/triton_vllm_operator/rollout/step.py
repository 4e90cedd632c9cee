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
from triton_vllm_operator.rollout.moment import Moment

_AGAIN: Final = timedelta(seconds=15)
"""Between two looks at what is free, while pods are replaced in place."""
_REFUSED_FOR: Final = timedelta(seconds=5)
"""After which a refusal is believed that lasts as long as the old pods: that of the pods before is told for a moment
longer."""
_NOT_TRIED: Final = frozenset({Reason.REPLACING_PODS, Reason.UNSCHEDULABLE})
"""With these a new pod waits for its place, and no old one goes for it."""
_SURGE_GIVEN_UP: Final = frozenset({Reason.SURGE_TIMED_OUT, Reason.SURGE_REFUSED})
"""After these the rest of a rollout replaces."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is done next."""

    way: RolloutWay
    status: RolloutStatus | None = None
    """None while nothing is rolled out."""
    look_again_at: datetime | None = None
    wants_places: bool = False
    """Whether it must be known what is free before anything is decided."""
    old: frozenset[str] = frozenset()
    """Names of the pods that are to be replaced."""
    moment: Moment | None = None
    """Of which it was decided; None while there is no Deployment, or nothing that it should run."""

    @property
    def surge(self) -> int:
        """How many pods more than are wanted a Deployment may have.

        Where fewer are wanted in the middle of a rollout Kubernetes lessens each of its generations by its size and
        age, though it be the one that serves. Of what may stay those go that do not serve, or once others do:
        https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/deployment/sync.go (scale).
        """
        if self.moment is None or self.way is not RolloutWay.SURGE:
            return 1
        return max(self.moment.surge_kept, 1)

    @property
    def takes_away(self) -> bool:
        """Whether an old pod goes first with this step, and did not before it."""
        moment = self.moment
        if moment is None or moment.paused or moment.left == 0 or self.way is not RolloutWay.REPLACE:
            return False
        return moment.begins or moment.in_force is RolloutWay.SURGE

    @property
    def would_preempt(self) -> bool:
        """Whether a new pod would be made that fits nowhere unless others go for it."""
        is_nowhere = self.status is not None and self.status.reason == Reason.UNSCHEDULABLE
        return is_nowhere and self.moment is not None and self.moment.begins and self.moment.preempts

    @property
    def awaits_place(self) -> bool:
        """Whether it is no fault yet that a new pod has no node: an old one goes, or will if no place is found."""
        if self.status is None or self.moment is None:
            return False
        is_tried = self.way is RolloutWay.SURGE and self.moment.left > 0 and self.status.reason not in _NOT_TRIED
        return is_tried or self.moment.goes

    @property
    def turns_at(self) -> datetime | None:
        """When the step turns into a replacement, if the pod has no node until then."""
        waits = self.status is not None and self.status.waiting_since and self.way is RolloutWay.SURGE
        return self.look_again_at if waits else None


def decide_step(
    settings: Rollout, moment: Moment, before: RolloutStatus | None, estimate: Estimate | None, now: datetime
) -> Step:
    """What is done next about old pods."""
    # What held it back is found anew, and is over with a pause, which takes nobody's time for that.
    free = before.model_copy(update={"held": None}) if before is not None else None
    known = free if free is not None and free.revision == moment.revision else None
    if moment.paused:
        step = Step(moment.in_force, free)
    elif moment.left == 0:
        # It is told of until the new pods generate. Then the Deployment is left as a restart of it should begin.
        is_over = (known is not None or moment.edited) and not moment.goes and not moment.starts
        step = Step(first_way(settings), None) if is_over else Step(moment.in_force, known)
    elif settings.strategy is RolloutStrategy.AUTO:
        step = _choose(settings, moment, known, estimate, now)
    else:
        step = _obey(settings.strategy, moment, known)
    return replace(step, status=_since_now(step.status, now), moment=moment)


def _since_now(status: RolloutStatus | None, now: datetime) -> RolloutStatus | None:
    if status is None or status.since is not None:
        return status
    return status.model_copy(update={"since": format_time(now)})


def first_way(settings: Rollout) -> RolloutWay:
    """What a Deployment does of itself when somebody restarts it: what it turns to then depends on what is free."""
    return RolloutWay.REPLACE if settings.strategy is RolloutStrategy.REPLACE else RolloutWay.SURGE


def _obey(strategy: RolloutStrategy, moment: Moment, known: RolloutStatus | None) -> Step:
    way = RolloutWay.SURGE if strategy is RolloutStrategy.SURGE else RolloutWay.REPLACE
    gap = moment.gap if way is RolloutWay.REPLACE else ""
    return _step(moment, known, way, Reason.REPLACING_PODS, f"spec.rollout.strategy is {strategy}{gap}")


def _choose(
    settings: Rollout, moment: Moment, known: RolloutStatus | None, estimate: Estimate | None, now: datetime
) -> Step:
    is_surging = not moment.begins and moment.in_force is RolloutWay.SURGE
    if moment.surge_kept and moment.serves and not moment.begins:
        fewer = _surge(
            moment, known, f"fewer pods are wanted: the old ones serve until new ones generate{moment.start}"
        )
        return _without_waiting(fewer)
    if is_surging and not moment.waits and not moment.refused:
        # Also if it was to be a replacement: nothing went yet.
        return _without_waiting(_surge(moment, known, "a new pod has its place beside the old ones"))
    if known is not None and known.reason in _SURGE_GIVEN_UP:
        return Step(RolloutWay.REPLACE, known)
    if is_surging and moment.refused:
        return _surge_refused(settings, moment, known, estimate, now)
    if estimate is None:
        return Step(moment.in_force, known, wants_places=True)
    if is_surging:
        return _go_on_surging(settings, moment, known, estimate, now)
    if moment.begins or known is None:
        return _begin(moment, known, estimate, now)
    if estimate.fits and not moment.waits:
        return _beside(moment, known, estimate)
    if estimate.fits_instead is False:
        # What the nodes take has changed since.
        return _without_room(moment, known, estimate, now)
    return Step(RolloutWay.REPLACE, known, now + _AGAIN)


def _beside(moment: Moment, known: RolloutStatus | None, estimate: Estimate) -> Step:
    return _step(moment, known, RolloutWay.SURGE, Reason.SURGE_FITS, f"{estimate.message}{moment.start}")


def _surge(moment: Moment, known: RolloutStatus | None, message: str) -> RolloutStatus:
    """What is known of a surge that is under way; made anew where it was lost, or somebody else began it."""
    if known is not None and known.way is RolloutWay.SURGE:
        return known
    return _status(moment, RolloutWay.SURGE, Reason.SURGE_FITS, message)


def _without_waiting(known: RolloutStatus) -> Step:
    return Step(RolloutWay.SURGE, _waiting(known, None))


def _surge_refused(
    settings: Rollout, moment: Moment, known: RolloutStatus | None, estimate: Estimate | None, now: datetime
) -> Step:
    surge = _surge(moment, known, "a new pod is to start beside the old ones")
    if moment.goes or moment.leaves or not moment.makes_instead:
        # A quota counts what is being deleted until it is gone. Or a new pod would be refused in the place of an old
        # one, too: none of them goes.
        return _without_waiting(surge)
    if estimate is None:
        return Step(RolloutWay.SURGE, known, wants_places=True)
    if estimate.fits_instead is False:
        return _without_room(moment, known, estimate, now)
    since = _read_since(surge, now)
    patience = _REFUSED_FOR if moment.makes_none_beside else timedelta(seconds=settings.surge_timeout_seconds)
    if now - since < patience:
        return Step(RolloutWay.SURGE, _waiting(surge, since), since + patience)
    why = f"Kubernetes makes no pod beside the old ones: {moment.refused}{moment.gap}"
    return _step(moment, known, RolloutWay.REPLACE, Reason.SURGE_REFUSED, why)


def _begin(moment: Moment, known: RolloutStatus | None, estimate: Estimate, now: datetime) -> Step:
    if estimate.fits:
        return _beside(moment, known, estimate)
    if estimate.fits_soon and moment.serves:
        why = f"there will be room for a new pod once those have ended that do not serve, or are too many{moment.start}"
        return _step(moment, known, RolloutWay.SURGE, Reason.SURGE_FITS, why)
    if estimate.fits is False:
        return _without_room(moment, known, estimate, now)
    if moment.preempts:
        why = f"what is free is not known ({estimate.message}), and a new pod might preempt others{moment.gap}"
        return _step(moment, known, RolloutWay.REPLACE, Reason.CAPACITY_UNKNOWN, why)
    why = f"what is free is not known ({estimate.message}): a new pod is tried beside the old ones"
    return _step(moment, known, RolloutWay.SURGE, Reason.CAPACITY_UNKNOWN, why)


def _go_on_surging(
    settings: Rollout, moment: Moment, told: RolloutStatus | None, estimate: Estimate, now: datetime
) -> Step:
    if moment.unjudged:
        # Nor would anybody find a place for it if an old pod went.
        return _without_waiting(_surge(moment, told, estimate.message))
    # The place that an old pod leaves may be the one that the new pod waits for.
    if estimate.fits_soon is False:
        return _without_room(moment, told, estimate, now)
    known = _surge(moment, told, estimate.message)
    if estimate.fits_soon is None and known.reason == Reason.UNSCHEDULABLE and not estimate.is_contradicted:
        # It was known to fit nowhere, not even in the place of an old one.
        return Step(RolloutWay.SURGE, known, now + _AGAIN)
    if known.reason == Reason.UNSCHEDULABLE:
        # What the nodes take has changed since: until now it waited for nothing.
        reason = Reason.SURGE_FITS if estimate.fits_soon else Reason.CAPACITY_UNKNOWN
        known = _waiting(_status(moment, RolloutWay.SURGE, reason, estimate.message), now)
    if moment.goes:
        return _without_waiting(known)
    since = _read_since(known, now)
    if told is None and moment.waits_since is not None:
        # Where nothing is kept of it the age of the pod tells, less the time that a place may take to come free.
        since = min(now, moment.waits_since + timedelta(seconds=moment.end_seconds))
    until = since + timedelta(seconds=settings.surge_timeout_seconds)
    if until <= now:
        why = (
            f"a new pod had no place within {settings.surge_timeout_seconds} s (spec.rollout.surgeTimeoutSeconds); "
            f"by the operator's own count, {estimate.message}{moment.gap}"
        )
        return _step(moment, known, RolloutWay.REPLACE, Reason.SURGE_TIMED_OUT, why)
    return Step(RolloutWay.SURGE, _waiting(known, since), until)


def _read_since(known: RolloutStatus, now: datetime) -> datetime:
    """Since when a new pod waits; what somebody else wrote there, or a clock that went back, counts from now on."""
    since = parse_time(known.waiting_since or "")
    return since if since is not None and since <= now else now


def _waiting(known: RolloutStatus, since: datetime | None) -> RolloutStatus:
    return known.model_copy(update={"waiting_since": format_time(since) if since is not None else None})


def _without_room(moment: Moment, known: RolloutStatus | None, estimate: Estimate, now: datetime) -> Step:
    """An old pod goes for a new one, unless that would not help."""
    if estimate.fits_instead is False:
        why = f"{estimate.message}; nor would there be in the place of an old pod, so none of them goes"
        step = _step(moment, known, RolloutWay.SURGE, Reason.UNSCHEDULABLE, why)
    else:
        why = f"{estimate.message}{moment.gap}"
        step = _step(moment, known, RolloutWay.REPLACE, Reason.REPLACING_NO_SPARE_GPU, why)
    return replace(step, look_again_at=now + _AGAIN)


def _step(moment: Moment, known: RolloutStatus | None, way: RolloutWay, reason: Reason, message: str) -> Step:
    """What was counted is told once for each turn: it changes all the time."""
    if known is not None and (known.way, known.reason) == (way, reason):
        return Step(way, known)
    return Step(way, _status(moment, way, reason, message))


def _status(moment: Moment, way: RolloutWay, reason: Reason, message: str) -> RolloutStatus:
    return RolloutStatus(
        revision=moment.revision,
        way=way,
        reason=reason,
        message=shorten(message, LONGEST_WHY),
        start_seconds=moment.start_seconds,
    )
