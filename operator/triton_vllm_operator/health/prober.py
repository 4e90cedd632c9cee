"""The generate probe: a few tokens, streamed, from one pod. This module does I/O."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

import aiohttp

from triton_vllm_operator.health.reading import METRICS_LIMIT_BYTES, TooLong, read_all, read_lines
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import Outcome, ProbeResult
from triton_vllm_operator.health.warm_up import (
    TOGETHER,
    Answer,
    WarmUp,
    build_body,
    build_warm_up,
    find_adapter_faults,
    split_logprobs,
)
from triton_vllm_operator.health.work import Work, read_work

# Texts of a backend whose engine or stub has died; facts in docs/design/readiness.md.
_DEAD: Final = ("EngineCore encountered an issue", "EngineDeadError", "Stub process", "unhealthy vLLM engine")
_TELLING: Final = {"return_finish_reason": True, "return_num_output_tokens": True}
_LENGTH: Final = "length"
_BAD_ENDINGS: Final = ("abort", "error")
_FEWEST: Final = 3
"""Times that a token is repeated before it is a sign."""
_DETAIL_LIMIT: Final = 300
_ELSEWHERE: Final = re.compile(r"[.:]? See stack trace \(above\) for the root cause\.?")
"""Of vLLM's texts what points to a place where nobody looks."""
_METRICS_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_NO_ANSWER: Final = (aiohttp.ClientError, OSError)
"""A TimeoutError is an OSError as well: what comes too late is told apart before."""
_REFUSES_US: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
"""Which Triton never answers: a proxy does."""
_OF_OTHERS: Final = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
"""Of a proxy, if nothing else is said."""
_WARM_UP_SECONDS: Final = 120.0
"""For one request of the warm-up: far more than a compilation was seen to take."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Finding:
    """What was found out, and why."""

    outcome: Outcome
    detail: str = ""
    adapter_faults: tuple[str, ...] = ()
    is_varied: bool = True
    tells_prefill: bool = False


async def probe(session: aiohttp.ClientSession, target: ProbeTarget, connected: Callable[[], None]) -> ProbeResult:
    """Generate with one pod. Never raises for what the pod or the network does.

    `connected` is called when the pod was reached: the answer may take minutes.
    """
    started = time.monotonic()
    took: float | None = None
    try:
        found = await _generate(session, target, connected)
        took = time.monotonic() - started
        if found.outcome is Outcome.GENERATED and not target.proven:
            found = replace(await _warm_up(session, target), is_varied=found.is_varied)
            rest = time.monotonic() - started - took
            _LOG.info("pod %s generated after %.1f s, and %.1f s of first requests", target.pod_name, took, rest)
    except _NO_ANSWER as error:
        found = _Finding(Outcome.UNREACHABLE, str(error) or type(error).__name__)
    except TooLong as error:
        found = _Finding(Outcome.FAILED, str(error))
    seconds = time.monotonic() - started if took is None else took
    return ProbeResult(found.outcome, found.detail, seconds, found.adapter_faults, found.is_varied, found.tells_prefill)


async def _warm_up(session: aiohttp.ClientSession, target: ProbeTarget) -> _Finding:
    """Ask once for everything whose first request would make users wait.

    A request that this backend or model does not take proves nothing: users who send it are told the same. One that
    takes too long ends the warm-up, and the container must generate once more.

    Raises:
        aiohttp.ClientError: the container answers no longer.
    """
    base: Answer | None = None
    adapters: dict[str, Answer] = {}
    for request in build_warm_up(target):
        try:
            answer = await _ask(session, target, request)
            # What was compiled for one sequence is compiled once more for several.
            more = await asyncio.gather(*(_ask(session, target, request) for _ in range(TOGETHER)))
        except TooLong as error:
            _LOG.info("pod %s: the answer to the first request for %s: %s", target.pod_name, request.kind, error)
            continue
        except aiohttp.ConnectionTimeoutError:
            raise
        except TimeoutError:
            _LOG.info("pod %s: no answer to the first request for %s", target.pod_name, request.kind)
            return await _generate(session, target)
        verdicts = (_classify(each.error) for each in (answer, *more) if each.error)
        if dead := next((verdict for verdict in verdicts if verdict.outcome is Outcome.ENGINE_DEAD), None):
            return replace(dead, detail=f"it died of the first request for {request.kind}: {dead.detail}")
        if request.is_base:
            base = answer
        if request.adapter is not None:
            adapters[request.adapter] = answer
    return _Finding(Outcome.GENERATED, adapter_faults=find_adapter_faults(adapters, base))


async def _ask(session: aiohttp.ClientSession, target: ProbeTarget, request: WarmUp) -> Answer:
    timeout = aiohttp.ClientTimeout(total=_WARM_UP_SECONDS, sock_connect=5)
    error, logprobs = "", list[str]()
    async with session.post(target.generate_url, json=request.body, timeout=timeout, allow_redirects=False) as response:
        async for line in read_lines(response):
            frame = _parse(line)
            error = error or str(frame.get("error", ""))
            logprobs.extend(split_logprobs(frame.get("logprobs")))
    return Answer(error, tuple(logprobs))


async def _generate(
    session: aiohttp.ClientSession, target: ProbeTarget, connected: Callable[[], None] | None = None
) -> _Finding:
    """Ask for a few tokens.

    Raises:
        aiohttp.ClientError: there is no connection, or it broke off.
        TooLong: the answer is longer than any that was asked for.
    """
    before = await look(session, target)
    try:
        found = await _stream(session, target, connected)
        return replace(found, tells_prefill=before is not None and before.tells_prefill)
    except aiohttp.ConnectionTimeoutError:
        raise
    except TimeoutError:
        after = await look(session, target)
    if before is not None and after is not None and after.counters != before.counters:
        return _Finding(Outcome.BUSY, "the engine works on other requests", tells_prefill=after.tells_prefill)
    # Counters that were seen twice, and stood still.
    tells = before is not None and after is not None and before.tells_prefill
    return _Finding(Outcome.TIMED_OUT, f"no token within {target.settings.timeout_seconds} s", tells_prefill=tells)


async def _stream(
    session: aiohttp.ClientSession, target: ProbeTarget, connected: Callable[[], None] | None
) -> _Finding:
    settings = target.settings
    body = {**build_body(settings.prompt, {"max_tokens": settings.max_tokens}), **_TELLING}
    # The deadline is between two signs of life, not for the whole answer.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=settings.timeout_seconds)
    pieces: list[str] = []
    tokens, ending = 0, ""
    async with session.post(
        target.generate_url, json=body, timeout=timeout, allow_redirects=False, trace_request_ctx=connected
    ) as response:
        if (refused := _find_refusal(response.status)) is not None:
            return refused
        try:
            async for line in read_lines(response):
                frame = _parse(line)
                if frame.get("error"):
                    return _classify(str(frame["error"]))
                pieces += [str(piece)] if (piece := frame.get("text_output")) else []
                tokens += _as_count(frame.get("num_output_tokens"))
                ending = str(frame.get("finish_reason") or ending)
        except aiohttp.ClientPayloadError as error:
            if not target.proven:
                raise
            # Its server took the request, and began to answer.
            return _Finding(Outcome.FAILED, f"the answer broke off: {error}"[:_DETAIL_LIMIT])
        if response.status != HTTPStatus.OK:
            # Triton says what is wrong; a proxy that has not reached it does not.
            outcome = Outcome.UNREACHABLE if response.status in _OF_OTHERS else Outcome.FAILED
            return _Finding(outcome, f"HTTP {response.status}")
    if why := _find_fault(tokens, settings.max_tokens, ending):
        return _Finding(Outcome.FAILED, why)
    if not pieces:
        return _Finding(Outcome.NOTHING, "the answer held no text")
    return _Finding(Outcome.GENERATED, is_varied=not _is_one_token(pieces))


def _find_refusal(status: int) -> _Finding | None:
    """What a status says that proves nothing of the engine."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _Finding(Outcome.BUSY, "the server takes no more requests now")
    if status in _REFUSES_US:
        return _Finding(Outcome.UNREACHABLE, f"HTTP {status}: something before the server refuses the probe")
    return None


