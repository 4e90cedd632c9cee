"""The shape of what guesses tokens for a model: a draft model's, and of layers that a model brings for it (MTP). Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/config/speculative.py (hf_config_override) and the models
*_eagle*.py, *_mtp.py and medusa.py in vllm/model_executor/models.
"""

import math
import re
from collections import defaultdict
from typing import Final, NamedTuple

from triton_vllm_operator.sources.config import HEADS, find_count, find_language_type
from triton_vllm_operator.sources.files import Json
from triton_vllm_operator.sources.generation import architecture_names
from triton_vllm_operator.sources.safetensors import Tensor, Tensors
from triton_vllm_operator.sources.shape import (
    MOST_LAYERS,
    Allocation,
    Attention,
    DraftShape,
    Form,
    LayerKind,
    contract,
)
from triton_vllm_operator.sources.shape_layers import HIDDEN, find_layers
from triton_vllm_operator.sources.shape_tensors import Weights, find_weights_shape, is_head, is_vocabulary
from triton_vllm_operator.sources.tables import find_tables
from triton_vllm_operator.sources.understanding import MOST_KINDS, SHOWN_STRANGE, find_missing, is_tied, understood

_MEDUSA: Final = "medusa"
_BORROWS: Final = ("gemma4_assistant", "gemma4_unified_assistant")
"""Draft models whose layers look at the model's own keys and values."""
_NESTED: Final = "transformer_layer_config"
"""Where the library `speculators` keeps the configuration of the layers."""
_FIRST_LAYER: Final = ("midlayer.", "layers.0.")
"""What EAGLE-3 calls its layer, and what vLLM does."""
_NOT_HELD: Final = re.compile(r"(^|\.)(t2d|rotary_emb\.inv_freq)$")
_JOIN: Final = "fc"
_JOINS: Final = (_JOIN, "eh_proj", "input_proj")
"""Layers that join what a model computed with the next token; held whole on each rank."""
_FEWEST_FURTHER: Final = 3
"""Hidden states that a join takes which looks at further layers; others take two, of the last and of the token."""
_OWN_LAYER: Final = re.compile(
    r"(?:^|.*\.)(?P<at>mtp\.layers|mtp_layers|mtp_block|layers)\.(?P<number>\d+)\.(?P<rest>.+)"
)
_OWN_PART: Final = re.compile(r"(?:^|.*\.)mtp[._](?P<rest>.+)")
_OF_THE_MODEL: Final = re.compile(r"(^|\.)(embed_tokens|shared_head\.head)\.")
"""Copies of the model's own embedding and output, which are not loaded."""


class Family(NamedTuple):
    """Models that bring layers which guess."""

    architecture: str
    has_heads_in_layers: bool = False
    """Whether each of these has an output of its own (SharedHead)."""


_FAMILIES: Final = (
    Family("DeepseekV3ForCausalLM", has_heads_in_layers=True),
    Family("DeepseekV32ForCausalLM", has_heads_in_layers=True),
    Family("Glm4MoeForCausalLM", has_heads_in_layers=True),
    Family("Glm4MoeLiteForCausalLM", has_heads_in_layers=True),
    Family("Ernie4_5_MoeForCausalLM"),
    Family("ExaoneMoEForCausalLM"),
    Family("MiMoForCausalLM"),
    Family("Qwen3NextForCausalLM"),
    Family("Qwen3_5ForCausalLM"),
    Family("Qwen3_5ForConditionalGeneration"),
    Family("Qwen3_5MoeForCausalLM"),
    Family("Qwen3_5MoeForConditionalGeneration"),
)


def read_draft(config: Json, tensors: Tensors) -> DraftShape | str:
    """What a draft model takes; why that cannot be said, where nothing would be certain."""
    read = _read_medusa if find_language_type(config) == _MEDUSA else _read_draft
    return understood(lambda: read(config, tensors))


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
    if why := find_missing(weights, len(layers)):
        return why
    further = _count_joined(config, renamed)
    draft = _draft(config, weights, layers)
    if isinstance(draft, str):
        return draft
    return draft.model_copy(
        update={
            "heads": find_count(config, *HEADS) or 0,
            "vocabulary": _count_rows(renamed, of_head=False),
            # A head of EAGLE holds the output that is in its files, whatever config.json says.
            "head": 0 if is_tied(config, renamed) and not further else _count_rows(renamed, of_head=True),
            "is_head": further > 0,
            "further_states": further if further >= _FEWEST_FURTHER else 0,
            "tables": tuple(find_tables(config, layers[0])),
        }
    )


