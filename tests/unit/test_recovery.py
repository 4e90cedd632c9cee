"""A pod that generated and is dead is replaced: once, one by one, within a budget, and never for being slow."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.pods import CONTAINER, make_pod, make_serving
from support.simulate import NOW
from triton_vllm_operator.api.recovery import Recovery, RecoveryPolicy, RecoveryStatus, ReplacedPod
from triton_vllm_operator.kube.pod import Gate, Pod
from triton_vllm_operator.reconcile.recovery import Recovered, decide_recovery, is_dead

PATIENCE = timedelta(minutes=30)
REPLACE = Recovery()
DEAD = Gate(False, "EngineDead", CONTAINER, detail="EngineCore encountered an issue")


def make_dead(name: str = "a", reason: str = "EngineDead", **changes: Any) -> Pod:
    return make_pod("r", name, **{"gate": replace(DEAD, reason=reason), **changes})


def entry(name: str, minutes_ago: float) -> ReplacedPod:
    time = f"{NOW - timedelta(minutes=minutes_ago):%Y-%m-%dT%H:%M:%SZ}"
    return ReplacedPod(name=name, uid=f"uid-{name}", reason="EngineDead", message="dead", time=time)


def status_of(*entries: ReplacedPod, recovered: bool = False) -> RecoveryStatus:
    return RecoveryStatus(replaced=entries, recovered_time=entries[-1].time if recovered else None)


def decide(
    *pods: Pod, before: RecoveryStatus | None = None, settings: Recovery = REPLACE, minutes: float = 0
) -> Recovered:
    return decide_recovery(pods, before, settings, PATIENCE, NOW + timedelta(minutes=minutes))


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


def test_report_replaces_nothing() -> None:
    assert decide(make_dead(), settings=Recovery(policy=RecoveryPolicy.REPORT)) == Recovered()


def test_an_operator_that_was_killed_between_status_and_deletion_deletes_that_pod_alone() -> None:
    before = status_of(entry("b", 0))
    found = decide(make_dead("a"), make_dead("b"), before=before)
    assert chosen(found) == "b"
    assert found.status == before
    assert found.news == decide(make_dead("a"), make_dead("b"), before=before).news


def test_the_pod_that_goes_is_not_replaced_again_nor_any_other_meanwhile() -> None:
    before = status_of(entry("a", 0))
    found = decide(make_dead("a", terminating=True), make_dead("b"), before=before, minutes=2)
    assert chosen(found) is None
    assert found.status == before
    assert "once those before it are" in found.remedies["b"]


def test_one_at_a_time() -> None:
    found = decide(make_dead("a"), make_dead("b"))
    assert chosen(found) == "a"
    assert set(found.remedies) == {"a", "b"}
    after = decide(make_dead("b"), make_pod("r", "c"), before=found.status, minutes=5)
    assert chosen(after) is None, "the first one's successor loads"
    assert after.look_again_at == NOW + PATIENCE
    assert chosen(decide(make_dead("b"), make_serving("r", "c"), before=found.status, minutes=5)) == "b"
    assert chosen(decide(make_dead("b"), make_pod("r", "c"), before=found.status, minutes=31)) == "b"


@pytest.mark.parametrize(("before_it", "wait"), [(1, 1), (2, 2), (3, 4)])
def test_successors_that_die_as_well_are_replaced_less_often(before_it: int, wait: int) -> None:
    entries = [entry(f"x{number}", 30 - number) for number in range(before_it - 1)] + [entry("x", 0)]
    status = status_of(*entries)
    early = decide(make_dead(), before=status, minutes=wait - 0.5)
    assert chosen(early) is None
    assert early.look_again_at == NOW + timedelta(minutes=wait)
    assert chosen(decide(make_dead(), before=status, minutes=wait)) == "a"


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


def test_it_is_over_when_all_have_generated() -> None:
    before = status_of(entry("a", 2))
    assert decide(make_pod("r", "b"), before=before).status == before
    over = decide(make_serving("r", "b"), before=before).status
    assert over is not None
    assert over.recovered_time
    assert decide(make_serving("r", "b"), before=over, minutes=9).status == over, "settled: nothing more is written"
    assert decide(before=before).status == before, "without pods nothing is known"


def test_a_time_that_somebody_else_wrote_harms_nothing() -> None:
    strange = entry("x", 0).model_copy(update={"time": "soon"})
    assert chosen(decide(make_dead(), before=status_of(strange))) == "a"
