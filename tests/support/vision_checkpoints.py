"""What sees in public checkpoints: the tensors of towers and of what joins them to the language model."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from triton_vllm_operator.sources.safetensors import Tensor

Config = dict[str, Any]
Named = Iterator[tuple[str, Tensor]]


class Tower(NamedTuple):
    """The names of a tower's modules."""

    blocks: str
    """Where its blocks are, with their number."""
    attention: tuple[str, ...]
    """Query, key and value, or all three in one."""
    output: str
    gates: tuple[str, ...]
    """First halves of its feed-forward."""
    down: str
    patches: str
    has_bias: bool = True


_SIGLIP: Final = Tower(
    blocks="vision_tower.vision_model.encoder.layers",
    attention=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    output="self_attn.out_proj",
    gates=("mlp.fc1",),
    down="mlp.fc2",
    patches="vision_tower.vision_model.embeddings.patch_embedding",
)
_QWEN2: Final = Tower(
    blocks="visual.blocks",
    attention=("attn.qkv",),
    output="attn.proj",
    gates=("mlp.fc1",),
    down="mlp.fc2",
    patches="visual.patch_embed.proj",
)
_QWEN3: Final = _QWEN2._replace(
    blocks="model.visual.blocks",
    gates=("mlp.linear_fc1",),
    down="mlp.linear_fc2",
    patches="model.visual.patch_embed.proj",
)
_TOWERS: Final = {
    "siglip_vision_model": _SIGLIP,
    "clip_vision_model": _SIGLIP,
    "intern_vit_6b": Tower(
        blocks="vision_model.encoder.layers",
        attention=("attn.qkv",),
        output="attn.proj",
        gates=("mlp.fc1",),
        down="mlp.fc2",
        patches="vision_model.embeddings.patch_embedding",
    ),
    "internvl_vision": Tower(
        blocks="vision_tower.encoder.layer",
        attention=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        output="attention.projection_layer",
        gates=("mlp.fc1",),
        down="mlp.fc2",
        patches="vision_tower.embeddings.patch_embeddings.projection",
    ),
    "pixtral": Tower(
        blocks="vision_tower.transformer.layers",
        attention=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        output="attention.o_proj",
        gates=("feed_forward.gate_proj", "feed_forward.up_proj"),
        down="feed_forward.down_proj",
        patches="vision_tower.patch_conv",
        has_bias=False,
    ),
    "smolvlm_vision": _SIGLIP,
    "llama4_vision_model": _SIGLIP._replace(
        blocks="vision_model.model.layers",
        attention=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        output="self_attn.o_proj",
        patches="vision_model.patch_embedding.linear",
    ),
    "glm4v": _QWEN2._replace(gates=("mlp.gate_proj", "mlp.up_proj"), down="mlp.down_proj", has_bias=False),
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": _QWEN2._replace(gates=("mlp.gate_proj", "mlp.up_proj"), down="mlp.down_proj"),
    "qwen3_vl": _QWEN3,
    "qwen3_5": _QWEN3,
    "qwen3_5_moe": _QWEN3,
}


