"""What an engine says in its log of the memory that it took. Pure.

Every spelling of the catalogued versions, 0.10.2 to 0.33.0, read off the messages in the published wheels. Of several
ranks each speaks: the fullest counts.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.memory.versions import GIB

_MOST_BYTES: Final = 2.0**53
_MOST_SECONDS: Final = 2.0**31
_MAY_LACK: Final = ("cache", "graphs")
"""Of which an engine says how much it lacks."""
_NUMBER: Final = r"(-?[\d,]+(?:\.\d+)?)"


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes and seconds of one start; None where the log does not say them."""

    weights: int | None = None
    cache: int | None = None
    tokens: int | None = None
    length: int | None = None
    """Tokens of the longest sequence, for which `concurrency` is."""
    concurrency: float | None = None
    graphs: int | None = None
    graphs_estimate: int | None = None
    attention: str | None = None
    """The attention backend, as vLLM calls it."""
    suggested_cache: int | None = None
    """Bytes of the cache that the engine would fill its share with exactly, next time (kv_cache_memory_bytes)."""
    is_planned: bool = False
    """Whether the cache is that of a stored start plan, so that nothing was profiled."""
    load_seconds: float | None = None
    compile_seconds: float | None = None
    capture_seconds: float | None = None
    init_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """Where one number stands, and which of several counts."""

    name: str
    pattern: re.Pattern[str]
    scale: float
    choose: Callable[[list[float]], float]
    is_whole: bool = True


def _line(name: str, pattern: str, scale: float = 1, choose: Callable[[list[float]], float] = max) -> Line:
    return Line(name, re.compile(pattern.replace("NUMBER", _NUMBER)), scale, choose, not name.endswith(_FLOATS))


_FLOATS: Final = ("seconds", "concurrency")
_LINES: Final = (
    _line("weights", r"Model loading took NUMBER GiB", GIB),
    _line("load_seconds", r"Model loading took [\d.]+ GiB(?: memory)? and NUMBER seconds"),
    _line("cache", r"Available KV cache memory: NUMBER GiB", GIB, min),
    _line("cache", r"(?:Explicitly|Auto) set \(NUMBER/[\d.]+\)? GiB for KV cache", GIB, min),
    _line("cache", r"Applying persisted startup plan \(fingerprint \S+\): kv_cache_memory_bytes=NUMBER", 1, min),
    _line("tokens", r"KV cache size: NUMBER tokens", 1, min),
    _line("length", r"Maximum concurrency for NUMBER tokens per request"),
    _line("concurrency", r"Maximum concurrency for [\d,]+ tokens per request: NUMBERx", 1, min),
    _line("graphs", r"Graph capturing finished in [\d.]+ secs, took NUMBER GiB", GIB),
    _line("capture_seconds", r"Graph capturing finished in NUMBER secs"),
    _line("graphs_estimate", r"Estimated CUDA graph memory: NUMBER GiB total", GIB),
    _line("suggested_cache", r"`?--kv-cache-memory=NUMBER`? \([\d.]+ GiB\) to fit into requested memory", 1, min),
    _line("compile_seconds", r"torch\.compile (?:takes|took) NUMBER s in total"),
    _line("init_seconds", r"init engine \(profile, create kv cache, warmup model\) took NUMBER s(?:econds)?\b"),
)
_ATTENTION: Final = re.compile(r"Using (\w+) attention backend out of potential backends")
_PLAN: Final = "Applying persisted startup plan"


def read_measured(log: str) -> Measured | None:
    """What the log says; None if it says nothing of memory."""
    found: dict[str, int | float] = {}
    for line in _LINES:
        numbers = [number for text in line.pattern.findall(log) if (number := _read(text, line)) is not None]
        if numbers and line.name not in found:
            chosen = line.choose(numbers)
            found[line.name] = round(chosen) if line.is_whole else chosen
    if not found.keys() & {"weights", "cache", "tokens"}:
        return None
    attention = _ATTENTION.search(log)
    return Measured(
        weights=_whole(found, "weights"),
        cache=_whole(found, "cache"),
        tokens=_whole(found, "tokens"),
        length=_whole(found, "length"),
        concurrency=found.get("concurrency"),
        graphs=_whole(found, "graphs"),
        graphs_estimate=_whole(found, "graphs_estimate"),
        attention=attention[1] if attention else None,
        suggested_cache=_whole(found, "suggested_cache"),
        is_planned=_PLAN in log,
        load_seconds=found.get("load_seconds"),
        compile_seconds=found.get("compile_seconds"),
        capture_seconds=found.get("capture_seconds"),
        init_seconds=found.get("init_seconds"),
    )


def _read(text: str, line: Line) -> float | None:
    """A number that a status holds; None for what no engine says."""
    try:
        number = float(text.replace(",", "")) * line.scale
    except ValueError:
        return None
    least = -_MOST_BYTES if line.name in _MAY_LACK else 0
    return number if least <= number < (_MOST_SECONDS if line.name.endswith("seconds") else _MOST_BYTES) else None


def _whole(found: dict[str, int | float], name: str) -> int | None:
    number = found.get(name)
    return None if number is None else int(number)
