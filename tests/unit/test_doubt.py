"""When silence is a verdict, and when it is the prober's own, or one long step of an engine."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from support.looks import see_nothing, see_rest
from support.pods import CONTAINER, make_pod
from support.virtual_time import virtually
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import Probe
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import Outcome, ProbeHistory, ProbeResult, judge
from triton_vllm_operator.health.watcher import Look, ProbeWatcher
from triton_vllm_operator.health.work import Work
from triton_vllm_operator.kube.pod import Gate
from triton_vllm_operator.kube.pod_reading import project_pod
from triton_vllm_operator.kube.resources import Key
from triton_vllm_operator.reconcile.decide import _is_silent

Answer = Callable[[ProbeTarget, Callable[[], None]], Awaitable[ProbeResult]]
HANGS_AT = 60.0
TIMEOUT = 30.0


def target(name: str, proven: bool = False) -> ProbeTarget:
    return ProbeTarget(f"uid-{name}", f"pod-{name}", CONTAINER, "127.0.0.1", "m", Probe(), proven)


def now() -> float:
    return asyncio.get_running_loop().time()


async def hang(tells: bool = True) -> ProbeResult:
    """Generates, and then gives no sign any more."""
    if now() < HANGS_AT:
        return ProbeResult(Outcome.GENERATED, "", 0.1, tells_prefill=tells)
    await asyncio.sleep(TIMEOUT)
    return ProbeResult(Outcome.TIMED_OUT, "", TIMEOUT, tells_prefill=tells)


async def watched(answer: Answer, seconds: float, *others: str, look: Look = see_rest) -> ProbeHistory:
    """What is known of `web` after so many seconds."""
    watcher = ProbeWatcher(answer, look, lambda _: None, lambda _: None)
    for name in ("web", *others):
        watcher.sync(Key("ns", name), [target(name)])
    await asyncio.sleep(seconds)
    found = watcher.histories(Key("ns", "web"))["uid-web"]
    await watcher.stop()
    return found


@pytest.mark.parametrize("outcome", [Outcome.UNREACHABLE, Outcome.ENGINE_DEAD, Outcome.FAILED, Outcome.NOTHING])
@virtually
async def test_neighbours_that_never_generated_hide_no_hung_engine(outcome: Outcome) -> None:
    async def answer(asked: ProbeTarget, _: Callable[[], None]) -> ProbeResult:
        return await hang() if asked.pod_uid == "uid-web" else ProbeResult(outcome, "", 0.0)

    found = await watched(answer, HANGS_AT + 60, "loads", "crashes")
    assert found.reason is Reason.GENERATE_TIMED_OUT


@virtually
async def test_neighbours_that_answer_with_errors_show_that_the_prober_works() -> None:
    async def answer(asked: ProbeTarget, _: Callable[[], None]) -> ProbeResult:
        if asked.pod_uid == "uid-web" or now() < HANGS_AT:
            return await hang()
        return ProbeResult(Outcome.FAILED, "", 0.0)

    assert (await watched(answer, HANGS_AT + 60, "a", "b")).reason is Reason.GENERATE_TIMED_OUT


@virtually
async def test_the_prober_is_not_suspected_for_ever() -> None:
    async def answer(_asked: ProbeTarget, _: Callable[[], None]) -> ProbeResult:
        return await hang()

    assert (await watched(answer, HANGS_AT + 300, "a", "b")).reason is None
    assert (await watched(answer, HANGS_AT + 900, "a", "b")).reason is Reason.GENERATE_TIMED_OUT


def silent(history: ProbeHistory) -> bool:
    gate = Gate(False, Reason.GENERATE_TIMED_OUT, CONTAINER)
    return _is_silent(make_pod("r", gate=gate), history, Probe().failure_threshold)


@virtually
async def test_one_long_step_takes_nothing_away_for_good() -> None:
    """Counters move once a step: probes that wait beside one another see one silence. The pod must not be deleted."""
    step, seen = 45.0, list[bool]()

    def steps() -> bytes:
        return str(max(0.0, now() - HANGS_AT) // step).encode()

    async def look(_: ProbeTarget) -> Work:
        return Work(steps(), tells_prefill=True, requests=int(now() > HANGS_AT))

    async def answer(_asked: ProbeTarget, _: Callable[[], None]) -> ProbeResult:
        if now() < HANGS_AT:
            return ProbeResult(Outcome.GENERATED, "", 0.1, tells_prefill=True)
        before = steps()
        await asyncio.sleep(TIMEOUT)
        outcome = Outcome.TIMED_OUT if before == steps() else Outcome.BUSY
        return ProbeResult(outcome, "", TIMEOUT, tells_prefill=True)

    watcher = ProbeWatcher(answer, look, lambda _: None, lambda _: None)
    watcher.sync(Key("ns", "web"), [target("web")])
    for _ in range(600):
        await asyncio.sleep(1)
        seen.append(silent(watcher.histories(Key("ns", "web"))["uid-web"]))
    await watcher.stop()
    assert not any(seen)


@virtually
async def test_an_engine_that_stands_still_is_replaced_after_a_second_silence() -> None:
    async def answer(_asked: ProbeTarget, _: Callable[[], None]) -> ProbeResult:
        return await hang()

    assert not silent(await watched(answer, HANGS_AT + 42))
    assert silent(await watched(answer, HANGS_AT + 100))


@virtually
async def test_metrics_that_fail_under_load_prove_nothing() -> None:
    """Then one probe is asked after the other, and three take their time."""

    async def look(asked: ProbeTarget) -> Work | None:
        return await (see_rest if now() < HANGS_AT else see_nothing)(asked)

    async def answer(_asked: ProbeTarget, _: Callable[[], None]) -> ProbeResult:
        return await hang(tells=now() < HANGS_AT)

    assert (await watched(answer, HANGS_AT + 60, look=look)).failures < Probe().failure_threshold
    assert (await watched(answer, HANGS_AT + 180, look=look)).failures >= Probe().failure_threshold


@virtually
async def test_garbage_stays_garbage_whoever_asks_anew() -> None:
    """After an edit of spec.probe, or a restart, the first proof is known by the gate alone."""

    async def answer(_asked: ProbeTarget, _: Callable[[], None]) -> ProbeResult:
        return ProbeResult(Outcome.GENERATED, "", 0.1, is_varied=False)

    condition = {"type": "triton-vllm.dev/generates", "status": "False", "reason": "DegenerateAnswer",
                 "message": f"{CONTAINER}: one token over and over"}  # fmt: skip
    pod = project_pod({"metadata": {"name": "a", "uid": "uid-web"}, "status": {"conditions": [condition]}})
    assert pod.gate is not None
    watcher = ProbeWatcher(answer, see_rest, lambda _: None, lambda _: None)
    watcher.sync(Key("ns", "web"), [replace(target("web"), was_varied=pod.gate.was_varied)])
    await asyncio.sleep(60)
    history = watcher.histories(Key("ns", "web"))["uid-web"]
    await watcher.stop()
    running = make_pod("r", "a", gate=pod.gate)
    assert (history.reason, judge(running, history, 3)) == (Reason.DEGENERATE_ANSWER, None)
