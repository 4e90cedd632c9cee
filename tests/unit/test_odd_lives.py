"""What happens to pods in ways that nobody planned, and what is said and done about it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.pods import CONTAINER, make_pod, make_serving
from support.simulate import NOW, World
from triton_vllm_operator.api.recovery import Recovery, RecoveryStatus, ReplacedPod
from triton_vllm_operator.api.stored_status import read_status
from triton_vllm_operator.api.times import format_time
from triton_vllm_operator.health.failures.last_words import LastWords
from triton_vllm_operator.health.verdict import CUT_OFF, ProbeHistory
from triton_vllm_operator.kube.pod import Ended, Gate
from triton_vllm_operator.reconcile.recovery import Recovered, Terms, decide_recovery

DEAD = Gate(False, "EngineDead", CONTAINER)
DEADLINE = 1800


def replaced(name: str, ahead: float) -> ReplacedPod:
    """A pod that was replaced so many seconds after now."""
    time = format_time(NOW + timedelta(seconds=ahead))
    return ReplacedPod(name=name, uid=f"uid-{name}", reason="EngineDead", message="dead", time=time)


def recover(before: RecoveryStatus, most: int = 4, patience: float = 1800, wanted: int = 2) -> Recovered:
    """A dead pod `b` beside one that has not generated yet."""
    pods = (make_pod("r", "b", gate=DEAD), make_pod("r", "c"))
    terms = Terms(Recovery(max_per_hour=most), wanted, timedelta(seconds=patience), frozenset({"uid-b"}))
    return decide_recovery(pods, before, terms, NOW)


@pytest.mark.parametrize("ahead", [2, 300])
def test_a_clock_that_is_behind_frees_no_budget(ahead: float) -> None:
    spent = RecoveryStatus(replaced=(replaced("a", ahead),), recovered_time=format_time(NOW))
    assert recover(spent, most=1).replacement is None
    assert recover(spent).status == spent


def test_a_successor_that_may_take_hours_has_them() -> None:
    under_way = RecoveryStatus(replaced=(replaced("a", -3700),))
    assert recover(under_way, patience=3 * 3600).replacement is None
    assert recover(under_way, patience=1800).replacement is not None


def test_where_none_is_wanted_none_is_replaced() -> None:
    found = recover(RecoveryStatus(), wanted=0)
    assert (found.replacement, found.remedies) == (None, {})


REPLACED = {"name": "a", "uid": "u", "reason": "EngineDead", "message": "dead", "time": "2026-11-23T12:00:00Z"}
READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Settled",
    "message": "",
    "lastTransitionTime": REPLACED["time"],
    "observedGeneration": 1,
}


@pytest.mark.parametrize(
    "oddity",
    [
        {"ofTomorrow": 1},
        {"replicas": "many"},
        {"conditions": [READY, {**READY, "type": "Foreign", "reason": ""}]},
        {"recovery": {"replaced": [REPLACED], "ofTomorrow": {"deep": []}}},
        {"recovery": {"replaced": [{"name": "b"}, REPLACED]}},
        {"recovery": {"replaced": [{**REPLACED, "ofTomorrow": 1}]}},
    ],
)
def test_what_was_replaced_is_known_whatever_stands_beside_it(oddity: dict[str, Any]) -> None:
    stored = {"conditions": [READY], "recovery": {"replaced": [REPLACED]}, **oddity}
    found = read_status(stored)
    assert found.recovery is not None
    assert [each.uid for each in found.recovery.replaced or ()] == ["u"]
    assert [each.type for each in found.conditions or ()][:1] == ["Ready"]


@pytest.mark.parametrize("stored", [None, "odd", [], {"conditions": "odd"}, {"recovery": {"replaced": "odd"}}])
def test_a_status_that_is_none_is_an_empty_one(stored: object) -> None:
    assert read_status(stored).conditions is None


def one_pod(**changes: Any) -> World:
    """An LLMDeployment with one pod that has generated."""
    world = World().settle()
    serving = make_serving(world.revision)
    world.pods = (replace(serving, generates_since=NOW),)
    world.settle()
    assert world.condition("Ready")[0] == "True"
    world.pods = (replace(world.pods[0], **changes),)
    return world.later(60)


def test_a_pod_that_generated_and_is_not_ready_any_more_is_named() -> None:
    world = one_pod(ready=False).settle()
    assert world.condition("Ready") == ("False", "PodNotReady")
    assert world.condition("Degraded") == ("True", "PodNotReady")
    assert "generated, but Kubernetes calls it not ready: its node does not answer" in world.message("Ready")


def test_kubernetes_has_a_moment_to_see_that_a_pod_is_ready() -> None:
    world = one_pod(ready=False, generates_since=NOW + timedelta(seconds=55)).settle()
    assert world.condition("Degraded")[0] == "False"
    assert world.message("Progressing") == "the last pods have generated, and are not in the Service yet"
    assert world.decide().look_again_at == NOW + timedelta(seconds=70)


def test_a_container_that_was_started_anew_and_hangs_is_late_too() -> None:
    anew = Gate(False, "NotYetProven", "containerd://2")
    world = one_pod(ready=False, gate=anew, container_id="containerd://2", started_at=NOW + timedelta(seconds=30))
    world.settle()
    deadline = NOW + timedelta(seconds=30 + DEADLINE)
    assert world.decide().look_again_at == deadline
    world.now = deadline + timedelta(seconds=1)
    world.settle()
    assert world.condition("Progressing") == ("False", "StartupDeadlineExceeded")
    world.changes["last_said"] = {"llama-1": world.now - timedelta(minutes=11)}
    decision = world.step()
    assert decision.replacement is not None
    assert world.condition("Stalled")[0] == "False", "it is replaced"
    assert world.message("Progressing").endswith("; it stands still: it is replaced")


def test_a_pod_that_no_probe_reaches_any_more_is_ready_with_a_word_of_it() -> None:
    world = one_pod()
    world.changes["probes"] = {"uid-llama-1": ProbeHistory(CONTAINER, generated=True, unreached=True, misses=CUT_OFF)}
    world.settle()
    assert world.condition("Ready")[0] == "True"
    assert "pod llama-1 by its last proof alone, since no probe reaches it now" in world.message("Ready")
    assert world.decide().status is None


def test_what_was_replaced_before_hides_nothing_that_is_wrong_now() -> None:
    world = one_pod(gate=DEAD)
    world.changes["probes"] = {"uid-llama-1": ProbeHistory(CONTAINER, failures=1, reason=DEAD.reason)}  # type: ignore[arg-type]
    assert world.step().replacement is not None
    world.changes.clear()
    world.pods = (make_pod(world.revision, "llama-2", running=False, waiting_reason="ErrImagePull"),)
    world.settle()
    assert world.condition("Ready") == ("False", "ImagePullFailed")
    assert world.condition("Degraded") == ("True", "EngineDead")
    world.pods = (make_pod(world.revision, "llama-2"),)
    world.settle()
    assert world.condition("Ready") == ("False", "EngineDead"), "nothing is wrong since"


def test_a_crash_is_told_of_a_pod_that_worked() -> None:
    ended = Ended("Error", 1, "", container_id=CONTAINER)
    world = one_pod(ready=False, running=False, ended=ended)
    world.changes["last_words"] = {"llama-1": LastWords(line="ValueError: the moon is full")}
    world.settle()
    assert world.condition("Degraded") == ("True", "ContainerCrashed")
