"""A pod that loads for too long and says nothing any more is replaced; one that is slow is not."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from fault.fakeapi import FakeApi, serving
from support.pods import make_pod
from support.simulate import NOW, World
from triton_vllm_operator.api.times import format_time

DEADLINE = 1800


def loading(after: float, silent_for: float | None, **changes: Any) -> World:
    """A world with one pod so many seconds after it was scheduled."""
    world = World().settle()
    world.pods = (make_pod(world.revision, **changes),)
    world.later(after)
    said = {} if silent_for is None else {"llama-1": world.now - timedelta(seconds=silent_for)}
    world.changes["last_said"] = said
    return world


@pytest.mark.parametrize(
    ("after", "silent_for", "changes", "is_replaced"),
    [
        (DEADLINE + 1, 601, {}, True),
        # It is not late yet, it says what it does, or that is not known.
        (DEADLINE - 1, 601, {}, False),
        (DEADLINE + 1, 599, {}, False),
        (DEADLINE + 1, None, {}, False),
        # Its port is open: it is the probe that speaks of it.
        (DEADLINE + 1, 601, {"containers_ready_at": NOW}, False),
        # It ends by itself.
        (DEADLINE + 1, 601, {"running": False}, False),
        (DEADLINE + 1, 601, {"scheduled_at": None}, False),
    ],
)
def test_one_that_stands_still_is_replaced(
    after: float, silent_for: float | None, changes: dict[str, Any], is_replaced: bool
) -> None:
    decision = loading(after, silent_for, **changes).decide()
    assert (decision.replacement is not None) == is_replaced
    assert [news.reason for news in decision.news].count("PodReplaced") == is_replaced


def test_what_is_said_of_it() -> None:
    world = loading(DEADLINE + 1, 601)
    decision = world.step()
    assert decision.replacement is not None
    assert decision.replacement.reason == "StartupDeadlineExceeded"
    assert world.status.recovery is not None
    (replaced,) = world.status.recovery.replaced or ()
    assert replaced.message == "it did not start in time, and its log stands still"
    # It has never worked: nothing is degraded.
    assert world.condition("Degraded")[0] == "False"
    # The next one has its own time, and the one that goes is not deleted again.
    world.pods = (make_pod(world.revision, "llama-2", scheduled_at=world.now),)
    assert world.later(60).step().replacement is None


def test_a_late_pod_is_looked_at_again_without_a_write() -> None:
    world = loading(DEADLINE + 1, 10).settle()
    decision = world.decide()
    assert (decision.status, decision.writes) == (None, ())
    assert decision.look_again_at is not None
    assert decision.look_again_at - world.now < timedelta(minutes=2)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (f"{format_time(NOW)[:-1]}.123456789Z loading shard 3\n", NOW + timedelta(microseconds=123456)),
        ("", None),
        ("no time at all", None),
    ],
)
async def test_when_a_container_last_said_something(log: str, said: datetime | None) -> None:
    api = FakeApi()
    api.fault = lambda _, path: web.Response(text=log) if path.endswith("/log") else None
    async with serving(api) as client:
        assert await client.read_last_time("ns", "pod", "triton") == said
