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

from triton_vllm_operator.api.spec import Probe
from triton_vllm_operator.health import target as target_module
from triton_vllm_operator.health.prober import probe
from triton_vllm_operator.health.reading import LIMIT_BYTES, open_session
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import Outcome, ProbeResult
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
    """A fifth of a megabyte on the wire, eighty unpacked."""
    packer = zlib.compressobj(wbits=31)
    frame = b'data: {"text_output": "x"}\n\n' * 40_000
    body = b"".join(packer.compress(frame) for _ in range(80)) + packer.flush()
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


async def test_a_closed_port_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_module.names, "PORT_HTTP", 1)
    monkeypatch.setattr(target_module.names, "PORT_METRICS", 1)
    target = ProbeTarget("uid", "pod", "containerd://1", "127.0.0.1", "m", Probe(), False)
    async with open_session() as session:
        assert (await probe(session, target, lambda: None)).outcome is Outcome.UNREACHABLE


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


async def test_a_connection_is_told_before_the_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    async with serving(Triton(silence), monkeypatch) as target, open_session() as session:
        await probe(session, target, lambda: told.append(1))
        await probe(session, replace(target, ip="127.0.0.2"), lambda: told.append(2))
    assert told == [1]
