import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from triton_vllm_operator.controller import queue as queue_module
from triton_vllm_operator.controller.metrics import Metrics
from triton_vllm_operator.controller.queue import BACKOFF_CAP_SECONDS, WorkQueue
from triton_vllm_operator.kube.resources import Key
from triton_vllm_operator.reconcile.reconciler import NotSettled

WEB, API = Key("ns", "web"), Key("ns", "api")


@contextlib.asynccontextmanager
async def running(work: Callable[[Key], Awaitable[float | None]], workers: int = 2) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(work, Metrics())
    queue.start(workers)
    try:
        yield queue
    finally:
        await queue.stop()


async def test_many_events_become_one_reconcile_and_one_more() -> None:
    done: list[Key] = []
    first = asyncio.Event()

    async def work(key: Key) -> None:
        done.append(key)
        await first.wait()

    async with running(work) as queue:
        queue.add(WEB)
        await asyncio.sleep(0.01)
        for _ in range(100):
            queue.add(WEB)
        first.set()
        await asyncio.sleep(0.05)
    assert done == [WEB, WEB]


async def test_a_key_is_never_worked_on_twice_at_once() -> None:
    active, most = 0, 0

    async def work(_: Key) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.005)
        active -= 1

    async with running(work, workers=8) as queue:
        for _ in range(20):
            queue.add(WEB)
            await asyncio.sleep(0.002)
    assert most == 1


async def test_a_key_that_always_fails_delays_no_other() -> None:
    done: list[Key] = []

    async def work(key: Key) -> None:
        if key == WEB:
            raise NotSettled("never")
        done.append(key)

    async with running(work, workers=1) as queue:
        queue.add(WEB)
        for _ in range(50):
            queue.add(API)
            await asyncio.sleep(0.001)
    assert len(done) == 50


async def test_a_failure_comes_back_after_a_pause() -> None:
    tries = 0

    async def work(_: Key) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RuntimeError("once")

    async with running(work) as queue:
        queue.add(WEB)
        await asyncio.sleep(0.2)
        assert tries == 1
        await asyncio.sleep(0.6)
    assert tries == 2


def test_the_pause_doubles_up_to_a_cap() -> None:
    async def work(_: Key) -> None: ...

    async def main() -> list[float]:
        queue = WorkQueue(work, Metrics())
        return [queue._backoff(WEB) for _ in range(40)]

    pauses = asyncio.run(main())
    assert pauses[0] < 1
    assert max(pauses) <= BACKOFF_CAP_SECONDS * 1.2
    assert pauses[-1] >= BACKOFF_CAP_SECONDS * 0.8


async def test_it_looks_again_when_it_was_told_to() -> None:
    times = 0

    async def work(_: Key) -> float | None:
        nonlocal times
        times += 1
        return 0.02 if times < 3 else None

    async with running(work) as queue:
        queue.add(WEB)
        await asyncio.sleep(0.2)
    assert times == 3


async def test_one_can_wait_until_there_is_nothing_to_do() -> None:
    release, done = asyncio.Event(), list[Key]()

    async def work(key: Key) -> None:
        await release.wait()
        done.append(key)

    async with running(work) as queue:
        await asyncio.wait_for(queue.wait_idle(60), 1)
        for key in (WEB, API):
            queue.add(key)
        await queue.wait_idle(0.05)
        assert done == [], "it gave up"
        asyncio.get_running_loop().call_later(0.05, release.set)
        await asyncio.wait_for(queue.wait_idle(60), 1)
        assert set(done) == {WEB, API}


async def test_the_age_of_stuck_work_shows() -> None:
    now = 0.0

    async def work(_: Key) -> None:
        await asyncio.sleep(60)

    queue = WorkQueue(work, Metrics(), clock=lambda: now)
    queue.start(1)
    queue.add(WEB)
    await asyncio.sleep(0.01)
    now = 301.0
    assert queue.oldest_seconds == queue.stalled_seconds == pytest.approx(301.0)
    await queue.stop()


async def test_a_long_queue_that_moves_is_not_stalled() -> None:
    now = 0.0

    async def work(_: Key) -> None:
        nonlocal now
        now += 200.0
        await asyncio.sleep(0.01)

    queue = WorkQueue(work, Metrics(), clock=lambda: now)
    queue.start(1)
    for number in range(9):
        queue.add(Key("ns", str(number)))
    await asyncio.sleep(0.045)
    assert queue.oldest_seconds > 300
    assert queue.stalled_seconds <= 200
    await queue.stop()


async def test_a_reconcile_without_end_is_given_up_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "RECONCILE_SECONDS", 0.02)
    monkeypatch.setattr(queue_module, "BACKOFF_SECONDS", 0.01)
    tries = 0

    async def work(_: Key) -> None:
        nonlocal tries
        tries += 1
        await asyncio.sleep(60)

    async with running(work) as queue:
        queue.add(WEB)
        await asyncio.sleep(0.2)
    assert tries > 1