def _find_fault(tokens: int, asked: int, ending: str) -> str:
    """What is wrong with an answer that came to its end; empty if nothing is, or if the backend does not tell.

    All tokens come that were asked for, unless the sequence is as long as the engine lets it be.
    """
    if ending in _BAD_ENDINGS:
        return f"the answer ended with the finish reason {ending}"
    if 0 < tokens < asked and ending not in ("", _LENGTH):
        return f"the answer held {tokens} of the {asked} tokens that were asked for, and ended with {ending}"
    return ""


def _is_one_token(pieces: list[str]) -> bool:
    """Whether an answer is one token over and over: what an engine makes of numbers that are none."""
    text = "".join(pieces)
    return (len(pieces) >= _FEWEST and len(set(pieces)) == 1) or (len(text) >= _FEWEST and len(set(text)) == 1)


def _as_count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


async def look(session: aiohttp.ClientSession, target: ProbeTarget) -> Work | None:
    """What the engine has done since it started, which costs it nothing; None if it does not say."""
    text = await read_metrics(session, target.metrics_url)
    return read_work(text) if text is not None else None


async def read_metrics(session: aiohttp.ClientSession, url: str) -> bytes | None:
    """The metrics of a server; None if it gives no answer."""
    try:
        async with session.get(url, timeout=_METRICS_TIMEOUT, allow_redirects=False) as response:
            return await read_all(response, METRICS_LIMIT_BYTES)
    except (TimeoutError, TooLong, *_NO_ANSWER):
        return None


def _parse(line: bytes) -> dict[str, object]:
    """One line of the answer: a server-sent event, or a plain JSON error."""
    text = line.strip().removeprefix(b"data:").strip()
    try:
        parsed = json.loads(text) if text.startswith(b"{") else {}
    except (ValueError, RecursionError):
        return {"error": f"no JSON: {text[:80]!r}"}
    return parsed if isinstance(parsed, dict) else {}


def _classify(error: str) -> _Finding:
    outcome = Outcome.ENGINE_DEAD if any(text in error for text in _DEAD) else Outcome.FAILED
    return _Finding(outcome, _ELSEWHERE.sub("", error)[:_DETAIL_LIMIT])
