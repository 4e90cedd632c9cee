"""What guesses tokens takes memory: draft models, heads of EAGLE and Medusa, layers that a model brings (MTP)."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from perf.memory import STARTS, read_model
from support.checkpoints import make_draft, make_tensors
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.memory.cache import find_unplannable, lay_out
from triton_vllm_operator.memory.drafts import draft_rows, find_draft_misfit, maybe_shared_bytes
from triton_vllm_operator.memory.methods import find_method
from triton_vllm_operator.memory.plan import make_plan
from triton_vllm_operator.memory.reading import settings_of_spec
from triton_vllm_operator.memory.runner import choose_runner
from triton_vllm_operator.memory.settings import Drafter, EngineSettings, Gpu, Runner
from triton_vllm_operator.memory.uncounted import find_uncounted
from triton_vllm_operator.memory.versions import GIB
from triton_vllm_operator.memory.weights import weights_by_rank
from triton_vllm_operator.sources.draft_reader import read_draft
from triton_vllm_operator.sources.report import ModelFacts, Report, SourceReport
from triton_vllm_operator.sources.safetensors import Tensor
from triton_vllm_operator.sources.shape import Attention, DraftShape, ModelShape
from triton_vllm_operator.sources.shape_reader import read_shape

MODELS: dict[str, Any] = yaml.safe_load((STARTS / "models.yaml").read_text())
H200 = Gpu("NVIDIA-H200", int(139.8 * GIB))
PLAIN = EngineSettings("0.24.0")
OWN = ("mimo-7b", "glm-4.5-air", "deepseek-v3-small", "qwen3-next-80b-a3b")


def draft_of(name: str, has_copies: bool = False) -> DraftShape:
    found = read_draft(MODELS[name], make_draft(MODELS[name], has_copies))
    assert isinstance(found, DraftShape), found
    return found


def guessed(model: str, draft: DraftShape, drafter: Drafter, **settings: Any) -> tuple[ModelShape, EngineSettings]:
    shape = read_model(MODELS[model]).model_copy(update={"draft": draft})
    return shape, replace(PLAIN, drafter=drafter, guesses=3, **settings)


def with_own(name: str) -> ModelShape:
    return read_model({**MODELS[name], "num_nextn_predict_layers": 1})


def gib_of(shape: ModelShape, settings: EngineSettings) -> float:
    return weights_by_rank(shape, settings)[-1] / GIB


def test_a_head_takes_embedding_and_output_of_the_model() -> None:
    shape, settings = guessed("llama-3-8b", draft_of("eagle3-llama-3-8b"), Drafter.HEAD)
    added = gib_of(shape, settings) - gib_of(shape, PLAIN)
    # Attention twice as wide (2 x 4096 x 6144), what follows it, and three hidden states that become one.
    assert added == pytest.approx((8192 * 6144 + 4096 * 4096 + 3 * 14336 * 4096 + 3 * 4096 * 4096) * 2 / GIB, rel=0.01)
    assert maybe_shared_bytes(shape, settings) == 0


def test_an_output_of_other_tokens_is_held_and_an_equal_embedding_may_be() -> None:
    without, settings = guessed("llama-3-8b", draft_of("eagle3-llama-3-8b"), Drafter.HEAD)
    with_copies, _ = guessed("llama-3-8b", draft_of("eagle3-llama-3-8b", has_copies=True), Drafter.HEAD)
    assert gib_of(with_copies, settings) - gib_of(without, settings) == pytest.approx(32000 * 4096 * 2 / GIB, rel=0.01)
    assert maybe_shared_bytes(with_copies, settings) == 128256 * 4096 * 2
    sure, doubtful = (make_plan(shape, settings, H200, 8192).cache for shape in (without, with_copies))
    assert doubtful.expected - doubtful.low == pytest.approx(sure.expected - sure.low + 128256 * 4096 * 2, rel=0.01)


def test_a_model_that_guesses_holds_all_it_needs() -> None:
    small = read_model(MODELS["llama-3.2-1b"])
    shape, settings = guessed("llama-3-8b", draft_of("llama-3.2-1b"), Drafter.MODEL)
    assert gib_of(shape, settings) - gib_of(shape, PLAIN) == pytest.approx(gib_of(small, PLAIN), rel=0.001)


def test_all_layers_share_a_table_of_blocks_however_much_each_keeps() -> None:
    shape, settings = guessed("llama-3-8b", draft_of("llama-3.2-1b"), Drafter.MODEL)
    layout = lay_out(shape, settings)
    assert (len(layout.groups), layout.groups[0].layers) == (1, 32 + 16)
    assert layout.token_bytes == (32 * 8 * 256 + 16 * 8 * 128) * 2


def test_medusa_keeps_nothing_of_a_token() -> None:
    shape, settings = guessed("llama-3-8b", draft_of("medusa-llama-3-8b"), Drafter.HEAD)
    assert replace(lay_out(shape, settings), state_blocks=1) == lay_out(shape, PLAIN)
    added = gib_of(shape, settings) - gib_of(shape, PLAIN)
    assert added == pytest.approx(3 * (4096 + 128256) * 4096 * 2 / GIB, rel=0.01)


@pytest.mark.parametrize("name", OWN)
def test_layers_that_a_model_brings_are_counted_where_they_guess(name: str) -> None:
    shape, plain = with_own(name), read_model(MODELS[name])
    assert shape.draft is not None
    assert shape.model_copy(update={"draft": None}) == plain.model_copy(update={"draft": None})
    assert (shape.draft.strange, len(shape.draft.layers)) == ((), 1)
    assert weights_by_rank(shape, PLAIN) == weights_by_rank(plain, PLAIN), "they are not loaded"
    settings = replace(PLAIN, drafter=Drafter.OWN, guesses=1)
    assert weights_by_rank(shape, settings) > weights_by_rank(shape, PLAIN)
    assert lay_out(shape, settings).token_bytes > lay_out(shape, PLAIN).token_bytes
    assert len(shape.model_dump_json(exclude_defaults=True)) < 2500


def test_old_versions_keep_an_output_in_each_of_these_layers() -> None:
    shape = with_own("deepseek-v3-small")
    old, new = (EngineSettings(vllm, drafter=Drafter.OWN, guesses=1) for vllm in ("0.15.1", "0.16.0"))
    rows = [sum(row.divided for row in draft_rows(shape, each)) for each in (old, new)]
    assert rows[0] - rows[1] == 129280 * 7168


def test_the_last_stage_of_a_pipeline_holds_what_guesses_and_an_embedding() -> None:
    shape = with_own("mimo-7b")
    settings = EngineSettings("0.32.0", pipeline_ranks=2)
    guessing = replace(settings, drafter=Drafter.OWN, guesses=1)
    before, after = weights_by_rank(shape, settings), weights_by_rank(shape, guessing)
    assert before[0] == after[0]
    assert after[1] - before[1] > 151680 * 4096 * 2
    first, last = (lay_out(shape, guessing, stage).groups[0].layers for stage in (0, 1))
    assert (first, last) == (18, 19)


def test_a_state_is_kept_for_each_token_that_is_guessed() -> None:
    shape = with_own("qwen3-next-80b-a3b")
    plain, guessing = PLAIN, replace(PLAIN, drafter=Drafter.OWN, guesses=2)
    assert (lay_out(shape, plain).state_blocks, lay_out(shape, guessing).state_blocks) == (1, 3)
    assert lay_out(shape, guessing).block_tokens > lay_out(shape, plain).block_tokens


def test_an_engine_quantises_what_the_model_brings_and_no_other_draft() -> None:
    shape, settings = guessed("llama-3-8b", draft_of("eagle-llama-3-8b"), Drafter.HEAD)
    quantised = replace(settings, quantises=True)
    bytes_of = [
        weights_by_rank(shape, each)[0] - weights_by_rank(shape, replace(each, drafter=Drafter.NONE))[0]
        for each in (settings, quantised)
    ]
    assert bytes_of[0] == bytes_of[1]
    own, plain = with_own("mimo-7b"), replace(PLAIN, drafter=Drafter.OWN, guesses=1)
    added = [
        weights_by_rank(own, each)[0] - weights_by_rank(own, replace(each, drafter=Drafter.NONE))[0]
        for each in (plain, replace(plain, quantises=True))
    ]
    assert added[1] < added[0]


def test_a_hybrid_with_a_draft_that_keeps_another_size_is_said_to_be_unknown() -> None:
    shape, settings = guessed("gemma-3-12b-text", draft_of("llama-3.2-1b"), Drafter.MODEL)
    assert "draft model that keeps more or less" in find_unplannable(shape, settings)
    alike, settings = guessed("gpt-oss-20b", draft_of("eagle3-gpt-oss-20b"), Drafter.HEAD)
    assert find_unplannable(alike, settings) == ""
    # "gpt-oss-20b + eagle, with 12 sw + 13 full. We pad it to (13 sw, 13 full)": kv_cache_utils.py.
    layout = lay_out(alike, settings)
    assert sorted(group.layers for group in layout.groups) == [12, 13]
    assert layout.block_bytes == 13 * 16 * 8 * 128 * 2


SPEC: dict[str, Any] = {
    "model": {"huggingFace": {"repository": "a/b"}},
    "runtime": {"version": "26.08"},
    "engine": {},
}


def spec_with(**given: Any) -> LLMDeploymentSpec:
    return LLMDeploymentSpec.model_validate({**SPEC, "engine": {"speculativeConfig": given}})


DRAFT = {"huggingFace": {"repository": "a/draft"}}


@pytest.mark.parametrize(
    ("given", "drafter", "guesses", "unplanned"),
    [
        ({"method": "ngram", "numSpeculativeTokens": 4}, Drafter.NONE, 4, ""),
        ({"method": "suffix", "numSpeculativeTokens": 4}, Drafter.NONE, 4, ""),
        ({"method": "eagle3", "numSpeculativeTokens": 3, "model": DRAFT}, Drafter.HEAD, 3, ""),
        ({"numSpeculativeTokens": 3, "model": DRAFT}, Drafter.HEAD, 3, ""),
        ({"method": "mtp", "numSpeculativeTokens": 1}, Drafter.OWN, 1, ""),
        ({"method": "mtp", "model": DRAFT}, Drafter.OWN, 1, "speculativeConfig.model with the method mtp"),
        ({"method": "mlp_speculator", "model": DRAFT}, Drafter.NONE, 1, "speculativeConfig.method mlp_speculator"),
    ],
)
def test_the_spec_says_what_guesses(given: dict[str, Any], drafter: Drafter, guesses: int, unplanned: str) -> None:
    spec = spec_with(**given)
    shape = read_model(MODELS["llama-3-8b"]).model_copy(update={"draft": draft_of("eagle3-llama-3-8b")})
    settings = settings_of_spec(spec, "0.24.0", shape)
    assert (settings.drafter, settings.guesses) == (drafter, guesses)
    found = find_uncounted(spec, shape)
    assert found.endswith(unplanned) if unplanned else not found


@pytest.mark.parametrize(
    ("draft", "name", "runner"),
    [
        ("llama-3.2-1b", "draft_model", Runner.V1),
        ("medusa-llama-3-8b", "medusa", Runner.V1),
        ("eagle3-llama-3-8b", "eagle3", Runner.V2),
        ("eagle-llama-3-8b", "eagle", Runner.V2),
    ],
)
def test_where_no_method_is_named_the_draft_model_says_what_it_is(draft: str, name: str, runner: Runner) -> None:
    spec = spec_with(numSpeculativeTokens=3, model=DRAFT)
    shape = read_model(MODELS["llama-3-8b"]).model_copy(update={"draft": draft_of(draft)})
    found = find_method(spec.engine.speculative_config, shape.draft)
    assert found is not None
    assert found.name == name
    assert choose_runner(shape, spec.engine, {}, "0.24.0") is runner


@pytest.mark.parametrize(
    ("vllm", "method", "pipelines", "runner"),
    [
        ("0.24.0", "eagle3", 1, Runner.V2),
        ("0.24.0", "eagle3", 2, Runner.V1),
        ("0.30.0", "eagle3", 2, Runner.V2),
        ("0.23.0", "dflash", 1, Runner.V1),
        ("0.24.0", "mimo_mtp", 1, Runner.V2),
        ("0.31.0", "ngram", 1, Runner.V1),
        ("0.32.0", "ngram", 1, Runner.V2),
        ("0.33.0", "medusa", 1, Runner.V2),
        ("0.33.0", "suffix", 1, Runner.V1),
    ],
)
def test_versions_guess_with_runners_of_their_own(vllm: str, method: str, pipelines: int, runner: Runner) -> None:
    engine = spec_with(method=method, numSpeculativeTokens=2).engine
    wanted = engine.model_copy(update={"pipeline_parallel_size": pipelines})
    assert choose_runner(read_model(MODELS["llama-3-8b"]), wanted, {}, vllm) is runner


@pytest.mark.parametrize(
    ("model", "draft", "drafter", "settings", "words"),
    [
        ("llama-3-8b", "llama-3.2-1b", Drafter.MODEL, {"vllm": "0.24.0"}, ""),
        ("llama-3-8b", "llama-3.2-1b", Drafter.MODEL, {"vllm": "0.14.1"}, "guesses by no model of its own"),
        ("qwen2.5-14b", "llama-3.2-1b", Drafter.MODEL, {"vllm": "0.24.0"}, "vocabulary of 128256 tokens, and the"),
        ("llama-3-8b", "eagle3-llama-3-8b", Drafter.HEAD, {"vllm": "0.24.0", "tensor_ranks": 3}, "the 32 attention"),
        ("llama-3-8b", "eagle3-llama-3-8b", Drafter.HEAD, {"vllm": "0.24.0", "pipeline_ranks": 2}, ""),
        ("llama-3-8b", "medusa-llama-3-8b", Drafter.HEAD, {"vllm": "0.24.0", "pipeline_ranks": 2}, "in a pipeline"),
        ("mimo-7b", "mimo-7b", Drafter.OWN, {"vllm": "0.24.0", "pipeline_ranks": 2}, "in a pipeline"),
        ("mimo-7b", "mimo-7b", Drafter.OWN, {"vllm": "0.30.0", "pipeline_ranks": 2}, ""),
        ("mimo-7b", "mimo-7b", Drafter.OWN, {"vllm": "0.13.0", "pipeline_ranks": 2}, ""),
    ],
)
def test_what_vllm_refuses_of_a_draft_is_said(
    model: str, draft: str, drafter: Drafter, settings: dict[str, Any], words: str
) -> None:
    shape = with_own(model) if drafter is Drafter.OWN else guessed(model, draft_of(draft), drafter)[0]
    found = find_draft_misfit(shape, EngineSettings(drafter=drafter, guesses=1, **settings))
    assert words in found
    assert bool(found) is bool(words)


def test_heads_of_a_draft_are_its_own_where_ranks_share_them_out() -> None:
    """Compressed attention of the model has one head; that of the draft has eight."""
    shape, settings = guessed("deepseek-v3-small", draft_of("eagle3-llama-3-8b"), Drafter.HEAD)
    one, eight = (
        weights_by_rank(shape, each)[0] - weights_by_rank(shape, replace(each, drafter=Drafter.NONE))[0]
        for each in (settings, replace(settings, tensor_ranks=8))
    )
    joined, tables = 3 * 4096 * 4096 * 2, 131072 * 128 * 2
    assert eight == pytest.approx((one - joined - tables) / 8 + joined + tables, rel=0.01)


def test_a_head_holds_the_output_of_its_files_whatever_its_configuration_says() -> None:
    config = {**MODELS["eagle3-llama-3-8b"], "tie_word_embeddings": True}
    tensors = make_draft(MODELS["eagle3-llama-3-8b"], has_copies=True)
    found = read_draft(config, tensors)
    assert isinstance(found, DraftShape)
    assert found.head == 32000


def test_layers_of_too_many_kinds_are_said() -> None:
    config = {**MODELS["llama-3.2-1b"], "num_hidden_layers": 30}
    tensors = make_tensors(config)
    odd = {
        name: Tensor(tensor.dtype, (8192 + 64 * int(name.split(".")[2]), 2048)) if "up_proj" in name else tensor
        for name, tensor in tensors.items()
    }
    assert read_draft(config, odd) == "its layers are of too many kinds"


def test_a_window_of_the_draft_makes_a_hybrid() -> None:
    draft = draft_of("eagle3-llama-3-8b")
    wide = draft.kinds[0].model_copy(update={"attention": Attention.WINDOW, "window": 4096, "heads": 16})
    shape, settings = guessed("llama-3-8b", draft.model_copy(update={"kinds": (wide,)}), Drafter.HEAD)
    assert "keeps more or less of a token" in find_unplannable(shape, settings)
    mixed, settings = guessed("llama-3-8b", draft_of("llama-3.2-1b"), Drafter.MODEL, vllm="0.10.2")
    assert "keeps more or less of a token" in find_unplannable(mixed, settings)


def test_a_draft_that_keeps_states_is_not_planned() -> None:
    config = MODELS["granite-4.0-h-tiny"]
    draft = read_draft(config, make_tensors(config))
    assert isinstance(draft, DraftShape)
    shape, settings = guessed("granite-3.1-8b", draft, Drafter.MODEL)
    assert find_unplannable(shape, settings) == "a draft model that keeps states"


@pytest.mark.parametrize("name", ["deepseek_mtp", "qwen3_next_mtp", "mtp"])
def test_layers_that_a_model_brings_have_many_names(name: str) -> None:
    found = find_method(spec_with(method=name).engine.speculative_config, None)
    assert found is not None
    assert (found.name, found.drafter) == ("mtp", Drafter.OWN)


@pytest.mark.parametrize(("draft", "further"), [("eagle3-llama-3-8b", 3), ("eagle-llama-3-8b", 0), ("llama-3.2-1b", 0)])
def test_eagle_3_looks_at_further_layers(draft: str, further: int) -> None:
    assert draft_of(draft).further_states == further


def test_a_model_that_brings_nothing_to_guess_with_is_said_so() -> None:
    assert "what guesses tokens" in find_uncounted(spec_with(method="mtp"), read_model(MODELS["llama-3-8b"]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "gemma4_assistant"}, "looks at the keys and values of the model"),
        ({"num_hidden_layers": 3}, "the weights hold 1 layers, and config.json says 3"),
        ({"hidden_size": None}, "does not say its layers"),
        ({"hidden_size": "4096"}, "does not say its layers"),
    ],
)
def test_what_a_draft_model_does_not_say_is_said(changes: dict[str, Any], words: str) -> None:
    config = MODELS["eagle3-llama-3-8b"]
    found = read_draft({**config, **changes}, make_draft(config))
    assert isinstance(found, str)
    assert words in found


def test_the_library_speculators_nests_the_configuration() -> None:
    config = MODELS["eagle3-llama-3-8b"]
    nested = {"model_type": "speculator_model", "draft_vocab_size": 32000, "transformer_layer_config": config}
    found = read_draft(nested, make_draft(config, has_copies=True))
    assert isinstance(found, DraftShape)
    assert found == draft_of("eagle3-llama-3-8b", has_copies=True)


def test_layers_of_a_model_that_nobody_lists_are_no_part_of_it() -> None:
    config = {**MODELS["mimo-7b"], "architectures": ["OtherForCausalLM"], "num_nextn_predict_layers": 0}
    tensors = make_tensors({**MODELS["mimo-7b"], "num_nextn_predict_layers": 1})
    shape = read_shape(config, tensors)
    assert isinstance(shape, ModelShape)
    assert (shape.draft, shape.strange) == (None, ())
    said = find_uncounted(spec_with(method="mtp"), shape)
    assert said.endswith("the layers that OtherForCausalLM brings to guess are not known")
    assert weights_by_rank(shape, PLAIN) == weights_by_rank(with_own("mimo-7b"), PLAIN)


def test_a_report_holds_model_and_draft() -> None:
    sources = (
        SourceReport(volume="weights", facts=ModelFacts(shape=with_own("deepseek-v3-small"))),
        SourceReport(volume="draft", facts=ModelFacts(draft=draft_of("eagle3-llama-3-8b"))),
    )
    text = Report(sources=sources).dump()
    assert len(text.encode()) < 4096
    assert Report.model_validate_json(text).sources == sources
    odd = SourceReport.model_validate({"volume": "draft", "facts": {"draft": {"hiddenSize": -1}}})
    assert odd.facts is not None
    assert odd.facts.draft is None, "of another version of the program"


def test_what_an_older_report_does_not_tell_is_not_planned_with() -> None:
    """Of compressed attention what is multiplied out; of states, how far a convolution looks back."""
    spec, guessing = spec_with(method="ngram", numSpeculativeTokens=4), spec_with(method="mtp")
    latent = read_model(MODELS["deepseek-v3-small"])
    old = latent.model_copy(update={"kinds": tuple(k.model_copy(update={"expanded": 0}) for k in latent.kinds)})
    assert "an older version of the operator" in find_uncounted(spec, old)
    assert find_uncounted(spec, latent) == ""
    hybrid = with_own("qwen3-next-80b-a3b")
    assert find_uncounted(guessing, hybrid) == ""
    assert "an older version" in find_uncounted(guessing, hybrid.model_copy(update={"edition": 0}))


def test_a_draft_attends_in_full_beside_what_is_compressed() -> None:
    shape, settings = guessed("deepseek-v3-small", draft_of("eagle3-llama-3-8b"), Drafter.HEAD)
    layout = lay_out(shape, settings)
    assert {kind.attention for kind in (*shape.kinds, *draft_of("eagle3-llama-3-8b").kinds)} == {
        Attention.LATENT,
        Attention.FULL,
    }
    assert layout.token_bytes == (5 * 576 + 8 * 256) * 2
