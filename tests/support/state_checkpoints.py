"""Tensors of layers that keep states, named as in the hub's files of their families."""

from collections.abc import Callable, Iterator
from typing import Any

from triton_vllm_operator.sources.safetensors import Tensor

Config = dict[str, Any]
Named = Iterator[tuple[str, Tensor]]


def keeps_state(config: Config, number: int) -> bool:
    """Whether a layer keeps a state."""
    if config["model_type"] not in _MAKERS:
        return False
    if types := config.get("layer_types"):
        return types[number] not in ("attention", "full_attention", "sliding_attention", "chunked_attention")
    if pattern := config.get("hybrid_override_pattern"):
        return bool(pattern[number] == "M")
    if period := config.get("attn_layer_period"):
        return bool(number % period != config["attn_layer_offset"])
    if every := config.get("full_attention_interval"):
        return (number + 1) % every != 0
    if linear := config.get("linear_attn_config"):
        return number + 1 not in linear["full_attn_layers"]
    return True


def make_state(config: Config, layer: str, dtype: str) -> Named:
    """The tensors of the state of one layer."""
    return _MAKERS[config["model_type"]](config, layer, dtype)


def _mixer(at: str, sizes: dict[str, int], dtype: str) -> Named:
    hidden, inner, heads = sizes["hidden"], sizes["inner"], sizes["heads"]
    convolved = inner + 2 * sizes["groups"] * sizes["state"]
    yield f"{at}.in_proj.weight", Tensor(dtype, (inner + convolved + heads, hidden))
    yield f"{at}.conv1d.weight", Tensor(dtype, (convolved, 1, sizes["kernel"]))
    yield f"{at}.conv1d.bias", Tensor(dtype, (convolved,))
    yield f"{at}.out_proj.weight", Tensor(dtype, (hidden, inner))
    yield f"{at}.norm.weight", Tensor(dtype, (inner,))
    for name in ("A_log", "D", "dt_bias"):
        yield f"{at}.{name}", Tensor("F32" if name == "A_log" else dtype, (heads,))


_MIXERS = {
    "granitemoehybrid": ("mamba", "mamba_n_heads", "mamba_n_groups", "mamba_d_state", "mamba_d_conv"),
    "falcon_h1": ("mamba", "mamba_n_heads", "mamba_n_groups", "mamba_d_state", "mamba_d_conv"),
    "nemotron_h": ("mixer", "mamba_num_heads", "n_groups", "ssm_state_size", "conv_kernel"),
    "mamba2": ("mixer", "num_heads", "n_groups", "state_size", "conv_kernel"),
}
"""The module of a mixer, and the keys of its heads, groups, state and kernel."""


def _mamba2(config: Config, layer: str, dtype: str) -> Named:
    module, *keys = _MIXERS[config["model_type"]]
    sizes = dict(zip(("heads", "groups", "state", "kernel"), (config[key] for key in keys), strict=True))
    return _mixer(f"{layer}.{module}", {"hidden": config["hidden_size"], "inner": _inner_size(config), **sizes}, dtype)


def _inner_size(config: Config) -> int:
    if config["model_type"] == "nemotron_h":
        return int(config["mamba_num_heads"] * config["mamba_head_dim"])
    expand = config.get("mamba_expand") or config["expand"]
    return int(config.get("mamba_d_ssm") or expand * config["hidden_size"])


def _mamba1(config: Config, layer: str, dtype: str) -> Named:
    hidden = config["hidden_size"]
    inner = config["mamba_expand"] * hidden if "mamba_expand" in config else config["intermediate_size"]
    state = config.get("mamba_d_state") or config["state_size"]
    kernel = config.get("mamba_d_conv") or config["conv_kernel"]
    rank = config.get("mamba_dt_rank") or config["time_step_rank"]
    at = f"{layer}.mamba" if config["model_type"] == "jamba" else f"{layer}.mixer"
    yield f"{at}.in_proj.weight", Tensor(dtype, (2 * inner, hidden))
    yield f"{at}.conv1d.weight", Tensor(dtype, (inner, 1, kernel))
    yield f"{at}.conv1d.bias", Tensor(dtype, (inner,))
    yield f"{at}.x_proj.weight", Tensor(dtype, (rank + 2 * state, inner))
    yield f"{at}.dt_proj.weight", Tensor(dtype, (inner, rank))
    yield f"{at}.dt_proj.bias", Tensor(dtype, (inner,))
    yield f"{at}.A_log", Tensor("F32", (inner, state))
    yield f"{at}.D", Tensor(dtype, (inner,))
    yield f"{at}.out_proj.weight", Tensor(dtype, (hidden, inner))


def _gated_delta(config: Config, layer: str, dtype: str) -> Named:
    hidden, at = config["hidden_size"], f"{layer}.linear_attn"
    keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    heads = config["linear_num_value_heads"]
    values = heads * config["linear_value_head_dim"]
    yield f"{at}.in_proj_qkvz.weight", Tensor(dtype, (2 * keys + 2 * values, hidden))
    yield f"{at}.in_proj_ba.weight", Tensor(dtype, (2 * heads, hidden))
    yield f"{at}.conv1d.weight", Tensor(dtype, (2 * keys + values, 1, config["linear_conv_kernel_dim"]))
    yield f"{at}.out_proj.weight", Tensor(dtype, (hidden, values))
    yield f"{at}.norm.weight", Tensor(dtype, (config["linear_value_head_dim"],))
    yield f"{at}.A_log", Tensor("F32", (heads,))
    yield f"{at}.dt_bias", Tensor(dtype, (heads,))


def _kimi(config: Config, layer: str, dtype: str) -> Named:
    hidden, linear, at = config["hidden_size"], config["linear_attn_config"], f"{layer}.self_attn"
    heads, size = linear["num_heads"], linear["head_dim"]
    for name in ("q", "k", "v"):
        yield f"{at}.{name}_proj.weight", Tensor(dtype, (heads * size, hidden))
        yield f"{at}.{name}_conv1d.weight", Tensor(dtype, (heads * size, 1, linear["short_conv_kernel_size"]))
    for name in ("f", "g"):
        yield f"{at}.{name}_a_proj.weight", Tensor(dtype, (size, hidden))
        yield f"{at}.{name}_b_proj.weight", Tensor(dtype, (heads * size, size))
    yield f"{at}.b_proj.weight", Tensor(dtype, (heads, hidden))
    yield f"{at}.o_proj.weight", Tensor(dtype, (hidden, heads * size))
    yield f"{at}.A_log", Tensor("F32", (1, 1, heads, 1))
    yield f"{at}.dt_bias", Tensor(dtype, (heads * size,))
    yield f"{at}.o_norm.weight", Tensor(dtype, (size,))


def _short(config: Config, layer: str, dtype: str) -> Named:
    hidden, at = config["hidden_size"], f"{layer}.conv"
    yield f"{at}.in_proj.weight", Tensor(dtype, (3 * config["conv_dim"], hidden))
    yield f"{at}.conv.weight", Tensor(dtype, (config["conv_dim"], 1, config["conv_L_cache"]))
    yield f"{at}.out_proj.weight", Tensor(dtype, (hidden, config["conv_dim"]))


_MAKERS: dict[str, Callable[[Config, str, str], Named]] = {
    **dict.fromkeys(_MIXERS, _mamba2),
    "mamba": _mamba1,
    "falcon_mamba": _mamba1,
    "jamba": _mamba1,
    "qwen3_next": _gated_delta,
    "qwen3_5_text": _gated_delta,
    "kimi_linear": _kimi,
    "lfm2": _short,
}
