import pytest

from support.pods import CONTAINER, make_pod, make_serving
from triton_vllm_operator.api import names
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.health.verdict import Outcome, ProbeHistory, ProbeResult, judge
from triton_vllm_operator.kube.pod import Gate
from triton_vllm_operator.kube.pod_reading import project_pod

FRESH = ProbeHistory(CONTAINER)


def history(*outcomes: Outcome) -> ProbeHistory:
    found = FRESH
    for outcome in outcomes:
        found = found.after(ProbeResult(outcome, "detail", 0.1))
    return found


def test_a_pod_that_never_generated_gets_no_verdict() -> None:
    assert judge(make_pod("r"), FRESH, 3) is None
    assert judge(make_pod("r"), history(Outcome.UNREACHABLE), 1) is None


def test_the_first_generate_opens_the_gate() -> None:
    verdict = judge(make_pod("r"), history(Outcome.GENERATED), 3)
    assert verdict is not None
    assert (verdict.generates, verdict.reason) == (True, Reason.GENERATES)
    assert verdict.message.startswith(f"{CONTAINER}: ")


def test_an_open_gate_is_not_written_again() -> None:
    assert judge(make_serving("r"), history(Outcome.GENERATED), 3) is None


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome.FAILED, Reason.GENERATE_FAILED),
        (Outcome.TIMED_OUT, Reason.GENERATE_TIMED_OUT),
        (Outcome.NOTHING, Reason.NOTHING_GENERATED),
    ],
)
def test_failures_in_a_row_close_it_at_the_threshold(outcome: Outcome, reason: Reason) -> None:
    assert judge(make_serving("r"), history(outcome, outcome), 3) is None
    verdict = judge(make_serving("r"), history(outcome, outcome, outcome), 3)
    assert verdict is not None
    assert (verdict.generates, verdict.reason) == (False, reason)


def test_what_proves_death_closes_it_at_once() -> None:
    verdict = judge(make_serving("r"), history(Outcome.ENGINE_DEAD), 3)
    assert verdict is not None
    assert (verdict.generates, verdict.reason) == (False, Reason.ENGINE_DEAD)


@pytest.mark.parametrize("later", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.NOTHING, Outcome.UNREACHABLE])
def test_a_dead_engine_stays_dead_whatever_its_server_answers_next(later: Outcome) -> None:
    closed = make_pod("r", gate=Gate(False, "EngineDead", CONTAINER))
    assert judge(closed, history(Outcome.GENERATED, Outcome.ENGINE_DEAD, later), 3) is None
    reopened = judge(closed, history(Outcome.ENGINE_DEAD, later, Outcome.GENERATED), 3)
    assert reopened is not None
    assert reopened.generates


@pytest.mark.parametrize("is_varied", [True, False])
def test_the_gate_notes_what_the_first_proof_was(is_varied: bool) -> None:
    proof = ProbeHistory(CONTAINER).after(ProbeResult(Outcome.GENERATED, "", 1, is_varied=is_varied))
    verdict = judge(make_pod("r"), proof, 3)
    assert verdict is not None
    condition = {"type": names.READINESS_GATE, "status": "True", "reason": "Generates", "message": verdict.message}
    pod = project_pod({"metadata": {"name": "a", "uid": "u"}, "status": {"conditions": [condition]}})
    assert pod.gate is not None
    assert (pod.gate.was_varied, pod.gate.container_id) == (is_varied, CONTAINER)


def test_a_gate_of_an_earlier_version_notes_nothing() -> None:
    message = f"{CONTAINER}: the container generated; adapter a: changes nothing"
    condition = {"type": names.READINESS_GATE, "status": "True", "reason": "Generates", "message": message}
    pod = project_pod({"metadata": {"name": "a", "uid": "u"}, "status": {"conditions": [condition]}})
    assert pod.gate is not None
    assert (pod.gate.was_varied, pod.gate.adapter_faults) == (False, ("a: changes nothing",))


@pytest.mark.parametrize("life", [Outcome.GENERATED, Outcome.BUSY])
def test_a_sign_of_life_begins_the_count_anew(life: Outcome) -> None:
    assert judge(make_serving("r"), history(Outcome.FAILED, Outcome.FAILED, life, Outcome.FAILED), 3) is None


def test_what_could_not_be_probed_counts_as_nothing() -> None:
    unreachable = [Outcome.UNREACHABLE] * 50
    assert judge(make_serving("r"), history(*unreachable), 3) is None


def test_a_busy_engine_is_no_first_proof() -> None:
    assert judge(make_pod("r"), history(Outcome.BUSY), 3) is None


def test_another_container_first_closes_the_gate() -> None:
    pod = make_pod("r", ready=True, gate=Gate(True, "Generates", "containerd://0"))
    verdict = judge(pod, history(Outcome.GENERATED), 3)
    assert verdict is not None
    assert (verdict.generates, verdict.reason) == (False, Reason.NOT_YET_PROVEN)


def test_a_container_that_does_not_run_closes_the_gate() -> None:
    pod = make_pod("r", running=False, gate=Gate(True, "Generates", CONTAINER))
    verdict = judge(pod, None, 3)
    assert verdict is not None
    assert not verdict.generates


def test_probes_of_an_earlier_container_say_nothing_of_this_one() -> None:
    other = ProbeHistory("containerd://0", generated=True)
    assert judge(make_pod("r"), other, 3) is None


def test_without_probes_of_this_process_the_verdict_stands() -> None:
    assert judge(make_serving("r"), None, 3) is None


def test_a_closed_gate_opens_again() -> None:
    pod = make_pod("r", gate=Gate(False, "EngineDead", CONTAINER))
    verdict = judge(pod, history(Outcome.GENERATED), 3)
    assert verdict is not None
    assert verdict.generates


def test_a_pod_that_is_going_is_left_alone() -> None:
    pod = make_pod("r", terminating=True, running=False, gate=Gate(True, "Generates", CONTAINER))
    assert judge(pod, None, 3) is None
