"""Layers that keep states: what a sequence takes of the cache, and what an engine refuses."""

import time
from dataclasses import replace
from typing import Any

import pytest
import yaml

from perf.memory import STARTS, read_model
from support.checkpoints import LLAMA
from triton_vllm_operator.memory.advice import Case, find_advice
from triton_vllm_operator.memory.cache import CacheLayout, find_unplannable, lay_out
from triton_vllm_operator.memory.plan import make_plan
from triton_vllm_operator.memory.settings import EngineSettings, Gpu
from triton_vllm_operator.memory.verdict import Verdict, find_misfit
from triton_vllm_operator.memory.versions import GIB
from triton_vllm_operator.sources.shape import Attention
from triton_vllm_operator.sources.shape_reader import read_shape

MODELS: dict[str, Any] = yaml.safe_load((STARTS / "models.yaml").read_text())
H200 = Gpu("NVIDIA-H200", int(139.8 * GIB))
OF_STATES = (
    *("granite-4.0-h-tiny", "nemotron-h-8b", "qwen3-next-80b-a3b", "qwen3.5-9b-text", "falcon-h1-7b", "lfm2-1.2b"),
    *("jamba-1.5-mini", "kimi-linear-48b", "mamba2-2.7b", "falcon-mamba-7b"),
)


def layout_of(name: str, **settings: Any) -> CacheLayout:
    return lay_out(read_model(MODELS[name]), EngineSettings(**{"vllm": "0.24.0", **settings}))


@pytest.mark.parametrize("name", OF_STATES)
def test_every_family_is_understood(name: str) -> None:
    shape = read_model(MODELS[name])
    assert shape.strange == ()
    assert any(kind.state is not None for kind in shape.kinds)
    assert len(shape.model_dump_json(exclude_defaults=True)) < 2000
    assert find_unplannable(shape, EngineSettings("0.24.0")) == ""


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        # "Setting attention block size to N tokens to ensure that attention page size is >= mamba page size."
        ("granite-4.0-h-tiny", 400),
        ("qwen3-next-80b-a3b", 544),
        ("lfm2-1.2b", 16),
    ],
)
def test_a_block_of_attention_takes_what_a_state_does(name: str, tokens: int) -> None:
    assert layout_of(name).block_tokens == tokens


def test_layers_that_do_both_keep_both() -> None:
    layout = layout_of("falcon-h1-7b")
    assert [(group.kind.attention, group.layers) for group in layout.groups] == [
        (Attention.FULL, 44),
        (Attention.NONE, 44),
    ]


@pytest.mark.parametrize(
    ("vllm", "caches", "kept"),
    [
        ("0.24.0", None, 1),
        ("0.24.0", True, None),
        ("0.27.1", None, None),
        ("0.27.1", False, 1),
        ("0.28.0", None, 2),
    ],
)
def test_versions_keep_states_of_prefixes_in_their_own_ways(vllm: str, caches: bool | None, kept: int | None) -> None:
    assert layout_of("nemotron-h-8b", vllm=vllm, caches_prefixes=caches).state_blocks == kept


def test_without_attention_prefixes_are_cached_where_the_user_says_so_alone() -> None:
    shape = read_model(MODELS["mamba2-2.7b"])
    assert layout_of("mamba2-2.7b", vllm="0.29.0").state_blocks == 1
    assert find_unplannable(shape, EngineSettings("0.29.0")) == ""
    assert "prefixes" in find_unplannable(shape, EngineSettings("0.29.0", caches_prefixes=True))


def test_models_that_do_not_say_all_states_keep_two() -> None:
    assert layout_of("qwen3-next-80b-a3b", caches_prefixes=True).state_blocks == 2


def test_ranks_share_states_out() -> None:
    alone, shared = layout_of("qwen3.5-9b-text"), layout_of("qwen3.5-9b-text", tensor_ranks=2)
    # Heads of keys and values are shared out as well, so that a block holds as many tokens in half the bytes.
    assert (shared.block_tokens, shared.block_bytes * 2) == (alone.block_tokens, alone.block_bytes)


def test_a_sequence_of_states_takes_one_block_however_long_it_is() -> None:
    shape, settings = read_model(MODELS["falcon-mamba-7b"]), EngineSettings("0.24.0")
    short, long = (make_plan(shape, settings, H200, length) for length in (1024, 65536))
    assert short.sequence_bytes == long.sequence_bytes == short.layout.block_bytes
    assert long.tokens.expected == pytest.approx(64 * short.tokens.expected, rel=1e-3)


