"""The generate probe against a server that answers as Triton does."""

import asyncio
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import Probe
from triton_vllm_operator.health import target as target_module
from triton_vllm_operator.health import watcher as watcher_module
from triton_vllm_operator.health.prober import probe
from triton_vllm_operator.health.reading import LIMIT_BYTES, open_session
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import Outcome, ProbeHistory, ProbeResult
from triton_vllm_operator.health.watcher import ProbeWatcher
from triton_vllm_operator.kube.resources import Key

KEY = Key("ns", "web")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Triton:
    """What the server does, and what it was asked."""

    answer: Answer
    tokens: list[int] = field(default_factory=lambda: [7])
    figures: list[str] = field(default_factory=lambda: [""])
    """Other lines of the metrics, one after the other."""
    asked: list[object] = field(default_factory=list)

    async def generate(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        return await self.answer(request)

    async def metrics(self, _: web.Request) -> web.Response:
        tokens = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        more = self.figures.pop(0) if len(self.figures) > 1 else self.figures[0]
        return web.Response(text=f'# HELP x\nvllm:generation_tokens_total{{model="m",version="1"}} {tokens}\n{more}')


def frames(*bodies: dict[str, object]) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for body in bodies:
            await response.write(f"data: {json.dumps(body)}\n\n".encode())
        return response

    return answer


def breaks_off(body: dict[str, object], silent: bool = False) -> Answer:
    """One frame, then a broken connection, or one on which nothing comes."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {json.dumps(body)}\n\n".encode())
        await asyncio.sleep(30 if silent else 0.05)
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


def fails(status: int, body: dict[str, object]) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status)

    return answer


async def silence(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    raise AssertionError


def floods(chunk: bytes, **headers: str) -> Answer:
    """One that never ends, as of a server that somebody put in Triton's place."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        while request.transport is not None:
            await response.write(chunk)
        return response

    return answer


async def bomb(_: web.Request) -> web.StreamResponse:
    """A fifth of a megabyte on the wire, a hundred unpacked."""
    packer = zlib.compressobj(wbits=31)
    frame = b'data: {"text_output": "x"}\n\n' * 40_000
    body = b"".join(packer.compress(frame) for _ in range(100)) + packer.flush()
    return web.Response(body=body, headers={"Content-Encoding": "gzip"})


DEEP = b"data: " + b'{"a":' * 20_000 + b"\n\n"


@asynccontextmanager
async def serving(triton: Triton, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProbeTarget]:
    app = web.Application()
    app.add_routes([web.post("/v2/models/m/generate_stream", triton.generate), web.get("/metrics", triton.metrics)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    monkeypatch.setattr(target_module.names, "PORT_HTTP", port)
    monkeypatch.setattr(target_module.names, "PORT_METRICS", port)
    try:
        yield ProbeTarget("uid", "pod", "containerd://1", "127.0.0.1", "m", Probe(timeout_seconds=1), False)
    finally:
        await runner.cleanup()


async def outcome(triton: Triton, monkeypatch: pytest.MonkeyPatch) -> ProbeResult:
    async with serving(triton, monkeypatch) as target, open_session() as session:
        return await probe(session, target, lambda: None)


DEAD = {"error": "Error generating stream: EngineCore encountered an issue. See stack trace (above)."}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (frames({"text_output": "He"}, {"text_output": "llo"}), Outcome.GENERATED),
        (frames({"text_output": ""}, {"text_output": "x"}), Outcome.GENERATED),
        (frames({"text_output": ""}), Outcome.NOTHING),
        (frames(), Outcome.NOTHING),
        (frames({"text_output": "a"}, {"error": "broken"}), Outcome.FAILED),
        (frames(DEAD), Outcome.ENGINE_DEAD),
        (breaks_off(DEAD), Outcome.ENGINE_DEAD),
        (breaks_off(DEAD, silent=True), Outcome.ENGINE_DEAD),
        (breaks_off({"text_output": "a"}), Outcome.UNREACHABLE),
        (breaks_off({"text_output": "a"}, silent=True), Outcome.TIMED_OUT),
        (fails(400, DEAD), Outcome.ENGINE_DEAD),
        (fails(400, {"error": "Stub process 'm_0_0' is not healthy."}), Outcome.ENGINE_DEAD),
        (fails(404, {"error": "unknown model"}), Outcome.FAILED),
        (fails(500, {}), Outcome.FAILED),
        (fails(429, {"error": "too many"}), Outcome.BUSY),
        (fails(401, {}), Outcome.UNREACHABLE),
        (fails(403, {"error": "RBAC: access denied"}), Outcome.UNREACHABLE),
        (silence, Outcome.TIMED_OUT),
    ],
)
async def test_what_an_answer_means(answer: Answer, expected: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await outcome(Triton(answer), monkeypatch)).outcome is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (floods(b'data: {"text_output": "x"}\n\n' * 100), Outcome.FAILED),
        (floods(b"x" * 10_000), Outcome.FAILED),
        (bomb, Outcome.NOTHING),
        (floods(DEEP), Outcome.FAILED),
    ],
)
async def test_a_pod_that_says_too_much_takes_no_memory(
    answer: Answer, expected: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracemalloc.start()
    found = await outcome(Triton(answer), monkeypatch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.outcome is expected, found
    assert peak < 10 * LIMIT_BYTES


async def test_metrics_without_an_end_are_no_word_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = Triton(frames({"text_output": "x"}))
    triton.metrics = floods(b"vllm:generation_tokens_total 1\n" * 100)  # type: ignore[method-assign, assignment]
    assert (await outcome(triton, monkeypatch)).outcome is Outcome.GENERATED


async def test_tokens_on_other_requests_are_life(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await outcome(Triton(silence, tokens=[7, 90]), monkeypatch)).outcome is Outcome.BUSY


USED = 'vllm:kv_cache_usage_perc{{model="m",version="1"}} {}\n'


async def test_a_long_prompt_that_takes_blocks_is_life(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = Triton(silence, figures=[USED.format(0.1), USED.format(0.2)])
    found = await outcome(triton, monkeypatch)
    assert (found.outcome, found.tells_prefill) == (Outcome.BUSY, True)


async def test_what_clients_change_is_no_life(monkeypatch: pytest.MonkeyPatch) -> None:
    left = 'vllm:e2e_request_latency_seconds_count{{model="m",version="1"}} {}\nnv_inference_request_failure {}\n'
    triton = Triton(silence, figures=[left.format(1, 0), left.format(2, 4)])
    found = await outcome(triton, monkeypatch)
    assert (found.outcome, found.tells_prefill) == (Outcome.TIMED_OUT, False)


async def test_it_asks_for_a_few_streamed_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = Triton(frames({"text_output": "x"}))
    await outcome(triton, monkeypatch)
    asked, *_ = triton.asked
    assert asked == {
        "text_input": "Hello",
        "stream": True,
        "parameters": {"max_tokens": 4, "ignore_eos": True, "temperature": 0},
        "return_finish_reason": True,
        "return_num_output_tokens": True,
    }


def told(text: str, ending: str = "None", tokens: int = 1) -> dict[str, object]:
    return {"text_output": text, "finish_reason": ending, "num_output_tokens": tokens}


@pytest.mark.parametrize(
    ("answer", "outcome_", "is_varied"),
    [
        ((told(" a"), told(" b"), told(" c"), told(" d", "length")), Outcome.GENERATED, True),
        # The sequence is as long as the engine lets it be.
        ((told(" a"), told(" b", "length")), Outcome.GENERATED, True),
        ((told(" a"), told(" b", "stop")), Outcome.FAILED, True),
        ((told(" a"), told(" b", "abort")), Outcome.FAILED, True),
        # A backend that counts all tokens so far, or tells nothing.
        ((told(" a", tokens=1), told(" b", "length", 2), told(" c", "length", 4)), Outcome.GENERATED, True),
        (({"text_output": "x"},), Outcome.GENERATED, True),
        ((told("!"), told("!"), told("!"), told("!", "length")), Outcome.GENERATED, False),
        ((told("!!!!", "length", 4),), Outcome.GENERATED, False),
        ((told(" the"),) * 3 + (told(" the", "length"),), Outcome.GENERATED, False),
        ((told("a"), told("a", "length")), Outcome.GENERATED, True),
        # It breaks off.
        ((told(" a"), told(" b")), Outcome.FAILED, True),
    ],
)
async def test_a_passing_probe_is_a_whole_answer(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[dict[str, object], ...], outcome_: Outcome, is_varied: bool
) -> None:
    found = await outcome(Triton(frames(*answer)), monkeypatch)
    assert (found.outcome, found.is_varied) == (outcome_, is_varied), found


@pytest.mark.parametrize(
    ("first", "later", "reason"),
    [
        (True, False, Reason.DEGENERATE_ANSWER),
        (False, False, None),
        (True, True, None),
    ],
)
async def test_garbage_is_told_from_an_answer_by_the_containers_first_proof(
    first: bool, later: bool, reason: Reason | None
) -> None:
    answers = [first]

    async def answer(_: ProbeTarget, _connected: object) -> ProbeResult:
        is_varied = answers.pop() if answers else later
        return ProbeResult(Outcome.GENERATED, "", 0.001, is_varied=is_varied)

    watcher = ProbeWatcher(answer, lambda _: None, lambda _: None)
    settings = Probe.model_construct(period_seconds=0.01, failure_threshold=3)  # type: ignore[arg-type]
    watcher.sync(KEY, [replace(make_target(), settings=settings)])
    await asyncio.sleep(0.1)
    assert watcher.histories(KEY)["uid"].reason is reason
    await watcher.stop()


@pytest.mark.parametrize(("noted", "reason"), [(True, Reason.DEGENERATE_ANSWER), (False, None)])
async def test_after_a_restart_the_first_proof_stands_on_the_pod(noted: bool, reason: Reason | None) -> None:
    async def answer(_: ProbeTarget, _connected: object) -> ProbeResult:
        return ProbeResult(Outcome.GENERATED, "", 0.001, is_varied=False)

    watcher = ProbeWatcher(answer, lambda _: None, lambda _: None)
    settings = Probe.model_construct(period_seconds=0.01, failure_threshold=3)  # type: ignore[arg-type]
    watcher.sync(KEY, [replace(make_target(), settings=settings, proven=True, was_varied=noted)])
    await asyncio.sleep(0.1)
    assert watcher.histories(KEY)["uid"].reason is reason
    await watcher.stop()


async def test_a_closed_port_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_module.names, "PORT_HTTP", 1)
    monkeypatch.setattr(target_module.names, "PORT_METRICS", 1)
    target = ProbeTarget("uid", "pod", "containerd://1", "127.0.0.1", "m", Probe(), False)
    async with open_session() as session:
        assert (await probe(session, target, lambda: None)).outcome is Outcome.UNREACHABLE


class Probes:
    """A watcher whose probes are counted and answered from a script."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.active = self.most = self.count = 0
        self.notified: list[Key] = []
        self.watcher = ProbeWatcher(self.probe, self.notified.append, lambda *_: None)

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


async def test_a_silent_engine_is_asked_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = Silent(tells=True)
    history = await watch_silent(monkeypatch, probes, 0.5)
    assert history.failures >= 3
    assert history.reason is Reason.GENERATE_TIMED_OUT
    # Three are asked before the first of them has waited its whole time.
    assert probes.began[3] - probes.began[1] < _SILENCE


@pytest.mark.parametrize(("tells", "usual"), [(False, 0.0), (True, 1.0)])
async def test_silence_that_may_be_work_or_is_usual_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tells: bool, usual: float
) -> None:
    probes = Silent(tells, usual)
    await watch_silent(monkeypatch, probes, 0.6)
    assert probes.began[2] - probes.began[1] >= _SILENCE


@pytest.mark.parametrize(("lives", "outcome"), [(True, Reason.GENERATE_TIMED_OUT), (False, None)])
async def test_where_all_are_silent_at_once_the_prober_is_suspected(lives: bool, outcome: Reason | None) -> None:
    async def answer(target: ProbeTarget, _connected: object) -> ProbeResult:
        if lives and target.pod_uid == "3":
            return ProbeResult(Outcome.GENERATED, "", 0.001)
        await asyncio.sleep(0.05)
        return ProbeResult(Outcome.TIMED_OUT, "", 0.05)

    watcher = ProbeWatcher(answer, lambda _: None, lambda _: None)
    settings = Probe.model_construct(period_seconds=0.01, failure_threshold=1)  # type: ignore[arg-type]
    for uid in "123":
        watcher.sync(Key("ns", uid), [replace(make_target(), pod_uid=uid, settings=settings)])
    await asyncio.sleep(0.3)
    first = watcher.histories(Key("ns", "1"))["1"]
    assert (first.reason, first.unreached) == (outcome, not lives)
    await watcher.stop()


async def test_what_is_known_ends_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = Silent(True, 0.0, Outcome.ENGINE_DEAD)
    history = await watch_silent(monkeypatch, probes, 0.12)
    assert history.reason is Reason.ENGINE_DEAD
    assert probes.active == 0


async def test_another_container_begins_anew() -> None:
    probes = Probes(Outcome.GENERATED, Outcome.UNREACHABLE)
    probes.watcher.sync(KEY, [make_target()])
    await asyncio.sleep(0.02)
    probes.watcher.sync(KEY, [make_target("containerd://2")])
    await asyncio.sleep(0.02)
    assert probes.watcher.histories(KEY) == {"uid": ProbeHistory("containerd://2", unreached=True)}
    await probes.watcher.stop()


async def test_a_probe_that_breaks_is_a_failure_and_goes_on() -> None:
    async def broken(_: ProbeTarget, _connected: object) -> ProbeResult:
        raise RuntimeError("unforeseen")

    watcher = ProbeWatcher(broken, lambda _: None, lambda _: None)
    watcher.sync(KEY, [make_target()])
    await asyncio.sleep(0.02)
    assert watcher.histories(KEY)["uid"].failures == 1
    assert "unforeseen" in watcher.histories(KEY)["uid"].detail
    await watcher.stop()


async def test_what_is_gone_is_not_probed() -> None:
    probes = Probes(Outcome.GENERATED)
    probes.watcher.sync(KEY, [make_target()])
    probes.watcher.sync(KEY, [])
    assert (len(probes.watcher), probes.watcher.histories(KEY)) == (0, {})
    await probes.watcher.stop()


def by_kind(requests: list[object], *answers: tuple[str, Answer]) -> Answer:
    """Another answer to requests whose parameters hold a name; text to all others."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = requests[-1]
        assert isinstance(asked, dict)
        chosen = next((given for name, given in answers if name in asked["parameters"]), frames({"text_output": "x"}))
        return await chosen(request)

    return answer


async def warm_up_of(
    monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, Answer], tokens: tuple[int, ...] = (7,), **target: object
) -> tuple[ProbeResult, list[dict[str, Any]]]:
    triton = Triton(silence, tokens=list(tokens))
    triton.answer = by_kind(triton.asked, *answers)
    async with serving(triton, monkeypatch) as given, open_session() as session:
        result = await probe(session, replace(given, **target), lambda: None)  # type: ignore[arg-type]
    return result, [asked for asked in triton.asked if isinstance(asked, dict)]


async def test_the_first_proof_asks_for_what_users_first_requests_would_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, asked = await warm_up_of(monkeypatch, adapters=("sql",), max_model_len=512)
    assert result.outcome is Outcome.GENERATED
    parameters = {name for request in asked for name in request["parameters"]}
    assert parameters >= {"logprobs", "top_k", "presence_penalty", "lora_name"}
    assert "structured_outputs" not in parameters
    assert max(len(request["text_input"].split()) for request in asked) == 504


async def test_a_container_that_was_proven_is_asked_for_a_few_tokens_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    result, asked = await warm_up_of(monkeypatch, proven=True)
    assert (result.outcome, len(asked)) == (Outcome.GENERATED, 1)


async def test_what_the_backend_does_not_take_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = frames({"error": "Error generating stream: Unexpected keyword argument 'min_p'"})
    result, _ = await warm_up_of(monkeypatch, ("min_p", refusal), ("logprobs", refusal), adapters=("a",))
    assert (result.outcome, result.adapter_faults) == (Outcome.GENERATED, ())


async def test_an_adapter_that_the_engine_cannot_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = frames({"error": "Error generating stream: x.lora_down.weight is unsupported LoRA weight"})
    result, _ = await warm_up_of(monkeypatch, ("lora_name", refusal), adapters=("a",))
    assert result.outcome is Outcome.GENERATED
    assert result.adapter_faults == (
        "a: requests with it fail: Error generating stream: x.lora_down.weight is unsupported LoRA weight",
    )


async def test_an_engine_that_dies_of_it_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = await warm_up_of(monkeypatch, ("logprobs", frames(DEAD)))
    assert result.outcome is Outcome.ENGINE_DEAD


async def test_an_engine_that_dies_of_the_same_request_twice_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    given = iter([frames({"text_output": "x"})])

    async def at_first(request: web.Request) -> web.StreamResponse:
        return await next(given, frames(DEAD))(request)

    result, _ = await warm_up_of(monkeypatch, ("top_k", at_first))
    assert result.outcome is Outcome.ENGINE_DEAD


async def test_a_container_that_goes_away_meanwhile_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.StreamResponse()

    result, _ = await warm_up_of(monkeypatch, ("top_k", hangs_up))
    assert result.outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize("recovers", [True, False])
async def test_after_a_request_without_an_answer_it_must_generate_again(
    monkeypatch: pytest.MonkeyPatch, recovers: bool
) -> None:
    monkeypatch.setattr("triton_vllm_operator.health.prober._WARM_UP_SECONDS", 0.3)
    hung: list[object] = []

    async def hangs(request: web.Request) -> web.StreamResponse:
        parameters = (await request.json())["parameters"]
        if "top_k" in parameters:
            hung.append(parameters)
        stuck = "top_k" in parameters or (hung and not recovers)
        return await (silence if stuck else frames({"text_output": "x"}))(request)

    # What the probe itself was given before is no sign of life.
    result, asked = await warm_up_of(monkeypatch, ("max_tokens", hangs), tokens=(7, 60))
    assert result.outcome is (Outcome.GENERATED if recovers else Outcome.TIMED_OUT)
    assert not [request for request in asked if "presence_penalty" in request["parameters"]]


async def test_an_adapter_that_changes_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def with_adapter(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        changed = asked["parameters"]["lora_name"] == "good"
        return await frames({"text_output": "x", "logprobs": "[-2, -1]" if changed else "[-1, -1]"})(request)

    # How many tokens a frame holds depends on how fast they come, and says nothing of the adapter.
    base = frames({"text_output": "x", "logprobs": "[-1]"}, {"text_output": "y", "logprobs": "[-1]"})
    answers = (("lora_name", with_adapter), ("logprobs", base))
    result, _ = await warm_up_of(monkeypatch, *answers, adapters=("good", "prefix"))
    assert result.adapter_faults == (
        "prefix: it answers exactly as the model does without it; was it trained on this model?",
    )


async def test_it_is_warmed_up_once_for_each_container(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []

    async def note(target: ProbeTarget, _connected: object) -> ProbeResult:
        given.append(target.proven)
        return ProbeResult(Outcome.GENERATED if len(given) > 1 else Outcome.UNREACHABLE, "", 0.0)

    watcher = ProbeWatcher(note, lambda _key: None, lambda _result: None)
    monkeypatch.setattr("triton_vllm_operator.health.watcher._LOADING_PERIOD_SECONDS", 0.01)
    target = ProbeTarget("uid", "pod", "containerd://1", "127.0.0.1", "m", Probe(period_seconds=1), False)
    fast = replace(target, settings=target.settings.model_copy(update={"period_seconds": 0.01}))
    watcher.sync(KEY, [fast])
    await asyncio.sleep(0.2)
    await watcher.stop()
    assert given[:4] == [False, False, True, True]


@pytest.mark.parametrize(("held", "unreached"), [(0.05, True), (0.4, False)])
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
    watcher = ProbeWatcher(run, notified.append, lambda _result: None)
    watcher.sync(KEY, [make_target()])
    await asyncio.sleep(0.35)
    assert watcher.histories(KEY)["uid"].unreached is unreached
    assert len(notified) == (1 if unreached else 2)
    await watcher.stop()


async def test_a_connection_is_told_before_the_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    async with serving(Triton(silence), monkeypatch) as target, open_session() as session:
        await probe(session, target, lambda: told.append(1))
        await probe(session, replace(target, ip="127.0.0.2"), lambda: told.append(2))
    assert told == [1]
