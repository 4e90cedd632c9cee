"""Which way the next pod is replaced."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from triton_vllm_operator.api.rollout import HeldStatus, Rollout, RolloutStatus, RolloutStrategy, RolloutWay
from triton_vllm_operator.rollout.estimate import Estimate
from triton_vllm_operator.rollout.moment import Moment
from triton_vllm_operator.rollout.step import Step, decide_step

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
FITS, FULL = Estimate(True, True, True, "there is room"), Estimate(False, False, True, "no node has room")
SOON, UNKNOWN = Estimate(False, True, True, "not yet"), Estimate(None, None, None, "403")
NOWHERE = Estimate(False, False, False, "no node takes it")
SURGE, REPLACE = RolloutWay.SURGE, RolloutWay.REPLACE


def moment(**changes: Any) -> Moment:
    first: dict[str, Any] = {
        "revision": "llama-b",
        "in_force": REPLACE,
        "begins": True,
        "left": 1,
        "waits": False,
        "goes": False,
    }
    return Moment(**{**first, **changes})


def step(found: Estimate | None, before: RolloutStatus | None = None, later: float = 0, **changes: Any) -> Step:
    settings = changes.pop("settings", Rollout())
    return decide_step(settings, moment(**changes), before, found, NOW + timedelta(seconds=later))


def under_way(way: RolloutWay, reason: str, since: str | None = None) -> RolloutStatus:
    return RolloutStatus(
        revision="llama-b", way=way, reason=reason, message="as counted then", waiting_since=since, since=LONG_AGO
    )


LONG_AGO = "2026-11-29T11:00:00Z"


def told(found: Step) -> tuple[RolloutWay, str]:
    assert found.status is not None
    assert found.status.way is found.way
    return found.way, found.status.reason


@pytest.mark.parametrize(
    ("found", "changes", "wanted"),
    [
        (FITS, {}, (SURGE, "SurgeFits")),
        (FULL, {}, (REPLACE, "ReplacingNoSpareGpu")),
        (SOON, {}, (SURGE, "SurgeFits")),
        (SOON, {"serves": False}, (REPLACE, "ReplacingNoSpareGpu")),
        (UNKNOWN, {}, (SURGE, "CapacityUnknown")),
        # Taking an old one away would not help.
        (NOWHERE, {}, (SURGE, "Unschedulable")),
        # What only starts early takes nobody's place.
        (UNKNOWN, {"preempts": True}, (REPLACE, "CapacityUnknown")),
        (FITS, {"preempts": True}, (SURGE, "SurgeFits")),
        (FULL, {"settings": Rollout(strategy=RolloutStrategy.SURGE)}, (SURGE, "ReplacingPods")),
        (FITS, {"settings": Rollout(strategy=RolloutStrategy.REPLACE)}, (REPLACE, "ReplacingPods")),
    ],
)
def test_how_a_rollout_begins(found: Estimate, changes: dict[str, Any], wanted: tuple[RolloutWay, str]) -> None:
    assert told(step(found, **changes)) == wanted


def test_nothing_is_asked_where_nothing_is_to_decide() -> None:
    settled = step(None, left=0, in_force=SURGE)
    assert (settled.way, settled.status, settled.wants_places) == (SURGE, None, False)
    forced = Rollout(strategy=RolloutStrategy.REPLACE)
    assert not step(None, settings=forced).wants_places
    loading = step(None, under_way(SURGE, "SurgeFits"), begins=False, in_force=SURGE)
    assert (loading.way, loading.wants_places) == (SURGE, False)
    assert step(None).wants_places


def test_it_is_told_of_until_the_new_pods_generate() -> None:
    before = under_way(REPLACE, "ReplacingNoSpareGpu")
    for moments in ({"goes": True}, {"starts": True}):
        found = step(None, before, begins=False, left=0, **moments)
        assert (found.status, found.wants_places, found.awaits_place) == (before, False, "goes" in moments)
    assert step(None, before, begins=False, left=0).status is None
    assert step(None, before, begins=False, left=0, starts=True, revision="llama-c").status is None


def test_a_gap_is_told_with_its_length() -> None:
    found = step(FULL, leaves_nobody=True, start_seconds=41)
    assert found.status is not None
    assert found.status.message == (
        "no node has room; nobody answers until the new pod generates, about 41 s by the last start"
    )
    assert found.status.start_seconds == 41


def test_a_new_pod_without_a_node_is_waited_for_and_then_an_old_one_goes() -> None:
    surging: dict[str, Any] = {"begins": False, "in_force": SURGE, "waits": True}
    first = step(FITS, under_way(SURGE, "SurgeFits"), **surging)
    assert (first.way, first.turns_at) == (SURGE, NOW + timedelta(seconds=60))
    assert first.status is not None
    assert first.status.waiting_since == "2026-11-29T12:00:00Z"
    again = step(FITS, first.status, later=59, **surging)
    assert again == first
    over = step(FITS, first.status, later=60, **surging)
    assert told(over) == (REPLACE, "SurgeTimedOut")
    # It stays so for the rest of this rollout, whatever is counted, and without counting.
    assert step(None, over.status, later=90, begins=False).way is REPLACE
    assert step(FITS, over.status, later=90, begins=False, left=2).way is REPLACE
    # Another revision begins anew.
    assert step(FITS, over.status, revision="llama-c").way is SURGE


def test_a_place_that_is_taken_meanwhile_is_not_waited_for() -> None:
    surging: dict[str, Any] = {"begins": False, "in_force": SURGE, "waits": True}
    assert told(step(FULL, under_way(SURGE, "SurgeFits"), **surging)) == (REPLACE, "ReplacingNoSpareGpu")


def test_the_place_of_an_old_pod_that_goes_is_waited_for() -> None:
    surging: dict[str, Any] = {"begins": False, "in_force": SURGE, "waits": True, "goes": True}
    waiting = under_way(SURGE, "SurgeFits", "2026-11-29T11:00:00Z")
    found = step(SOON, waiting, **surging)
    assert found.way is SURGE
    # Its time has not begun.
    assert found.status is not None
    assert found.status.waiting_since is None
    assert step(FULL, waiting, **surging).way is REPLACE


def test_a_place_that_comes_free_is_used_from_the_next_pod_on() -> None:
    replacing: dict[str, Any] = {"begins": False, "in_force": REPLACE, "left": 2}
    before = under_way(REPLACE, "ReplacingNoSpareGpu")
    assert told(step(FITS, before, **replacing)) == (SURGE, "SurgeFits")
    full = step(FULL, before, **replacing)
    assert (full.way, full.status, full.look_again_at) == (REPLACE, before, NOW + timedelta(seconds=15))
    # The place is that of a new pod already.
    assert step(FITS, before, waits=True, **replacing).way is REPLACE


SURGING: dict[str, Any] = {"begins": False, "in_force": SURGE}


REFUSED: dict[str, Any] = {**SURGING, "refused": "exceeded quota: gpus", "makes_instead": True}


@pytest.mark.parametrize(("is_ours", "seconds"), [(True, 5), (False, 60)])
def test_where_kubernetes_makes_no_new_pod_an_old_one_goes(is_ours: bool, seconds: int) -> None:
    """Soon where own pods fill the quota; else others may go, as long as a pod may wait for a place."""
    refused = {**REFUSED, "makes_none_beside": is_ours}
    first = step(UNKNOWN, under_way(SURGE, "SurgeFits"), **refused)
    assert (first.way, first.turns_at) == (SURGE, NOW + timedelta(seconds=seconds))
    found = step(UNKNOWN, first.status, later=seconds, **refused)
    assert told(found) == (REPLACE, "SurgeRefused")
    assert found.status is not None
    assert "exceeded quota: gpus" in found.status.message
    # The rest of this rollout replaces, whatever fits.
    assert step(FITS, found.status, begins=False, left=2).way is REPLACE


def test_what_a_quota_counts_of_a_pod_that_goes_takes_no_other_away() -> None:
    waiting = under_way(SURGE, "SurgeFits", since=LONG_AGO)
    found = step(None, waiting, goes=True, makes_none_beside=True, **REFUSED)
    assert (found.way, found.turns_at) == (SURGE, None)


def test_nothing_goes_for_a_pod_that_would_be_refused_all_the_same() -> None:
    found = step(None, under_way(SURGE, "SurgeFits"), later=3600, **{**REFUSED, "makes_instead": False})
    assert (found.way, found.turns_at) == (SURGE, None)


def test_nothing_goes_while_no_scheduler_has_looked() -> None:
    waiting = under_way(SURGE, "SurgeFits", since=LONG_AGO)
    for found in (FITS, FULL, SOON, UNKNOWN):
        decided = step(found, waiting, waits=True, unjudged=True, **SURGING)
        assert (decided.way, decided.turns_at) == (SURGE, None)


def test_fewer_that_are_wanted_let_the_old_ones_serve_until_the_new_ones_do() -> None:
    before = under_way(REPLACE, "ReplacingNoSpareGpu")
    replacing = {"begins": False, "in_force": REPLACE, "surge_kept": 2}
    assert told(step(FULL, before, **replacing)) == (SURGE, "SurgeFits")
    assert step(FULL, before, **replacing).surge == 2
    # Also while a new one waits for a place, or the rest was to replace: what goes now makes one free.
    assert told(step(FULL, before, waits=True, **replacing)) == (SURGE, "SurgeFits")
    assert step(FULL, under_way(REPLACE, "SurgeTimedOut"), **replacing).way is SURGE
    for changes in ({"serves": False}, {"surge_kept": 0}):
        assert step(FULL, before, **{**replacing, **changes}).way is REPLACE
    # What replaces keeps none: a Deployment that is paused for it would wait for nothing.
    forced = step(None, before, settings=Rollout(strategy=RolloutStrategy.REPLACE), **replacing)
    assert (forced.way, forced.surge) == (REPLACE, 1)


def test_where_the_scheduler_knows_of_more_nodes_the_wait_for_a_place_has_an_end() -> None:
    """A RuntimeClass, or a queue, adds tolerations: by the spec's own a pod fits nowhere."""
    known = under_way(SURGE, "Unschedulable")
    contradicted = Estimate(None, None, None, "the scheduler says otherwise", is_contradicted=True)
    first = step(contradicted, known, waits=True, **SURGING)
    assert told(first) == (SURGE, "CapacityUnknown")
    assert told(step(contradicted, first.status, later=60, waits=True, **SURGING)) == (REPLACE, "SurgeTimedOut")
    # What is only not known any more changes nothing.
    assert told(step(UNKNOWN, known, later=3600, waits=True, **SURGING)) == (SURGE, "Unschedulable")


