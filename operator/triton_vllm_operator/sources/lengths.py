"""The longest sequence that a model knows, by its config.json. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/config/model.py (_get_and_verify_max_len). Where versions differ the
longer one counts: only what none of them takes is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.sources.config import as_count, as_factor, find_count, language_parts
from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import Json
from triton_vllm_operator.sources.task import Expectation

# Command-R's model_max_length counts too.
_KEYS: Final = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length"),
    *("max_target_positions", "max_seq_length", "max_sequence_length", "seq_len"),
)
_SCALINGS: Final = ("rope_scaling", "rope_parameters")
_UNSCALED: Final = frozenset({"default", "mrope", "su", "longrope", "llama3"})
"""Kinds of RoPE whose factor vLLM does not multiply by: the length in config.json is that of the whole model."""
_MULTIPLIED: Final = frozenset({"linear", "dynamic", "ntk", "yarn"})
_ALREADY_SCALED: Final = "gemma3"


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens, and what of config.json says so."""

    tokens: int
    told_by: str
    is_scaled: bool = False
    """Whether a scaling of positions makes it, of which versions make different lengths."""


def check_length(config: Json, expected: Expectation) -> None:
    """That the engine is asked for no longer sequence than the model knows.

    Raises:
        SourceFault: it is, and would not start.
    """
    wanted, longest = expected.max_model_len, find_longest(config)
    if longest is None or wanted is None or expected.allows_longer or wanted <= longest.tokens:
        return
    raise not_servable(
        f"spec.engine.maxModelLen {wanted} is more than the {longest.tokens} tokens that the model knows "
        f"({longest.told_by} in config.json): write that or less"
    )


def find_longest(config: Json) -> Length | None:
    """The longest sequence; None if config.json does not tell."""
    lengths = [Length(count, key) for key in _KEYS if (count := find_count(config, key))]
    if not lengths or "auto_map" in config:
        return None
    base = max(lengths, key=lambda length: length.tokens)
    if _ALREADY_SCALED in str(config.get("model_type")):
        return base
    longest = base
    for scaling in _find_scalings(config):
        tokens = _scale(scaling, base.tokens)
        if tokens is None:
            return None
        if tokens > longest.tokens:
            longest = Length(tokens, f"{base.told_by} with the RoPE scaling", is_scaled=True)
    return longest


def _scale(scaling: Json, base: int) -> int | None:
    """Tokens with that scaling; None if its kind is not known."""
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if not isinstance(kind, str) or kind in _UNSCALED:
        return base if isinstance(kind, str) else None
    factor = as_factor(scaling.get("factor"))
    if kind not in _MULTIPLIED or factor is None:
        return None
    original = as_count(scaling.get("original_max_position_embeddings"))
    # YaRN's factor is of the length before it, which newer versions do not multiply at all.
    return int((original if kind == "yarn" and original else base) * factor)


def _find_scalings(config: Json) -> Iterator[Json]:
    for part in language_parts(config):
        for scaling in (part.get(key) for key in _SCALINGS):
            if isinstance(scaling, dict):
                # Some models hold one set of parameters for each type of their layers.
                nested = [value for value in scaling.values() if isinstance(value, dict)]
                yield from nested or (scaling,)
