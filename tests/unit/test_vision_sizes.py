"""How large the largest image of a model may be, by its config.json and its processor's files."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.checkpoints import write_checkpoint
from support.vision import QWEN, QWEN_SIZES, SMALL_QWEN, named, vision_of
from triton_vllm_operator.cli.plan import read_model as read_folder
from triton_vllm_operator.memory.uncounted import find_unseen
from triton_vllm_operator.sources.shape import ModelShape
from triton_vllm_operator.sources.vision import NOTHING_SAID, Sizes, read_vision

PIXTRAL = {"patch_size": 14, "image_size": 1540}
# Tokens of the largest image, and patches of each: as vLLM 0.24.0 computes them (MultiModalBudget) for published files.
GRIDS: tuple[tuple[dict[str, Any], Sizes, int, int], ...] = (
    (QWEN, QWEN_SIZES, 16384, 4),
    (QWEN, Sizes({"size": {"longest_edge": 1003520}}, {}), 1280, 4),
    (named("Mistral3ForConditionalGeneration", PIXTRAL, spatial_merge_size=2), NOTHING_SAID, 3025, 4),
    (named("LlavaForConditionalGeneration", {"patch_size": 16, "image_size": 1024}), NOTHING_SAID, 4096, 1),
    (named("LlavaForConditionalGeneration", {"patch_size": 14, "image_size": 336}), NOTHING_SAID, 576, 1),
    (
        named("Gemma3ForConditionalGeneration", {"patch_size": 14, "image_size": 896}, mm_tokens_per_image=256),
        NOTHING_SAID,
        256,
        16,
    ),
    (
        named("Llama4ForConditionalGeneration", {"patch_size": 14, "image_size": 336, "pixel_shuffle_ratio": 0.5}),
        Sizes({"max_patches": 16}, {}),
        2448,
        4,
    ),
    (
        named(
            "InternVLChatModel",
            {"patch_size": 14, "image_size": 448},
            downsample_ratio=0.5,
            max_dynamic_patch=12,
        ),
        NOTHING_SAID,
        3328,
        4,
    ),
    (
        named(
            "InternVLForConditionalGeneration", {"patch_size": [14, 14], "image_size": [448, 448]}, downsample_ratio=0.5
        ),
        Sizes({"max_patches": 12, "crop_to_patches": False}, {}),
        256,
        4,
    ),
)


@pytest.mark.parametrize(("config", "sizes", "tokens", "patches"), GRIDS)
def test_the_largest_image_is_read(config: dict[str, Any], sizes: Sizes, tokens: int, patches: int) -> None:
    vision = vision_of(config, sizes)
    assert (vision.image_tokens, vision.patches) == (tokens, patches)


def test_a_gate_is_seen_in_the_weights() -> None:
    assert vision_of(QWEN, QWEN_SIZES, ("visual.blocks.0.mlp.gate_proj.weight",)).is_gated
    assert not vision_of(QWEN, QWEN_SIZES, ("visual.blocks.0.mlp.fc1.weight",)).is_gated


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ({**QWEN, "architectures": ["StrangeForConditionalGeneration"]}, QWEN_SIZES),
        (QWEN, NOTHING_SAID),
        ({"architectures": QWEN["architectures"]}, QWEN_SIZES),
        ({**QWEN, "vision_config": {"patch_size": 14}}, QWEN_SIZES),
        ({**QWEN, "vision_config": {"hidden_size": "a", "patch_size": [], "mlp_ratio": "x"}}, QWEN_SIZES),
        (QWEN, Sizes({"max_pixels": -1, "size": []}, {})),
        (
            named("LlavaNextForConditionalGeneration", {"patch_size": 14, "image_size": 336}, image_grid_pinpoints=7),
            QWEN_SIZES,
        ),
    ],
)
def test_what_is_not_said_is_not_guessed(config: dict[str, Any], sizes: Sizes) -> None:
    found = read_vision(config, sizes, ())
    assert isinstance(found, str)
    assert found


@pytest.mark.parametrize(
    "files",
    [
        {"preprocessor_config.json": {"max_pixels": 12845056}},
        {"preprocessor_config.json": {"size": {"longest_edge": 12845056}}},
        {"processor_config.json": {"image_processor": {"size": {"longest_edge": 12845056}}}},
    ],
)
def test_the_processors_files_are_read_beside_the_weights(tmp_path: Path, files: dict[str, Any]) -> None:
    folder = write_checkpoint(tmp_path, SMALL_QWEN)
    for name, said in files.items():
        (folder / name).write_text(json.dumps(said))
    shape = read_folder(folder)
    assert isinstance(shape, ModelShape)
    assert shape.vision is not None
    assert (shape.vision.image_tokens, shape.vision.is_gated, shape.vision.inner_size) == (16384, True, 3420)


def test_a_broken_file_of_the_processor_is_for_the_engine_to_refuse(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, SMALL_QWEN)
    (folder / "preprocessor_config.json").write_text("{")
    shape = read_folder(folder)
    assert isinstance(shape, ModelShape)
    assert shape.sees
    assert shape.vision is None
    assert "preprocessor_config.json does not say" in find_unseen(shape)
