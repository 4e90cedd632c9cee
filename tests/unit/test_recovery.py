"""A pod that generated and is dead is replaced: once, one by one, within a budget, and never for being slow."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.pods import CONTAINER, make_pod, make_serving
from support.simulate import NOW
from triton_vllm_operator.api.recovery import Recovery, RecoveryPolicy, RecoveryStatus, ReplacedPod
from triton_vllm_operator.kube.pod import Gate, Pod
from triton_vllm_operator.reconcile.recovery import Recovered, Terms, decide_recovery, is_dead, open_replacement

PATIENCE = timedelta(minutes=30)
REPLACE = Recovery()
REPORT = Recovery(policy=RecoveryPolicy.REPORT)
DEAD = Gate(False, "EngineDead", CONTAINER, detail="EngineCore encountered an issue")


def make_dead(name: str = "a", reason: str = "EngineDead", **changes: Any) -> Pod:
    return make_pod("r", name, **{"gate": replace(DEAD, reason=reason), **changes})


def entry(name: str, minutes_ago: float) -> ReplacedPod:
    time = f"{NOW - timedelta(minutes=minutes_ago):%Y-%m-%dT%H:%M:%SZ}"
    return ReplacedPod(name=name, uid=f"uid-{name}", reason="EngineDead", message="dead", time=time)


def status_of(*entries: ReplacedPod, recovered: bool = False) -> RecoveryStatus:
    return RecoveryStatus(replaced=entries, recovered_time=entries[-1].time if recovered else None)


def decide(
    *pods: Pod,
    before: RecoveryStatus | None = None,
    settings: Recovery = REPLACE,
    minutes: float = 0,
    wanted: int | None = None,
    asked: bool = True,
) -> Recovered:
    silent = frozenset(pod.uid for pod in pods if is_dead(pod)) if asked else frozenset[str]()
    terms = Terms(settings, len(pods) if wanted is None else wanted, PATIENCE, silent)
    return decide_recovery(pods, before, terms, NOW + timedelta(minutes=minutes))


def chosen(recovered: Recovered) -> str | None:
    return recovered.replacement.pod_name if recovered.replacement else None


@pytest.mark.parametrize("reason", ["EngineDead", "GenerateTimedOut"])
def test_a_dead_pod_is_replaced_and_the_status_says_so_first(reason: str) -> None:
    found = decide(make_dead(reason=reason), make_serving("r", "b"))
    assert chosen(found) == "a"
    assert found.status is not None
    assert found.status.replaced is not None
    (said,) = found.status.replaced
    assert (said.name, said.uid, said.reason) == ("a", "uid-a", reason)
    assert said.message == "EngineCore encountered an issue"
    assert [news.about for news in found.news] == ["uid-a"]


@pytest.mark.parametrize(
    "pod",
    [
        make_serving("r", "a"),
        make_pod("r", "a"),
        make_dead(reason="GenerateFailed"),
        make_dead(reason="NothingGenerated"),
        make_dead(reason="NotYetProven"),
        make_dead(gate=replace(DEAD, has_generated=False)),
        make_dead(gate=replace(DEAD, container_id="containerd://0")),
        make_dead(running=False),
        make_dead(terminating=True),
        make_dead(phase="Failed"),
    ],
)
def test_what_lives_or_never_worked_is_left_alone(pod: Pod) -> None:
    assert not is_dead(pod)
    assert decide(pod) == Recovered()


def test_a_verdict_of_an_earlier_process_is_asked_again_first() -> None:
    found = decide(make_dead(), asked=False)
    assert chosen(found) is None
    assert found.status is None
    assert "once more" in found.remedies["a"]
    before = status_of(entry("a", 0))
    assert chosen(decide(make_dead(), before=before, asked=False)) is None, "also where the status names it"


def test_report_replaces_nothing() -> None:
    assert decide(make_dead(), settings=REPORT) == Recovered()
    before = status_of(entry("a", 30))
    assert decide(make_dead(), settings=REPORT, before=before) == Recovered(status=before)


def test_an_operator_that_was_killed_between_status_and_deletion_deletes_that_pod_alone() -> None:
    before = status_of(entry("b", 0))
    found = decide(make_dead("a"), make_dead("b"), before=before)
    assert chosen(found) == "b"
    assert found.status == before
    assert [news.about for news in found.news] == ["uid-b"]
    assert "once those before it are" in found.remedies["a"]


def test_what_was_decided_is_decided_again_with_the_same_words() -> None:
    pods = (make_dead("b"), make_dead("a"))
    first = decide(*pods)
    again = decide(*pods, before=first.status)
    assert (again.status, again.remedies, chosen(again)) == (first.status, first.remedies, "a")


def test_the_pod_that_goes_is_not_replaced_again_nor_any_other_meanwhile() -> None:
    before = status_of(entry("a", 0))
    pods = (make_dead("a", terminating=True), make_dead("b"))
    found = decide(*pods, before=before, minutes=2)
    assert chosen(found) is None
    assert found.status == before
    assert found.look_again_at == NOW + PATIENCE
    assert chosen(decide(*pods, before=before, minutes=31)) == "b", "a node that was lost holds nothing up for ever"


def test_a_pod_that_goes_for_another_reason_holds_nothing_up() -> None:
    assert chosen(decide(make_dead("a"), make_serving("r", "z"), make_pod("r", "y", terminating=True))) == "a"


def test_one_at_a_time() -> None:
    found = decide(make_dead("a"), make_dead("b"))
    assert chosen(found) == "a"
    assert set(found.remedies) == {"a", "b"}
    after = decide(make_dead("b"), make_pod("r", "c"), before=found.status, minutes=5)
    assert chosen(after) is None, "the first one's successor loads"
    assert after.look_again_at == NOW + PATIENCE
    assert chosen(decide(make_dead("b"), make_serving("r", "c"), before=found.status, minutes=5)) == "b"
    assert chosen(decide(make_dead("b"), make_pod("r", "c"), before=found.status, minutes=31)) == "b"


@pytest.mark.parametrize(("before_it", "wait"), [(1, 1), (2, 2), (3, 4), (5, 16), (6, 16)])
def test_successors_that_die_as_well_are_replaced_less_often(before_it: int, wait: int) -> None:
    entries = [entry(f"x{number}", 30 - number) for number in range(before_it - 1)] + [entry("x", 0)]
    status, many = status_of(*entries), Recovery(max_per_hour=60)
    early = decide(make_dead(), before=status, settings=many, minutes=wait - 0.5)
    assert chosen(early) is None
    assert early.look_again_at == NOW + timedelta(minutes=wait)
    assert chosen(decide(make_dead(), before=status, settings=many, minutes=wait)) == "a"


def test_no_more_than_the_budget_within_an_hour() -> None:
    status = status_of(*(entry(f"x{number}", 50 - number) for number in range(4)))
    spent = decide(make_dead(), before=status)
    assert chosen(spent) is None
    assert "spec.recovery.maxPerHour" in spent.remedies["a"]
    assert spent.look_again_at == NOW + timedelta(minutes=10)
    again = decide(make_dead(), before=status, minutes=10.1)
    assert chosen(again) == "a"
    assert again.status is not None
    assert len(again.status.replaced or ()) == 4, "what is older than an hour is forgotten"


def test_a_smaller_budget_waits_until_it_is_free() -> None:
    status = status_of(*(entry(f"x{minutes}", minutes) for minutes in (50, 40, 30, 20)))
    spent = decide(make_dead(), before=status, settings=Recovery(max_per_hour=1))
    assert spent.look_again_at == NOW + timedelta(minutes=40)


def test_it_is_over_when_all_have_generated() -> None:
    before = status_of(entry("a", 2))
    assert decide(make_pod("r", "b"), before=before).status == before
    assert decide(make_serving("r", "b"), before=before, wanted=2).status == before, "one is not there yet"
    over = decide(make_serving("r", "b"), before=before).status
    assert open_replacement(over) is None
    assert decide(make_serving("r", "b"), before=over, minutes=9).status == over, "settled: nothing more is written"


@pytest.mark.parametrize(
    "pods",
    [
        (make_serving("r", "b"), make_pod("r", "c", phase="Failed", running=False)),
        # The deletion failed, and it came to life again.
        (make_serving("r", "a"),),
    ],
)
def test_what_lies_about_or_lives_again_leaves_nothing_open(pods: tuple[Pod, ...]) -> None:
    assert open_replacement(decide(*pods, before=status_of(entry("a", 30)), wanted=1).status) is None


def test_scaled_to_zero_nothing_is_left_to_generate() -> None:
    before = status_of(entry("a", 2))
    assert decide(before=before, wanted=1).status == before
    assert open_replacement(decide(before=before, wanted=0).status) is None


@pytest.mark.parametrize("time", ["soon", "9999-12-31T23:59:59Z", "2099-01-01T00:00:00Z"])
def test_a_time_that_somebody_else_wrote_harms_nothing(time: str) -> None:
    strange = entry("x", 0).model_copy(update={"time": time})
    assert chosen(decide(make_dead(), before=status_of(strange))) == "a"