def test_a_surge_that_is_not_remembered_goes_on() -> None:
    """Somebody restarted the Deployment, or an older CRD keeps no status.rollout: nobody is drained while one loads."""
    loading = step(None, None, **SURGING)
    assert (told(loading), loading.wants_places) == ((SURGE, "SurgeFits"), False)
    assert told(step(FITS, None, waits=True, **SURGING)) == (SURGE, "SurgeFits")
    assert told(step(FULL, None, waits=True, **SURGING)) == (REPLACE, "ReplacingNoSpareGpu")
    # Where nothing is kept, the age of the pod ends it.
    old = {"waits": True, "waits_since": NOW, "end_seconds": 80}
    assert step(UNKNOWN, None, later=139, **SURGING, **old).way is SURGE
    assert told(step(UNKNOWN, None, later=140, **SURGING, **old)) == (REPLACE, "SurgeTimedOut")


def test_a_place_that_is_nowhere_is_said_by_the_scheduler() -> None:
    found = step(NOWHERE, under_way(SURGE, "Unschedulable"), waits=True, **SURGING)
    assert (told(found), found.awaits_place) == ((SURGE, "Unschedulable"), False)
    # Without an old pod that may go, no place is awaited.
    tail = step(None, under_way(SURGE, "SurgeFits"), left=0, starts=True, waits=True, **SURGING)
    assert not tail.awaits_place


