"""The generate probe: a few tokens, streamed, from one pod. This module does I/O."""

import json
import time
from typing import Final

import aiohttp

from triton_vllm_operator.health.reading import TooLong, read_all, read_lines
from triton_vllm_operator.health.target import ProbeTarget
from triton_vllm_operator.health.verdict import Outcome, ProbeResult

# Texts of a backend whose engine or stub has died; facts in docs/design/readiness.md.
_DEAD: Final = ("EngineCore encountered an issue", "EngineDeadError", "Stub process", "unhealthy vLLM engine")
# Counters that grow while the engine works, whoever asked.
_PROGRESS: Final = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
_DETAIL_LIMIT: Final = 300
_METRICS_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_NO_ANSWER: Final = (aiohttp.ClientError, OSError)


async def probe(session: aiohttp.ClientSession, target: ProbeTarget) -> ProbeResult:
    """Generate with one pod. Never raises for what the pod or the network does."""
    started = time.monotonic()
    before = await _progress(session, target)
    try:
        outcome, detail = await _generate(session, target)
    except aiohttp.ConnectionTimeoutError as error:
        outcome, detail = Outcome.UNREACHABLE, str(error)
    except TimeoutError:
        outcome, detail = await _timed_out(session, target, before)
    except _NO_ANSWER as error:
        outcome, detail = Outcome.UNREACHABLE, str(error) or type(error).__name__
    except TooLong as error:
        outcome, detail = Outcome.FAILED, str(error)
    return ProbeResult(outcome, detail, time.monotonic() - started)


async def _generate(session: aiohttp.ClientSession, target: ProbeTarget) -> tuple[Outcome, str]:
    settings = target.settings
    body = {
        "text_input": settings.prompt,
        "stream": True,
        "parameters": {"max_tokens": settings.max_tokens, "ignore_eos": True, "temperature": 0},
    }
    # The deadline is between two signs of life, not for the whole answer.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=settings.timeout_seconds)
    has_text = False
    async with session.post(target.generate_url, json=body, timeout=timeout, allow_redirects=False) as response:
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
