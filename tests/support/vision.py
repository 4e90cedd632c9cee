"""Models that see, for pure tests."""

import json
from pathlib import Path
from typing import Any

from support.checkpoints import write_checkpoint
from triton_vllm_operator.cli.plan import read_model
from triton_vllm_operator.sources.shape import ModelShape, Vision
from triton_vllm_operator.sources.vision import NOTHING_SAID, Sizes, read_vision

QWEN_VISION = {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
QWEN: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "vision_config": {**QWEN_VISION, "hidden_size": 1280, "intermediate_size": 3420},
}
SMALL_QWEN = {
    **QWEN,
    "model_type": "qwen2_5_vl",
    "vision_config": {**QWEN["vision_config"], "model_type": "qwen2_5_vl", "depth": 32},
    "hidden_size": 2048,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "intermediate_size": 11008,
    "vocab_size": 151936,
    "max_position_embeddings": 128000,
    "tie_word_embeddings": True,
}
QWEN_SIZES = Sizes({"max_pixels": 12845056}, {})


def vision_of(config: dict[str, Any], sizes: Sizes = NOTHING_SAID, towers: tuple[str, ...] = ()) -> Vision:
    """What sees in a model; it is known."""
    vision = read_vision(config, sizes, towers)
    assert isinstance(vision, Vision), vision
    return vision


def named(architecture: str, vision: dict[str, Any], **config: Any) -> dict[str, Any]:
    """A config.json of that architecture."""
    return {"architectures": [architecture], "vision_config": {"hidden_size": 1024, **vision}, **config}


def read_qwen(folder: Path) -> ModelShape:
    """A small Qwen2.5-VL whose images may have as many pixels as those that are published."""
    write_checkpoint(folder, SMALL_QWEN)
    (folder / "preprocessor_config.json").write_text(json.dumps({"max_pixels": 12845056}))
    shape = read_model(folder)
    assert isinstance(shape, ModelShape), shape
    return shape
