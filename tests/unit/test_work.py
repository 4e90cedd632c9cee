"""What an engine's counters show between two probes, and when the next probe is due by them."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from support.looks import see_nothing
from support.virtual_time import run_virtually
from triton_vllm_operator.api.spec import Probe
from triton_vllm_operator.health.reading import METRICS_LIMIT_BYTES
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import Outcome, ProbeResult
from triton_vllm_operator.health.watcher import Look, ProbeWatcher
from triton_vllm_operator.health.work import Sign, Work, compare, read_work
from triton_vllm_operator.kube.resources import Key

KEY = Key("ns", "web")
METRICS = b"""# HELP vllm:num_requests_running Number of requests that the engine computes.
nv_inference_count{model="m",version="1"} 3
vllm:generation_tokens_total{model="m",version="1"} 120
vllm:kv_cache_usage_perc{model="m",version="1"} 0.25
vllm:num_requests_running{model="m",version="1"} RUNNING
vllm:num_requests_waiting{model="m",version="1"} 0
vllm:e2e_request_latency_seconds_sum{model="m",version="1"} 4.5
"""


def metrics(running: str = "0", more: bytes = b"") -> bytes:
    return METRICS.replace(b"RUNNING", running.encode()) + more


@pytest.mark.parametrize(
    ("text", "under_way", "died"),
    [
        (metrics(), False, False),
        (metrics("2"), True, False),
        (metrics("2.000000"), True, False),
        (metrics("0", b'vllm:engine_up{model="m",version="1"} 1\n'), False, False),
        (metrics("0", b'vllm:engine_up{model="m",version="1"} 0\n'), False, True),
        (metrics("0", b"vllm:engine_up\nvllm:engine_up ?\n"), False, False),
        (metrics("much"), False, False),
    ],
)
def test_what_the_metrics_of_a_server_tell(text: bytes, under_way: bool, died: bool) -> None:
    work = read_work(text)
    assert work is not None
    assert (work.under_way, work.died, work.tells_prefill) == (under_way, died, True)
    # Neither what clients change that leave, nor what is running.
    same = read_work(text.replace(b"latency_seconds_sum", b"latency_seconds_sum_of"))
    assert same is not None
    assert same.counters == work.counters
    other = read_work(text.replace(b" 120", b" 121"))
    assert other is not None
    assert other.counters != work.counters


def test_what_somebody_answers_in_its_place_costs_little() -> None:
    began = time.process_time()
    assert read_work(b"\n" * METRICS_LIMIT_BYTES) is None
    flood = b"".join(b'vllm:kv_cache_usage_perc{model="%d"} 1\n' % number for number in range(6000))
    found = read_work(flood)
    assert time.process_time() - began < 0.1
    assert found is not None
    assert len(found.counters) == 16
    assert read_work(b"vllm:kv_cache_usage_perc" + b"x" * 10_000) is None


def test_a_server_without_an_engine_tells_nothing() -> None:
    assert read_work(b"nv_inference_count 3\n") is None
    assert read_work(b"vllm:engine_up 0\n") is None


def counted(tokens: int, under_way: bool = False, died: bool = False) -> Work:
    return Work(b"%d" % tokens, requests=int(under_way), died=died)


@pytest.mark.parametrize(
    ("before", "now", "worked", "sign"),
    [
        (None, None, False, Sign.RESTS),
        (counted(1), None, True, Sign.RESTS),
        (None, counted(1, under_way=True), False, Sign.RESTS),
        (counted(1), counted(1), False, Sign.RESTS),
        (counted(1), counted(2), False, Sign.WORKS),
        # A server that was started again counts from 0.
        (counted(9), counted(2), False, Sign.WORKS),
        (counted(1), counted(1), True, Sign.SUSPICIOUS),
        (counted(1), counted(1, under_way=True), False, Sign.SUSPICIOUS),
        (None, counted(1, died=True), False, Sign.SUSPICIOUS),
        (counted(1), counted(2, died=True), True, Sign.SUSPICIOUS),
    ],
)
def test_two_looks(before: Work | None, now: Work | None, worked: bool, sign: Sign) -> None:
    assert compare(before, now, worked) is sign


@dataclass
class Engine:
    """In virtual time: what it has done by then, and when it was probed."""

    work: Callable[[float], Work | None]
    outcome: Outcome = Outcome.GENERATED
    probed: list[float] = field(default_factory=list)
    looked: list[float] = field(default_factory=list)

    async def probe(self, _: ProbeTarget, _connected: object) -> ProbeResult:
        self.probed.append(round(asyncio.get_running_loop().time(), 3))
        return ProbeResult(self.outcome, "", 0.1)

    async def look(self, _: ProbeTarget) -> Work | None:
        self.looked.append(asyncio.get_running_loop().time())
        return self.work(self.looked[-1])


def target(uid: str = "uid", period: int = 10) -> ProbeTarget:
    return ProbeTarget(uid, "pod", "containerd://1", "127.0.0.1", "m", Probe(period_seconds=period), False)


def watch(engine: Engine, seconds: float, look: Look | None = None, period: int = 10) -> list[float]:
    """When it was probed."""

    async def run() -> None:
        watcher = ProbeWatcher(engine.probe, look or engine.look, lambda _: None, lambda _: None)
        watcher.sync(KEY, [target(period=period)])
        await asyncio.sleep(seconds)
        await watcher.stop()

    run_virtually(run())
    return engine.probed


@pytest.mark.parametrize(
    "work",
    [lambda _: None, lambda _: counted(1), lambda _: Work(b"")],
    ids=["tells nothing", "idle", "nothing counted"],
)
def test_an_engine_without_work_is_probed_once_a_period(work: Callable[[float], Work | None]) -> None:
    assert watch(Engine(work), 35) == [0, 10, 20, 30]


def test_an_engine_that_works_needs_no_probe_and_what_it_answers_is_looked_at_at_times() -> None:
    assert watch(Engine(lambda now: counted(int(now * 50), under_way=True)), 185) == [0, 60, 120, 180]


def test_with_a_long_period_none_is_left_out() -> None:
    assert watch(Engine(lambda now: counted(int(now * 50), under_way=True)), 250, period=60) == [0, 60, 120, 180, 240]


def test_a_busy_engine_is_looked_at_too() -> None:
    engine = Engine(lambda _: counted(1, under_way=True), Outcome.BUSY)
    assert watch(engine, 4) == [0, 3]


def test_a_look_is_held_against_the_one_before_it() -> None:
    """Not against itself: an engine that goes on is not suspicious."""
    assert watch(Engine(lambda now: counted(int(now / 1.5), under_way=True)), 30) == [0]


def test_one_that_had_work_and_stands_still_is_probed_at_once() -> None:
    # Its last token came at 25 s.
    probed = watch(Engine(lambda now: counted(int(min(now, 25) * 50), under_way=True)), 30)
    assert probed[0] == 0
    assert 26.5 <= probed[1] <= 28


def test_so_is_one_that_has_requests_and_did_nothing_since_its_last_probe() -> None:
    assert watch(Engine(lambda _: counted(1, under_way=True)), 4) == [0, 3]


def test_so_is_one_whose_backend_says_that_it_is_dead() -> None:
    assert watch(Engine(lambda now: counted(1, died=now > 5)), 7) == [0, 6]


def test_the_tokens_of_a_probe_are_no_work_of_others() -> None:
    engine = Engine(lambda _: None)
    engine.work = lambda _: counted(4 * len(engine.probed))
    assert watch(engine, 35) == [0, 10, 20, 30]


def test_one_that_is_dead_is_looked_at_no_more() -> None:
    engine = Engine(lambda _: counted(1, died=True), Outcome.ENGINE_DEAD)
    assert watch(engine, 25) == [0, 10, 20]
    assert engine.looked == []


def test_a_short_period_leaves_no_time_for_looks() -> None:
    assert watch(Engine(lambda now: counted(int(now * 50), under_way=True)), 5, period=1) == [0, 1, 2, 3, 4]


def test_a_look_that_breaks_ends_no_probes() -> None:
    async def broken(_: ProbeTarget) -> Work | None:
        raise RuntimeError("unforeseen")

    assert watch(Engine(lambda _: None), 25, broken) == [0, 10, 20]


def test_many_containers_are_looked_at_less_often() -> None:
    """Not more than 500 in a second, so that the operator has time for other things."""
    engine = Engine(lambda _: counted(1))

    async def run() -> None:
        watcher = ProbeWatcher(engine.probe, engine.look, lambda _: None, lambda _: None)
        for number in range(2000):
            watcher.sync(Key("ns", f"web-{number}"), [target(f"uid-{number}")])
        assert len(watcher) == 2000
        await asyncio.sleep(60)
        watcher.sync(Key("ns", "web-0"), [])
        assert len(watcher) == 1999
        await watcher.stop()
        assert len(watcher) == 0

    run_virtually(run())
    assert len(engine.looked) / 60 <= 500
    assert len(engine.probed) == 2000 * 6


def test_the_oldest_proof_of_each_is_known_until_its_pod_goes() -> None:
    engine = Engine(lambda _: None)

    async def run() -> list[dict[Key, float]]:
        watcher = ProbeWatcher(engine.probe, see_nothing, lambda _: None, lambda _: None)
        watcher.sync(KEY, [target("a")])
        await asyncio.sleep(5)
        watcher.sync(KEY, [target("a"), target("b")])
        await asyncio.sleep(1)
        both = {key: proof.at for key, proof in watcher.oldest_proofs().items()}
        watcher.sync(KEY, [target("b")])
        one = {key: proof.at for key, proof in watcher.oldest_proofs().items()}
        watcher.sync(KEY, [])
        return [both, one, {key: proof.at for key, proof in watcher.oldest_proofs().items()}]

    assert run_virtually(run()) == [{KEY: 0.0}, {KEY: 5.0}, {}]
