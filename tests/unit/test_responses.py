"""The sending thread of the backend, with a stand-in for Triton's stub."""

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.stub import load_backend


@dataclass
class Sender:
    """What a client receives."""

    seconds: float = 0.0
    cancelled: bool = False
    frames: list[Any] = field(default_factory=list)
    finals: int = 0
    asked: int = 0
    gate: threading.Event | None = None
    entered: threading.Event = field(default_factory=threading.Event)

    def is_cancelled(self) -> bool:
        self.asked += 1
        return self.cancelled

    def send(self, response: Any = None, flags: int = 0) -> None:
        self.entered.set()
        if self.gate is not None:
            self.gate.wait(5)
        time.sleep(self.seconds)
        self.frames += [] if response is None else [response]
        self.finals += flags


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Any:
    """llm_backend's Outbox and ResponseThread over a stub that keeps what it is given."""
    loaded = load_backend(monkeypatch, "outbox", "open_requests", "responses")
    return SimpleNamespace(
        Outbox=loaded.outbox.Outbox,
        OpenRequests=loaded.open_requests.OpenRequests,
        ResponseThread=loaded.responses.ResponseThread,
    )


def request(stream: bool = True) -> Any:
    from llm_backend.contract import GenerateRequest, Wanted

    return GenerateRequest("", stream, False, Wanted(), {})


def output(text: str, finished: bool = False) -> Any:
    completion = SimpleNamespace(
        index=0, text=text, token_ids=[0] * len(text), cumulative_logprob=None, logprobs=None, finish_reason=None
    )
    return SimpleNamespace(outputs=[completion], finished=finished, prompt_token_ids=[])


def wait_until(holds: Any) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def text_of(sender: Sender) -> str:
    return b"".join(part for frame in sender.frames for part in frame["text_output"]).decode()


def at_once(call: Any) -> None:
    call()


def never() -> None:
    raise AssertionError("nothing is to be aborted")


def test_a_stream_alone_has_a_frame_for_each_token(backend: Any) -> None:
    thread, sender = backend.ResponseThread(at_once), Sender()
    outbox = backend.Outbox(request(), sender, never)
    for end in range(1, 9):
        thread.offer(outbox, output("abcdefgh"[:end], finished=end == 8))
        wait_until(lambda end=end: len(sender.frames) == end)
    thread.stop()
    assert (len(sender.frames), text_of(sender), sender.finals) == (8, "abcdefgh", 1)


def test_what_comes_while_a_response_waits_is_one_frame_and_nothing_is_lost(backend: Any) -> None:
    gate = threading.Event()
    thread, sender = backend.ResponseThread(at_once), Sender(gate=gate)
    outbox = backend.Outbox(request(), sender, never)
    thread.offer(outbox, output("a"))
    assert sender.entered.wait(5)
    for end in range(2, 9):
        thread.offer(outbox, output("abcdefgh"[:end], finished=end == 8))
    gate.set()
    thread.stop()
    assert len(sender.frames) == 2
    assert (text_of(sender), sender.finals) == ("abcdefgh", 1)


def crowd(backend: Any, cores: float) -> list[Sender]:
    """What 64 clients receive of 50 tokens each."""
    thread, senders = backend.ResponseThread(at_once, cores=cores), [Sender(seconds=0.0001) for _ in range(64)]
    boxes = [backend.Outbox(request(), sender, never) for sender in senders]
    for end in range(1, 51):
        for box in boxes:
            thread.offer(box, output("x" * end, finished=end == 50))
        time.sleep(0.01)
    thread.stop()
    return senders


def frames(senders: list[Sender]) -> int:
    return sum(len(sender.frames) for sender in senders)


def test_a_crowd_gets_all_of_its_text_and_fewer_frames_where_cores_are_few(backend: Any) -> None:
    few, many = crowd(backend, 2), crowd(backend, 16)
    for senders in (few, many):
        assert [text_of(sender) for sender in senders] == ["x" * 50] * 64
        assert [sender.finals for sender in senders] == [1] * 64
    assert frames(few) < frames(many)
    assert frames(few) < 64 * 50 / 2


@pytest.mark.parametrize(("limit", "cores"), [("max 100000", None), ("150000 100000", 1.5), ("", None), (None, None)])
def test_the_cores_of_a_container_follow_its_limit(tmp_path: Path, limit: str | None, cores: float | None) -> None:
    from llm_backend.cores import usable_cores

    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit)
    everything = len(os.sched_getaffinity(0))
    assert usable_cores(tmp_path / "cpu.max") == min(everything, cores or everything)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_left_is_noticed_while_nothing_is_sent(backend: Any, stream: bool) -> None:
    aborted = threading.Event()
    thread, sender = backend.ResponseThread(at_once), Sender(cancelled=True)
    outbox = backend.Outbox(request(stream), sender, aborted.set)
    thread.accept(outbox)
    assert aborted.wait(2)
    thread.offer(outbox, output("ab", finished=True))
    thread.stop()
    assert ([(str(frame), frame.code) for frame in sender.frames], sender.finals) == (
        [("Request was cancelled", "cancelled")],
        1,
    )


