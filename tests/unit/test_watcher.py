"""When the watcher probes, and what it makes of what it finds, in virtual time."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from support.looks import see_nothing, see_rest
from support.virtual_time import virtually
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import Probe
from triton_vllm_operator.health import watcher as watcher_module
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import CUT_OFF, Outcome, ProbeHistory, ProbeResult
from triton_vllm_operator.health.watcher import ProbeWatcher
from triton_vllm_operator.kube.resources import Key

KEY = Key("ns", "web")


@pytest.mark.parametrize(
    ("first", "later", "reason"),
    [
        (True, False, Reason.DEGENERATE_ANSWER),
        (False, False, None),
        (True, True, None),
    ],
)
@virtually
async def test_garbage_is_told_from_an_answer_by_the_containers_first_proof(
    first: bool, later: bool, reason: Reason | None
) -> None:
    answers = [first]

    async def answer(_: ProbeTarget, _connected: object) -> ProbeResult:
        is_varied = answers.pop() if answers else later
        return ProbeResult(Outcome.GENERATED, "", 0.001, is_varied=is_varied)

    watcher = ProbeWatcher(answer, see_nothing, lambda _: None, lambda _: None)
    settings = Probe.model_construct(period_seconds=0.01, failure_threshold=3)  # type: ignore[arg-type]
    watcher.sync(KEY, [replace(make_target(), settings=settings)])
    await asyncio.sleep(0.1)
    assert watcher.histories(KEY)["uid"].reason is reason
    await watcher.stop()


@pytest.mark.parametrize(("noted", "reason"), [(True, Reason.DEGENERATE_ANSWER), (False, None)])
@virtually
async def test_after_a_restart_the_first_proof_stands_on_the_pod(noted: bool, reason: Reason | None) -> None:
    async def answer(_: ProbeTarget, _connected: object) -> ProbeResult:
        return ProbeResult(Outcome.GENERATED, "", 0.001, is_varied=False)

    watcher = ProbeWatcher(answer, see_nothing, lambda _: None, lambda _: None)
    settings = Probe.model_construct(period_seconds=0.01, failure_threshold=3)  # type: ignore[arg-type]
    watcher.sync(KEY, [replace(make_target(), settings=settings, proven=True, was_varied=noted)])
    await asyncio.sleep(0.1)
    assert watcher.histories(KEY)["uid"].reason is reason
    await watcher.stop()


class Probes:
    """A watcher whose probes are counted and answered from a script."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.active = self.most = self.count = 0
        self.notified: list[Key] = []
        self.watcher = ProbeWatcher(self.probe, see_nothing, self.notified.append, lambda *_: None)

    async def probe(self, _: ProbeTarget, _connected: object) -> ProbeResult:
        self.active += 1
        self.count += 1
        self.most = max(self.most, self.active)
        await asyncio.sleep(0.001)
        self.active -= 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        return ProbeResult(outcome, "detail", 0.001)


def make_target(container: str = "containerd://1", period: int = 1) -> ProbeTarget:
    return ProbeTarget("uid", "pod", container, "127.0.0.1", "m", Probe(period_seconds=period), False)


@virtually
async def test_one_probe_per_container_and_a_word_when_it_changes() -> None:
    probes = Probes(Outcome.GENERATED)
    for _ in range(5):
        probes.watcher.sync(KEY, [make_target()])
        await asyncio.sleep(0.01)
    assert (probes.count, probes.most, probes.notified) == (1, 1, [KEY])
    assert probes.watcher.histories(KEY) == {"uid": ProbeHistory("containerd://1", generated=True)}
    await probes.watcher.stop()


_SILENCE = 0.2


class Silent(Probes):
    """Whose first probe generates, and whose later ones get no answer for a while."""

    def __init__(self, tells: bool, first_seconds: float = 0.0, *outcomes: Outcome) -> None:
        super().__init__(*(outcomes or (Outcome.TIMED_OUT,)))
        self.watcher = ProbeWatcher(self.probe, see_rest, self.notified.append, lambda *_: None)
        self.tells = tells
        self.first_seconds = first_seconds
        self.began: list[float] = []

    async def probe(self, target: ProbeTarget, connected: object) -> ProbeResult:
        self.began.append(asyncio.get_running_loop().time())
        if len(self.began) == 1:
            return ProbeResult(Outcome.GENERATED, "", self.first_seconds, tells_prefill=self.tells)
        if self.outcomes[0] is Outcome.TIMED_OUT:
            await asyncio.sleep(_SILENCE)
        return await super().probe(target, connected)


async def watch_silent(monkeypatch: pytest.MonkeyPatch, probes: Silent, seconds: float) -> ProbeHistory:
    monkeypatch.setattr(watcher_module, "_SUSPICIOUS_SECONDS", 0.02)
    monkeypatch.setattr(watcher_module, "_BESIDE_SECONDS", 0.01)
    settings = Probe.model_construct(period_seconds=0.05, failure_threshold=3)  # type: ignore[arg-type]
    probes.watcher.sync(KEY, [replace(make_target(), settings=settings)])
    await asyncio.sleep(seconds)
    history = probes.watcher.histories(KEY)["uid"]
    await probes.watcher.stop()
    return history


@virtually
async def test_a_silent_engine_is_asked_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = Silent(tells=True)
    history = await watch_silent(monkeypatch, probes, 0.5)
    assert history.failures >= 3
    assert history.reason is Reason.GENERATE_TIMED_OUT
    # Three are asked before the first of them has waited its whole time.
    assert probes.began[3] - probes.began[1] < _SILENCE


