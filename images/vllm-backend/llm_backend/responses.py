"""Sending: one thread turns the newest output of each request into a response.

A response costs about 0.15 ms in Triton's stub, one after the other. Where more tokens are made than
responses can be sent, a request's outputs that pile up go out as one frame.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from llm_backend.contract import GenerateRequest
from llm_backend.cores import usable_cores
from llm_backend.frames import Completion, Frame, Sent, build_frame, merge

# To ask whether a client left costs as much as a response: for one request so rarely, for all together so many times.
_CANCEL_CHECK_SECONDS = 0.1
_CANCEL_CHECKS_PER_SECOND = 200

# Where cores are few and streams are more than _CROWD, the thread rests after it has sent, _REST_FACTOR times as long,
# as a network card holds back interrupts: what comes meanwhile goes out with the next frame, the engine has the core.
# Measured with 2 cores (it helps) and 16 (it only makes frames coarser): docs/design/streaming.md.
_CROWD = 16
_REST_FACTOR = 3
_REST_SECONDS = 0.2
_FEW_CORES = 4
_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class Outbox:
    """What one request still has to send. The event loop offers, the sending thread takes."""

    def __init__(self, request: GenerateRequest, sender: Any, abort: Callable[[], None]) -> None:
        self._request = request
        self._sender = sender
        self._abort = abort
        self._lock = threading.Lock()
        self._completions: dict[int, Completion] = {}
        self._latest: Any = None
        self._error: str | None = None
        self._queued = False
        self._sent: tuple[Sent, ...] = ()
        self._closed = False
        self._ask_again_at = 0.0

    def offer(self, output: Any, error: str | None) -> bool:
        """Keep the newest output or the error; True if the outbox must be queued."""
        with self._lock:
            if output is not None:
                self._latest = output
                self._completions.update((completion.index, completion) for completion in output.outputs)
            self._error = error
            was_queued, self._queued = self._queued, True
        return not was_queued

    def flush(self, together: int) -> None:
        """Send what is there; `together` is how many requests have something to send now."""
        with self._lock:
            output, error, self._latest, self._queued = self._latest, self._error, None, False
            completions = merge(self._completions)
        if self._closed:
            return
        if self._is_cancelled(together):
            pb_utils.Logger.log_info("[vllm] Cancelling the request")
            self._abort()
            self._close(None)
        elif error is not None:
            self._close(pb_utils.InferenceResponse(error=pb_utils.TritonError(error)))
        elif output is not None:
            self._send(output, completions)

    def _is_cancelled(self, together: int) -> bool:
        """Asked now and then: the answer comes from another process."""
        now = time.monotonic()
        if now < self._ask_again_at:
            return False
        self._ask_again_at = now + max(_CANCEL_CHECK_SECONDS, together / _CANCEL_CHECKS_PER_SECOND)
        return bool(self._sender.is_cancelled())

    def fail(self, error: Exception) -> None:
        """End the request with an error, if it has not ended."""
        if not self._closed:
            self._abort()
            self._close(pb_utils.InferenceResponse(error=pb_utils.TritonError(f"Error sending the answer: {error!r}")))

    def _send(self, output: Any, completions: tuple[Completion, ...]) -> None:
        tokens = len(output.prompt_token_ids or ())
        frame, self._sent = build_frame(self._request, completions, tokens, self._sent)
        response = pb_utils.InferenceResponse(output_tensors=_tensors(frame))
        if output.finished:
            self._close(response)
        else:
            self._sender.send(response)

    def _close(self, response: Any) -> None:
        self._closed = True
        if response is None:
            self._sender.send(flags=_FINAL)
        else:
            self._sender.send(response, flags=_FINAL)


class ResponseThread:
    """The thread in which all responses are sent."""

    def __init__(self, later: Callable[[Callable[[], None]], object], cores: float | None = None) -> None:
        """`later` calls a function once the offers that come together have been made: `call_soon` of the event loop."""
        self._rests = (usable_cores() if cores is None else cores) <= _FEW_CORES
        self._later = later
        self._offered: list[Outbox] = []
        self._ready: queue.SimpleQueue[tuple[Outbox, ...] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="responses", daemon=True)
        self._thread.start()

    def offer(self, outbox: Outbox, output: Any = None, error: str | None = None) -> None:
        """Hand over the newest output of a request, or the error that ends it. Called by one thread alone."""
        if outbox.offer(output, error):
            self._offered.append(outbox)
            if len(self._offered) == 1:
                # One step of the engine has tokens for all requests: the thread is woken once, not to wait for the GIL.
                self._later(self._hand_over)

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
                try:
                    _flush(outbox, len(round_))
                except Exception as error:  # one request must not end the thread that serves all others
                    pb_utils.Logger.log_error(f"[vllm] a response could not be sent: {error!r}")
            if self._rests and len(round_) > _CROWD:
                time.sleep(min(_REST_FACTOR * (time.monotonic() - began), _REST_SECONDS))

    def _next_round(self) -> list[Outbox] | None:
        """All that have something to send now, waiting for the first; None at the end."""
        found = [self._ready.get()]
        with contextlib.suppress(queue.Empty):
            while found[-1] is not None:
                found.append(self._ready.get_nowait())
        if found[-1] is None:
            # What waits is sent first; the end is found again.
            self._ready.put(None)
        round_ = [outbox for offered in found if offered is not None for outbox in offered]
        return round_ or None


def _flush(outbox: Outbox, together: int) -> None:
    try:
        outbox.flush(together)
    except Exception as error:  # whatever it was, the client must not wait for ever
        outbox.fail(error)
        raise


def _tensors(frame: Frame) -> list[Any]:
    columns: list[tuple[str, Any, Any]] = [
        ("text_output", frame.text, np.object_),
        ("finish_reason", frame.finish_reason, np.object_),
        ("cumulative_logprob", frame.cumulative_logprob, np.float32),
        ("logprobs", frame.logprobs, np.object_),
        ("num_input_tokens", frame.num_input_tokens, np.uint32),
        ("num_output_tokens", frame.num_output_tokens, np.uint32),
    ]
    return [
        pb_utils.Tensor(name, np.atleast_1d(np.asarray(_encoded(value), dtype=dtype)))
        for name, value, dtype in columns
        if value is not None
    ]


def _encoded(value: Any) -> Any:
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        return [text.encode("utf-8") for text in value]
    return value
