"""What reading a model and reading a draft model have in common. Pure."""

from collections.abc import Callable
from typing import Final, TypeVar

from pydantic import ValidationError

from triton_vllm_operator.sources.config import language_parts
from triton_vllm_operator.sources.files import Json
from triton_vllm_operator.sources.safetensors import Tensors
from triton_vllm_operator.sources.shape_tensors import Weights, is_head, is_vocabulary

SHOWN_STRANGE: Final = 5
"""Names that a shape tells of what was not understood."""
MOST_KINDS: Final = 26
"""Letters of a pattern."""
_SHOWN_ERROR: Final = 60
Read = TypeVar("Read")


def understood(read: Callable[[], Read | str]) -> Read | str:
    """What was read; why that cannot be said, where nothing would be certain."""
    try:
        return read()
    except (ValidationError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        # A plan is a service to the model: what it cannot read must not keep the model from being served.
        return f"its files hold what no model has: {' '.join(str(error).split())[:_SHOWN_ERROR]}"


def find_missing(weights: Weights, layers: int) -> str:
    """That the files hold less layers than config.json says; empty if they do not."""
    held = len(weights.layers)
    return f"the weights hold {held} layers, and config.json says {layers}" if held < layers else ""


def is_tied(config: Json, tensors: Tensors) -> bool:
    """Whether the embedding is the output's weights too."""
    has_head = any(is_vocabulary(name) and is_head(name) for name in tensors)
    said = next(
        (value for part in language_parts(config) if isinstance(value := part.get("tie_word_embeddings"), bool)), None
    )
    return not has_head if said is None else said
