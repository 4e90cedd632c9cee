"""What sees takes memory: as many of the largest images as a batch holds go through the encoder once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpu.processors import load_processors
from perf.memory import STARTS, read_model
from support.checkpoints import write_checkpoint
from triton_vllm_operator.cli.plan import read_model as read_folder
from triton_vllm_operator.memory.advice import Case, find_advice
from triton_vllm_operator.memory.encoder import count_profiled, encoder_pass, measured_pass
from triton_vllm_operator.memory.overheads import activation_peak
from triton_vllm_operator.memory.seeing import find_uncounted_seeing, read_seeing
from triton_vllm_operator.memory.settings import EngineSettings, Gpu, Runner, Seeing
from triton_vllm_operator.memory.versions import GIB, BatchClass
from triton_vllm_operator.sources.shape import ModelShape, Vision
from triton_vllm_operator.sources.vision import NOTHING_SAID, Sizes, read_vision

MODELS: dict[str, Any] = yaml.safe_load((STARTS / "models.yaml").read_text())
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
BATCH = BatchClass(tokens=8192, sequences=1024)
FIRST = EngineSettings("0.24.0")
GPU = int(139.8 * GIB)


def vision_of(config: dict[str, Any], sizes: Sizes = NOTHING_SAID, towers: tuple[str, ...] = ()) -> Vision:
    vision = read_vision(config, sizes, towers)
    assert vision is not None
    return vision


def named(architecture: str, vision: dict[str, Any], **config: Any) -> dict[str, Any]:
    return {"architectures": [architecture], "vision_config": {"hidden_size": 1024, **vision}, **config}


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
    assert read_vision(config, sizes, ()) is None


@pytest.mark.parametrize(
    ("batched", "length", "seeing", "tokens"),
    [
        # An image is larger than a batch: one goes through.
        (8192, 8192, Seeing(), 16384),
        # A video grows with the sequence, up to seven times.
        (8192, 32768, Seeing(), 32768),
        (8192, 131072, Seeing(), 7 * 16384),
        (8192, 131072, Seeing(videos=0), 16384),
        # Six of 1280 tokens are in a batch of 8192; a longer sequence lets videos grow.
        (8192, 1024, Seeing(max_pixels=1003520), 6 * 1280),
        (8192, 8192, Seeing(max_pixels=1003520, videos=0), 6 * 1280),
        (8192, 131072, Seeing(max_pixels=1003520), 7 * 1280),
        (8192, 8192, Seeing(images=0, videos=0), 0),
    ],
)
def test_as_many_as_a_batch_holds_go_through(batched: int, length: int, seeing: Seeing, tokens: int) -> None:
    settings = replace(FIRST, seeing=seeing)
    vision = vision_of(QWEN, QWEN_SIZES)
    assert count_profiled(vision, settings, BatchClass(tokens=batched, sequences=256), length) == tokens


def test_few_sequences_hold_few_images() -> None:
    vision = vision_of(*GRIDS[4][:2])
    assert count_profiled(vision, replace(FIRST, sequences=2), BATCH, 600) == 2 * 576
    assert count_profiled(vision, replace(FIRST, sequences=2, seeing=Seeing(images=3)), BATCH, 8192) == 6 * 576


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


def test_smaller_images_are_advised_where_these_take_the_room(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, SMALL_QWEN)
    (folder / "preprocessor_config.json").write_text(json.dumps({"max_pixels": 12845056}))
    shape = read_folder(folder)
    assert isinstance(shape, ModelShape)
    case = Case(shape, replace(FIRST, sequences=16), Gpu("small", 24 * GIB), 131072, with_server=False)
    texts = [advice.text for advice in find_advice(case)]
    assert "spec.engine.extraArgs.limit_mm_per_prompt: {video: 0}" in texts


GEMMA = MODELS["gemma-3-12b"]


def test_the_larger_of_both_passes_counts() -> None:
    shape = read_model(GEMMA)
    seen = encoder_pass(shape, FIRST, BATCH, 8192, GPU)
    peak = activation_peak(shape, FIRST, BATCH, 8192, 16, GPU)
    # 32 images, whose results are held while 1024 sequences are sampled: a public start of 0.19.0 took 3.94 GiB.
    assert peak.expected > seen.peak.expected
    assert peak.expected / GIB == pytest.approx(3.94, rel=0.02)
    fewer = activation_peak(shape, FIRST, BatchClass(tokens=8192, sequences=64), 8192, 16, GPU)
    assert fewer.expected == seen.peak.expected
    blind = shape.model_copy(update={"sees": False, "vision": None})
    few = BatchClass(tokens=256, sequences=1024)
    held = encoder_pass(shape, FIRST, few, 8192, GPU).held
    assert activation_peak(shape, FIRST, few, 8192, 16, GPU).expected == pytest.approx(
        activation_peak(blind, FIRST, few, 8192, 16, GPU).expected + held, abs=1
    )


def test_the_position_of_each_patch_is_looked_up_in_as_much_as_the_gpu_allows() -> None:
    """Gemma 4 took 8.93 GiB on an H200 (tests/perf/starts/vision.yaml), which a smaller GPU has not."""
    vision = {"hidden_size": 1152, "intermediate_size": 4304, "patch_size": 16, "pooling_kernel_size": 3}
    vision |= {"position_embedding_size": 10240, "default_output_length": 280}
    seen = vision_of({"architectures": ["Gemma4ForConditionalGeneration"], "vision_config": vision})
    shape = read_model(GEMMA).model_copy(update={"vision": seen, "hidden_size": 5376})
    large, small = (encoder_pass(shape, FIRST, BATCH, 8192, gib * GIB).peak.expected / GIB for gib in (140, 24))
    assert large == pytest.approx(8.93, rel=0.03)
    assert 1.5 < small < 4


def test_models_that_see_make_no_copy_of_the_head() -> None:
    """As three starts with 256 sequences were measured; a model of text does."""
    few = BatchClass(tokens=2048, sequences=256)
    shape = read_model(GEMMA)
    blind = shape.model_copy(update={"sees": False, "vision": None})
    seeing, text = (activation_peak(each, FIRST, few, 8192, 16, GPU).expected / GIB for each in (shape, blind))
    assert (round(seeing, 1), round(text, 1)) == (1.1, 1.9)


def test_tables_of_positions_are_longer_where_these_have_height_and_width() -> None:
    text = {**MODELS["qwen2.5-7b"], "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}
    (longer,), (plain,) = read_model(text).tables, read_model(MODELS["qwen2.5-7b"]).tables
    assert longer.whole == 4 * plain.whole


def test_every_processor_is_that_of_a_recorded_model() -> None:
    assert set(load_processors()) <= set(MODELS)


@pytest.mark.parametrize(
    ("settings", "is_measured"),
    [
        (FIRST, True),
        (replace(FIRST, seeing=Seeing(is_profiled=False)), False),
        (replace(FIRST, runner=Runner.V2), False),
        (replace(FIRST, runner=Runner.V2, vllm="0.27.0"), True),
    ],
)
def test_who_measures_itself_with_images(settings: EngineSettings, is_measured: bool) -> None:
    shape = read_model(GEMMA)
    assert bool(measured_pass(shape, settings, BATCH, 8192, GPU).peak.expected) is is_measured


def test_images_that_are_not_measured_need_room_beside() -> None:
    shape = read_model(GEMMA)
    second = replace(FIRST, runner=Runner.V2, vllm="0.26.0", sequences=16, batched_tokens=16384)
    small, large = (Case(shape, second, Gpu("any", size * GIB), 4096) for size in (32, 80))
    assert "images, with which it does not measure itself, need about" in small.judge(small.plan()).doubt
    assert not large.judge(large.plan()).doubt
    measured = replace(small, settings=replace(second, vllm="0.27.0"))
    assert not measured.judge(measured.plan()).doubt


def test_families_that_are_not_known_take_more_or_less() -> None:
    shape = read_model(GEMMA).model_copy(update={"vision": None})
    blind = shape.model_copy(update={"sees": False})
    unknown, without = (activation_peak(each, FIRST, BATCH, 8192, 16, GPU) for each in (shape, blind))
    assert (unknown.low, unknown.expected) == (without.low, without.expected + GIB // 4)
    assert unknown.high > unknown.expected + (without.high - without.expected)


@pytest.mark.parametrize(
    ("extra", "seeing"),
    [
        ({}, Seeing()),
        ({"limit_mm_per_prompt": {"image": 2, "video": 0}}, Seeing(images=2, videos=0)),
        ({"limit_mm_per_prompt": {"video": {"count": 0}}}, Seeing(videos=0)),
        ({"mm_processor_kwargs": {"max_pixels": 1003520, "min_pixels": 3136}}, Seeing(max_pixels=1003520)),
        ({"skip_mm_profiling": True}, Seeing(is_profiled=False)),
    ],
)
def test_arguments_are_counted(extra: dict[str, Any], seeing: Seeing) -> None:
    assert find_uncounted_seeing(extra) is None
    assert read_seeing(extra) == seeing


@pytest.mark.parametrize(
    ("extra", "named_argument"),
    [
        ({"limit_mm_per_prompt": {"image": 0, "video": 0}}, "limit_mm_per_prompt"),
        ({"limit_mm_per_prompt": {"audio": 1}}, "limit_mm_per_prompt"),
        ({"limit_mm_per_prompt": {"video": {"count": 1, "num_frames": 8}}}, "limit_mm_per_prompt"),
        ({"limit_mm_per_prompt": {"image": True}}, "limit_mm_per_prompt"),
        ({"mm_processor_kwargs": {"fps": 4}}, "mm_processor_kwargs"),
    ],
)
def test_what_says_more_is_named(extra: dict[str, Any], named_argument: str) -> None:
    assert find_uncounted_seeing(extra) == named_argument
