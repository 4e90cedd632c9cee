"""Of two operators one leads, whatever the API server does, and the other soon after it is gone. In virtual time."""

import asyncio
import copy
import os
import random
import signal
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from support.virtual_time import run_virtually
from triton_vllm_operator.controller.lease import (
    DEADLINE_SECONDS,
    DURATION_SECONDS,
    Leadership,
    LeaseLost,
    look,
    may_take,
)
from triton_vllm_operator.controller.process import _end_on_signals, _leading
from triton_vllm_operator.controller.settings import read_settings
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import Conflict, Unavailable

TAKEOVER_SECONDS = 13.0
"""What is left of 15 s is for the start of the one that takes over."""


@dataclass
class Api:
    """One Lease; each request takes a while, and may get no answer though it was carried out."""

    chance: random.Random = field(default_factory=lambda: random.Random(1))
    slowest: float = 0.05
    delay: float = 0.0
    """Of each request, beside that."""
    lost: float = 0.0
    """Part of the requests that get no answer."""
    lease: dict[str, Any] | None = None
    version: int = 0

    async def get(self, *_: object) -> dict[str, Any] | None:
        await self._travel()
        return copy.deepcopy(self.lease)

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        await self._travel()
        if self.lease is not None:
            raise Conflict(409, "create", "there")
        return await self._put(manifest)

    async def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        await self._travel()
        if self.lease is None or manifest["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict(409, "apply", "changed")
        return await self._put(manifest)

    async def _put(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        await self._travel()
        return copy.deepcopy(self.lease)

    async def _travel(self) -> None:
        await asyncio.sleep(self.delay + self.chance.uniform(0, self.slowest))
        if self.chance.random() < self.lost:
            raise Unavailable(0, "lease", "no answer")


def leadership(api: Api, identity: str) -> Leadership:
    return Leadership(cast(KubeClient, api), "system", "op", identity, lambda: asyncio.get_running_loop().time())


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_second_takes_over_within_13_seconds_of_the_end_of_the_first() -> None:
    async def run(killed_at: float) -> float:
        api = Api()
        first, second = leadership(api, "first"), leadership(api, "second")
        await first.acquire()
        keeping, waiting = asyncio.create_task(first.keep()), asyncio.create_task(second.acquire())
        await asyncio.sleep(killed_at)
        assert first.holds
        assert not second.holds
        keeping.cancel()
        began = now()
        await waiting
        return now() - began

    took = [run_virtually(run(20 + step / 10)) for step in range(40)]
    assert min(took) > DURATION_SECONDS - 2
    assert max(took) <= TAKEOVER_SECONDS


def test_one_that_ends_well_leaves_it_at_once() -> None:
    async def run() -> float:
        api = Api()
        first, second = leadership(api, "first"), leadership(api, "second")
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(5)
        await first.release()
        assert not first.holds
        assert api.lease is not None
        assert "holderIdentity" not in api.lease["spec"]
        began = now()
        await waiting
        return now() - began

    assert run_virtually(run()) <= 2


def test_a_leader_that_can_not_renew_it_ends_before_another_may_lead() -> None:
    async def run() -> tuple[float, bool]:
        api = Api()
        first = leadership(api, "first")
        await first.acquire()
        api.lost, began = 1.0, now()
        with pytest.raises(LeaseLost):
            await first.keep()
        return now() - began, first.holds

    seconds, holds = run_virtually(run())
    assert not holds
    assert seconds < DURATION_SECONDS


def test_one_that_stood_still_writes_nothing_when_it_goes_on() -> None:
    async def run() -> bool:
        api = Api()
        first, second = leadership(api, "first"), leadership(api, "second")
        await first.acquire()
        # It does not run: nobody renews.
        await second.acquire()
        assert second.holds
        return first.holds

    assert not run_virtually(run())


def test_its_time_counts_from_the_beginning_of_a_renewal_however_late_that_is_answered() -> None:
    async def run() -> tuple[bool, bool]:
        api = Api(slowest=0.0)
        first = leadership(api, "first")
        # Each request takes a second: what is known at the end began three seconds before.
        api.delay = 0.9
        began = now()
        await first.acquire()
        await asyncio.sleep(began + DEADLINE_SECONDS - 0.1 - now())
        before = first.holds
        await asyncio.sleep(0.2)
        return before, first.holds

    assert run_virtually(run()) == (True, False)


def test_one_that_sees_another_lead_ends_at_once() -> None:
    async def run() -> float:
        api = Api()
        first = leadership(api, "first")
        await first.acquire()
        assert api.lease is not None
        api.lease["spec"]["holderIdentity"] = "second"
        api.version += 1
        api.lease["metadata"]["resourceVersion"] = str(api.version)
        began = now()
        with pytest.raises(LeaseLost):
            await first.keep()
        return now() - began

    assert run_virtually(run()) < 2


def test_a_request_without_an_answer_is_given_up_so_that_there_is_time_for_another() -> None:
    async def run() -> bool:
        api = Api()
        first = leadership(api, "first")
        await first.acquire()
        keeping = asyncio.create_task(first.keep())
        api.delay = 60.0
        await asyncio.sleep(3)
        api.delay = 0.0
        await asyncio.sleep(30)
        holds = first.holds
        keeping.cancel()
        return holds

    assert run_virtually(run())


async def test_what_a_leader_does_ends_with_its_lease() -> None:
    class Lost:
        async def acquire(self) -> None:
            """At once."""

        async def keep(self) -> None:
            raise LeaseLost

    ended = False
    with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - that the block ends is what is tested
        async with _leading(cast(Leadership, Lost())):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended = True
                raise
    assert ended
    assert isinstance(raised.value.exceptions[0], LeaseLost)
    async with _leading(None):
        """Without a Lease there is nothing to wait for."""


async def test_a_signal_ends_what_waits_for_the_lease() -> None:
    waiting = asyncio.create_task(_wait_for_ever())
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 5)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


async def _wait_for_ever() -> None:
    _end_on_signals()
    await asyncio.Event().wait()


def test_an_outage_of_a_second_costs_nothing() -> None:
    async def run() -> None:
        api = Api()
        first = leadership(api, "first")
        await first.acquire()
        keeping = asyncio.create_task(first.keep())
        for _ in range(20):
            api.lost = 1.0
            await asyncio.sleep(1)
            api.lost = 0.0
            await asyncio.sleep(5)
        assert first.holds
        assert not keeping.done()
        keeping.cancel()

    run_virtually(run())


@pytest.mark.parametrize("seed", range(6))
def test_never_two_lead(seed: int) -> None:
    """Three that come and go, an API server that is slow and loses answers: looked at every 50 ms for half an hour."""
    chance = random.Random(seed)

    async def run() -> int:
        api = Api(chance, slowest=2.0, lost=0.1)
        members: list[Leadership] = []
        led = 0

        async def live(number: int) -> None:
            while True:
                member = leadership(api, f"{number}-{chance.random()}")
                members.append(member)
                try:
                    async with asyncio.timeout(chance.uniform(5, 120)):
                        await member.acquire()
                        await member.keep()
                except (TimeoutError, LeaseLost):
                    if chance.random() < 0.3:
                        await member.release()
                await asyncio.sleep(chance.uniform(0, 5))

        lives = [asyncio.create_task(live(number)) for number in range(3)]
        for _ in range(1800 * 20):
            await asyncio.sleep(0.05)
            leaders = [member for member in members if member.holds]
            assert len(leaders) <= 1
            led += len(leaders)
            members[:] = leaders if len(members) > 50 else members
        for life in lives:
            life.cancel()
        return led

    assert run_virtually(run()) > 1800 * 20 * 0.1


def lease(version: int, holder: str | None) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "spec": {"holderIdentity": holder} if holder else {}}


def test_it_counts_from_when_a_change_was_seen() -> None:
    seen = look(None, lease(1, "a"), 100)
    assert look(seen, lease(1, "a"), 105) == seen
    assert look(seen, lease(2, "a"), 105).at == 105
    assert not may_take(seen, "b", 110)
    assert may_take(seen, "b", 110.1)
    assert may_take(seen, "a", 100)
    assert may_take(look(seen, lease(3, None), 101), "b", 101)


def test_its_name_comes_from_the_environment() -> None:
    assert read_settings({}).lease is None
    assert read_settings({"TRITON_VLLM_OPERATOR_LEASE": "system/op"}).lease == ("system", "op")
    with pytest.raises(ValueError, match="NAMESPACE/NAME"):
        read_settings({"TRITON_VLLM_OPERATOR_LEASE": "op"})
