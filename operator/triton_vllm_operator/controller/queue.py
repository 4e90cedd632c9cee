"""The work queue: keys, not events.

A key waits at most once and is worked on by at most one worker, so the queue is bounded by the number
of LLMDeployments and any number of events becomes one reconcile. A key that fails comes back after a
pause of its own that doubles up to a cap: one that always fails delays no other.
"""

import asyncio
import contextlib
import heapq
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from triton_vllm_operator.kube.errors import ApiError
from triton_vllm_operator.kube.resources import Key
from triton_vllm_operator.reconcile.reconciler import NotSettled

_LOG = logging.getLogger(__name__)

BACKOFF_SECONDS: Final = 0.5
BACKOFF_CAP_SECONDS: Final = 60.0
RECONCILE_SECONDS: Final = 120.0
"""Longer than a reconcile takes while the API server answers at all; then the key is tried again later."""
_EXPECTED: Final = (NotSettled, ApiError, TimeoutError)


class QueueMeter(Protocol):
    """Where the queue reports to."""

    def reconciled(self, result: str, seconds: float) -> None:
        """One reconcile is over; `result` is success or the class of the error."""


class WorkQueue:
    """Keys that wait for a reconcile."""

    def __init__(
        self,
        work: Callable[[Key], Awaitable[float | None]],
        meter: QueueMeter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._meter = meter
        self._clock = clock
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._active: dict[Key, float] = {}
        self._later: list[tuple[float, Key]] = []
        self._due: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._finished_at = clock()
        self._tasks: list[asyncio.Task[None]] = []
        self._timer_wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self, workers: int) -> None:
        """Begin to work."""
        self._tasks = [asyncio.create_task(self._run()) for _ in range(workers)]
        self._tasks.append(asyncio.create_task(self._run_timer()))

    async def stop(self) -> None:
        """End all workers where they stand: the next process sees the same cluster."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, key: Key) -> None:
        """Let a key be reconciled soon; again, if it is being worked on now."""
        if key in self._active:
            self._again.add(key)
        elif key not in self._waiting:
            self._idle.clear()
            self._waiting[key] = self._clock()
            self._ready.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Let a key be reconciled after a pause; the earliest wish counts."""
        due = self._clock() + max(seconds, 0.0)
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._later, (due, key))
            self._timer_wake.set()

    async def wait_idle(self, seconds: float) -> None:
        """Until no key waits or is worked on, for so many seconds at most."""
        # Not wait_for, which in Python 3.11 loses a cancellation that comes as it ends.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    @property
    def depth(self) -> int:
        """Keys that wait."""
        return len(self._waiting)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest key has waited or been worked on; 0 if there is none."""
        return self._clock() - self._oldest() if self._has_work else 0.0

    @property
    def stalled_seconds(self) -> float:
        """For how long there has been work and none was finished, well or not."""
        return self._clock() - max(self._oldest(), self._finished_at) if self._has_work else 0.0

    @property
    def _has_work(self) -> bool:
        return bool(self._active or self._waiting)

    def _oldest(self) -> float:
        return min([*self._active.values(), *self._waiting.values()])

    async def _run(self) -> None:
        while True:
            key = await self._ready.get()
            # The time of a key counts from when it began to wait, so that a stuck one is noticed.
            self._active[key] = self._waiting.pop(key)
            try:
                await self._handle(key)
            finally:
                del self._active[key]
                self._finished_at = self._clock()
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)
                if not self._has_work:
                    self._idle.set()

    async def _handle(self, key: Key) -> None:
        started, result = self._clock(), "success"
        try:
            async with asyncio.timeout(RECONCILE_SECONDS):
                look_again = await self._work(key)
            self._failures.pop(key, None)
            self._due.pop(key, None)
            if look_again is not None:
                self.add_after(key, look_again)
        except Exception as error:  # a key that fails must not end its worker
            result = type(error).__name__
            pause = self._backoff(key)
            self.add_after(key, pause)
            where = {"llmdeployment": f"{key.namespace}/{key.name}", "retry_in_seconds": round(pause, 1)}
            if isinstance(error, _EXPECTED):
                _LOG.warning("not settled: %s", error or f"no end within {RECONCILE_SECONDS:.0f} s", extra=where)
            else:
                _LOG.exception("the reconcile failed", extra=where)
        self._meter.reconciled(result, self._clock() - started)

    def _backoff(self, key: Key) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return min(BACKOFF_SECONDS * 2.0 ** min(failures - 1, 16), BACKOFF_CAP_SECONDS) * random.uniform(0.8, 1.2)

    async def _run_timer(self) -> None:
        while True:
            self._timer_wake.clear()
            timeout = self._later[0][0] - self._clock() if self._later else None
            if timeout is None or timeout > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._timer_wake.wait(), timeout)
                continue
            due, key = heapq.heappop(self._later)
            # An entry that an earlier wish or a success has overtaken is dropped.
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
