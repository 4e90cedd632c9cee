"""The parts of a plan: weights by rank, layouts of the cache, what differs by version."""

import pytest

from perf.memory import read_model
from support.checkpoints import LLAMA
from triton_vllm_operator.api.engine import Engine
from triton_vllm_operator.memory.advice import Case
from triton_vllm_operator.memory.cache import blocks_of_sequence, count_tokens, lay_out
from triton_vllm_operator.memory.plan import make_plan
from triton_vllm_operator.memory.reading import read_settings
from triton_vllm_operator.memory.runner import choose_runner
from triton_vllm_operator.memory.settings import EngineSettings, Gpu
from triton_vllm_operator.memory.verdict import Verdict
from triton_vllm_operator.memory.versions import GIB, load_tables, row_of
from triton_vllm_operator.memory.weights import load_peaks, round_up, share_layers, weights_by_rank
from triton_vllm_operator.sources.shape import contract, expand

GEMMA = {
    **LLAMA,
    "model_type": "gemma2",
    "num_hidden_layers": 42,
    "head_dim": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}


@pytest.mark.parametrize(
    ("layers", "stages", "sizes"), [(32, 2, [16, 16]), (33, 4, [8, 8, 9, 8]), (27, 4, [7, 7, 7, 6]), (5, 1, [5])]
)
def test_layers_are_shared_out_as_vllm_does(layers: int, stages: int, sizes: list[int]) -> None:
    shared = share_layers(layers, stages)
    assert [len(stage) for stage in shared] == sizes
    assert [number for stage in shared for number in stage] == list(range(layers))


@pytest.mark.parametrize(
    ("count", "held"),
    [(1, 512), (513, 1024), (10 * 2**20, 10 * 2**20), (11 * 2**20, 12 * 2**20), (10 * 2**20 + 1, 10 * 2**20 + 1)],
)
def test_torch_rounds_allocations(count: int, held: int) -> None:
    assert round_up(count) == held


def test_a_pattern_is_read_back() -> None:
    numbers = (0, 0, 0, 1, 0, 2, 2)
    assert (contract(numbers), expand(contract(numbers))) == ("3a1b1a2c", numbers)


def test_heads_of_keys_are_repeated_where_there_are_more_ranks() -> None:
    shape = read_model(LLAMA)
    alone, eight, sixteen = (
        weights_by_rank(shape, EngineSettings("0.19.0", tensor_ranks=ranks))[0] for ranks in (1, 8, 16)
    )
    assert alone / eight < 8
    assert alone / sixteen < 16
    keys = {ranks: lay_out(shape, EngineSettings("0.19.0", tensor_ranks=ranks)).token_bytes for ranks in (1, 8, 16)}
    assert keys == {1: 131072, 8: 16384, 16: 16384}


def test_the_ends_of_a_pipeline_hold_embedding_and_head() -> None:
    first, middle, last = weights_by_rank(read_model(LLAMA), EngineSettings("0.19.0", pipeline_ranks=3))
    assert min(first, last) > middle + GIB // 2


def test_hybrids_have_groups_of_one_size() -> None:
    layout = lay_out(read_model(GEMMA), EngineSettings("0.19.0"))
    assert [group.layers for group in layout.groups] == [21, 21]
    # A window keeps itself, the batches in flight and the block that is under way.
    assert blocks_of_sequence(layout, 32768, 2048, "0.19.0") == 2048 + 385
    assert blocks_of_sequence(layout, 32768, 2048, "0.27.1") == 2048 + 513


def test_the_line_of_tokens_changed_its_meaning() -> None:
    layout = lay_out(read_model(GEMMA), EngineSettings("0.19.0"))
    assert count_tokens(layout, 10000, 32768, 2048, "0.20.0") == 5000 * 16
    assert count_tokens(layout, 10000, 32768, 2048, "0.20.1") == int(10000 / 2433 * 32768)


def test_a_version_takes_the_newest_row_that_is_not_newer() -> None:
    rows = load_tables().graphs
    assert [row_of(rows, version).reserved for version in ("0.9.0", "0.19.1", "0.20.0", "0.33.0", "unknown")] == [
        *(False, False, True, True, True)
    ]


