"""When the backend's figures reach the server."""

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from llm_backend.figures import Figures
from support.stub import TritonModelException, load_backend


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The metrics of a model, and what was written of each."""
    loaded = load_backend(monkeypatch, "metrics")
    made = loaded.metrics.TritonMetrics("m", "1", 512)
    yield SimpleNamespace(metrics=made, written=loaded.written, module=loaded.metrics)
    made.stop()


def step(metrics: Any, tokens: int, idle: bool) -> None:
    metrics.collector.increment("generation_tokens_total", tokens)
    metrics.collector.set("num_requests_running", 0 if idle else 1)
    metrics.wake(idle)


@pytest.fixture
def patient(served: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """An answer may wait for seconds, as on a machine that has no time; a rest lasts as long as it may."""
    monkeypatch.setattr(served.module, "_LAST_ANSWER_SECONDS", 5)
    monkeypatch.setattr(served.metrics.collector, "take", slowly(served.metrics.collector.take, 0.06))
    return served


def test_whoever_has_the_last_answer_finds_it_in_the_metrics(patient: SimpleNamespace) -> None:
    served = patient
    began = time.monotonic()
    for count in range(1, 6):
        step(served.metrics, 1, idle=False)
        step(served.metrics, 1, idle=True)
        served.metrics.settle()
        assert sum(served.written["generation_tokens_total"]) == 2 * count
        assert served.written["num_requests_running"][-1] == 0
    assert time.monotonic() - began < 2, "it rests 0.5 s after each writing unless the engine is idle"


def test_while_the_engine_works_writing_takes_a_part_of_the_time(
    served: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.metrics.collector, "take", slowly(served.metrics.collector.take, 0.01))
    began = time.monotonic()
    while time.monotonic() - began < 1:
        step(served.metrics, 1, idle=False)
        time.sleep(0.001)
    # Each writing takes 10 ms, and as much as nine of them lies between two.
    assert 2 <= len(served.written["num_requests_running"]) <= 12


def test_where_much_waits_an_answer_does_not_wait_for_it(patient: SimpleNamespace) -> None:
    served, blocked = patient, threading.Event()
    served.metrics.collector.observe("e2e_request_latency_seconds", [1.0] * 300)
    take = served.metrics.collector.take
    served.metrics.collector.take = lambda: (blocked.wait(10), take())[1]
    step(served.metrics, 1, idle=True)
    began = time.monotonic()
    served.metrics.settle()
    assert time.monotonic() - began < 1
    blocked.set()


def test_an_answer_never_waits_long_for_a_server_that_is_slow(
    served: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = threading.Event()
    monkeypatch.setattr(served.metrics.collector, "take", lambda: (blocked.wait(10), Figures())[1])
    step(served.metrics, 1, idle=True)
    began = time.monotonic()
    served.metrics.settle()
    assert 0.4 < time.monotonic() - began < 5
    blocked.set()


def test_what_waits_at_the_end_is_written(served: SimpleNamespace) -> None:
    for _ in range(100):
        step(served.metrics, 1, idle=False)
    served.metrics.stop()
    assert sum(served.written["generation_tokens_total"]) == 100


@pytest.mark.parametrize(("text", "raises"), [("metrics not supported", False), ("no memory", True)])
def test_a_server_without_metrics_serves_all_the_same(
    served: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, text: str, raises: bool
) -> None:
    def refuse(*_: Any) -> None:
        raise TritonModelException(text)

    monkeypatch.setattr(served.module, "TritonMetrics", refuse)
    if raises:
        with pytest.raises(TritonModelException):
            served.module.create_metrics("m", "1", 512)
    else:
        assert served.module.create_metrics("m", "1", 512) is None


def slowly(call: Any, seconds: float) -> Any:
    def wrapped() -> Any:
        time.sleep(seconds)
        return call()

    return wrapped


def test_the_figures_of_a_dead_engine_say_that_it_does_nothing(served: SimpleNamespace) -> None:
    assert served.written["engine_up"] == [1]
    step(served.metrics, 1, idle=False)
    served.metrics.tell_death()
    # Nothing else wakes the writer any more.
    until = time.monotonic() + 5
    while served.written["engine_up"][-1] and time.monotonic() < until:
        time.sleep(0.01)
    last = {name: values[-1] for name, values in served.written.items() if values}
    assert (last["engine_up"], last["num_requests_running"], last["generation_tokens_total"]) == (0, 0, 1)
