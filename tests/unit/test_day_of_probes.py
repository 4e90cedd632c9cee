"""A day of probes in virtual time: engines that live are never taken out, and one that dies is, at once.

The engines are simulated: what they answer and count hangs on how much work they have, as on a GPU that is full.
"""

import asyncio
import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import pytest

from support.virtual_time import run_virtually
from triton_vllm_operator.api.spec import Probe
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import Outcome, ProbeHistory, ProbeResult
from triton_vllm_operator.health.watcher import ProbeWatcher
from triton_vllm_operator.health.work import Work
from triton_vllm_operator.kube.resources import Key

DAY: Final = 86_400.0
SETTINGS: Final = Probe()
LONGEST_STEP: Final = 20.0
"""Seconds in which no counter of a living engine moves: one chunk of a prompt on a slow CPU."""


@dataclass
class Engine:
    """One that lives, and whose load comes and goes."""

    name: str
    chance: random.Random
    tells_prefill: bool
    died_at: float = math.inf
    out_at: float = math.inf
    """When its probes first said so."""
    failures: int = 0
    history: ProbeHistory = field(default_factory=lambda: ProbeHistory("containerd://1"))

    def load(self, now: float) -> float:
        """0 is idle, 1 is full: bursts of minutes, and the evening."""
        wave = math.sin(2 * math.pi * now / DAY) + math.sin(2 * math.pi * now / 613 + len(self.name))
        return max(0.0, min(1.0, wave / 2 + 0.2))

    def look(self, now: float) -> Work:
        """Its counters move in steps, and each step takes longer the fuller it is."""
        now = min(now, self.died_at)
        load = self.load(now)
        step = max(0.05, LONGEST_STEP * load**4)
        done = math.floor(now / step) if load else 0
        return Work(b"%d" % done, self.tells_prefill, requests=int(load > 0))

    async def probe(self) -> ProbeResult:
        """Its answer waits for those that were there before; like the prober, it is given up after its timeout."""
        loop = asyncio.get_running_loop()
        began, before = loop.time(), self.look(loop.time())
        if began >= self.died_at:
            return ProbeResult(Outcome.ENGINE_DEAD, "EngineDeadError", 0.01)
        wait = self.chance.expovariate(1 / (0.1 + 40 * self.load(began) ** 3))
        if self.died_at < began + min(wait, SETTINGS.timeout_seconds):
            # Whoever waits is told.
            await asyncio.sleep(self.died_at - began)
            return ProbeResult(Outcome.ENGINE_DEAD, "EngineDeadError", self.died_at - began)
        if wait <= SETTINGS.timeout_seconds:
            await asyncio.sleep(wait)
            return ProbeResult(Outcome.GENERATED, "", wait, tells_prefill=self.tells_prefill)
        await asyncio.sleep(SETTINGS.timeout_seconds)
        moved = self.look(loop.time()).counters != before.counters
        outcome = Outcome.BUSY if moved else Outcome.TIMED_OUT
        return ProbeResult(outcome, "", SETTINGS.timeout_seconds, tells_prefill=self.tells_prefill)


def live_through(engines: list[Engine], seconds: float) -> int:
    """Probe them for so long; how many probes that took."""
    probes = 0

    async def run() -> None:
        by_name = {engine.name: engine for engine in engines}

        async def probe(target: ProbeTarget, _connected: object) -> ProbeResult:
            nonlocal probes
            probes += 1
            return await by_name[target.pod_uid].probe()

        async def look(target: ProbeTarget) -> Work | None:
            return by_name[target.pod_uid].look(asyncio.get_running_loop().time())

        def notify(key: Key) -> None:
            engine = by_name[key.name]
            history = watcher.histories(key)[engine.name]
            needed = 1 if history.reason == "EngineDead" else SETTINGS.failure_threshold
            if history.failures >= needed:
                engine.out_at = min(engine.out_at, asyncio.get_running_loop().time())

        watcher = ProbeWatcher(probe, look, notify, lambda _: None)
        for engine in engines:
            target = ProbeTarget(engine.name, engine.name, "containerd://1", "", "m", SETTINGS, proven=True)
            watcher.sync(Key("ns", engine.name), [target])
        await asyncio.sleep(seconds)
        await watcher.stop()

    run_virtually(run())
    return probes


@pytest.mark.parametrize("tells_prefill", [True, False])
def test_a_living_engine_is_never_taken_out(tells_prefill: bool) -> None:
    seed = int(datetime(2026, 11, 29, tzinfo=UTC).timestamp())
    engines = [Engine("e" * (count + 1), random.Random(seed + count), tells_prefill) for count in range(3)]
    probes = live_through(engines, DAY)
    assert probes > 3000
    assert [engine.out_at for engine in engines] == [math.inf] * 3


def test_one_that_dies_under_traffic_is_known_within_5_seconds() -> None:
    found = []
    for number in range(200):
        engine = Engine("e", random.Random(number), True, died_at=500 + number * 3.1)
        live_through([engine], engine.died_at + 15)
        found.append((engine.load(engine.died_at) > 0, engine.out_at - engine.died_at))
    busy = [seconds for is_busy, seconds in found if is_busy]
    idle = [seconds for is_busy, seconds in found if not is_busy]
    assert len(busy) > 50 < len(idle)
    assert max(idle) <= 10.1
    assert sorted(busy)[int(len(busy) * 0.95)] <= 5, sorted(busy)