@pytest.mark.parametrize(("tells", "usual"), [(False, 0.0), (True, 1.0)])
@virtually
async def test_silence_that_may_be_work_or_is_usual_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tells: bool, usual: float
) -> None:
    probes = Silent(tells, usual)
    await watch_silent(monkeypatch, probes, 0.6)
    assert probes.began[2] - probes.began[1] >= _SILENCE


@pytest.mark.parametrize(("lives", "outcome"), [(True, Reason.GENERATE_TIMED_OUT), (False, None)])
@virtually
async def test_where_all_are_silent_at_once_the_prober_is_suspected(lives: bool, outcome: Reason | None) -> None:
    async def answer(target: ProbeTarget, _connected: object) -> ProbeResult:
        if lives and target.pod_uid == "3":
            return ProbeResult(Outcome.GENERATED, "", 0.001)
        await asyncio.sleep(0.05)
        return ProbeResult(Outcome.TIMED_OUT, "", 0.05)

    watcher = ProbeWatcher(answer, see_nothing, lambda _: None, lambda _: None)
    settings = Probe.model_construct(period_seconds=0.01, failure_threshold=1)  # type: ignore[arg-type]
    for uid in "123":
        watcher.sync(Key("ns", uid), [replace(make_target(), pod_uid=uid, settings=settings, proven=True)])
    await asyncio.sleep(0.3)
    first = watcher.histories(Key("ns", "1"))["1"]
    assert (first.reason, first.unreached) == (outcome, not lives)
    await watcher.stop()


@virtually
async def test_what_is_known_ends_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = Silent(True, 0.0, Outcome.ENGINE_DEAD)
    history = await watch_silent(monkeypatch, probes, 0.12)
    assert history.reason is Reason.ENGINE_DEAD
    assert probes.active == 0


@virtually
async def test_another_container_begins_anew() -> None:
    probes = Probes(Outcome.GENERATED, Outcome.UNREACHABLE)
    probes.watcher.sync(KEY, [make_target()])
    await asyncio.sleep(0.02)
    probes.watcher.sync(KEY, [make_target("containerd://2")])
    await asyncio.sleep(0.02)
    assert probes.watcher.histories(KEY) == {"uid": ProbeHistory("containerd://2", unreached=True, misses=1)}
    await probes.watcher.stop()


@virtually
async def test_a_probe_that_breaks_is_no_verdict_and_goes_on() -> None:
    async def broken(_: ProbeTarget, _connected: object) -> ProbeResult:
        raise RuntimeError("unforeseen")

    watcher = ProbeWatcher(broken, see_nothing, lambda _: None, lambda _: None)
    watcher.sync(KEY, [make_target()])
    await asyncio.sleep(0.02)
    assert (watcher.histories(KEY)["uid"].failures, watcher.histories(KEY)["uid"].misses) == (0, 1)
    await watcher.stop()


@virtually
async def test_what_is_gone_is_not_probed() -> None:
    probes = Probes(Outcome.GENERATED)
    probes.watcher.sync(KEY, [make_target()])
    probes.watcher.sync(KEY, [])
    assert (len(probes.watcher), probes.watcher.histories(KEY)) == (0, {})
    await probes.watcher.stop()


@virtually
async def test_it_is_warmed_up_once_for_each_container(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []

    async def note(target: ProbeTarget, _connected: object) -> ProbeResult:
        given.append(target.proven)
        return ProbeResult(Outcome.GENERATED if len(given) > 1 else Outcome.UNREACHABLE, "", 0.0)

    watcher = ProbeWatcher(note, see_nothing, lambda _key: None, lambda _result: None)
    monkeypatch.setattr("triton_vllm_operator.health.watcher._LOADING_PERIOD_SECONDS", 0.01)
    target = ProbeTarget("uid", "pod", "containerd://1", "127.0.0.1", "m", Probe(period_seconds=1), False)
    fast = replace(target, settings=target.settings.model_copy(update={"period_seconds": 0.01}))
    watcher.sync(KEY, [fast])
    await asyncio.sleep(0.2)
    await watcher.stop()
    assert given[:4] == [False, False, True, True]


@pytest.mark.parametrize(("held", "unreached"), [(0.05, True), (0.4, False)])
@virtually
async def test_a_probe_under_way_is_no_refused_connection(
    monkeypatch: pytest.MonkeyPatch, held: float, unreached: bool
) -> None:
    monkeypatch.setattr("triton_vllm_operator.health.watcher._LOADING_PERIOD_SECONDS", 0.01)
    monkeypatch.setattr("triton_vllm_operator.health.watcher._HELD_SECONDS", 0.2)
    count = 0

    async def run(_: ProbeTarget, connected: Callable[[], None]) -> ProbeResult:
        nonlocal count
        count += 1
        if count > 1:
            connected()
            await asyncio.sleep(held)
        return ProbeResult(Outcome.UNREACHABLE, "", 0.0)

    notified: list[Key] = []
    watcher = ProbeWatcher(run, see_nothing, notified.append, lambda _result: None)
    watcher.sync(KEY, [make_target()])
    await asyncio.sleep(0.35)
    assert watcher.histories(KEY)["uid"].unreached is unreached
    assert len(notified) == (CUT_OFF if unreached else 2)
    await watcher.stop()
