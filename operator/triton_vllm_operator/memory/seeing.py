"""What an engine is told of images and videos, by its extra arguments. Pure."""

from collections.abc import Mapping
from typing import Final

from triton_vllm_operator.memory.settings import MANY, Seeing
from triton_vllm_operator.sources.config import as_count

_LIMITS: Final = "limit_mm_per_prompt"
_PROCESSOR: Final = "mm_processor_kwargs"
_SKIPS: Final = "skip_mm_profiling"
_PIXELS: Final = "max_pixels"
_LEAST: Final = "min_pixels"
_IMAGE: Final = "image"
_VIDEO: Final = "video"


def read_seeing(extra: Mapping[str, object]) -> Seeing:
    """What of it is counted."""
    limits, pixels = _as_mapping(extra.get(_LIMITS)), as_count(_as_mapping(extra.get(_PROCESSOR)).get(_PIXELS))
    return Seeing(
        images=_count(limits.get(_IMAGE, MANY)) or 0,
        videos=_count(limits.get(_VIDEO, MANY)) or 0,
        max_pixels=pixels,
        is_profiled=extra.get(_SKIPS) is not True,
    )


def find_uncounted_seeing(extra: Mapping[str, object]) -> str | None:
    """The argument that says more than is counted; None if there is none."""
    if _LIMITS in extra and not _are_counted_limits(extra[_LIMITS]):
        return _LIMITS
    return _PROCESSOR if _PROCESSOR in extra and not _is_counted_processor(extra[_PROCESSOR]) else None


def _are_counted_limits(limits: object) -> bool:
    """Without images, some versions of some models load nothing that sees."""
    if limits is None:
        return True
    if not isinstance(limits, Mapping) or set(limits) - {_IMAGE, _VIDEO}:
        return False
    return all(_count(limit) is not None for limit in limits.values()) and _count(limits.get(_IMAGE, MANY)) != 0


def _is_counted_processor(given: object) -> bool:
    if given is None:
        return True
    if not isinstance(given, Mapping) or set(given) - {_PIXELS, _LEAST}:
        return False
    most, least = given.get(_PIXELS), given.get(_LEAST, 1)
    if (_PIXELS in given and as_count(most) is None) or as_count(least) is None:
        return False
    return as_count(most) is None or (as_count(least) or 0) <= (as_count(most) or 0)


COUNTED: Final = (_LIMITS, _PROCESSOR, _SKIPS)


def _count(limit: object) -> int | None:
    """None where it says more than how many."""
    if isinstance(limit, Mapping) and set(limit) == {"count"}:
        limit = limit["count"]
    return limit if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0 else None


def _as_mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
