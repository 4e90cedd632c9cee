"""What becomes of a model that does not fit: no pod asks for a GPU, and one sentence says what would help."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import yaml

from perf.memory import STARTS, read_model
from support.checkpoints import LLAMA, make_draft
from support.fetches import COMMIT, HUB, end_job, fetch_pod, job_of, kinds, report
from support.nodes import H100, L4, make_node
from support.pods import make_serving
from support.simulate import NOW, World
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.health.running import Inspection
from triton_vllm_operator.kube.node_lister import NodesSeen
from triton_vllm_operator.kube.resources import Key
from triton_vllm_operator.reconcile.turns import Turns
from triton_vllm_operator.sources.draft_reader import read_draft
from triton_vllm_operator.sources.report import Fault, ModelFacts, Report, SourceReport, fault_report
from triton_vllm_operator.sources.shape import DraftShape

SHAPE = read_model(LLAMA)
FACTS = ModelFacts(architecture="LlamaForCausalLM", shape=SHAPE)
ON_L4, ON_H100 = NodesSeen((make_node("a", L4),)), NodesSeen((make_node("b", H100, 2),))
ON_BOTH = NodesSeen(ON_L4.nodes + ON_H100.nodes)
SLICED = replace(make_node("a", {}, 0), has_sliced_gpus=True)
MTP = {"method": "mtp", "numSpeculativeTokens": 1}
LONG: dict[str, Any] = {"maxModelLen": 131072}


def looked_up(seen: NodesSeen, facts: ModelFacts = FACTS, **spec: Any) -> World:
    """A model of a hub for GPUs, whose Job has told its facts."""
    world = World(spec={"model": {"huggingFace": HUB}, "runtime": {"version": "26.08"}, **spec})
    world.changes["nodes"] = seen
    return tell(world.settle(), facts)


def tell(world: World, facts: ModelFacts = FACTS) -> World:
    """The Job of the present spec ends with these facts."""
    found = Report(sources=(SourceReport(volume="weights", commit=COMMIT, facts=facts),))
    return end_job(report(world, found), "Complete").settle()


def test_what_fits_starts_and_the_plan_stands_in_the_status() -> None:
    world = looked_up(ON_H100, engine={"maxModelLen": 8192}).settle()
    assert "Deployment" in kinds(world)
    assert world.condition("MemoryFits") == ("True", "Fits")
    assert world.message("MemoryFits").startswith("fits on NVIDIA-H100-80GB-HBM3: one sequence of 8192 tokens takes")
    assert world.status.memory_plan is not None
    predicted = world.status.memory_plan.predicted
    assert predicted is not None
    assert (predicted.gpu, predicted.kv_bytes_per_token) == ("NVIDIA-H100-80GB-HBM3", 131072)
    assert predicted.kv_cache_tokens.low < predicted.kv_cache_tokens.expected < predicted.kv_cache_tokens.high


def test_what_certainly_does_not_fit_makes_no_pod() -> None:
    world = looked_up(ON_L4, engine=LONG).settle()
    assert kinds(world) == {"Service", "Job"}, "the Job stays: it is what the model is known by"
    assert world.condition("MemoryFits") == ("False", "DoesNotFit")
    assert world.condition("Ready") == ("False", "DoesNotFit")
    assert world.condition("Stalled")[0] == "True"
    assert "one sequence of 131072 tokens takes 16.00 GiB of cache" in world.message("Ready")
    assert "it would with spec.engine.maxModelLen: " in world.message("Ready")
    decision = world.decide()
    assert (decision.writes, decision.status) == ((), None)
    assert decision.look_again_at is not None, "a node may come"
    world.changes["nodes"] = ON_H100
    assert "Deployment" in kinds(world.settle())


def test_what_fits_on_some_nodes_names_the_selector() -> None:
    world = looked_up(ON_BOTH, engine=LONG)
    assert world.condition("Ready") == ("False", "FitsOnSomeNodes")
    assert "nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}" in world.message("Ready")
    world.edit(scheduling={"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}}).settle()
    assert "Deployment" in kinds(tell(world))


@pytest.mark.parametrize(("policy", "status"), [("Warn", ("False", "DoesNotFit")), ("Off", ("Unknown", "NotPlanned"))])
def test_the_policy_lets_it_start(policy: str, status: tuple[str, str]) -> None:
    world = looked_up(ON_L4, engine=LONG, memory={"policy": policy})
    assert "Deployment" in kinds(world)
    assert world.settle().condition("MemoryFits") == status


def test_an_edit_that_would_not_fit_leaves_what_runs() -> None:
    world = looked_up(ON_L4, engine={"maxModelLen": 8192}).settle()
    world.pods = (make_serving(world.revision),)
    before = world.settle().status.revision
    assert world.condition("Ready")[0] == "True"
    world.edit(engine=LONG).settle()
    tell(world)
    assert world.status.revision == before
    assert world.condition("Available")[0] == "True"
    assert world.condition("Ready") == ("False", "DoesNotFit")
    assert world.message("Ready").endswith("what was accepted before keeps running")
    assert world.status.memory_plan is not None
    assert world.status.memory_plan.predicted is not None, "the plan of what runs"
    world.edit(engine={"maxModelLen": 8192}).settle()
    assert world.settle().condition("Ready")[0] == "True"


def test_a_revision_that_was_made_goes_on_whatever_nodes_there_are() -> None:
    world = looked_up(ON_H100, engine=LONG).settle()
    world.changes["nodes"] = ON_L4
    assert "Deployment" in kinds(world.settle())
    assert world.condition("MemoryFits") == ("False", "DoesNotFit")


@pytest.mark.parametrize(
    ("seen", "facts", "spec", "reason", "words"),
    [
        (NodesSeen(), FACTS, {}, "NoMatchingNode", "none of 0 nodes"),
        (NodesSeen((make_node("a", {}),)), FACTS, {}, "GpuUnknown", "node a does not say"),
        (NodesSeen((SLICED,)), FACTS, {}, "GpuUnknown", "the GPUs of node a stand in ResourceSlices (DRA)"),
        (NodesSeen(why_unknown="the nodes cannot be listed: 403"), FACTS, {}, "NodesUnknown", "403"),
        (ON_L4, ModelFacts(), {}, "NotPlanned", "was not looked into"),
        (NodesSeen(), ModelFacts(), {}, "NoMatchingNode", "none of 0 nodes"),
        (
            ON_L4,
            ModelFacts(architecture="Odd", shapeless="odd layers"),
            {},
            "ModelNotUnderstood",
            "Odd: odd layers; the",
        ),
        (ON_L4, FACTS, {"engine": {"extraArgs": {"cpu_offload_gb": 8}}}, "ModelNotUnderstood", "cpu_offload_gb"),
        (ON_L4, FACTS, {"engine": {"quantization": "bitsandbytes"}}, "ModelNotUnderstood", "quantization bitsandbytes"),
        (
            ON_L4,
            FACTS,
            {"engine": {"speculativeConfig": {"method": "mtp", "numSpeculativeTokens": 1}}},
            "ModelNotUnderstood",
            "guesses tokens",
        ),
    ],
)
def test_what_is_not_known_is_said_and_starts(
    seen: NodesSeen, facts: ModelFacts, spec: dict[str, Any], reason: str, words: str
) -> None:
    world = looked_up(seen, facts, **spec)
    assert "Deployment" in kinds(world)
    assert world.settle().condition("MemoryFits") == ("Unknown", reason)
    assert words in world.message("MemoryFits")


def test_a_length_that_the_engine_chooses_fits() -> None:
    world = looked_up(ON_L4, engine={"maxModelLen": "Auto"}).settle()
    assert world.condition("MemoryFits")[0] == "True"


def test_nodes_that_go_for_a_while_make_nothing_fit() -> None:
    world = looked_up(ON_L4, engine=LONG).settle()
    world.changes["nodes"] = NodesSeen()
    world.settle()
    assert "Deployment" not in kinds(world)
    assert world.condition("MemoryFits") == ("False", "DoesNotFit")
    world.changes["nodes"] = ON_H100
    assert "Deployment" in kinds(world.settle())


def test_a_shape_that_nobody_could_have_told_keeps_nothing_from_being_seen() -> None:
    world = looked_up(ON_L4, FACTS.model_copy(update={"shape": SHAPE.model_copy(update={"weight_pattern": "32z"})}))
    assert "Deployment" in kinds(world)
    assert world.settle().condition("MemoryFits") == ("Unknown", "ModelNotUnderstood")


def test_what_was_found_stands_when_nodes_are_not_looked_at() -> None:
    world = looked_up(ON_H100, engine={"maxModelLen": 8192}).settle()
    before = world.status
    world.changes["nodes"] = None
    assert world.decide().status is None
    assert world.status == before


def test_the_plan_stands_beside_what_was_measured() -> None:
    world = looked_up(ON_H100, engine={"maxModelLen": 8192}).settle()
    world.pods = (make_serving(world.revision),)
    world.settle()
    world.changes |= {
        "nodes": None,
        "inspection": Inspection("GPU KV cache size: 439,552 tokens", {"backend": "vllm"}, "a"),
    }
    world.settle()
    assert world.status.memory_plan is not None
    assert world.status.memory_plan.predicted is not None
    assert world.status.memory_plan.measured is not None
    assert world.status.memory_plan.measured.kv_cache_tokens == 439552


def test_the_job_that_told_it_is_not_started_again() -> None:
    world = looked_up(ON_L4, engine=LONG)
    name = job_of(world).name
    assert job_of(world.settle()).name == name


IMAGE: dict[str, Any] = {"image": {"reference": "registry/llama:1"}}


def in_an_image(seen: NodesSeen, **spec: Any) -> World:
    world = World(spec={"model": IMAGE, "runtime": {"version": "26.08"}, **spec})
    world.changes["nodes"] = seen
    return world.settle()


def tell_of_image(world: World, facts: ModelFacts = FACTS) -> World:
    found = Report(sources=(SourceReport(volume="weights", facts=facts),))
    return end_job(report(world, found), "Complete").settle()


def test_a_model_in_an_image_is_looked_into_before_a_gpu_is_asked_for() -> None:
    world = in_an_image(ON_L4, engine=LONG)
    assert kinds(world) == {"Service", "Job"}
    pod = job_of(world).body["spec"]["template"]["spec"]  # type: ignore[index, call-overload]
    assert "nvidia.com/gpu" not in str(pod["containers"][0]["resources"])
    assert pod["volumes"][0]["image"] == {"reference": "registry/llama:1"}
    assert pod["containers"][0]["volumeMounts"][0]["readOnly"] is True
    (preferred,) = pod["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["preference"]["matchExpressions"] == [{"key": "nvidia.com/gpu.product", "operator": "Exists"}]
    tell_of_image(world)
    assert world.condition("Ready") == ("False", "DoesNotFit")
    world.edit(engine={"maxModelLen": 8192}).settle()
    tell_of_image(world)
    assert "Deployment" in kinds(world)
    assert world.settle().condition("MemoryFits")[0] == "True"


def test_a_model_that_was_looked_into_is_not_again() -> None:
    world = tell_of_image(in_an_image(ON_H100, engine={"maxModelLen": 8192})).settle()
    assert "Job" not in kinds(world)
    world.edit(engine={"maxModelLen": 4096}).settle()
    assert "Job" not in kinds(world)
    assert world.settle().condition("MemoryFits") == ("True", "Fits")
    world.edit(model={"image": {"reference": "registry/llama:2"}}).settle()
    assert "Job" in kinds(world)


@pytest.mark.parametrize(
    ("seen", "spec"),
    [
        (NodesSeen(), {}),
        (NodesSeen((make_node("a", {}),)), {}),
        (NodesSeen(why_unknown="403"), {}),
        (ON_L4, {"memory": {"policy": "Off"}}),
        (ON_L4, {"runtime": {"version": "cpu-0.32.0"}, "accelerator": {"cpu": {}}}),
    ],
)
def test_where_nothing_can_be_planned_nothing_is_looked_into(seen: NodesSeen, spec: dict[str, Any]) -> None:
    world = in_an_image(seen, **spec)
    assert "Job" not in kinds(world)
    assert "Deployment" in kinds(world)


def test_what_keeps_the_look_from_running_keeps_nobody_from_trying() -> None:
    world = in_an_image(ON_L4, engine=LONG)
    job = job_of(world)
    world.children["Job", job.name] = replace(job, body={**job.body, "status": {"startTime": NOW.isoformat()}})
    waits = {"waiting_reason": "ImagePullBackOff", "waiting_message": "no such image"}
    pod = fetch_pod(world, phase="Pending", running=False, **waits)
    world.changes["fetch_pods"] = (pod,)
    assert "Deployment" not in kinds(world.later(30).settle())
    assert world.condition("Progressing") == ("True", "ImagePullFailed")
    assert "Deployment" in kinds(world.later(31).settle())
    assert world.settle().condition("MemoryFits") == ("Unknown", "ModelNotUnderstood")
    assert "it could not be looked into: " in world.message("MemoryFits")


def test_nor_where_an_adapter_or_a_draft_must_be_fetched() -> None:
    speculative = {"method": "eagle3", "numSpeculativeTokens": 3, "model": {"huggingFace": HUB}}
    world = in_an_image(ON_L4, engine={"speculativeConfig": speculative, "maxModelLen": 8192})
    job, first = job_of(world), job_of(world).name
    world.children["Job", job.name] = replace(job, body={**job.body, "status": {"startTime": NOW.isoformat()}})
    waits = {"waiting_reason": "ImagePullBackOff", "waiting_message": "no such image"}
    world.changes["fetch_pods"] = (fetch_pod(world, phase="Pending", running=False, **waits),)
    world.later(61).settle()
    assert job_of(world).name != first, "one that only looks the hub's repositories up"
    assert "registry/llama:1" not in str(job_of(world).body)
    del world.changes["fetch_pods"]
    found = Report(sources=(SourceReport(volume="draft", commit=COMMIT, facts=ModelFacts()),))
    end_job(report(world, found), "Complete").settle()
    assert "Deployment" in kinds(world)
    assert world.settle().condition("MemoryFits") == ("Unknown", "ModelNotUnderstood")
    assert "it could not be looked into: " in world.message("MemoryFits")


def kv_bytes(world: World) -> int:
    """Planned for each token."""
    found = world.status.memory_plan
    assert found is not None
    assert found.predicted is not None
    return found.predicted.kv_bytes_per_token


def test_a_draft_model_is_planned_with_its_model() -> None:
    model = yaml.safe_load((STARTS / "models.yaml").read_text())["eagle3-llama-3-8b"]
    draft = read_draft(model, make_draft(model))
    assert isinstance(draft, DraftShape)
    speculative = {"method": "eagle3", "numSpeculativeTokens": 3, "model": {"image": {"reference": "registry/eagle:1"}}}
    plain = tell_of_image(in_an_image(ON_H100, engine={"maxModelLen": 8192})).settle()
    world = in_an_image(ON_H100, engine={"speculativeConfig": speculative, "maxModelLen": 8192})
    volumes = job_of(world).body["spec"]["template"]["spec"]["volumes"]  # type: ignore[index, call-overload]
    assert [each["image"]["reference"] for each in volumes[:2]] == ["registry/llama:1", "registry/eagle:1"]
    sources = (
        SourceReport(volume="weights", facts=FACTS),
        SourceReport(volume="draft", facts=ModelFacts(draft=draft)),
    )
    end_job(report(world, Report(sources=sources)), "Complete").settle()
    assert world.settle().condition("MemoryFits") == ("True", "Fits")
    assert kv_bytes(world) == kv_bytes(plain) * 33 // 32
    world.edit(engine={"speculativeConfig": speculative, "maxModelLen": 4096}).settle()
    assert "Job" not in kinds(world), "both are known"


def test_a_draft_model_that_is_not_understood_is_said() -> None:
    speculative = {"method": "eagle3", "numSpeculativeTokens": 3, "model": {"image": {"reference": "registry/eagle:1"}}}
    world = in_an_image(ON_H100, engine={"speculativeConfig": speculative})
    sources = (
        SourceReport(volume="weights", facts=FACTS),
        SourceReport(volume="draft", facts=ModelFacts(shapeless="odd layers")),
    )
    end_job(report(world, Report(sources=sources)), "Complete").settle()
    assert world.settle().condition("MemoryFits") == ("Unknown", "ModelNotUnderstood")
    assert "spec.engine.speculativeConfig.model: odd layers" in world.message("MemoryFits")


def test_what_cannot_be_served_is_said_before_a_gpu_is_taken() -> None:
    world = in_an_image(ON_L4)
    fault = fault_report(Fault(reason=Reason.MODEL_NOT_SERVABLE, message="spec.model: no weights in /models"))
    report(world, fault, phase="Failed")
    end_job(world, "Failed").settle()
    assert kinds(world) == {"Service", "Job"}
    assert world.condition("Ready") == ("False", "ModelNotServable")


def test_only_so_many_are_looked_into_at_once() -> None:
    world = World(spec={"model": IMAGE, "runtime": {"version": "26.08"}})
    world.changes |= {"nodes": ON_L4, "may_look": False}
    world.settle()
    assert kinds(world) == {"Service"}
    assert "this one has its turn after them" in world.message("Ready")
    assert world.decide().look_again_at is not None
    world.changes["may_look"] = True
    assert "Job" in kinds(world.settle())


def test_eight_have_their_turn() -> None:
    turns = Turns()
    for number in range(8):
        key = Key("ns", f"m{number}")
        assert turns.is_free(key, NOW)
        turns.note(key, NOW)
    ninth = Key("ns", "m8")
    assert not turns.is_free(ninth, NOW)
    assert turns.is_free(Key("ns", "m0"), NOW), "its own Job is at work already"
    assert turns.is_free(ninth, NOW + timedelta(minutes=11)), "a Job without a place keeps nobody waiting"
    turns.note(Key("ns", "m3"), None)
    assert turns.is_free(ninth, NOW)


def measured_engine(world: World, cache_gib: str, tokens: str, pod: str = "a") -> World:
    """A pod of the revision serves, and its log is read."""
    log = f"Model loading took 14.99 GiB and 0.8 seconds\nAvailable KV cache memory: {cache_gib} GiB\n"
    world.changes["inspection"] = Inspection(f"{log}GPU KV cache size: {tokens} tokens\n", {"name": "llama"}, pod)
    world.pods = (make_serving(world.revision),)
    world.settle()
    del world.changes["inspection"]
    return world.settle()


def test_the_error_of_a_plan_stands_beside_it() -> None:
    world = looked_up(ON_H100, engine={"maxModelLen": 8192}).settle()
    before = world.status.memory_plan
    assert before is not None
    assert before.predicted is not None
    assert before.errors is None
    measured_engine(world, "50.00", "409,600")
    found = world.status.memory_plan
    assert found is not None
    assert found.errors is not None
    assert found.predicted == before.predicted, "a plan stays as it was made"
    off = 100 * (before.predicted.kv_cache_tokens.expected / 409600 - 1)
    assert float(found.errors.kv_cache_tokens_percent or "") == pytest.approx(off, abs=0.01)
    assert found.errors.result == "Missed"


def test_a_plan_that_was_wrong_is_told_once() -> None:
    world = looked_up(ON_H100, engine={"maxModelLen": 8192}).settle()
    log = "Available KV cache memory: 50.00 GiB\nGPU KV cache size: 409,600 tokens\n"
    world.pods = (make_serving(world.revision),)
    world.settle()
    assert (world.decide().news, world.decide().plan_error) == ((), None)
    world.changes["inspection"] = Inspection(log, {"name": "llama"}, "a")
    decision = world.decide()
    (news,) = decision.news
    assert news.reason == "MemoryPlanMissed"
    assert news.message.startswith("the KV cache holds 409,600 tokens, and ")
    assert news.about == world.status.revision
    assert decision.plan_error == pytest.approx(0.13, abs=0.01)
    del world.changes["inspection"]
    assert world.settle().decide().news == ()


def test_the_next_plan_starts_from_what_the_engine_measured() -> None:
    world = measured_engine(looked_up(ON_H100, engine={"maxModelLen": 8192}).settle(), "50.00", "409,600")
    first = world.status.memory_plan
    assert first is not None
    assert first.predicted is not None
    world.edit(engine={"maxModelLen": 4096}).settle()
    tell(world).settle()
    second = world.status.memory_plan
    assert second is not None
    assert second.predicted is not None
    assert second.predicted.correction_bytes == 50 * 2**30 - first.predicted.kv_cache_bytes.expected
    assert second.predicted.kv_cache_bytes.expected == 50 * 2**30
    assert "GiB less than computed, as the engine before it measured)" in world.message("MemoryFits")
    # It holds for the revision for which it was made, and is no part of what the next one learns.
    again = world.settle().status.memory_plan
    assert again is not None
    assert again.predicted == second.predicted
    measured_engine(world, "50.00", "409,600")
    world.edit(engine={"maxModelLen": 2048}).settle()
    tell(world).settle()
    third = world.status.memory_plan
    assert third is not None
    assert third.predicted is not None
    assert third.predicted.correction_bytes == second.predicted.correction_bytes


def test_what_was_learnt_from_other_sums_corrects_nothing() -> None:
    """An operator of another edition planned the revision that runs."""
    world = measured_engine(looked_up(ON_H100, engine={"maxModelLen": 8192}).settle(), "50.00", "409,600")
    before = world.status.memory_plan
    assert before is not None
    assert before.predicted is not None
    predicted = before.predicted.model_copy(update={"edition": None, "correction_bytes": 2**30})
    world.status = world.status.model_copy(update={"memory_plan": before.model_copy(update={"predicted": predicted})})
    world.edit(engine={"maxModelLen": 4096}).settle()
    tell(world).settle()
    after = world.status.memory_plan
    assert after is not None
    assert after.predicted is not None
    assert (after.predicted.correction_bytes, after.predicted.edition) == (None, before.predicted.edition)


def test_a_model_of_which_an_older_report_tells_less_is_looked_into_again() -> None:
    old = ModelFacts(architecture="LlamaForCausalLM", shape=SHAPE.model_copy(update={"edition": 0}))
    world = tell_of_image(in_an_image(ON_H100, engine={"maxModelLen": 8192}), old).settle()
    assert world.condition("MemoryFits") == ("True", "Fits"), "what it tells is enough for this model"
    world.edit(engine={"maxModelLen": 4096}).settle()
    assert "Job" in kinds(world)


@pytest.mark.parametrize(
    ("seen", "engine"), [(ON_H100, {"maxModelLen": 8192, "maxNumSeqs": 64}), (ON_L4, {"maxModelLen": 4096})]
)
def test_what_was_measured_teaches_nothing_of_another_batch_or_gpu(seen: NodesSeen, engine: dict[str, Any]) -> None:
    world = measured_engine(looked_up(ON_H100, engine={"maxModelLen": 8192}).settle(), "50.00", "409,600")
    world.changes["nodes"] = seen
    world.edit(engine=engine).settle()
    tell(world).settle()
    assert world.status.memory_plan is not None
    assert world.status.memory_plan.predicted is not None
    assert world.status.memory_plan.predicted.correction_bytes is None


@pytest.mark.parametrize(
    ("product", "mib", "reason", "tokens"),
    [
        ("NVIDIA-A10G", 23028, "DoesNotFit", 30_000),
        ("NVIDIA-A100-SXM4-40GB", 40960, "Fits", 150_000),
        ("NVIDIA-H100-80GB-HBM3", 81559, "Fits", 450_000),
        ("NVIDIA-H200", 143771, "Fits", 890_000),
    ],
)
def test_one_spec_on_nodes_of_24_40_80_and_141_gigabytes(product: str, mib: int, reason: str, tokens: int) -> None:
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": str(mib)}
    world = looked_up(NodesSeen((make_node("a", labels),)), engine=LONG, memory={"policy": "Warn"}).settle()
    assert world.condition("MemoryFits")[1] == reason
    found = world.status.memory_plan
    assert found is not None
    assert found.predicted is not None
    assert found.predicted.kv_cache_tokens.expected == pytest.approx(tokens, rel=0.15)


def test_where_pods_may_get_several_kinds_of_gpus_nothing_is_compared_or_learned() -> None:
    """The pod may run on the larger one, which says nothing of the smaller."""
    world = looked_up(ON_BOTH, engine={"maxModelLen": 8192}).settle()
    world.changes["inspection"] = Inspection(
        "Available KV cache memory: 55.00 GiB\nGPU KV cache size: 450,560 tokens", {}, "a"
    )
    world.pods = (make_serving(world.revision),)
    decision = world.decide()
    assert "MemoryPlanMissed" not in {news.reason for news in decision.news}
    assert decision.plan_error is None
    world.settle()
    assert world.status.memory_plan is not None
    assert world.status.memory_plan.measured is not None
    assert world.status.memory_plan.errors is None
    del world.changes["inspection"]
    world.edit(engine=LONG).settle()
    tell(world).settle()
    assert world.condition("MemoryFits") == ("False", "FitsOnSomeNodes")
