"""How each layer of a model remembers, by its config.json. Pure.

https://github.com/vllm-project/vllm/blob/main/vllm/config/model.py and the models in vllm/model_executor/models.
"""

from collections.abc import Sequence
from typing import Final

from triton_vllm_operator.sources.config import HEADS, as_count, find_count, find_language_type, language_parts
from triton_vllm_operator.sources.files import Json
from triton_vllm_operator.sources.shape import MOST_LAYERS, Attention, LayerKind
from triton_vllm_operator.sources.shape_states import States, find_states, is_of_states

_CHUNK: Final = "attention_chunk_size"
_LAYERS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_KEY_HEADS: Final = (
    "num_key_value_heads",
    "num_attention_groups",
    "n_head_kv",
    "num_kv_heads",
    "multi_query_group_num",
)
HIDDEN: Final = ("hidden_size", "n_embd", "d_model")
# What `layer_types` calls them.
_TYPES: Final = {
    "full_attention": Attention.FULL,
    "attention": Attention.FULL,
    "sliding_attention": Attention.WINDOW,
    "chunked_attention": Attention.CHUNK,
}
_OF_STATES: Final = (
    *("full_attention_interval", "linear_num_value_heads", "linear_attn_config", "attn_type_list", "layer_group_size"),
    *("mamba_d_state", "mamba_d_conv", "mamba_num_heads", "mamba_n_heads", "ssm_state_size", "state_size"),
    *("hybrid_override_pattern", "layers_block_type", "attn_layer_period", "conv_L_cache", "lru_width"),
)
"""Keys of models that keep states, of families that are not known (shape_states.py)."""
_OF_OTHERS: Final = (
    *("compress_ratios", "block_configs"),
    *("num_key_value_heads_per_layer", "attn_config"),
)
"""Keys of models that keep more than keys and values, or not alike in all layers, or say it elsewhere."""
SPARSE: Final = ("deepseek_v32",)
"""Models that look at some tokens alone, which an index finds."""
_SCALED: Final = 128
_SCALE: Final = 4
_CHUNK_EVERY: Final = 4
"""Of models that attend in chunks, every nth layer attends to everything, unless they list which."""
# Models whose every nth layer attends to everything where config.json does not list its layers: transformers' own rule.
_EVERY: Final = {"gemma2": 2, "gpt_oss": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4}


def find_layers(config: Json) -> tuple[LayerKind, ...] | str:
    """The kind of each layer, in order; what is not understood, where that is so."""
    if key := _find_unknown_state(config):
        return f"layers that keep something else than keys and values, or not alike ({key})"
    if any(not isinstance(part.get("num_key_value_heads", 1), int) for part in language_parts(config)):
        return "num_key_value_heads is no number"
    count, heads = find_count(config, *_LAYERS), find_count(config, *HEADS)
    hidden = find_count(config, *HIDDEN)
    if not count or not hidden or (not heads and not is_of_states(find_language_type(config))):
        return "config.json does not say its layers, heads and hidden size"
    if count > MOST_LAYERS:
        return f"{count} layers"
    states = find_states(config, find_language_type(config), count)
    if isinstance(states, str):
        return states
    heads = heads or 1
    if latent := find_count(config, "kv_lora_rank"):
        rotary = find_count(config, "qk_rope_head_dim") or 0
        kind = LayerKind(
            attention=Attention.LATENT,
            heads=1,
            size=latent + rotary,
            rotary=rotary,
            expanded=(find_count(config, "qk_nope_head_dim") or 0) + (find_count(config, "v_head_dim") or 0),
            index=_find_index(config),
        )
        return _with_states((kind,) * count, states)
    if states is not None:
        size = find_count(config, "head_dim", "attention_head_dim") or hidden // heads
        full = LayerKind(attention=Attention.FULL, heads=_find_key_heads(config, heads), size=2 * size)
        return _with_states((full,) * count, states)
    attentions = _find_attentions(config, count)
    if isinstance(attentions, str):
        return attentions
    size = find_count(config, "head_dim") or hidden // heads
    full = LayerKind(attention=Attention.FULL, heads=_find_key_heads(config, heads), size=2 * size)
    far = full.model_copy(
        update={
            "heads": find_count(config, "num_global_key_value_heads") or full.heads,
            "size": 2 * (find_count(config, "global_head_dim") or size),
        }
    )
    window = _find_window(config)
    near = full.model_copy(update={"attention": Attention.WINDOW, "window": window})
    chunk = find_count(config, _CHUNK)
    part = full.model_copy(update={"attention": Attention.CHUNK, "window": chunk})
    shared = min(count, find_count(config, "num_kv_shared_layers") or 0)
    by_kind = {Attention.WINDOW: near if window else far, Attention.CHUNK: part if chunk else far}
    # The last layers of some models look at what earlier ones remember.
    own = tuple(by_kind.get(kind, far) for kind in attentions[: count - shared])
    return (*own, *(LayerKind(attention=Attention.NONE),) * shared)


