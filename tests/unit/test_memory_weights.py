"""What lies on a GPU beside the plain weights: adapters of experts, an index, whole files while they are loaded."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from perf.memory import STARTS, read_model
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.memory.advice import Case, find_advice
from triton_vllm_operator.memory.cache import lay_out
from triton_vllm_operator.memory.plan import make_plan
from triton_vllm_operator.memory.reading import settings_of_spec
from triton_vllm_operator.memory.settings import EngineSettings, Gpu
from triton_vllm_operator.memory.uncounted import find_uncounted
from triton_vllm_operator.memory.verdict import Verdict
from triton_vllm_operator.memory.versions import GIB
from triton_vllm_operator.memory.weights import load_peaks, weights_by_rank
from triton_vllm_operator.sources.shape import ModelShape

MODELS: dict[str, Any] = yaml.safe_load((STARTS / "models.yaml").read_text())
PLAIN = EngineSettings("0.24.0")
L40S = Gpu("NVIDIA-L40S", int(44.4 * GIB))


def added(shape: ModelShape, settings: EngineSettings) -> float:
    """GiB that adapters take on the first rank."""
    return (weights_by_rank(shape, settings)[0] - weights_by_rank(shape, replace(settings, adapters=0))[0]) / GIB


@pytest.mark.parametrize(("vllm", "has_experts"), [("0.11.0", False), ("0.11.1", True), ("0.32.0", True)])
def test_room_is_made_for_adapters_of_all_experts(vllm: str, has_experts: bool) -> None:
    shape = read_model(MODELS["qwen3-30b-a3b"])
    settings = EngineSettings(vllm, adapters=2, adapter_rank=16)
    # 48 layers of 128 experts: three halves of 2048 and three of 768 for each.
    experts = 48 * 128 * (3 * 2048 + 3 * 768) * 2 * 16 * 2 / GIB if has_experts else 0
    assert added(shape, settings) == pytest.approx(experts + 0.07, abs=0.02)


def test_both_halves_of_a_gate_are_adapted_as_one_where_the_class_says_so() -> None:
    shape = read_model(MODELS["gpt-oss-20b"])
    before, after = (added(shape, EngineSettings(vllm, adapters=2, adapter_rank=16)) for vllm in ("0.11.1", "0.12.0"))
    # 24 layers of 32 experts: one half of 2880 less, but for what torch rounds up.
    assert before - after == pytest.approx(24 * 32 * 2880 * 2 * 16 * 2 / GIB, rel=0.15)


def test_ranks_share_out_one_side_of_each_expert() -> None:
    shape = read_model(MODELS["qwen3-30b-a3b"])
    one, two = (EngineSettings("0.24.0", adapters=2, adapter_rank=16, tensor_ranks=ranks) for ranks in (1, 2))
    assert added(shape, one) - added(shape, two) == pytest.approx(48 * 128 * 3 * 384 * 2 * 16 * 2 / GIB, rel=0.1)


@pytest.mark.parametrize(
    ("vllm", "cache_bytes", "of_a_layer"),
    [("0.11.0", 2, 656 + 132), ("0.11.1", 2, 1152 + 132), ("0.24.0", 2, 1152 + 132), ("0.24.0", 1, 656 + 132)],
)
def test_an_index_is_kept_beside_what_is_compressed(vllm: str, cache_bytes: int, of_a_layer: int) -> None:
    shape = read_model(MODELS["deepseek-v3.2-small"])
    assert shape.strange == ()
    assert lay_out(shape, EngineSettings(vllm, cache_bytes=cache_bytes)).token_bytes == 5 * of_a_layer


def test_the_workspace_of_an_index_grows_with_the_longest_sequence() -> None:
    sparse = read_model(MODELS["deepseek-v3.2-small"])
    short, long = (make_plan(sparse, PLAIN, L40S, length).activations.expected for length in (8192, 8 * 163840))
    assert long - short > GIB, "more than the workspace of the experts, which is the same"


@pytest.mark.parametrize(("vllm", "queries"), [("0.17.0", 0), ("0.18.0", 128 * 576 * 2)])
def test_buffers_of_an_index_lie_among_the_weights(vllm: str, queries: int) -> None:
    """The numbers of the tokens that were found, 2048 for each token of a batch; queries as they are compressed."""
    sparse, settings = read_model(MODELS["deepseek-v3.2-small"]), EngineSettings(vllm)
    alone = weights_by_rank(sparse, settings)[0]
    assert make_plan(sparse, settings, L40S, 8192).weights - alone == 2048 * (2048 * 4 + queries)


def test_whole_files_lie_on_the_gpu_while_they_are_loaded() -> None:
    shape = read_model(MODELS["llama-3-8b"]).model_copy(update={"largest_file": 5 * 10**9})
    staged = replace(PLAIN, staged_files=1)
    loaded = weights_by_rank(shape, PLAIN)
    assert load_peaks(shape, PLAIN, loaded) == loaded
    assert load_peaks(shape, staged, loaded) == (loaded[0] + 5 * 10**9,)
    queued = replace(staged, staged_files=3)
    assert load_peaks(shape, queued, loaded) == (loaded[0] + 15 * 10**9,)


def test_no_more_is_staged_than_there_is() -> None:
    shape = read_model(MODELS["llama-3-8b"]).model_copy(update={"largest_file": 5 * 10**9, "all_files": 16 * 10**9})
    loaded = weights_by_rank(shape, PLAIN)
    assert load_peaks(shape, replace(PLAIN, staged_files=9), loaded) == (loaded[0] + 16 * 10**9,)


def test_files_that_cannot_be_staged_are_refused_with_what_would_help() -> None:
    shape = read_model(MODELS["llama-3-8b"]).model_copy(update={"largest_file": 16 * 10**9})
    case = Case(shape, replace(PLAIN, staged_files=1), Gpu("NVIDIA-L4", int(22.05 * GIB)), 4096)
    judged = case.judge(case.plan())
    assert judged.verdict is Verdict.DOES_NOT_FIT
    assert "lays whole files on the GPU beside the weights: that takes 29.89 GiB" in judged.misfit
    assert "spec.engine.extraArgs.load_format: auto" in [advice.text for advice in find_advice(case)]


def test_weights_that_are_too_large_by_themselves_are_not_said_to_be_staged() -> None:
    shape = read_model(MODELS["qwen3-32b"]).model_copy(update={"largest_file": 4 * 10**9})
    case = Case(shape, replace(PLAIN, staged_files=1), Gpu("NVIDIA-L4", int(22.05 * GIB)), 4096)
    judged = case.judge(case.plan())
    assert (judged.verdict, judged.misfit) == (Verdict.DOES_NOT_FIT, "")


def test_old_versions_stage_one_file() -> None:
    spec = LLMDeploymentSpec.model_validate(
        {
            "model": {"huggingFace": {"repository": "a/b"}},
            "runtime": {"version": "26.08"},
            "engine": {"extraArgs": {"load_format": "fastsafetensors"}},
            "env": [{"name": "VLLM_FASTSAFETENSORS_QUEUE_SIZE", "value": "2"}],
        }
    )
    shape = read_model(MODELS["llama-3-8b"])
    assert [settings_of_spec(spec, vllm, shape).staged_files for vllm in ("0.23.0", "0.24.0")] == [1, 3]


@pytest.mark.parametrize(
    ("vllm", "architecture", "is_fused"),
    [
        ("0.17.0", "InternS1ProForConditionalGeneration", False),
        ("0.18.0", "InternS1ProForConditionalGeneration", True),
        ("0.18.0", "Qwen3_5MoeForConditionalGeneration", False),
        ("0.19.0", "Qwen3_5MoeForConditionalGeneration", True),
        ("0.28.0", "Qwen3OmniMoeForConditionalGeneration", False),
        ("0.29.0", "Qwen3OmniMoeForConditionalGeneration", True),
    ],
)
def test_which_classes_adapt_a_gate_as_one(vllm: str, architecture: str, is_fused: bool) -> None:
    shape = read_model(MODELS["qwen3-30b-a3b"])
    settings = EngineSettings(vllm, adapters=2, adapter_rank=16)
    named = shape.model_copy(update={"architecture": architecture})
    assert (added(named, settings) < added(shape, settings)) is is_fused


@pytest.mark.parametrize(
    ("extra", "env", "staged", "unplanned"),
    [
        ({}, [], 0, ""),
        ({"load_format": "safetensors"}, [], 0, ""),
        ({"load_format": "fastsafetensors"}, [], 1, ""),
        ({"load_format": "fastsafetensors"}, [{"name": "VLLM_FASTSAFETENSORS_QUEUE_SIZE", "value": "2"}], 3, ""),
        ({"load_format": "tensorizer"}, [], 0, "spec.engine.extraArgs.load_format tensorizer"),
    ],
)
def test_the_spec_says_how_weights_are_loaded(
    extra: dict[str, Any], env: list[dict[str, str]], staged: int, unplanned: str
) -> None:
    spec = LLMDeploymentSpec.model_validate(
        {
            "model": {"huggingFace": {"repository": "a/b"}},
            "runtime": {"version": "26.08"},
            "engine": {"extraArgs": extra},
            "env": env,
        }
    )
    shape = read_model(MODELS["llama-3-8b"]).model_copy(update={"largest_file": 10**9})
    assert settings_of_spec(spec, "0.24.0", shape).staged_files == staged
    assert find_uncounted(spec, shape) == unplanned
