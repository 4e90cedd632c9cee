"""The requests that have not had their last response."""

import time
from collections import deque

from llm_backend.outbox import Outbox

ASK_SECONDS = 0.2
"""Between two rounds of asking whether clients left."""
ASKED_AT_ONCE = 20
"""To ask costs as much as a response (0.15 ms): all together take 1.5 % of the thread."""


class OpenRequests:
    """Added to by the thread that takes requests, asked by the one that sends."""

    def __init__(self) -> None:
        # Only operations that are atomic: the two threads share it.
        self._outboxes: deque[Outbox] = deque()
        self._ask_at = 0.0

    def add(self, outbox: Outbox) -> None:
        """A request that was taken over."""
        self._outboxes.append(outbox)

    def next_to_ask(self) -> list[Outbox]:
        """Those whose turn it is, longest not asked first; none until ASK_SECONDS have passed since the last time."""
        now = time.monotonic()
        if now < self._ask_at:
            return []
        self._ask_at = now + ASK_SECONDS
        found: list[Outbox] = []
        for _ in range(len(self._outboxes)):
            if len(found) == ASKED_AT_ONCE:
                break
            if (outbox := self._outboxes[0]).closed:
                self._outboxes.popleft()
            else:
                found.append(outbox)
                self._outboxes.rotate(-1)
        return found