def _find_unknown_state(config: Json) -> str | None:
    """The key by which a model says that it keeps what is not known here; a list of ones says that all attend."""
    own = () if find_language_type(config) in SPARSE else ("index_topk",)
    keys = _OF_OTHERS if is_of_states(find_language_type(config)) else (*_OF_OTHERS, *_OF_STATES)
    said = ((key, part.get(key)) for part in language_parts(config) for key in (*own, *keys))
    return next((key for key, value in said if value and not _is_all_ones(value)), None)


def _find_index(config: Json) -> int:
    """A vector in 8 bits with a scale of 4 bytes for 128 of its elements.

    https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/models/deepseek_v2.py (Indexer)
    """
    size = find_count(config, "index_head_dim") if find_language_type(config) in SPARSE else None
    return size + size // _SCALED * _SCALE if size else 0


def _is_all_ones(value: object) -> bool:
    return isinstance(value, list) and all(item == 1 for item in value)


def _with_states(layers: tuple[LayerKind, ...], states: States | None) -> tuple[LayerKind, ...]:
    """What each layer keeps, of a model of which all that attend do so alike."""
    if states is None:
        return layers
    return tuple(
        (layer if place.attends else LayerKind(attention=Attention.NONE)).model_copy(
            update={"state": states.state if place.keeps_state else None}
        )
        for layer, place in zip(layers, states.places, strict=True)
    )


def _find_attentions(config: Json, count: int) -> Sequence[Attention] | str:
    listed = next(
        (types for part in language_parts(config) if isinstance(types := part.get("layer_types"), list)), None
    )
    if listed is not None:
        strange = sorted({str(name) for name in listed if str(name) not in _TYPES})
        if strange or len(listed) < count:
            return f"layers of the kind {', '.join(strange) or 'that are not listed'}"
        return [_TYPES[str(name)] for name in listed[:count]]
    if find_count(config, _CHUNK):
        return _find_chunks(config, count)
    if not _find_window(config):
        return [Attention.FULL] * count
    every = find_count(config, "sliding_window_pattern") or _EVERY.get(find_language_type(config))
    if every is None:
        return [Attention.WINDOW] * count
    return [Attention.FULL if (number + 1) % every == 0 else Attention.WINDOW for number in range(count)]


def _find_chunks(config: Json, count: int) -> Sequence[Attention]:
    """Layers with positions attend in chunks, those without to everything (Llama 4)."""
    listed = next((part["no_rope_layers"] for part in language_parts(config) if part.get("no_rope_layers")), None)
    if isinstance(listed, list) and len(listed) >= count:
        return [Attention.CHUNK if has_rope else Attention.FULL for has_rope in listed[:count]]
    return [Attention.FULL if (number + 1) % _CHUNK_EVERY == 0 else Attention.CHUNK for number in range(count)]


def _find_window(config: Json) -> int | None:
    """Tokens; None where there is none, or it is switched off."""
    for part in language_parts(config):
        if window := as_count(part.get("sliding_window")):
            # Of Qwen2 it says a window that it does not use.
            return None if part.get("use_sliding_window") is False else window
    return None


def _find_key_heads(config: Json, heads: int) -> int:
    if any(part.get("multi_query") is True for part in language_parts(config)):
        return find_count(config, "n_head_kv", "num_kv_heads") or 1
    return find_count(config, *_KEY_HEADS) or heads