def make_vision(config: Config, dtype: str) -> Named:
    """The tower of a model and what joins it."""
    vision = config["vision_config"]
    kind = vision.get("model_type") or config["model_type"]
    tower = _TOWERS[kind]
    width = vision.get("embed_dim") or vision["hidden_size"]
    inner = vision.get("intermediate_size") or int(width * vision["mlp_ratio"])
    # The blocks of GLM are as wide as what the tower gives.
    inner = vision["out_hidden_size"] if kind == "glm4v" else inner
    hidden = config.get("text_config", config)["hidden_size"]
    for number in range(vision.get("num_hidden_layers") or vision["depth"]):
        at = f"{tower.blocks}.{number}"
        rows = 3 * width // len(tower.attention)
        linear = [*((name, rows, width) for name in tower.attention), (tower.output, width, width)]
        linear += [*((name, inner, width) for name in tower.gates), (tower.down, width, inner)]
        for name, outputs, inputs in linear:
            yield from _linear(f"{at}.{name}", outputs, inputs, dtype, tower.has_bias)
        for name in ("norm1", "norm2"):
            yield f"{at}.{name}.weight", Tensor(dtype, (width,))
    patch, frames = _one(vision["patch_size"]), vision.get("temporal_patch_size")
    yield f"{tower.patches}.weight", Tensor(dtype, (width, 3, *((frames,) if frames else ()), patch, patch))
    yield from _JOINS.get(config["model_type"], _JOINS.get(kind, _join_llava))(vision, width, hidden, dtype)
    if size := _one(vision.get("image_size")):
        positions = (size // patch) ** 2 + (kind != "siglip_vision_model")
        if kind != "pixtral":
            yield "vision_tower.embeddings.position_embedding.weight", Tensor(dtype, (positions, width))


def _join_llava(_vision: Config, width: int, hidden: int, dtype: str) -> Named:
    yield from _linear("multi_modal_projector.linear_1", hidden, width, dtype)
    yield from _linear("multi_modal_projector.linear_2", hidden, hidden, dtype)


def _join_pixtral(vision: Config, width: int, hidden: int, dtype: str) -> Named:
    yield from _join_llava(vision, width, hidden, dtype)
    yield "multi_modal_projector.patch_merger.merging_layer.weight", Tensor(dtype, (width, 4 * width))


def _join_gemma(_vision: Config, width: int, hidden: int, dtype: str) -> Named:
    yield "multi_modal_projector.mm_input_projection_weight", Tensor(dtype, (width, hidden))


def _join_intern(_vision: Config, width: int, hidden: int, dtype: str) -> Named:
    yield from _linear("multi_modal_projector.linear_1", hidden, 4 * width, dtype)
    yield from _linear("multi_modal_projector.linear_2", hidden, hidden, dtype)


def _join_llama(vision: Config, width: int, hidden: int, dtype: str) -> Named:
    inner = int(vision["projector_input_dim"])
    yield "vision_model.vision_adapter.mlp.fc1.weight", Tensor(dtype, (inner, 4 * width))
    yield "vision_model.vision_adapter.mlp.fc2.weight", Tensor(dtype, (inner, inner))
    yield "multi_modal_projector.linear_1.weight", Tensor(dtype, (hidden, vision["vision_output_dim"]))


def _join_smol(_vision: Config, width: int, hidden: int, dtype: str) -> Named:
    yield "model.connector.modality_projection.proj.weight", Tensor(dtype, (hidden, 9 * width))


def _join_glm(vision: Config, width: int, hidden: int, dtype: str) -> Named:
    inner = vision["intermediate_size"]
    yield "visual.downsample.weight", Tensor(dtype, (hidden, width, 2, 2))
    yield "visual.merger.proj.weight", Tensor(dtype, (hidden, hidden))
    for name, shape in (("gate_proj", (inner, hidden)), ("up_proj", (inner, hidden)), ("down_proj", (hidden, inner))):
        yield f"visual.merger.{name}.weight", Tensor(dtype, shape)


def _join_qwen(vision: Config, width: int, hidden: int, dtype: str) -> Named:
    merged = width * vision["spatial_merge_size"] ** 2
    yield from _linear("visual.merger.mlp.0", merged, merged, dtype)
    yield from _linear("visual.merger.mlp.2", hidden, merged, dtype)


def _join_deep(vision: Config, width: int, hidden: int, dtype: str) -> Named:
    merged = width * vision["spatial_merge_size"] ** 2
    deep = vision.get("deepstack_visual_indexes") or ()
    for at in ("merger", *(f"deepstack_merger_list.{number}" for number in range(len(deep)))):
        yield from _linear(f"model.visual.{at}.linear_fc1", merged, merged, dtype)
        yield from _linear(f"model.visual.{at}.linear_fc2", hidden, merged, dtype)
    if rows := vision.get("num_position_embeddings"):
        yield "model.visual.pos_embed.weight", Tensor(dtype, (rows, width))


_JOINS: Final = {
    "gemma3": _join_gemma,
    "mistral3": _join_pixtral,
    "llama4": _join_llama,
    "smolvlm": _join_smol,
    "glm4v": _join_glm,
    "intern_vit_6b": _join_intern,
    "internvl_vision": _join_intern,
    "qwen2_vl": _join_qwen,
    "qwen2_5_vl": _join_qwen,
    "qwen3_vl": _join_deep,
    "qwen3_5": _join_deep,
    "qwen3_5_moe": _join_deep,
}


def _linear(at: str, outputs: int, inputs: int, dtype: str, has_bias: bool = True) -> Named:
    yield f"{at}.weight", Tensor(dtype, (outputs, inputs))
    if has_bias:
        yield f"{at}.bias", Tensor(dtype, (outputs,))


def _one(size: Any) -> int:
    """Of a side, or of both."""
    return int(size[0] if isinstance(size, list) else size or 0)
