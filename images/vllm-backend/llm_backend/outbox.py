"""What one request still has to send. A response costs about 0.15 ms in Triton's stub, one after the other."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from llm_backend.contract import GenerateRequest
from llm_backend.frames import Frame, Newest, Sent, build_frame, merge, note

_FAILED = "error"
_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class Outbox:
    """The event loop offers, the sending thread takes.

    Where more tokens are made than responses can be sent, outputs that pile up go out as one frame.
    """

    def __init__(
        self,
        request: GenerateRequest,
        sender: Any,
        cancel: Callable[[], object],
        before_last: Callable[[], None] = lambda: None,
    ) -> None:
        """An empty one.

        Args:
            request: what is answered.
            sender: Triton's, for this request.
            cancel: ends the request in the engine.
            before_last: called in the sending thread before the last response of an answer is sent.
        """
        self._request = request
        self._sender = sender
        self._cancel = cancel
        self._before_last = before_last
        self._lock = threading.Lock()
        self._newest: dict[int, Newest] = {}
        self._latest: Any = None
        self._error: str | None = None
        self._queued = False
        self._sent: tuple[Sent, ...] = ()
        self.closed = False
        """Whether the last response has been sent, or cannot be."""

    def offer(self, output: Any, error: str | None) -> bool:
        """Keep the newest output or the error; True if the outbox must be queued."""
        with self._lock:
            if output is not None:
                self._latest = output
                self._newest.update((completion.index, note(completion)) for completion in output.outputs)
            self._error = error
            was_queued, self._queued = self._queued, True
        return not was_queued

    def flush(self) -> None:
        """Send what is there."""
        with self._lock:
            output, error, self._latest, self._queued = self._latest, self._error, None, False
            newest = merge(self._newest)
        if self.closed:
            return
        if error is not None:
            self._close(_error_response(error))
        elif output is not None:
            self._send(output, newest)

    def end_if_cancelled(self) -> None:
        """End the request if its client left. To ask costs as much as a response: the answer is in another process."""
        if self.closed or not self._sender.is_cancelled():
            return
        pb_utils.Logger.log_info("[vllm] Cancelling the request")
        self._cancel()
        error = pb_utils.TritonError("Request was cancelled", pb_utils.TritonError.CANCELLED)
        self._close(pb_utils.InferenceResponse(error=error))
        pb_utils.Logger.log_info("[vllm] Successfully cancelled the request")

    def fail(self, error: Exception) -> None:
        """End the request with an error, if it has not ended."""
        if not self.closed:
            self._cancel()
            self._close(_error_response(f"Error sending the answer: {error!r}"))

    def _send(self, output: Any, newest: tuple[Newest, ...]) -> None:
        if any(one.completion.finish_reason == _FAILED for one in newest):
            # The engine's process says so of one request; generate() raises nothing.
            self._close(_error_response("Error generating stream: the engine could not serve this request"))
            return
        tokens = len(output.prompt_token_ids or ())
        frame, self._sent = build_frame(self._request, newest, tokens, self._sent)
        response = pb_utils.InferenceResponse(output_tensors=_tensors(frame))
        if output.finished:
            self._before_last()
            self._close(response)
        else:
            self._sender.send(response)

    def _close(self, response: Any) -> None:
        self.closed = True
        self._sender.send(response, flags=_FINAL)


def refuse(sender: Any, message: str) -> None:
    """The only response of a request that cannot be read."""
    sender.send(_error_response(message), flags=_FINAL)


def _error_response(message: str) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))


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