@pytest.mark.parametrize(
    ("vllm", "gib", "product", "sequences"),
    [
        ("0.19.0", 79, "NVIDIA-H100", 1024),
        ("0.19.0", 79, "NVIDIA-A100-SXM4-80GB", 256),
        ("0.19.0", 22, "NVIDIA-L4", 256),
        ("0.28.0", 178, "NVIDIA-B200", 1024),
    ],
)
def test_defaults_of_a_batch_follow_from_the_gpu(vllm: str, gib: int, product: str, sequences: int) -> None:
    assert row_of(load_tables().batch, vllm).find(gib * GIB, product).sequences == sequences


PLAIN = Engine()


@pytest.mark.parametrize(
    ("vllm", "architecture", "engine", "environment", "runner"),
    [
        ("0.21.0", "Qwen3ForCausalLM", PLAIN, {}, "V1"),
        ("0.22.0", "Qwen3ForCausalLM", PLAIN, {}, "V2"),
        ("0.22.0", "Qwen3ForCausalLM", Engine(quantization="fp8"), {}, "V1"),
        ("0.22.0", "LlamaForCausalLM", PLAIN, {}, "V1"),
        ("0.24.0", "LlamaForCausalLM", PLAIN, {}, "V2"),
        ("0.24.0", "Gemma2ForCausalLM", PLAIN, {}, "V1"),
        ("0.25.0", "Gemma2ForCausalLM", PLAIN, {}, "V2"),
        (
            "0.27.1",
            "LlamaForCausalLM",
            Engine(speculative_config={"method": "ngram", "num_speculative_tokens": 2}),
            {},
            "V1",
        ),
        ("0.27.1", "LlamaForCausalLM", PLAIN, {"VLLM_USE_V2_MODEL_RUNNER": "0"}, "V1"),
        ("0.19.0", "LlamaForCausalLM", PLAIN, {"VLLM_USE_V2_MODEL_RUNNER": "1"}, "V2"),
    ],
)
def test_the_model_runner_follows_from_version_model_and_settings(
    vllm: str, architecture: str, engine: Engine, environment: dict[str, str], runner: str
) -> None:
    shape = read_model({**LLAMA, "architectures": [architecture]})
    assert choose_runner(shape, engine, environment, vllm).value == runner


def test_the_second_runner_reserves_nothing_for_graphs_at_first() -> None:
    shape, h100 = read_model(LLAMA), Gpu("NVIDIA-H100", 79 * GIB)
    graphs = {
        vllm: make_plan(shape, read_settings(PLAIN, vllm, shape), h100, 8192).graphs.expected
        for vllm in ("0.20.2", "0.27.1", "0.29.0")
    }
    assert graphs["0.20.2"] == graphs["0.29.0"] > graphs["0.27.1"] == 0


def test_layers_that_attend_in_chunks_are_kept_short_since_0_14() -> None:
    shape = read_model({**LLAMA, "num_hidden_layers": 48, "attention_chunk_size": 8192})
    old, new = (lay_out(shape, EngineSettings(vllm)) for vllm in ("0.13.0", "0.14.0"))
    assert ([group.layers for group in old.groups], [group.layers for group in new.groups]) == ([48], [12] * 4)
    assert blocks_of_sequence(new, 131072, 8192, "0.14.0") == 8192 + 3 * 1024


@pytest.mark.parametrize(("vllm", "gib"), [("0.15.1", 14.96), ("0.16.0", 8.7)])
def test_older_versions_quantise_weights_after_all_of_them_are_loaded(vllm: str, gib: float) -> None:
    settings = EngineSettings(vllm, quantises=True)
    (peak,) = load_peaks(read_model(LLAMA), settings, weights_by_rank(read_model(LLAMA), settings))
    assert peak / GIB == pytest.approx(gib, rel=0.01)
    plain = weights_by_rank(read_model(LLAMA), EngineSettings(vllm))
    assert load_peaks(read_model(LLAMA), EngineSettings(vllm), plain) == plain


@pytest.mark.parametrize(("vllm", "fits"), [("0.15.1", False), ("0.16.0", True)])
def test_what_fits_once_it_is_quantised_may_not_be_loaded(vllm: str, fits: bool) -> None:
    case = Case(read_model(LLAMA), EngineSettings(vllm, quantises=True), Gpu("a GPU", 14 * GIB), 2048)
    judged = case.judge(case.plan())
    assert (judged.verdict is not Verdict.DOES_NOT_FIT) is fits
    assert ("after it has loaded them" in judged.misfit) is not fits