def test_an_engine_with_graphs_needs_a_block_for_each_sequence() -> None:
    settings = EngineSettings("0.24.0", sequences=1024, batched_tokens=8192)
    case = Case(read_model(MODELS["nemotron-h-8b"]), settings, Gpu("NVIDIA-L4", 24 * GIB), 8192)
    judged = case.judge(case.plan())
    assert judged.verdict is Verdict.DOES_NOT_FIT
    assert judged.misfit.startswith("each of maxNumSeqs 1024 sequences needs a block for its state, and the cache has ")
    advice = {each.text.partition(":")[0]: each for each in find_advice(case)}
    changed = advice["spec.engine.maxNumSeqs"].case
    assert changed.judge(changed.plan()).verdict is not Verdict.DOES_NOT_FIT
    eager = replace(case, settings=replace(settings, is_eager=True))
    assert eager.judge(eager.plan()).verdict is not Verdict.DOES_NOT_FIT


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layer_types": ["mamba", "strange"] * 20}, "what a layer strange is"),
        ({"mamba_d_state": None}, "mamba_d_state or ssm_state_size"),
        ({"layer_types": ["mamba"] * 3}, "lists 3 for 40 layers"),
        ({"layer_types": "mamba"}, "layer_types or layers_block_type"),
    ],
)
def test_what_config_json_does_not_say_is_said(changes: dict[str, Any], words: str) -> None:
    shape = read_shape({**MODELS["granite-4.0-h-tiny"], **changes}, {})
    assert isinstance(shape, str)
    assert words in shape


def test_a_family_that_is_not_listed_is_not_understood() -> None:
    shape = read_shape({**LLAMA, "model_type": "new_hybrid", "mamba_d_state": 128}, {})
    assert isinstance(shape, str)
    assert "mamba_d_state" in shape


@pytest.mark.parametrize(
    ("name", "stages", "layers"),
    # Of the groups that vLLM deals the layers out to, the fullest on the stage with the most of any.
    [("nemotron-h-8b", 1, 4), ("nemotron-h-8b", 8, 1), ("granite-4.0-h-tiny", 8, 1)],
)
def test_layers_are_dealt_out_to_groups_over_all_stages(name: str, stages: int, layers: int) -> None:
    shape, settings = read_model(MODELS[name]), EngineSettings("0.24.0", pipeline_ranks=stages)
    layouts = [lay_out(shape, settings, stage) for stage in range(stages)]
    assert {len(layout.groups) for layout in layouts} == {len(lay_out(shape, EngineSettings("0.24.0")).groups)}
    assert max(group.layers for layout in layouts for group in layout.groups) == layers


def test_without_attention_no_heads_of_it_are_shared_out() -> None:
    shape = read_model(MODELS["falcon-mamba-7b"])
    assert find_misfit(shape, EngineSettings("0.24.0", tensor_ranks=2)) == ""


def test_groups_of_states_that_ranks_do_not_divide_are_named() -> None:
    shape = read_model(MODELS["nemotron-h-8b"])
    assert find_misfit(shape, EngineSettings("0.24.0", tensor_ranks=8)) == ""
    assert find_misfit(shape, EngineSettings("0.24.0", tensor_ranks=16)).endswith("the 8 groups of states")


def test_many_layers_are_planned_in_no_time() -> None:
    shape = read_model(MODELS["granite-4.0-h-tiny"]).model_copy(
        update={"pattern": "1a1b" * 500, "weight_pattern": "1a" * 1000}
    )
    shape = shape.model_copy(update={"kinds": (*shape.kinds, *shape.kinds)[:2]})
    began = time.monotonic()
    make_plan(shape, EngineSettings("0.24.0"), H200, 8192)
    assert time.monotonic() - began < 0.2


def test_where_nothing_bounds_a_sequence_vllm_assumes_a_length() -> None:
    assert read_model(MODELS["falcon-mamba-7b"]).longest == 2048


def test_fewer_sequences_spare_what_is_multiplied_out_for_a_block_of_each() -> None:
    """Kimi-Linear's blocks are of 1,888 tokens: the profile multiplies one out for each sequence."""
    shape = read_model(MODELS["kimi-linear-48b"])
    case = Case(shape, EngineSettings("0.24.0", tensor_ranks=2), Gpu("NVIDIA-H100-80GB-HBM3", int(79.2 * GIB)), 8192)
    plan = case.plan()
    assert plan.layout.block_tokens == 944
    assert plan.activations.expected > 7 * GIB
    tight = replace(case, gpu=Gpu("a GPU", int(71 * GIB)), settings=replace(case.settings, utilization=0.75))
    assert tight.judge(tight.plan()).verdict is Verdict.DOES_NOT_FIT
    advice = next(each for each in find_advice(tight) if "maxNumSeqs" in each.text)
    assert advice.case.plan().activations.expected < plan.activations.expected / 2
