"""Reading numbers of config.json, which may stand in the part of the language model. Pure."""

from collections.abc import Iterator
from typing import Final

from triton_vllm_operator.sources.files import Json

_LANGUAGE: Final = ("text_config", "llm_config", "language_config", "thinker_config")
HEADS: Final = ("num_attention_heads", "n_head", "n_heads")
"""Of attention."""
TOWERS: Final = r"visual|vision\w*|audio\w*|image_\w+|\w*_tower|multi_modal_projector|mm_projector|connector|aligner"
"""Modules that see and hear, and what joins them to the language model, as an expression."""
_OTHER_PARTS: Final = ("vision_config", "audio_config")


def language_parts(config: Json) -> Iterator[Json]:
    """What describes the language model: the innermost part first, the whole last."""
    for name in _LANGUAGE:
        part = config.get(name)
        if isinstance(part, dict):
            yield from language_parts(part)
    yield config


def find_count(config: Json, *keys: str) -> int | None:
    """The first of these numbers that is there, and positive."""
    parts = tuple(language_parts(config))
    counts = (count for key in keys for part in parts if (count := as_count(part.get(key))))
    return next(counts, None)


def find_model_type(config: Json) -> str | None:
    """By which the transformers library chooses the class of the configuration."""
    found = config.get("model_type")
    return found if isinstance(found, str) else None


def find_language_type(config: Json) -> str:
    """The `model_type` of what makes text; empty if there is none."""
    types = (part.get("model_type") for part in language_parts(config))
    return next((name for name in types if isinstance(name, str)), "")


def as_count(value: object) -> int | None:
    """A positive whole number that a shape can hold; None for all else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST else None


def as_factor(value: object) -> float | None:
    """A positive number that a float holds; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 < value < _LARGEST_FACTOR else None


_LARGEST: Final = 2**53
_LARGEST_FACTOR: Final = 2.0**53


def is_multimodal(config: Json) -> bool:
    """Whether a model has parts beside the one that makes text, or under it."""
    return any(isinstance(config.get(part), dict) for part in (*_LANGUAGE, *_OTHER_PARTS))
