"""Layers that keep a state instead of keys and values, or beside them: of Mamba, linear attention, convolutions. Pure.

What each family keeps: https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/layers/mamba/mamba_utils.py
and get_mamba_state_shape_from_config of its model. A family that is not listed is not understood.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from triton_vllm_operator.sources.config import as_count, find_count, language_parts
from triton_vllm_operator.sources.files import Json
from triton_vllm_operator.sources.shape import State

_WIDE: Final = 4
_ANY_CHUNK: Final = 2048
"""Tokens, of models that have none (Mamba 1)."""


class Place(Enum):
    """What a layer does."""

    ATTENDS = auto()
    KEEPS_STATE = auto()
    BOTH = auto()
    NEITHER = auto()

    @property
    def attends(self) -> bool:
        """Whether it keeps keys and values."""
        return self in (Place.ATTENDS, Place.BOTH)

    @property
    def keeps_state(self) -> bool:
        """Whether it keeps a state."""
        return self in (Place.KEEPS_STATE, Place.BOTH)


@dataclass(frozen=True, slots=True)
class States:
    """Those of a model."""

    state: State
    places: tuple[Place, ...]
    """Of each layer."""


class _Missing(Exception):
    """A key that the family has is not there."""


def find_states(config: Json, model_type: str, layers: int) -> States | str | None:
    """What layers keep; None if the model is of no family that keeps states; why that cannot be said."""
    family = _find_family(model_type)
    if family is None:
        return None
    try:
        places = tuple(family.places(config, layers))
        state = family.state(config)
    except _Missing as missing:
        return f"layers that keep states, of which config.json does not say {missing}"
    if len(places) < layers:
        return f"layers that keep states, of which config.json lists {len(places)} for {layers} layers"
    return States(state, places[:layers])


def is_of_states(model_type: str) -> bool:
    """Whether a model is of a family that is known to keep states."""
    return _find_family(model_type) is not None


def _find_family(model_type: str) -> "_Family | None":
    return next((family for family in _FAMILIES if model_type in family.model_types), None)


def _get(config: Json, *keys: str) -> int:
    found = find_count(config, *keys)
    if found is None:
        raise _Missing(" or ".join(keys))
    return found


def _first(config: Json, *keys: str) -> object:
    found = (part.get(key) for part in language_parts(config) for key in keys)
    return next((value for value in found if value is not None), None)


def _listed(config: Json, *keys: str) -> list[object]:
    found = _first(config, *keys)
    if not isinstance(found, list):
        raise _Missing(" or ".join(keys))
    return found


def _chunk(config: Json) -> int:
    return find_count(config, "mamba_chunk_size", "chunk_size") or _ANY_CHUNK


def _mamba1(config: Json) -> State:
    inner = find_count(config, "mamba_expand")
    size = inner * _get(config, "hidden_size") if inner else _get(config, "intermediate_size")
    kernel, states = _get(config, "mamba_d_conv", "conv_kernel"), _get(config, "mamba_d_state", "state_size")
    # A convolution keeps all but one of its steps.
    return State(divided=size * (kernel - 1), recurrent=size * states, chunk=_chunk(config))


def _mamba2(config: Json, inner: int, wide: bool = False) -> State:
    heads, size = _get(config, "mamba_n_heads", "mamba_num_heads", "num_heads"), _get(config, *_HEAD_SIZES)
    states = _get(config, "mamba_d_state", "ssm_state_size", "state_size")
    groups, kernel = _get(config, "mamba_n_groups", "n_groups"), _get(config, "mamba_d_conv", "conv_kernel")
    return State(
        divided=inner * (kernel - 1),
        columns=kernel - 1,
        per_group=2 * states * (kernel - 1),
        groups=groups,
        heads=heads,
        recurrent=heads * size * states,
        recurrent_bytes=_WIDE if wide else 0,
        chunk=_chunk(config),
    )


_HEAD_SIZES: Final = ("mamba_d_head", "mamba_head_dim", "head_dim")


def _expanded(config: Json) -> State:
    return _mamba2(config, _get(config, "mamba_expand", "expand") * _get(config, "hidden_size"))


def _falcon(config: Json) -> State:
    given = find_count(config, "mamba_d_ssm")
    return _mamba2(config, given) if given else _expanded(config)


def _nemotron(config: Json) -> State:
    inner = _get(config, "mamba_num_heads") * _get(config, "mamba_head_dim")
    return _mamba2(config, inner, wide=_first(config, "mamba_ssm_cache_dtype") in (None, "float32"))


def _gated_delta(config: Json) -> State:
    keys, values = _get(config, "linear_num_key_heads"), _get(config, "linear_num_value_heads")
    key, value = _get(config, "linear_key_head_dim"), _get(config, "linear_value_head_dim")
    kernel = _get(config, "linear_conv_kernel_dim")
    return State(
        divided=(2 * key * keys + value * values) * (kernel - 1),
        columns=kernel - 1,
        heads=values,
        recurrent=values * value * key,
        recurrent_bytes=_WIDE if _first(config, "mamba_ssm_dtype") == "float32" else 0,
        chunk=_chunk(config),
    )


def _kimi(config: Json) -> State:
    linear = _linear(config)
    heads, size = _get(linear, "num_heads"), _get(linear, "head_dim")
    kernel = _get(linear, "short_conv_kernel_size")
    return State(
        divided=3 * heads * size * (kernel - 1),
        columns=kernel - 1,
        heads=heads,
        recurrent=heads * size * size,
        recurrent_bytes=_WIDE,
        chunk=_chunk(config),
    )


def _linear(config: Json) -> Json:
    found = _first(config, "linear_attn_config")
    if not isinstance(found, dict):
        raise _Missing("linear_attn_config")
    return found


def _short(config: Json) -> State:
    dim = find_count(config, "conv_dim") or _get(config, "hidden_size")
    return State(divided=dim * (_get(config, "conv_L_cache") - 1), chunk=_chunk(config))


def _all_states(_: Json, layers: int) -> Sequence[Place]:
    return [Place.KEEPS_STATE] * layers


def _all_both(_: Json, layers: int) -> Sequence[Place]:
    return [Place.BOTH] * layers


_NAMES: Final = {
    **dict.fromkeys(("attention", "full_attention", "*"), Place.ATTENDS),
    **dict.fromkeys(("mamba", "mamba2", "linear_attention", "conv", "M"), Place.KEEPS_STATE),
    **dict.fromkeys(("mlp", "moe", "-", "E"), Place.NEITHER),
}
"""What lists of layers and patterns call them."""


def _named(names: Sequence[object]) -> Sequence[Place]:
    strange = sorted({str(name) for name in names} - set(_NAMES))
    if strange:
        raise _Missing(f"what a layer {', '.join(strange)} is")
    return [_NAMES[str(name)] for name in names]


def _by_types(config: Json, layers: int) -> Sequence[Place]:
    """By a list of names, or by one of the layers that attend."""
    if isinstance(attending := _first(config, "attn_layer_indices", "full_attn_idxs"), list):
        return [Place.ATTENDS if number in attending else Place.KEEPS_STATE for number in range(layers)]
    return _named(_listed(config, "layer_types", "layers_block_type"))


def _by_period(config: Json, layers: int) -> Sequence[Place]:
    if isinstance(listed := _first(config, "layers_block_type"), list):
        return _named(listed)
    period, offset = _get(config, "attn_layer_period"), as_count(_first(config, "attn_layer_offset")) or 0
    return [Place.ATTENDS if number % period == offset else Place.KEEPS_STATE for number in range(layers)]


def _by_interval(config: Json, layers: int) -> Sequence[Place]:
    if isinstance(listed := _first(config, "layer_types"), list):
        return _named(listed)
    every = _get(config, "full_attention_interval")
    return [Place.KEEPS_STATE if (number + 1) % every else Place.ATTENDS for number in range(layers)]


def _by_pattern(config: Json, _: int) -> Sequence[Place]:
    if isinstance(pattern := _first(config, "hybrid_override_pattern"), str):
        return _named(pattern)
    return _named(_listed(config, "layers_block_type"))


def _by_numbers(config: Json, layers: int) -> Sequence[Place]:
    """Counted from one."""
    attending = _listed(_linear(config), "full_attn_layers")
    return [Place.ATTENDS if number + 1 in attending else Place.KEEPS_STATE for number in range(layers)]


@dataclass(frozen=True, slots=True)
class _Family:
    model_types: tuple[str, ...]
    state: Callable[[Json], State]
    places: Callable[[Json, int], Sequence[Place]]


_FAMILIES: Final = (
    _Family(("mamba", "falcon_mamba"), _mamba1, _all_states),
    _Family(("mamba2",), _expanded, _all_states),
    _Family(("jamba",), _mamba1, _by_period),
    _Family(("granitemoehybrid", "bamba"), _expanded, _by_types),
    _Family(("falcon_h1",), _falcon, _all_both),
    _Family(("nemotron_h",), _nemotron, _by_pattern),
    _Family(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_5", "qwen3_5_moe"), _gated_delta, _by_interval),
    _Family(("lfm2", "lfm2_moe"), _short, _by_types),
    _Family(("kimi_linear",), _kimi, _by_numbers),
)
