"""The shape of what guesses tokens for a model: a draft model's, and of layers that a model brings for it (MTP). Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/config/speculative.py (hf_config_override) and the models
*_eagle*.py, *_mtp.py and medusa.py in vllm/model_executor/models.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from triton_vllm_operator.sources.config import HEADS, find_count, find_language_type
from triton_vllm_operator.sources.files import Json
from triton_vllm_operator.sources.generation import architecture_names
from triton_vllm_operator.sources.safetensors import Tensor, Tensors
from triton_vllm_operator.sources.shape import MOST_LAYERS, Allocation, Attention, DraftShape, Form, LayerKind, contract
from triton_vllm_operator.sources.shape_layers import HIDDEN, find_layers
from triton_vllm_operator.sources.shape_tensors import HEAD_NAMES, Weights, find_weights_shape, is_vocabulary
from triton_vllm_operator.sources.tables import find_tables

_MEDUSA: Final = "medusa"
_BORROWS: Final = ("gemma4_assistant", "gemma4_unified_assistant")
"""Draft models whose layers look at the model's own keys and values."""
_NESTED: Final = "transformer_layer_config"
"""Where the library `speculators` keeps the configuration of the layers."""
_FIRST_LAYER: Final = ("midlayer.", "layers.0.")
"""What EAGLE-3 calls its layer, and what vLLM does."""
_NOT_HELD: Final = re.compile(r"(^|\.)(t2d|rotary_emb\.inv_freq)$")
_JOINS: Final = ("fc", "eh_proj", "input_proj")
"""Layers that join what a model computed with the next token; held whole on each rank."""
_OWN: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM"), True),
    **dict.fromkeys(("Glm4MoeForCausalLM", "Glm4MoeLiteForCausalLM"), True),
    **dict.fromkeys(("MiMoForCausalLM", "Ernie4_5_MoeForCausalLM", "ExaoneMoEForCausalLM"), False),
    **dict.fromkeys(("Qwen3NextForCausalLM", "Qwen3_5ForCausalLM", "Qwen3_5MoeForCausalLM"), False),
    **dict.fromkeys(("Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration"), False),
}
"""Models of which vLLM loads layers that guess, and whether each of these has an output of its own."""
_OWN_LAYER: Final = re.compile(
    r"(?:^|.*\.)(?P<at>mtp\.layers|mtp_layers|mtp_block|layers)\.(?P<number>\d+)\.(?P<rest>.+)"
)
_OWN_PART: Final = re.compile(r"(?:^|.*\.)mtp[._](?P<rest>.+)")
_OF_THE_MODEL: Final = re.compile(r"(^|\.)(embed_tokens|shared_head\.head)\.")
"""Copies of the model's own embedding and output, which are not loaded."""
_SHOWN_STRANGE: Final = 5
_SHOWN_ERROR: Final = 100


def read_draft(config: Json, tensors: Tensors) -> DraftShape | str:
    """What a draft model takes; why that cannot be said, where nothing would be certain."""
    try:
        return _read_heads(config, tensors) if find_language_type(config) == _MEDUSA else _read_draft(config, tensors)
    except (ValidationError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        return f"its files hold what no model has: {' '.join(str(error).split())[:_SHOWN_ERROR]}"


def _read_draft(config: Json, tensors: Tensors) -> DraftShape | str:
    if find_language_type(config) in _BORROWS:
        return "a draft model that looks at the keys and values of the model"
    nested = config.get(_NESTED)
    config = {**config, **nested} if isinstance(nested, dict) else config
    layers = find_layers(config)
    if isinstance(layers, str):
        return layers
    renamed = {name.replace(*_FIRST_LAYER): tensor for name, tensor in tensors.items() if not _NOT_HELD.search(name)}
    weights = _weigh(config, renamed, layers[0], len(layers))
    if len(weights.layers) < len(layers):
        return f"the weights hold {len(weights.layers)} layers, and config.json says {len(layers)}"
    rows = {_is_head(name): tensor.shape[0] for name, tensor in renamed.items() if is_vocabulary(name)}
    is_tied = config.get("tie_word_embeddings") is True
    return _draft(config, weights, layers).model_copy(
        update={
            "vocabulary": rows.get(False, 0),
            "head": 0 if is_tied else rows.get(True, 0),
            "tables": tuple(find_tables(config, layers[0])),
        }
    )


def _is_head(name: str) -> bool:
    return any(head in name for head in HEAD_NAMES)


def _read_heads(config: Json, tensors: Tensors) -> DraftShape:
    """Medusa's: no layers that remember, and an output for each token that is guessed."""
    rows = [
        Allocation(Form.FLOAT, divided=math.prod(tensor.shape))
        if _is_head(name)
        else Allocation(Form.FLOAT, whole=math.prod(tensor.shape))
        for name, tensor in tensors.items()
        if not (config.get("original_lm_head") and _is_head(name) and ".0." not in name)
    ]
    return DraftShape(hidden_size=find_count(config, *HIDDEN) or 1, beside=tuple(rows))


def read_own_draft(config: Json, tensors: Tensors, layers: tuple[LayerKind, ...]) -> DraftShape | None:
    """What a model brings to guess its own tokens; None if it brings nothing that vLLM loads, or nobody knows what.

    `layers` are those of the model itself.
    """
    name = next((name for name in architecture_names(config) if name in _OWN), None)
    attending = next((layer for layer in reversed(layers) if layer.attention is not Attention.NONE), None)
    if name is None or attending is None:
        return None
    found = _own_tensors(tensors, len(layers))
    kind = attending.model_copy(update={"state": None})
    weights = _weigh(config, found, kind, MOST_LAYERS)
    if not weights.layers:
        return None
    draft = _draft(config, weights, (kind,) * len(weights.layers))
    return draft.model_copy(update={"has_heads_in_layers": _OWN[name]})


def _own_tensors(tensors: Tensors, count: int) -> dict[str, Tensor]:
    """Those of its layers, counted from 0, and what lies beside these."""
    layers: dict[int, dict[str, Tensor]] = defaultdict(dict)
    beside: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if _OF_THE_MODEL.search(name):
            continue
        found = _OWN_LAYER.fullmatch(name)
        if found is not None and (found["at"] != "layers" or int(found["number"]) >= count):
            layers[int(found["number"])][found["rest"]] = tensor
        elif part := _OWN_PART.fullmatch(name):
            beside[part["rest"]] = tensor
    numbered = enumerate(layers[number] for number in sorted(layers))
    inside = {f"layers.{number}.{rest}": tensor for number, rows in numbered for rest, tensor in rows.items()}
    return inside | beside


def _weigh(config: Json, tensors: Tensors, kind: LayerKind, count: int) -> Weights:
    heads = find_count(config, *HEADS) or 1
    return find_weights_shape(tensors, (heads, 2 * max(1, kind.heads)), count)


def _draft(config: Json, weights: Weights, layers: tuple[LayerKind, ...]) -> DraftShape:
    own = weights.layers
    kinds, alike = tuple(dict.fromkeys(layers)), tuple(dict.fromkeys(own))
    strange = (name for name in weights.strange if name.split(".")[-2:][0] not in _JOINS)
    return DraftShape(
        hidden_size=find_count(config, *HIDDEN) or 1,
        kinds=kinds,
        pattern=contract(tuple(kinds.index(layer) for layer in layers)),
        weights=alike,
        weight_pattern=contract(tuple(alike.index(layer) for layer in own)),
        beside=weights.others,
        strange=tuple(strange)[:_SHOWN_STRANGE],
    )
