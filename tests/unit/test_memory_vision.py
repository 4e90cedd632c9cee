"""What sees takes memory: as many of the largest images as a batch holds go through the encoder once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpu.processors import load_processors
from perf.memory import STARTS, read_model
from support.vision import QWEN, QWEN_SIZES, named, read_qwen, vision_of
from triton_vllm_operator.cli.plan_assumptions import find_assumptions
from triton_vllm_operator.memory import encoder
from triton_vllm_operator.memory.advice import Case, find_advice, with_longest_that_fits
from triton_vllm_operator.memory.encoder import count_profiled, encoder_pass, measured_pass
from triton_vllm_operator.memory.fit import say_why
from triton_vllm_operator.memory.overheads import activation_peak
from triton_vllm_operator.memory.seeing import find_uncounted_seeing, read_seeing
from triton_vllm_operator.memory.settings import EngineSettings, Gpu, Runner, Seeing
from triton_vllm_operator.memory.uncounted import find_unseen
from triton_vllm_operator.memory.versions import GIB, BatchClass
from triton_vllm_operator.memory.weights import weights_by_rank
from triton_vllm_operator.sources.shape import ModelShape
from triton_vllm_operator.sources.vision import FAMILIES

MODELS: dict[str, Any] = yaml.safe_load((STARTS / "models.yaml").read_text())
LLAVA = named("LlavaForConditionalGeneration", {"patch_size": 14, "image_size": 336})
BATCH = BatchClass(tokens=8192, sequences=1024)
FIRST = EngineSettings("0.24.0")
GPU = int(139.8 * GIB)


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
    vision = vision_of(LLAVA)
    assert count_profiled(vision, replace(FIRST, sequences=2), BATCH, 600) == 2 * 576
    assert count_profiled(vision, replace(FIRST, sequences=2, seeing=Seeing(images=3)), BATCH, 8192) == 6 * 576


def test_smaller_images_are_advised_where_these_take_the_room(tmp_path: Path) -> None:
    shape = read_qwen(tmp_path)
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
    longer = read_model(text).model_copy(update={"architecture": "Qwen3VLForConditionalGeneration"})
    plain = longer.model_copy(update={"longer_tables": ()})

    def weights(shape: ModelShape, vllm: str) -> int:
        return weights_by_rank(shape, EngineSettings(vllm))[0]

    (table,) = plain.tables
    assert weights(longer, "0.31.0") - weights(plain, "0.31.0") == pytest.approx(3 * 2 * table.whole, rel=0.01)
    assert weights(longer, "0.32.0") == weights(plain, "0.32.0")


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


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unseen": "what Strange sees or hears with"}, "what Strange sees or hears with"),
        ({}, "what an older version of the operator did not report of the model"),
    ],
)
def test_of_what_is_not_known_the_engine_decides(changes: dict[str, Any], said: str) -> None:
    shape = read_model(GEMMA).model_copy(update={"vision": None, **changes})
    assert find_unseen(shape) == said
    assert not find_unseen(read_model(GEMMA))
    assert not find_unseen(read_model(MODELS["qwen2.5-7b"]))


def test_an_engine_that_chooses_its_length_measures_itself_with_the_models_own(tmp_path: Path) -> None:
    """Videos are as long as the model allows then, whatever length remains."""
    shape = read_qwen(tmp_path)
    case = with_longest_that_fits(Case(shape, FIRST, Gpu("small", 24 * GIB), 128000, with_server=False))
    assert case.plan().activations.expected > 15 * GIB
    assert not case.plan().fits


def test_the_engines_pass_is_named_where_it_leaves_no_room(tmp_path: Path) -> None:
    shape = read_qwen(tmp_path)
    case = Case(shape, FIRST, Gpu("small", 24 * GIB), 128000, with_server=False)
    plan = case.plan()
    assert "and the largest pass 1" in say_why(plan, case.judge(plan), case.settings)
    pixels = Case(shape, replace(FIRST, seeing=Seeing(videos=0)), Gpu("small", 14 * GIB), 65536, with_server=False)
    texts = [advice.text for advice in find_advice(pixels)]
    assert any("mm_processor_kwargs: {max_pixels: " in text for text in texts)


def test_a_user_who_bounds_images_is_advised_with_that_bound(tmp_path: Path) -> None:
    shape = read_qwen(tmp_path)
    few = replace(FIRST, sequences=16, seeing=Seeing(images=2))
    texts = [advice.text for advice in find_advice(Case(shape, few, Gpu("s", 24 * GIB), 131072, with_server=False))]
    assert "spec.engine.extraArgs.limit_mm_per_prompt: {image: 2, video: 0}" in texts


def test_what_is_assumed_of_images_is_said(tmp_path: Path) -> None:
    shape = read_qwen(tmp_path)
    said = "\n".join(find_assumptions(Case(shape, FIRST, Gpu("any", 80 * GIB), 8192), ""))
    assert "the engine measures itself with images or videos of 16384 tokens" in said
    assert "the largest image takes more than the 8192 tokens of a sequence" in said
    assert "mm_processor_kwargs: {max_pixels: 6422528}" in said


def test_every_encoder_is_of_a_family_that_is_read() -> None:
    rows = yaml.safe_load((Path(encoder.__file__).with_name("encoders.yaml")).read_text())["encoders"]
    known = {name for family in FAMILIES for name in family.architectures}
    assert {name for row in rows for name in row.get("architectures", ())} <= known


def test_videos_of_the_first_version_are_longer() -> None:
    vision = vision_of(QWEN, QWEN_SIZES)
    batch = BatchClass(tokens=8192, sequences=256)
    assert count_profiled(vision, EngineSettings("0.10.2"), batch, 262144) == 8 * 16384
    assert count_profiled(vision, EngineSettings("0.11.0"), batch, 262144) == 7 * 16384


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
        ({"limit_mm_per_prompt": {"image": 0}}, "limit_mm_per_prompt"),
        ({"limit_mm_per_prompt": '{"image": 1}'}, "limit_mm_per_prompt"),
        ({"mm_processor_kwargs": {"max_pixels": 1e6}}, "mm_processor_kwargs"),
        ({"mm_processor_kwargs": {"max_pixels": True}}, "mm_processor_kwargs"),
        ({"mm_processor_kwargs": {"max_pixels": 10**6, "min_pixels": 10**9}}, "mm_processor_kwargs"),
        ({"mm_processor_kwargs": {"fps": 4}}, "mm_processor_kwargs"),
    ],
)
def test_what_says_more_is_named(extra: dict[str, Any], named_argument: str) -> None:
    assert find_uncounted_seeing(extra) == named_argument