def test_whether_the_client_left_is_asked_now_and_then(backend: Any) -> None:
    thread, sender = backend.ResponseThread(at_once), Sender()
    outbox = backend.Outbox(request(), sender, never)
    began = time.monotonic()
    thread.accept(outbox)
    for end in range(1, 101):
        thread.offer(outbox, output("x" * end, finished=end == 100))
        time.sleep(0.006)
    thread.stop()
    assert 2 <= sender.asked <= (time.monotonic() - began) / 0.2 + 1


def test_of_a_crowd_each_is_asked_in_its_turn(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    requests = backend.OpenRequests()
    boxes = [backend.Outbox(request(), Sender(), never) for _ in range(50)]
    for box in boxes:
        requests.add(box)
    turns = []
    for seconds in range(1, 6):
        turns.append(requests.next_to_ask())
        assert requests.next_to_ask() == [], "not twice at one moment"
        clock[0] += seconds
    assert turns[:2] == [boxes[:20], boxes[20:40]]
    assert turns[2] == [*boxes[40:], *boxes[:10]]


def test_requests_that_have_ended_are_not_asked(backend: Any) -> None:
    requests = backend.OpenRequests()
    boxes = [backend.Outbox(request(), Sender(), bool) for _ in range(40)]
    for number, box in enumerate(boxes):
        requests.add(box)
        if number % 2:
            box.fail(RuntimeError("over"))
            assert box.closed
    assert requests.next_to_ask() == boxes[::2]


def test_what_is_done_before_a_last_response_is_done_before_it_is_sent(backend: Any) -> None:
    order: list[str] = []

    class Noting(Sender):
        def send(self, response: Any = None, flags: int = 0) -> None:  # noqa: ARG002
            order.append("last" if flags else "frame")

    thread = backend.ResponseThread(at_once)
    outbox = backend.Outbox(request(), Noting(), never, lambda: order.append("before"))
    thread.offer(outbox, output("a"))
    wait_until(lambda: order == ["frame"])
    thread.offer(outbox, output("ab", finished=True))
    thread.stop()
    assert order == ["frame", "before", "last"]


def test_a_request_that_the_engine_failed_is_an_error(backend: Any) -> None:
    """The engine's process says so in the output alone: passed on, it would be an answer without text."""
    thread, sender = backend.ResponseThread(at_once), Sender()
    failed = output("", finished=True)
    failed.outputs[0].finish_reason = "error"
    thread.offer(backend.Outbox(request(), sender, never), failed)
    thread.stop()
    assert (sender.frames, sender.finals) == (["Error generating stream: the engine could not serve this request"], 1)


def test_one_request_that_cannot_be_sent_harms_no_other(backend: Any) -> None:
    class Broken(Sender):
        def send(self, response: Any = None, flags: int = 0) -> None:  # noqa: ARG002
            raise RuntimeError("the region is full")

    thread, broken, sound = backend.ResponseThread(at_once), Broken(), Sender()
    aborted = threading.Event()
    thread.offer(backend.Outbox(request(), broken, aborted.set), output("a"))
    thread.offer(backend.Outbox(request(), sound, never), output("a", finished=True))
    thread.stop()
    assert aborted.is_set()
    assert text_of(sound) == "a"


def test_offers_that_come_together_wake_the_thread_once(backend: Any) -> None:
    calls: list[Any] = []
    thread, senders = backend.ResponseThread(calls.append), [Sender() for _ in range(8)]
    for sender in senders:
        thread.offer(backend.Outbox(request(), sender, never), output("a", finished=True))
    assert len(calls) == 1
    assert [sender.finals for sender in senders] == [0] * 8
    thread.stop()
    assert [sender.finals for sender in senders] == [1] * 8, "the loop ended before it handed them over"


def test_what_waits_at_the_end_is_sent(backend: Any) -> None:
    thread, senders = backend.ResponseThread(at_once), [Sender(seconds=0.01) for _ in range(20)]
    for sender in senders:
        thread.offer(backend.Outbox(request(), sender, never), output("a", finished=True))
    thread.stop()
    assert [sender.finals for sender in senders] == [1] * 20
