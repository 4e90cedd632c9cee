"""The generate probe: a few tokens, streamed, from one pod. This module does I/O."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Final

import aiohttp

from triton_vllm_operator.health.reading import TooLong, read_all, read_lines
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import Outcome, ProbeResult
from triton_vllm_operator.health.warm_up import BASE, Answer, WarmUp, build_warm_up, find_useless_adapters

# Texts of a backend whose engine or stub has died; facts in docs/design/readiness.md.
_DEAD: Final = ("EngineCore encountered an issue", "EngineDeadError", "Stub process", "unhealthy vLLM engine")
# Counters that grow while the engine works, whoever asked.
_PROGRESS: Final = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
_DETAIL_LIMIT: Final = 300
_METRICS_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_NO_ANSWER: Final = (aiohttp.ClientError, OSError)
_TOGETHER: Final = 2
_WARM_UP_SECONDS: Final = 120.0
"""For one request of the warm-up: far more than a compilation was seen to take."""
_LOG = logging.getLogger(__name__)


async def probe(session: aiohttp.ClientSession, target: ProbeTarget, connected: Callable[[], None]) -> ProbeResult:
    """Generate with one pod. Never raises for what the pod or the network does.

    `connected` is called when the pod was reached: the answer may take minutes.
    """
    started = time.monotonic()
    took: float | None = None
    adapters: tuple[str, ...] = ()
    before = await _progress(session, target)
    try:
        outcome, detail = await _generate(session, target, connected)
        took = time.monotonic() - started
        if outcome is Outcome.GENERATED and not target.proven:
            outcome, detail, adapters = await _warm_up(session, target)
    except aiohttp.ConnectionTimeoutError as error:
        outcome, detail = Outcome.UNREACHABLE, str(error)
    except TimeoutError:
        outcome, detail = await _timed_out(session, target, before)
    except _NO_ANSWER as error:
        outcome, detail = Outcome.UNREACHABLE, str(error) or type(error).__name__
    except TooLong as error:
        outcome, detail = Outcome.FAILED, str(error)
    return ProbeResult(outcome, detail, time.monotonic() - started if took is None else took, adapters)


async def _warm_up(session: aiohttp.ClientSession, target: ProbeTarget) -> tuple[Outcome, str, tuple[str, ...]]:
    """Ask once for everything whose first request would make users wait.

    A request that this backend or model does not take proves nothing: users who send it are told the same. One that
    takes too long ends the warm-up, and the container must generate once more.

    Raises:
        aiohttp.ClientError: the container answers no longer.
        TimeoutError: it does not generate any more.
    """
    base: Answer | None = None
    adapters: dict[str, Answer] = {}
    for request in build_warm_up(target):
        try:
            answer = await _ask(session, target, request)
            # What was compiled for one sequence is compiled once more for several.
            more = await asyncio.gather(*(_ask(session, target, request) for _ in range(_TOGETHER)))
        except TooLong as error:
            _LOG.info("pod %s: the answer to the first request for %s: %s", target.pod_name, request.kind, error)
            continue
        except aiohttp.ConnectionTimeoutError:
            raise
        except TimeoutError:
            _LOG.info("pod %s: no answer to the first request for %s", target.pod_name, request.kind)
            return (*await _generate(session, target), ())
        verdicts = (_classify(each.error) for each in (answer, *more) if each.error)
        if dead := next((verdict for verdict in verdicts if verdict[0] is Outcome.ENGINE_DEAD), None):
            return (*dead, ())
        if request.kind == BASE:
            base = answer
        if request.adapter is not None:
            adapters[request.adapter] = answer
    return Outcome.GENERATED, "", find_useless_adapters(adapters, base)


async def _ask(session: aiohttp.ClientSession, target: ProbeTarget, request: WarmUp) -> Answer:
    timeout = aiohttp.ClientTimeout(total=_WARM_UP_SECONDS, sock_connect=5)
    error, logprobs = "", []
    async with session.post(target.generate_url, json=request.body, timeout=timeout, allow_redirects=False) as response:
        async for line in read_lines(response):
            frame = _parse(line)
            error = error or str(frame.get("error", ""))
            if "logprobs" in frame:
                logprobs.append(str(frame["logprobs"]))
    return Answer(error, tuple(logprobs))


async def _generate(
    session: aiohttp.ClientSession, target: ProbeTarget, connected: Callable[[], None] | None = None
) -> tuple[Outcome, str]:
    settings = target.settings
    body = {
        "text_input": settings.prompt,
        "stream": True,
        "parameters": {"max_tokens": settings.max_tokens, "ignore_eos": True, "temperature": 0},
    }
    # The deadline is between two signs of life, not for the whole answer.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=settings.timeout_seconds)
    has_text = False
    async with session.post(
        target.generate_url, json=body, timeout=timeout, allow_redirects=False, trace_request_ctx=connected
    ) as response:
        if response.status == 429:
            return Outcome.BUSY, "the server takes no more requests now"
        async for line in read_lines(response):
            frame = _parse(line)
            if "error" in frame:
                return _classify(str(frame["error"]))
            has_text = has_text or bool(frame.get("text_output"))
        if response.status != 200:
            return Outcome.FAILED, f"HTTP {response.status}"
    return (Outcome.GENERATED, "") if has_text else (Outcome.NOTHING, "the answer held no text")


async def _timed_out(session: aiohttp.ClientSession, target: ProbeTarget, before: float | None) -> tuple[Outcome, str]:
    after = await _progress(session, target)
    if before is not None and after is not None and after > before:
        return Outcome.BUSY, f"{after - before:.0f} tokens on other requests"
    return Outcome.TIMED_OUT, f"no token within {target.settings.timeout_seconds} s"


async def _progress(session: aiohttp.ClientSession, target: ProbeTarget) -> float | None:
    """Tokens that the engine has processed since it started; None if it does not say."""
    try:
        async with session.get(target.metrics_url, timeout=_METRICS_TIMEOUT, allow_redirects=False) as response:
            text = (await read_all(response)).decode(errors="replace")
    except (TimeoutError, TooLong, *_NO_ANSWER):
        return None
    values = [line.rsplit(" ", 1)[-1] for line in text.splitlines() if line.startswith(_PROGRESS)]
    try:
        return sum(map(float, values)) if values else None
    except ValueError:
        return None


def _parse(line: bytes) -> dict[str, object]:
    """One line of the answer: a server-sent event, or a plain JSON error."""
    text = line.strip().removeprefix(b"data:").strip()
    try:
        parsed = json.loads(text) if text.startswith(b"{") else {}
    except (ValueError, RecursionError):
        return {"error": f"no JSON: {text[:80]!r}"}
    return parsed if isinstance(parsed, dict) else {}


def _classify(error: str) -> tuple[Outcome, str]:
    outcome = Outcome.ENGINE_DEAD if any(text in error for text in _DEAD) else Outcome.FAILED
    return outcome, error[:_DETAIL_LIMIT]
