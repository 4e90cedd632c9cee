"""What of a model takes memory, by config.json and the names, types and shapes of its tensors."""

from typing import Any

import pytest

from triton_vllm_operator.sources.safetensors import Tensor
from triton_vllm_operator.sources.shape import Allocation, Attention, Form, ModelShape
from triton_vllm_operator.sources.shape_reader import read_shape

BASE: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
EMBEDDING = {"model.embed_tokens.weight": Tensor("BF16", (100, 64))}


def read(config: dict[str, Any], **layer: Tensor) -> ModelShape:
    tensors = {
        f"model.layers.{number}.{name.replace('__', '.')}": t for number in range(2) for name, t in layer.items()
    }
    shape = read_shape({**BASE, **config}, {**EMBEDDING, **tensors})
    assert isinstance(shape, ModelShape), shape
    return shape


def test_query_key_and_value_become_one_tensor() -> None:
    shape = read(
        {},
        self_attn__q_proj__weight=Tensor("BF16", (64, 64)),
        self_attn__k_proj__weight=Tensor("BF16", (32, 64)),
        self_attn__v_proj__weight=Tensor("BF16", (32, 64)),
    )
    assert shape.weights == ((Allocation(Form.LINEAR, divided=4096, by_heads=4096),),)
    assert (shape.weight_pattern, shape.pattern) == ("2a", "2a")


@pytest.mark.parametrize("name", ["qkv_proj", "query_key_value", "c_attn", "Wqkv", "wqkv"])
def test_what_is_fused_in_the_files_is_shared_out_by_heads(name: str) -> None:
    shape = read({}, **{f"self_attn__{name}__weight": Tensor("BF16", (128, 64))})
    assert shape.weights == ((Allocation(Form.LINEAR, divided=4096, by_heads=4096),),)


def test_all_experts_of_a_layer_lie_in_two_tensors() -> None:
    experts = {
        f"mlp__experts__{number}__{name}__weight": Tensor("BF16", (32, 64))
        for number in range(4)
        for name in ("gate_proj", "up_proj", "down_proj")
    }
    shape = read({"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}, **experts)
    assert shape.weights == ((Allocation(Form.LINEAR, divided=16384), Allocation(Form.LINEAR, divided=8192)),)
    assert shape.experts is not None
    assert (shape.experts.per_token, shape.experts.size) == (2, 32)


def test_quantised_weights_and_scales_are_held_as_they_are_stored() -> None:
    shape = read(
        {"quantization_config": {"quant_method": "fp8"}},
        mlp__down_proj__weight=Tensor("F8_E4M3", (64, 128)),
        mlp__down_proj__weight_scale=Tensor("F32", (64, 1)),
    )
    assert shape.weights == ((Allocation(Form.BYTES, divided=8192), Allocation(Form.BYTES, whole=256)),)


def test_scales_of_awq_and_gptq_are_no_blocks_of_experts() -> None:
    shape = read(
        {"quantization_config": {"quant_method": "awq"}},
        mlp__down_proj__qweight=Tensor("I32", (128, 8)),
        mlp__down_proj__scales=Tensor("F16", (1, 64)),
    )
    assert shape.weights == ((Allocation(Form.BYTES, divided=4096), Allocation(Form.BYTES, divided=128)),)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"quantization_config": {"kv_cache_scheme": {"num_bits": 8}}}, "kv_cache_scheme chooses the KV cache's dtype"),
        ({"num_key_value_heads": None}, "num_key_value_heads is no number"),
        ({"num_key_value_heads": [4, 8]}, "num_key_value_heads is no number"),
        ({"block_configs": [{}]}, "not alike (block_configs)"),
        ({}, "quantised weights without quantization_config"),
    ],
)
def test_what_config_json_says_elsewhere_is_not_guessed(config: dict[str, Any], words: str) -> None:
    tensors = {f"model.layers.{number}.mlp.down_proj.weight": Tensor("F8_E4M3", (64, 128)) for number in range(2)}
    found = read_shape({**BASE, **config}, {**EMBEDDING, **tensors})
    assert isinstance(found, str)
    assert words in found