def _count_rows(tensors: Tensors, *, of_head: bool) -> int:
    """Of the embedding, or of the output; 0 if there is none."""
    named = (tensor for name, tensor in tensors.items() if is_vocabulary(name) and is_head(name) is of_head)
    return next((tensor.shape[0] for tensor in named), 0)


def _count_joined(config: Json, tensors: Tensors) -> int:
    """Hidden states that go in together; 0 if nothing joins any.

    https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/models/llama_eagle3.py (num_aux_hidden_states)
    """
    size = find_count(config, "target_hidden_size", *HIDDEN) or 1
    joins = (tensor for name, tensor in tensors.items() if _module(name) == _JOIN and len(tensor.shape) > 1)
    return next((max(1, tensor.shape[1] // size) for tensor in joins), 0)


def _read_medusa(config: Json, tensors: Tensors) -> DraftShape:
    """No layers that remember, and an output for each token that is guessed."""
    rows = [
        Allocation(Form.FLOAT, divided=math.prod(tensor.shape))
        if is_head(name)
        else Allocation(Form.FLOAT, whole=math.prod(tensor.shape))
        for name, tensor in tensors.items()
        if not (config.get("original_lm_head") and is_head(name) and ".0." not in name)
    ]
    return DraftShape(hidden_size=find_count(config, *HIDDEN) or 1, beside=tuple(rows), is_head=True)


def read_own_draft(config: Json, tensors: Tensors, layers: tuple[LayerKind, ...]) -> DraftShape | str:
    """What a model brings to guess its own tokens; why that cannot be said; empty if it brings nothing.

    `layers` are those of the model itself.
    """
    return understood(lambda: _read_own(config, tensors, layers))


def _read_own(config: Json, tensors: Tensors, layers: tuple[LayerKind, ...]) -> DraftShape | str:
    found = _own_tensors(tensors, len(layers))
    names = architecture_names(config)
    family = next((family for family in _FAMILIES if family.architecture in names), None)
    attending = next((layer for layer in reversed(layers) if layer.attention is not Attention.NONE), None)
    if not found:
        return ""
    if family is None or attending is None:
        return f"the layers that {next(iter(names), 'it')[:48]} brings to guess are not known"
    kind = attending.model_copy(update={"state": None})
    weights = _weigh(config, found, kind, MOST_LAYERS)
    draft = _draft(config, weights, (kind,) * len(weights.layers))
    if isinstance(draft, str):
        return draft
    return draft.model_copy(update={"is_head": True, "has_heads_in_layers": family.has_heads_in_layers})


def _own_tensors(tensors: Tensors, count: int) -> dict[str, Tensor]:
    """Those of its layers, counted from 0, and what lies beside these; none if there are no layers."""
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
    return inside | beside if inside else {}


def _weigh(config: Json, tensors: Tensors, kind: LayerKind, count: int) -> Weights:
    heads = find_count(config, *HEADS) or 1
    return find_weights_shape(tensors, (heads, 2 * max(1, kind.heads)), count)


def _draft(config: Json, weights: Weights, layers: tuple[LayerKind, ...]) -> DraftShape | str:
    own = weights.layers
    kinds, alike = tuple(dict.fromkeys(layers)), tuple(dict.fromkeys(own))
    if max(len(kinds), len(alike)) > MOST_KINDS:
        return "its layers are of too many kinds"
    strange = (name for name in weights.strange if _module(name) not in _JOINS)
    return DraftShape(
        hidden_size=find_count(config, *HIDDEN) or 1,
        kinds=kinds,
        pattern=contract(tuple(kinds.index(layer) for layer in layers)),
        weights=alike,
        weight_pattern=contract(tuple(alike.index(layer) for layer in own)),
        beside=weights.others,
        strange=tuple(strange)[:SHOWN_STRANGE],
    )


def _module(name: str) -> str:
    """`fc` of `model.fc.weight`."""
    return name.rpartition(".")[0].rpartition(".")[2]
