"""The headers of public checkpoints, made from their config.json: names, types and shapes as in the hub's files."""

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from support.draft_checkpoints import MTP_PREFIX, as_draft, make_joins, make_medusa
from support.state_checkpoints import keeps_state, make_state
from support.vision_checkpoints import make_vision
from triton_vllm_operator.sources.safetensors import Tensor, Tensors

Config = dict[str, Any]
_BYTES: Final = {"F32": 4, "I64": 8, "I32": 4, "BOOL": 1, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I8": 1, "U8": 1}
LLAMA: Config = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
Named = Iterator[tuple[str, Tensor]]


def make_tensors(config: Config, dtype: str = "BF16") -> Tensors:
    """All tensors of a model of one of the families below."""
    text = config.get("text_config", config)
    prefix = "language_model.model" if "text_config" in config else "model"
    tensors = dict(_ends(text, prefix, dtype))
    for number in range(text["num_hidden_layers"]):
        layer = f"{prefix}.layers.{number}"
        tensors |= dict(_mixing(text, layer, number, dtype))
        tensors |= dict(_feed_forward(text, layer, number, dtype))
        tensors |= {f"{layer}.{name}.weight": Tensor(dtype, (text["hidden_size"],)) for name in _norms(text)}
    if text.get("num_nextn_predict_layers"):
        tensors |= _make_own_draft(config, dtype)
    if "vision_config" in config:
        tensors |= dict(make_vision(config, dtype))
    method = config.get("quantization_config", {}).get("quant_method")
    return _quantised(tensors, config) if method not in (None, "mxfp4") else tensors


def make_draft(config: Config, has_copies: bool = False) -> Tensors:
    """All tensors of a draft model."""
    if config["model_type"] == "medusa":
        return make_medusa(config)
    return as_draft(config, make_tensors(config), has_copies)


def _make_own_draft(config: Config, dtype: str) -> Tensors:
    """One layer as those of the model that attend to everything, with what joins it to the model."""
    count = config["num_hidden_layers"]
    at = MTP_PREFIX[config["architectures"][0]].format(count=count)
    attending = config.get("full_attention_interval", 1) - 1
    tensors = dict(_mixing(config, at, attending, dtype)) | dict(_feed_forward(config, at, count, dtype))
    tensors |= {f"{at}.{name}.weight": Tensor(dtype, (config["hidden_size"],)) for name in _norms(config)}
    return tensors | make_joins(config, at, dtype)


def _mixing(text: Config, layer: str, number: int, dtype: str) -> Named:
    """What looks at other tokens: attention, or a state, or both."""
    holds_state = keeps_state(text, number)
    if holds_state:
        yield from make_state(text, layer, dtype)
    if text.get("hybrid_override_pattern", "*" * (number + 1))[number] != "*" or "num_attention_heads" not in text:
        return
    if text["model_type"] == "falcon_h1" or not holds_state:
        yield from _latent(text, layer, dtype) if "kv_lora_rank" in text else _attention(text, layer, dtype)


def _ends(text: Config, prefix: str, dtype: str) -> Named:
    hidden = text["hidden_size"]
    yield f"{prefix}.embed_tokens.weight", Tensor(dtype, (text["vocab_size"], hidden))
    yield f"{prefix}.norm.weight", Tensor(dtype, (hidden,))
    if not text.get("tie_word_embeddings", False):
        yield "lm_head.weight", Tensor(dtype, (text["vocab_size"], hidden))


def _head_size(text: Config) -> int:
    return int(text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"])


def _attention(text: Config, layer: str, dtype: str) -> Named:
    hidden, size = text["hidden_size"], _head_size(text)
    queries, keys = text["num_attention_heads"] * size, text["num_key_value_heads"] * size
    at = f"{layer}.self_attn"
    if text["model_type"] == "phi3":
        yield f"{at}.qkv_proj.weight", Tensor(dtype, (queries + 2 * keys, hidden))
    else:
        # A gate for the output lies beside the query.
        gated = 2 if text["model_type"] in ("qwen3_next", "qwen3_5_text") else 1
        for name, rows in (("q_proj", gated * queries), ("k_proj", keys), ("v_proj", keys)):
            yield f"{at}.{name}.weight", Tensor(dtype, (rows, hidden))
            if text["model_type"].startswith("qwen2") or text.get("attention_bias"):
                yield f"{at}.{name}.bias", Tensor(dtype, (rows,))
    yield f"{at}.o_proj.weight", Tensor(dtype, (hidden, queries))
    if text["model_type"] in ("qwen3", "qwen3_moe", "gemma3", "gemma3_text"):
        yield f"{at}.q_norm.weight", Tensor(dtype, (size,))
        yield f"{at}.k_norm.weight", Tensor(dtype, (size,))


def _latent(text: Config, layer: str, dtype: str) -> Named:
    hidden, heads, rank = text["hidden_size"], text["num_attention_heads"], text["kv_lora_rank"]
    rope, nope, value = text["qk_rope_head_dim"], text["qk_nope_head_dim"], text["v_head_dim"]
    at = f"{layer}.self_attn"
    if small := text.get("q_lora_rank"):
        yield f"{at}.q_a_proj.weight", Tensor(dtype, (small, hidden))
        yield f"{at}.q_a_layernorm.weight", Tensor(dtype, (small,))
        yield f"{at}.q_b_proj.weight", Tensor(dtype, (heads * (nope + rope), small))
    else:
        yield f"{at}.q_proj.weight", Tensor(dtype, (heads * (nope + rope), hidden))
    if "index_topk" in text:
        yield from _index(text, f"{at}.indexer", dtype)
    yield f"{at}.kv_a_proj_with_mqa.weight", Tensor(dtype, (rank + rope, hidden))
    yield f"{at}.kv_a_layernorm.weight", Tensor(dtype, (rank,))
    yield f"{at}.kv_b_proj.weight", Tensor(dtype, (heads * (nope + value), rank))
    yield f"{at}.o_proj.weight", Tensor(dtype, (hidden, heads * value))


def _index(text: Config, at: str, dtype: str) -> Named:
    """What finds the tokens that are looked at (DeepSeek V3.2)."""
    heads, size = text["index_n_heads"], text["index_head_dim"]
    yield f"{at}.wq_b.weight", Tensor(dtype, (heads * size, text["q_lora_rank"]))
    yield f"{at}.wk.weight", Tensor(dtype, (size, text["hidden_size"]))
    yield f"{at}.weights_proj.weight", Tensor(dtype, (heads, text["hidden_size"]))
    yield f"{at}.k_norm.weight", Tensor("F32", (size,))


def _feed_forward(text: Config, layer: str, number: int, dtype: str) -> Named:
    if text["model_type"] in ("mamba", "falcon_mamba", "mamba2"):
        return
    if pattern := text.get("hybrid_override_pattern"):
        yield from _squared(text, layer, dtype) if pattern[number] == "-" else ()
        return
    if text["model_type"] == "granitemoehybrid":
        yield from _granite_experts(text, layer, dtype)
        return
    experts = text.get("num_local_experts") or text.get("num_experts") or text.get("n_routed_experts")
    period, offset = text.get("expert_layer_period", 1), text.get("expert_layer_offset", 0)
    if not experts or number < text.get("first_k_dense_replace", 0) or number % period != offset:
        yield from _gated(f"{layer}.mlp", _inner_size(text), text["hidden_size"], dtype, text["model_type"] == "phi3")
        return
    yield from _experts(text, layer, experts, dtype)


def _squared(text: Config, layer: str, dtype: str) -> Named:
    """A feed-forward of Nemotron-H, which has no gate."""
    hidden, inner = text["hidden_size"], text["intermediate_size"]
    yield f"{layer}.mixer.up_proj.weight", Tensor(dtype, (inner, hidden))
    yield f"{layer}.mixer.down_proj.weight", Tensor(dtype, (hidden, inner))


def _experts(text: Config, layer: str, experts: int, dtype: str) -> Named:
    hidden = text["hidden_size"]
    if text["model_type"] == "gpt_oss":
        yield from _packed_experts(f"{layer}.mlp", experts, text["intermediate_size"], hidden)
        return
    if text["model_type"] == "mixtral":
        yield f"{layer}.block_sparse_moe.gate.weight", Tensor(dtype, (experts, hidden))
        for expert in range(experts):
            at = f"{layer}.block_sparse_moe.experts.{expert}"
            for name in ("w1", "w3"):
                yield f"{at}.{name}.weight", Tensor(dtype, (text["intermediate_size"], hidden))
            yield f"{at}.w2.weight", Tensor(dtype, (hidden, text["intermediate_size"]))
        return
    yield f"{layer}.mlp.gate.weight", Tensor(dtype, (experts, hidden))
    size = text.get("moe_intermediate_size") or text["intermediate_size"]
    for expert in range(experts):
        yield from _gated(f"{layer}.mlp.experts.{expert}", size, hidden, dtype)
    if text.get("shared_expert_intermediate_size"):
        yield from _gated(f"{layer}.mlp.shared_expert", text["shared_expert_intermediate_size"], hidden, dtype)
        yield f"{layer}.mlp.shared_expert_gate.weight", Tensor(dtype, (1, hidden))
    if text["model_type"] == "llama4_text":
        yield from _gated(f"{layer}.feed_forward.shared_expert", size, hidden, dtype)
    if shared := text.get("n_shared_experts") or text.get("num_shared_experts"):
        yield from _gated(f"{layer}.mlp.shared_experts", shared * text["moe_intermediate_size"], hidden, dtype)


def _inner_size(text: Config) -> int:
    """LFM2 takes two thirds of what it says, in whole blocks."""
    if not text.get("block_auto_adjust_ff_dim"):
        return int(text["intermediate_size"])
    size, step = int(2 * text["block_ff_dim"] / 3), text["block_multiple_of"]
    return step * -(-size // step)


def _granite_experts(text: Config, layer: str, dtype: str) -> Named:
    """A mixture of Granite: all experts in one tensor, and a feed-forward beside them."""
    hidden, at = text["hidden_size"], f"{layer}.block_sparse_moe"
    experts, size, shared = text["num_local_experts"], text["intermediate_size"], text["shared_intermediate_size"]
    yield f"{at}.router.layer.weight", Tensor(dtype, (experts, hidden))
    yield f"{at}.input_linear.weight", Tensor(dtype, (experts, 2 * size, hidden))
    yield f"{at}.output_linear.weight", Tensor(dtype, (experts, hidden, size))
    yield f"{layer}.shared_mlp.input_linear.weight", Tensor(dtype, (2 * shared, hidden))
    yield f"{layer}.shared_mlp.output_linear.weight", Tensor(dtype, (hidden, shared))


def _packed_experts(at: str, experts: int, size: int, hidden: int) -> Named:
    """All experts of a layer in one tensor, in 4 bits with a scale for 32 of them."""
    yield f"{at}.router.weight", Tensor("BF16", (experts, hidden))
    yield f"{at}.router.bias", Tensor("BF16", (experts,))
    for name, outputs, inputs in (("gate_up_proj", 2 * size, hidden), ("down_proj", hidden, size)):
        yield f"{at}.experts.{name}_blocks", Tensor("U8", (experts, outputs, inputs // 32, 16))
        yield f"{at}.experts.{name}_scales", Tensor("U8", (experts, outputs, inputs // 32))
        yield f"{at}.experts.{name}_bias", Tensor("BF16", (experts, outputs))


def _gated(at: str, size: int, hidden: int, dtype: str, is_fused: bool = False) -> Named:
    if is_fused:
        yield f"{at}.gate_up_proj.weight", Tensor(dtype, (2 * size, hidden))
    else:
        yield f"{at}.gate_proj.weight", Tensor(dtype, (size, hidden))
        yield f"{at}.up_proj.weight", Tensor(dtype, (size, hidden))
    yield f"{at}.down_proj.weight", Tensor(dtype, (hidden, size))


def _norms(text: Config) -> tuple[str, ...]:
    plain = ("input_layernorm", "post_attention_layernorm")
    more = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
    return (*plain, *more) if text["model_type"].startswith("gemma") else plain


def _quantised(tensors: Tensors, config: Config) -> Tensors:
    """Linear layers of the decoder in 8 bits, with a scale for each output."""
    kept = config["quantization_config"]
    if kept.get("bits") == 4:
        return dict(_packed(tensors, kept))
    stored = "I8" if kept.get("bits") == "int8" else "F8_E4M3"
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".layers." not in name or "vision" in name or len(tensor.shape) != 2 or not name.endswith(".weight"):
            found[name] = tensor
            continue
        found[name] = Tensor(stored, tensor.shape)
        found[name.replace(".weight", ".weight_scale")] = Tensor("BF16", (tensor.shape[0], 1))
    return found


def _packed(tensors: Tensors, kept: Config) -> Named:
    """Linear layers of the decoder in 4 bits, as AWQ and GPTQ store them: eight in one number, scales for groups."""
    group, is_awq = kept["group_size"], kept["quant_method"] == "awq"
    for name, tensor in tensors.items():
        if ".layers." not in name or len(tensor.shape) != 2 or not name.endswith(".weight"):
            yield name, tensor
            continue
        (outputs, inputs), at = tensor.shape, name.removesuffix(".weight")
        yield f"{at}.qweight", Tensor("I32", (inputs, outputs // 8) if is_awq else (inputs // 8, outputs))
        yield f"{at}.qzeros", Tensor("I32", (inputs // group, outputs // 8))
        yield f"{at}.scales", Tensor("F16", (inputs // group, outputs))
        if not is_awq:
            yield f"{at}.g_idx", Tensor("I32", (inputs,))


def write_checkpoint(folder: Path, config: Config, tensors: Tensors | None = None) -> Path:
    """A folder with config.json and the header of one safetensors file, without the weights themselves."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in (tensors or make_tensors(config)).items():
        begin, end = end, end + math.prod(tensor.shape) * _BYTES[tensor.dtype]
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return folder