def test_a_length_that_a_scaling_makes_is_not_taken_for_certain() -> None:
    yarn = {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}, "max_position_embeddings": 40960}
    weight = Tensor("BF16", (64, 128))
    assert read(yarn, mlp__down_proj__weight=weight).longest is None
    assert read({"max_position_embeddings": 40960}, mlp__down_proj__weight=weight).longest == 40960


@pytest.mark.parametrize(
    ("stored", "held"),
    [
        (Tensor("BF16", (64, 32)), [(Form.LINEAR, 2048), (Form.COPY, 2048)]),
        (Tensor("F8_E4M3", (64, 32)), [(Form.FLOAT, 2048), (Form.BYTES, 2048)]),
    ],
)
def test_mla_holds_weights_of_keys_and_values_twice_where_they_are_quantised(
    stored: Tensor, held: list[tuple[Form, int]]
) -> None:
    config = {"kv_lora_rank": 32, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    quantised = {"quantization_config": {"quant_method": "fp8"}} if stored.dtype == "F8_E4M3" else {}
    shape = read({**config, **quantised}, self_attn__kv_b_proj__weight=stored)
    assert [(row.form, row.divided) for row in shape.weights[0]] == held
    assert (shape.kinds[0].attention, shape.kinds[0].size) == (Attention.LATENT, 40)


@pytest.mark.parametrize(
    ("config", "pattern", "windows"),
    [
        ({"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}, "1a1b", [8, None]),
        ({"model_type": "gemma2", "sliding_window": 8}, "1a1b", [8, None]),
        ({"model_type": "mistral", "sliding_window": 8}, "2a", [8]),
        ({"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": False}, "2a", [None]),
        ({"attention_chunk_size": 8, "no_rope_layers": [1, 0]}, "1a1b", [8, None]),
        ({"attn_type_list": [1, 1]}, "2a", [None]),
    ],
)
def test_windows_are_found(config: dict[str, Any], pattern: str, windows: list[int | None]) -> None:
    shape = read(config, mlp__down_proj__weight=Tensor("BF16", (64, 128)))
    assert (shape.pattern, [kind.window for kind in shape.kinds]) == (pattern, windows)


def test_layers_that_look_at_what_earlier_ones_remember_keep_nothing() -> None:
    shape = read({"num_kv_shared_layers": 1}, mlp__down_proj__weight=Tensor("BF16", (64, 128)))
    assert [layer.attention for layer in shape.layers] == [Attention.FULL, Attention.NONE]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"layer_types": ["linear_attention", "full_attention"]}, "layers of the kind linear_attention"),
        ({"full_attention_interval": 4}, "something else than keys and values, or not alike (full_attention_interval)"),
        (
            {"hybrid_override_pattern": "M-M*"},
            "something else than keys and values, or not alike (hybrid_override_pattern)",
        ),
        ({"index_topk": 2048}, "something else than keys and values, or not alike (index_topk)"),
        ({"num_attention_heads": None}, "does not say its layers, heads and hidden size"),
        ({"num_hidden_layers": 3}, "the weights hold 2 layers, and config.json says 3"),
    ],
)
def test_what_is_not_understood_is_said(config: dict[str, Any], words: str) -> None:
    tensors = {f"model.layers.{number}.mlp.down_proj.weight": Tensor("BF16", (64, 128)) for number in range(2)}
    found = read_shape({**BASE, **config}, tensors)
    assert isinstance(found, str)
    assert words in found


def test_names_that_are_not_known_are_said() -> None:
    shape = read({}, mixer__strange__weight=Tensor("BF16", (64, 64)))
    assert shape.strange == ("mixer.strange.weight",)


def test_layers_beyond_those_of_the_model_are_left_out() -> None:
    tensors = {f"model.layers.{number}.mlp.down_proj.weight": Tensor("BF16", (64, 128)) for number in range(3)}
    shape = read_shape(BASE, {**EMBEDDING, **tensors})
    assert isinstance(shape, ModelShape)
    assert shape.weight_pattern == "2a"
