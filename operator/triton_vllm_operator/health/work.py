"""What an engine says of its work, in the metrics of its server, and what two looks at them show. Pure."""

import hashlib
import itertools
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_BLOCKS: Final = b"vllm:kv_cache_usage_perc"
# What changes while the engine works, whoever asked: tokens, and blocks of the cache, which a long prompt takes one by
# one. What a client changes that leaves (latencies, finished requests) is none of it.
_COUNTERS: Final = (
    b"vllm:generation_tokens_total",
    b"vllm:prompt_tokens_total",
    b"vllm:num_preemptions_total",
    _BLOCKS,
)
_REQUESTS: Final = (b"vllm:num_requests_running", b"vllm:num_requests_waiting")
_UP: Final = b"vllm:engine_up"
"""Of the project's backend alone (images/vllm-backend): 0 once the engine is dead."""
_TOLD: Final = re.compile(rb"^(?:" + b"|".join((*_COUNTERS, *_REQUESTS, _UP)) + rb")[^\n]{0,512}$", re.MULTILINE)
_MOST_LINES: Final = 64
"""That are read: a server of one model has seven."""


@dataclass(frozen=True, slots=True)
class Work:
    """What an engine has done, and has under way."""

    counters: bytes
    """That which changes while it works, in a form that can be compared."""
    tells_prefill: bool = False
    """Whether something changes while it computes a long prompt."""
    requests: int | None = None
    """That it computes, or that wait for it; None if its backend does not say."""
    died: bool = False
    """Whether its backend says so: a hint, of which a probe is the proof."""

    @property
    def under_way(self) -> bool:
        """Whether it is known to have requests."""
        return bool(self.requests)


class Sign(StrEnum):
    """What looks at a container that has generated show."""

    WORKS = "works"
    RESTS = "rests"
    """It has nothing to do, or says nothing."""
    SUSPICIOUS = "suspicious"
    """It had something to do, and stands still."""


def read_work(metrics: bytes) -> Work | None:
    """From the metrics of a server, whoever answers in its place; None if they hold nothing of an engine."""
    lines = [found.group() for found in itertools.islice(_TOLD.finditer(metrics), _MOST_LINES)]
    counters = sorted(line for line in lines if line.startswith(_COUNTERS))
    if not counters:
        return None
    return Work(
        hashlib.blake2b(b"\n".join(counters), digest_size=16).digest(),
        tells_prefill=any(line.startswith(_BLOCKS) for line in counters),
        requests=_count_requests(lines),
        died=any(_value(line) == 0 for line in lines if line.startswith(_UP)),
    )


def compare(before: Work | None, now: Work | None, worked: bool) -> Sign:
    """What a look shows beside the one before it; `worked` is whether that one showed work."""
    if now is None:
        return Sign.RESTS
    if now.died:
        return Sign.SUSPICIOUS
    if before is None:
        return Sign.RESTS
    if now.counters != before.counters:
        return Sign.WORKS
    return Sign.SUSPICIOUS if worked or now.under_way else Sign.RESTS


def _count_requests(lines: list[bytes]) -> int | None:
    values = [value for line in lines if line.startswith(_REQUESTS) and math.isfinite(value := _value(line))]
    return math.ceil(sum(values)) if values else None


def _value(line: bytes) -> float:
    """Of a line of metrics; not a number if it holds none."""
    try:
        return float(line.rsplit(maxsplit=1)[-1])
    except ValueError:
        return float("nan")
