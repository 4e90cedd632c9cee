"""What an engine is told of images and videos, by its extra arguments. Pure."""

from collections.abc import Mapping
from typing import Final

from triton_vllm_operator.memory.settings import MANY, Seeing

_LIMITS: Final = "limit_mm_per_prompt"
_PROCESSOR: Final = "mm_processor_kwargs"
_SKIPS: Final = "skip_mm_profiling"
_PIXELS: Final = "max_pixels"
_UNBOUND: Final = ("min_pixels",)
"""Arguments of a processor that bound nothing from above."""
_IMAGE: Final = "image"
_VIDEO: Final = "video"


def read_seeing(extra: Mapping[str, object]) -> Seeing:
    """What of it is counted."""
    limits, pixels = _as_mapping(extra.get(_LIMITS)), _as_mapping(extra.get(_PROCESSOR)).get(_PIXELS)
    return Seeing(
        images=_count(limits.get(_IMAGE, MANY)) or 0,
        videos=_count(limits.get(_VIDEO, MANY)) or 0,
        max_pixels=pixels if isinstance(pixels, int) and pixels > 0 else None,
        is_profiled=extra.get(_SKIPS) is not True,
    )


def find_uncounted_seeing(extra: Mapping[str, object]) -> str | None:
    """The argument that says more than is counted; None if there is none."""
    limits, processor = _as_mapping(extra.get(_LIMITS)), _as_mapping(extra.get(_PROCESSOR))
    if any(modality not in (_IMAGE, _VIDEO) or _count(limit) is None for modality, limit in limits.items()):
        return _LIMITS
    # Without images and videos, some versions of some models load nothing that sees.
    if limits and not any(_count(limits.get(modality, MANY)) for modality in (_IMAGE, _VIDEO)):
        return _LIMITS
    return _PROCESSOR if set(processor) - {_PIXELS, *_UNBOUND} else None


COUNTED: Final = (_LIMITS, _PROCESSOR, _SKIPS)


def _count(limit: object) -> int | None:
    """None where it says more than how many."""
    if isinstance(limit, Mapping) and set(limit) == {"count"}:
        limit = limit["count"]
    return limit if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0 else None


def _as_mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
