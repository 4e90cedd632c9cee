"""The shape of a model, from its config.json and the headers of its weights. Pure."""

from typing import Final

from triton_vllm_operator.sources.config import (
    HEADS,
    find_count,
    is_multimodal,
    language_parts,
)
from triton_vllm_operator.sources.draft_reader import read_own_draft
from triton_vllm_operator.sources.files import Json
from triton_vllm_operator.sources.generation import architecture_names
from triton_vllm_operator.sources.lengths import find_longest
from triton_vllm_operator.sources.safetensors import Tensors
from triton_vllm_operator.sources.shape import (
    EDITION,
    Attention,
    DraftShape,
    Experts,
    LayerKind,
    ModelShape,
    Vision,
    contract,
)
from triton_vllm_operator.sources.shape_layers import HIDDEN, find_layers
from triton_vllm_operator.sources.shape_tensors import find_weights_shape, is_of_tower
from triton_vllm_operator.sources.tables import find_longer_tables, find_tables
from triton_vllm_operator.sources.understanding import MOST_KINDS, SHOWN_STRANGE, find_missing, is_tied, understood
from triton_vllm_operator.sources.vision import NOTHING_SAID, Sizes, read_vision

_WITHOUT_HEADS: Final = (Attention.LATENT, Attention.NONE)
_UNBOUND_LENGTH: Final = 2048
"""Tokens that vLLM assumes where nothing bounds a sequence (_get_and_verify_max_len)."""
_DEFAULT_DTYPE: Final = "float32"


def read_shape(config: Json, tensors: Tensors, sizes: Sizes = NOTHING_SAID) -> ModelShape | str:
    """What takes memory; why that cannot be said, where nothing would be certain.

    `sizes` is what the model's processor says of images.
    """
    return understood(lambda: _read_shape(config, tensors, sizes))


def _read_shape(config: Json, tensors: Tensors, sizes: Sizes) -> ModelShape | str:
    layers = find_layers(config)
    if isinstance(layers, str):
        return layers
    hidden, vocabulary = find_count(config, *HIDDEN), find_count(config, "vocab_size", "padded_vocab_size")
    if not hidden or not vocabulary:
        return "config.json does not say its vocabulary and hidden size"
    keys = next((layer for layer in layers if layer.attention not in _WITHOUT_HEADS), layers[0])
    heads = find_count(config, *HEADS) or 1
    weights = find_weights_shape(tensors, (heads, 2 * max(1, keys.heads)), len(layers))
    if why := find_missing(weights, len(layers)):
        return why
    if why := _find_own_cache(config, tensors):
        return why
    own = weights.layers
    kinds, alike = tuple(dict.fromkeys(layers)), tuple(dict.fromkeys(own))
    if max(len(kinds), len(alike)) > MOST_KINDS:
        return "its layers are of too many kinds"
    experts, draft = _find_experts(config), read_own_draft(config, tensors, layers)
    tables = tuple(find_tables(config, keys))
    sees = is_multimodal(config) and bool(weights.towers)
    vision = read_vision(config, sizes, filter(is_of_tower, tensors)) if sees else None
    return ModelShape(
        architecture=next(iter(architecture_names(config)), ""),
        hidden_size=hidden,
        vocabulary=vocabulary,
        head_is_tied=is_tied(config, tensors),
        longest=_find_longest(config) or (_UNBOUND_LENGTH if not _attends(layers) else None),
        heads=heads,
        dtype=_find_dtype(config),
        kinds=kinds,
        pattern=contract(tuple(kinds.index(layer) for layer in layers)),
        weights=alike,
        weight_pattern=contract(tuple(alike.index(layer) for layer in own)),
        adapters=tuple(weights.adapters[first] for first in map(own.index, alike)),
        mixtures=tuple(weights.are_mixtures[first] for first in map(own.index, alike)),
        first=weights.towers,
        last=weights.others,
        tables=tables,
        longer_tables=find_longer_tables(config, tables),
        inner_size=find_count(config, "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size") or 0,
        experts=experts,
        draft=draft if isinstance(draft, DraftShape) else None,
        draftless=draft if isinstance(draft, str) else "",
        edition=EDITION,
        looked_at=(find_count(config, "index_topk") or 0) if any(layer.index for layer in layers) else 0,
        sees=sees,
        vision=vision if isinstance(vision, Vision) else None,
        unseen=vision if isinstance(vision, str) else "",
        strange=(*weights.strange, *weights.large)[:SHOWN_STRANGE],
    )


def _find_own_cache(config: Json, tensors: Tensors) -> str:
    """Whether the checkpoint says, or may say in a file of its own, in which dtype keys and values are kept."""
    given = next((found for part in language_parts(config) if (found := part.get("quantization_config"))), None)
    if isinstance(given, dict):
        key = next((key for key in ("kv_cache_scheme", "kv_cache_quant_algo") if given.get(key)), None)
        return f"quantization_config.{key} chooses the KV cache's dtype" if key else ""
    has_bytes = any(tensor.dtype in ("U8", "I8", "F8_E4M3", "F8_E5M2", "I32") for tensor in tensors.values())
    return "quantised weights without quantization_config in config.json" if has_bytes else ""


def _find_experts(config: Json) -> Experts | None:
    per_token = find_count(config, "num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk")
    size = find_count(config, "moe_intermediate_size", "expert_intermediate_size", "intermediate_size")
    count = find_count(config, "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    return Experts(per_token=per_token, size=size, count=count) if count and per_token and size else None


def _attends(layers: tuple[LayerKind, ...]) -> bool:
    return any(layer.attention is not Attention.NONE for layer in layers)


def _find_longest(config: Json) -> int | None:
    """None also where versions differ in what a scaling of positions makes of it."""
    longest = find_longest(config)
    return longest.tokens if longest is not None and not longest.is_scaled else None


def _find_dtype(config: Json) -> str:
    named = (part.get(key) for part in language_parts(config) for key in ("torch_dtype", "dtype"))
    return next((name for name in named if isinstance(name, str)), _DEFAULT_DTYPE)
