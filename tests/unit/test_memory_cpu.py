"""An engine on a CPU: its cache, weights and processes against the memory that its container may use."""

from typing import Any

import pytest

from perf.memory import read_model
from support.checkpoints import LLAMA
from support.fetches import COMMIT, HUB, end_job, kinds, report
from support.simulate import World
from triton_vllm_operator.api.reading import read_spec
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import MemoryPolicy
from triton_vllm_operator.api.status import ConditionStatus
from triton_vllm_operator.memory.versions import GIB
from triton_vllm_operator.reconcile.memory import MemoryFinding, find_memory, wants_inspection
from triton_vllm_operator.sources.report import ModelFacts, Report, SourceReport

SMALL = {**LLAMA, "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3}
SMOLLM2 = {
    **SMALL,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
FACTS = ModelFacts(architecture="LlamaForCausalLM", shape=read_model(SMOLLM2))
IMAGE = {"image": {"reference": "models/smollm2:1"}}


def cpu_spec(limit: str | None = "8Gi", cache: str = "1Gi", **engine: Any) -> dict[str, Any]:
    return {
        "model": {"huggingFace": HUB},
        "runtime": {"version": "cpu-0.32.0"},
        "accelerator": {"cpu": {"kvCacheSize": cache}},
        "engine": {"maxModelLen": 1024, **engine},
        **({"resources": {"limits": {"memory": limit}}} if limit else {}),
    }


def find(facts: ModelFacts = FACTS, **given: Any) -> MemoryFinding:
    sources = (SourceReport(volume="weights", commit=COMMIT, facts=facts),)
    found = find_memory(read_spec(cpu_spec(**given)), "0.32.0", sources, MemoryPolicy.ENFORCE, None)
    assert found is not None
    return found


def test_what_fits_is_planned_with_blocks_of_a_cpu() -> None:
    found = find()
    assert (found.status, found.reason) == (ConditionStatus.TRUE, Reason.FITS)
    assert found.message.endswith("GiB, and spec.resources.limits.memory is 8.00 GiB")
    assert found.predicted is not None
    # What the engine itself printed: 364 blocks of 128.
    assert found.predicted.kv_cache_tokens.expected == 364 * 128
    assert found.predicted.kv_cache_bytes.expected == GIB
    assert found.predicted.kv_bytes_per_token == 23040


@pytest.mark.parametrize(
    ("given", "reason", "words"),
    [
        # Measured: 3.5Gi was killed when the first answer was compiled, 3.75Gi served.
        ({"limit": "3Gi"}, Reason.DOES_NOT_FIT, "spec.resources.limits.memory: 5Gi"),
        ({"limit": "3840Mi"}, Reason.FITS_TIGHTLY, "tight: "),
        ({"limit": "5Gi", "cache": "4Gi"}, Reason.DOES_NOT_FIT, "or spec.accelerator.cpu.kvCacheSize: 1Gi"),
        ({"limit": None, "cache": "8Gi"}, Reason.FITS, "and spec.resources.limits.memory is unset"),
        ({"limit": "64Gi", "maxModelLen": 65536}, Reason.DOES_NOT_FIT, "takes 1.4"),
        (
            {"limit": "64Gi", "maxModelLen": 65536},
            Reason.DOES_NOT_FIT,
            "spec.accelerator.cpu.kvCacheSize: 2Gi or spec.engine.maxModelLen: 46",
        ),
        ({"limit": "8Gi", "maxModelLen": "Auto"}, Reason.FITS, "fits: "),
        ({"limit": "8Gi", "dtype": "float32"}, Reason.FITS, "0.50 GiB of weights"),
    ],
)
def test_what_does_not_fit_names_what_would(given: dict[str, Any], reason: Reason, words: str) -> None:
    found = find(**given)
    assert found.reason is reason, found.message
    assert words in found.message


def test_advice_fits_when_it_is_taken() -> None:
    assert find(limit="5Gi").reason is Reason.FITS
    assert find(limit="64Gi", cache="2Gi", maxModelLen=65536).reason is Reason.FITS


def test_a_model_that_was_not_looked_into_is_not_planned() -> None:
    assert find(ModelFacts()).message == "the model was not looked into before its pods were made"
    assert find(ModelFacts(), limit=None).message == "spec.resources.limits.memory is unset"
    assert find(ModelFacts(architecture="Odd", shapeless="odd layers")).reason is Reason.MODEL_NOT_UNDERSTOOD


def test_a_model_in_an_image_is_looked_into_where_its_memory_is_limited() -> None:
    def wants(limit: str | None, policy: MemoryPolicy = MemoryPolicy.ENFORCE) -> bool:
        return wants_inspection(read_spec({**cpu_spec(limit), "model": IMAGE}), policy, None)

    assert wants("4Gi")
    assert not wants(None)
    assert not wants("4Gi", MemoryPolicy.OFF)


def test_what_certainly_does_not_fit_makes_no_pod() -> None:
    world = World(spec=cpu_spec("2Gi")).settle()
    found = Report(sources=(SourceReport(volume="weights", commit=COMMIT, facts=FACTS),))
    world = end_job(report(world, found), "Complete").settle()
    assert kinds(world) == {"Service", "Job"}
    assert world.condition("Ready") == ("False", "DoesNotFit")
    world.edit(resources={"limits": {"memory": "5Gi"}})
    assert "Deployment" in kinds(world.settle())
    assert world.condition("MemoryFits") == ("True", "Fits")


def test_the_longest_sequence_of_a_cache_that_holds_next_to_none_is_no_error() -> None:
    large = read_model({**LLAMA, "num_key_value_heads": 32, "num_hidden_layers": 120, "num_attention_heads": 32})
    found = find(
        ModelFacts(architecture="LlamaForCausalLM", shape=large), limit="600Gi", maxModelLen="Auto", dtype="float32"
    )
    assert found.reason is Reason.DOES_NOT_FIT
    assert "it would with spec.accelerator.cpu.kvCacheSize: " in found.message