def test_a_place_that_comes_where_none_was_is_waited_for_from_then_on() -> None:
    old = {"waits": True, "waits_since": NOW - timedelta(hours=2), "end_seconds": 80}
    found = step(FITS, under_way(SURGE, "Unschedulable"), **SURGING, **old)
    assert told(found) == (SURGE, "SurgeFits")
    assert step(FITS, found.status, later=59, **SURGING, **old).way is SURGE
    assert told(step(FITS, found.status, later=60, **SURGING, **old)) == (REPLACE, "SurgeTimedOut")
    # Nor where it is the place of an own pod that goes.
    going = step(SOON, under_way(SURGE, "Unschedulable"), goes=True, **SURGING, **old)
    assert step(SOON, going.status, later=1, goes=True, **SURGING, **old).way is SURGE
    assert step(FITS, going.status, later=2, **SURGING, **old).turns_at == NOW + timedelta(seconds=62)


def test_two_looks_at_one_moment_say_the_same() -> None:
    old = {"waits": True, "waits_since": NOW - timedelta(seconds=100), "end_seconds": 80}
    for before in (None, under_way(SURGE, "SurgeFits")):
        first = step(UNKNOWN, before, **SURGING, **old)
        assert step(UNKNOWN, first.status, **SURGING, **old) == first


def test_what_was_counted_is_told_once_while_a_turn_is_held_back() -> None:
    """The Deployment surges still, and its images are brought to the node."""
    before = under_way(REPLACE, "ReplacingNoSpareGpu")
    other = replace(FULL, message="another count")
    assert step(other, before, waits=True, **SURGING).status == before


def test_a_pause_takes_no_time_of_what_was_held_back() -> None:
    held = HeldStatus(reason="WaitingForIdle", message="busy", time="2026-11-29T12:00:00Z")
    before = under_way(SURGE, "SurgeFits").model_copy(update={"held": held})
    assert step(None, before, paused=True, **SURGING).status == under_way(SURGE, "SurgeFits")


def test_a_time_that_somebody_else_wrote_begins_anew() -> None:
    odd = under_way(SURGE, "SurgeFits", "yesterday")
    found = step(FITS, odd, begins=False, in_force=SURGE, waits=True)
    assert found.turns_at == NOW + timedelta(seconds=60)
