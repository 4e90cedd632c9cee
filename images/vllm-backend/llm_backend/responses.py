"""Sending: one thread turns the newest output of each request into a response."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import triton_python_backend_utils as pb_utils

from llm_backend.cores import usable_cores
from llm_backend.open_requests import ASK_SECONDS, OpenRequests
from llm_backend.outbox import Outbox

# Where cores are few and streams are more than _CROWD, the thread rests after it has sent, _REST_FACTOR times as long,
# as a network card holds back interrupts: what comes meanwhile goes out with the next frame, the engine has the core.
# Measured with 2 cores (it helps) and 16 (it only makes frames coarser): docs/design/streaming.md.
_CROWD = 16
_REST_FACTOR = 3
_REST_SECONDS = 0.2
_FEW_CORES = 4


class ResponseThread:
    """The thread in which all responses are sent."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], cores: float | None = None) -> None:
        """Start the thread.

        Args:
            call_soon: the event loop's: calls a function once the offers that come together have been made.
            cores: that the container may use; asked for if None.
        """
        self._rests = (usable_cores() if cores is None else cores) <= _FEW_CORES
        self._call_soon = call_soon
        self._open = OpenRequests()
        self._offered: list[Outbox] = []
        self._ready: queue.SimpleQueue[tuple[Outbox, ...] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="responses", daemon=True)
        self._thread.start()

    def accept(self, outbox: Outbox) -> None:
        """A request is under way; from now on it is noticed if its client leaves."""
        self._open.add(outbox)

    def offer(self, outbox: Outbox, output: Any = None, error: str | None = None) -> None:
        """Hand over the newest output of a request, or the error that ends it. Called by one thread alone."""
        if outbox.offer(output, error):
            self._offered.append(outbox)
            if len(self._offered) == 1:
                # One step of the engine has tokens for all requests: the thread is woken once, not to wait for the GIL.
                self._call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._ready.put(tuple(self._offered))
        self._offered.clear()

    def stop(self) -> None:
        """Send what waits, then end the thread. The thread that offers has ended by now."""
        if self._offered:
            self._hand_over()
        self._ready.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (round_ := self._next_round()) is not None:
            began = time.monotonic()
            for outbox in round_:
                _serve(outbox, outbox.flush)
            if self._rests and len(round_) > _CROWD:
                time.sleep(min(_REST_FACTOR * (time.monotonic() - began), _REST_SECONDS))
            for outbox in self._open.next_to_ask():
                _serve(outbox, outbox.end_if_cancelled)

    def _next_round(self) -> list[Outbox] | None:
        """All that have something to send now, waiting for the first a short time; None at the end."""
        try:
            found = [self._ready.get(timeout=ASK_SECONDS)]
        except queue.Empty:
            return []
        with contextlib.suppress(queue.Empty):
            while found[-1] is not None:
                found.append(self._ready.get_nowait())
        round_ = [outbox for offered in found if offered is not None for outbox in offered]
        if found[-1] is not None:
            return round_
        # What waits is sent first; the end is found again.
        self._ready.put(None)
        return round_ or None


def _serve(outbox: Outbox, step: Callable[[], None]) -> None:
    """One step of one request: if it fails the request ends with an error, and no other is harmed."""
    try:
        try:
            step()
        except Exception as error:
            outbox.fail(error)
            raise
    except Exception as error:
        pb_utils.Logger.log_error(f"[vllm] a response could not be sent: {error!r}")
