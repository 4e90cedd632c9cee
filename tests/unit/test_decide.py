"""What is decided, as a user would see it."""

import copy
from datetime import timedelta
from typing import Any

import pytest

from support.pods import CONTAINER, make_pod, make_serving
from support.simulate import CPU_SPEC, NOW, OWNER, World
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.health.verdict import ProbeHistory
from triton_vllm_operator.kube.pod import Ended, Gate
from triton_vllm_operator.kube.resources import kind_of, name_of
from triton_vllm_operator.reconcile.model import Child, Refusal, UnreadableRevision


def kinds(world: World) -> list[str]:
    return [str(manifest["kind"]) for manifest in world.step().manifests]


def test_a_new_deployment_gets_its_children_the_revision_last() -> None:
    assert kinds(World()) == ["Service", "ConfigMap", "Deployment", "ControllerRevision"]


def test_settled_means_no_writes() -> None:
    world = World().settle()
    decision = world.later(3600).decide()
    assert (decision.writes, decision.prunes, decision.gates, decision.status) == ((), (), (), None)


@pytest.mark.parametrize("kind", ["Service", "ConfigMap", "Deployment", "ControllerRevision"])
def test_a_deleted_child_comes_back(kind: str) -> None:
    world = World().settle()
    for child in world.of_kind(kind):
        del world.children[kind, child.name]
    assert kinds(world) == [kind]


def edit_child(world: World, kind: str, change: Any) -> None:
    (child,) = world.of_kind(kind)
    body: Any = copy.deepcopy(child.body)
    change(body)
    world.children[kind, child.name] = Child(child.kind, child.name, child.uid, body)


def test_an_edited_child_is_put_back() -> None:
    world = World().settle()
    edit_child(world, "Deployment", lambda body: body["spec"].update(replicas=5))
    assert kinds(world) == ["Deployment"]


def test_what_others_add_stays() -> None:
    world = World().settle()

    def add(body: Any) -> None:
        body["metadata"]["annotations"]["somebody.else/note"] = "kept"
        body["spec"]["template"]["spec"]["containers"].append({"name": "sidecar"})
        body["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"

    edit_child(world, "Deployment", add)
    assert kinds(world) == []


def test_scaling_makes_no_new_revision() -> None:
    world = World().settle()
    revision = world.status.revision
    assert kinds(world.edit(replicas=3)) == ["Deployment", "PodDisruptionBudget"]
    assert world.status.revision == revision


def test_an_engine_setting_makes_one() -> None:
    world = World().settle()
    assert kinds(world.edit(engine={"maxModelLen": 99})) == ["ConfigMap", "Deployment", "ControllerRevision"]
    assert len(world.of_kind("ConfigMap")) == 2, "the old repository stays while its revision is kept"


def test_an_edit_that_is_taken_back_returns_to_the_old_revision() -> None:
    world = World().settle()
    first = world.status.revision
    world.edit(engine={"maxModelLen": 99}).settle()
    world.edit(engine={}).settle()
    assert world.status.revision == first
    numbers = sorted(child.body["revision"] for child in world.of_kind("ControllerRevision"))  # type: ignore[type-var]
    assert numbers == [2, 3]


def test_the_last_ten_revisions_are_kept_and_others_pruned() -> None:
    world = World().settle()
    for length in range(100, 115):
        world.edit(engine={"maxModelLen": length}).settle().settle()
    assert len(world.of_kind("ControllerRevision")) == 10
    assert len(world.of_kind("ConfigMap")) == 10


def test_a_revision_with_a_pod_is_not_pruned() -> None:
    world = World().settle()
    world.pods = (make_pod(world.revision),)
    old = world.status.revision
    for length in range(100, 115):
        world.edit(engine={"maxModelLen": length}).settle().settle()
    assert old in {child.name for child in world.of_kind("ControllerRevision")}


def test_a_backend_is_chosen_among_the_images_of_a_runtime() -> None:
    spec = {"model": {"image": {"reference": "m:1"}}, "runtime": {"version": "26.08", "backend": "Project"}}
    world = World(spec=spec).settle()
    assert world.condition("Accepted") == ("False", "UnknownRuntime")
    assert "no image of 26.08 with it; leave it out, or have one built (images/runtime-gpu)" in world.message(
        "Accepted"
    )
    entries = tuple(entry.model_copy(update={"project_image": "ours:1"}) for entry in world.catalogue.entries)
    world.catalogue = world.catalogue.model_copy(update={"entries": entries})
    assert image_of(world.settle()) == "ours:1"
    assert image_of(World(spec={**spec, "runtime": {"version": "26.08", "backend": "NVIDIA"}}).settle()).startswith(
        "nvcr"
    )
    cpu = World().edit(runtime={"version": "cpu-0.32.0", "backend": "NVIDIA"}).settle()
    assert cpu.condition("Accepted") == ("False", "UnknownRuntime")
    assert (
        World().edit(runtime={"version": "cpu-0.32.0", "backend": "Project"}).settle().condition("Accepted")[0]
        == "True"
    )


def image_of(world: World) -> str:
    (deployment,) = world.of_kind("Deployment")
    body: Any = deployment.body
    return str(body["spec"]["template"]["spec"]["containers"][0]["image"])


def test_an_unknown_runtime_harms_nothing_that_ran() -> None:
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    revision = world.status.revision
    assert kinds(world.edit(runtime={"version": "99.99"})) == []
    assert world.condition("Accepted") == ("False", "UnknownRuntime")
    assert world.condition("Available") == ("True", "Generates")
    assert world.condition("Ready") == ("False", "UnknownRuntime")
    assert world.status.revision == revision
    message = next(c.message for c in world.status.conditions or () if c.type == "Accepted")
    assert "99.99" in message
    assert "26.08" in message


def test_a_refused_edit_still_scales_and_is_healed_by_the_next() -> None:
    world = World().settle()
    world.edit(runtime={"version": "99.99"}, replicas=4)
    deployment, _ = world.step().manifests
    assert deployment["spec"]["replicas"] == 4  # type: ignore[index]
    world.edit(runtime={"version": "cpu-0.32.0"}).settle()
    assert world.condition("Accepted") == ("True", "Valid")


def test_a_runtime_that_left_the_catalogue_keeps_running_what_was_made_of_it() -> None:
    world = World().settle()
    entries = tuple(e for e in world.catalogue.entries if e.version != "cpu-0.32.0")
    world.catalogue = world.catalogue.model_copy(update={"entries": entries})
    world.settle()
    assert world.condition("Accepted") == ("True", "Valid")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"runtime": {"version": "26.08"}}, "AcceleratorMismatch"),
        ({"accelerator": None}, "AcceleratorMismatch"),
        ({"engine": {"maxModelLen": "many"}}, "SpecInvalid"),
        ({"engine": {"gpuMemoryUtilization": 1.5}}, "SpecInvalid"),
    ],
)
def test_what_cannot_be_served_is_not_made(spec: dict[str, Any], reason: str) -> None:
    world = World().edit(**spec)
    assert kinds(world) == []
    assert world.condition("Accepted") == ("False", reason)
    assert world.condition("Progressing") == ("False", "NotAccepted")


def test_an_object_of_somebody_else_is_named_and_nothing_is_made() -> None:
    world = World()
    world.changes["foreign"] = ("Service llama",)
    assert kinds(world) == []
    assert world.condition("Accepted") == ("False", "NameConflict")


def test_a_stored_revision_that_cannot_be_read_goes_on_serving() -> None:
    world = World().settle()
    first = world.observe().revisions
    world.edit(engine={"maxModelLen": 64}).settle()
    (newest,) = (revision for revision in world.observe().revisions if revision not in first)
    world.changes = {"revisions": first, "unreadable": (UnreadableRevision(newest.name, newest.number, "no"),)}
    decision = world.step()
    assert (decision.writes, decision.prunes) == ((), ())
    accepted = next(c for c in world.status.conditions or () if c.type == "Accepted")
    assert (accepted.status, accepted.reason) == ("False", "RevisionUnreadable")
    assert newest.name in accepted.message
    assert world.decide().status is None


@pytest.mark.parametrize("broken", [{"type": "LoadBalancer", "unheard": 1}, {"type": "Headless", "unheard": 1}, "x"])
def test_a_service_whose_settings_cannot_be_read_stays_as_it_is(broken: Any) -> None:
    world = World().edit(service={"type": "LoadBalancer"}, replicas=3).settle()
    decision = world.edit(service=broken, replicas="many").step()
    assert (decision.writes, decision.prunes) == ((), ())
    del world.children["Service", OWNER.name]
    assert kinds(world) == ["Service"]


def test_what_the_api_server_refuses_is_no_revision() -> None:
    world = World()
    world.changes["refusal"] = Refusal("Deployment", "llama", "spec.template.spec.affinity: Invalid value")
    assert kinds(world) == []
    assert world.condition("Accepted") == ("False", "RefusedByAPIServer")


def test_pods_lead_to_ready() -> None:
    world = World().settle()
    assert world.condition("Ready") == ("False", "CreatingPods")
    world.pods = (make_pod(world.revision),)
    world.settle()
    assert world.condition("Ready") == ("False", "Starting")
    world.pods = (make_serving(world.revision),)
    world.settle()
    assert [c.status.value for c in world.status.conditions or ()] == [
        "True",
        "Unknown",
        "True",
        "False",
        "True",
        "False",
        "False",
    ]
    assert world.status.ready_replicas == 1


def test_ready_speaks_of_the_generation_it_has_seen() -> None:
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    world.settle()
    world.edit(engine={"maxModelLen": 99})
    assert world.status.observed_generation == world.generation - 1
    world.settle()
    assert world.condition("Ready") == ("False", "ReplacingPods")
    assert world.condition("Available") == ("True", "Generates")
    assert message_of(world, "Progressing").endswith(
        "left to replace: spec.engine.maxModelLen changed; it serves until then"
    )


def test_an_edit_of_many_fields_names_the_first() -> None:
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    engine = {"maxModelLen": 99, "maxNumSeqs": 9, "dtype": "float16", "enforceEager": True, "extraArgs": {"seed": 1}}
    world.settle().edit(engine=engine).settle()
    assert "spec.engine.maxModelLen, spec.engine.maxNumSeqs, spec.engine.dtype, 2 more changed" in message_of(
        world, "Progressing"
    )


@pytest.mark.parametrize(
    ("version", "engine", "utilization"),
    [("26.08", {}, 0.92), ("26.05", {}, 0.9), ("26.05", {"gpuMemoryUtilization": 0.5}, 0.5)],
)
def test_the_status_shows_defaults_of_the_chosen_version(
    version: str, engine: dict[str, Any], utilization: float
) -> None:
    world = World().edit(runtime={"version": version}, accelerator={"nvidiaGPU": {}}, engine=engine).settle()
    assert world.status.engine is not None
    assert world.status.engine.gpu_memory_utilization == utilization
    on_cpu = World().settle().status.engine
    assert on_cpu is not None
    assert (on_cpu.vllm_version, on_cpu.gpu_memory_utilization) == ("0.32.0", None)


def message_of(world: World, kind: str) -> str:
    return next(c.message for c in world.status.conditions or () if c.type == kind)


def test_scaled_to_zero() -> None:
    world = World().edit(replicas=0).settle()
    assert world.condition("Ready") == ("True", "ScaledToZero")
    assert world.condition("Progressing") == ("False", "Settled")


def test_a_dead_engine_is_named() -> None:
    world = World().settle()
    world.pods = (make_pod(world.revision, ready=True, gate=Gate(False, "EngineDead", CONTAINER)),)
    world.settle()
    assert world.condition("Degraded") == ("True", "EngineDead")
    assert world.condition("Ready") == ("False", "EngineDead")
    assert world.condition("Available") == ("False", "NoPodGenerates")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"unschedulable": "0/1 nodes: insufficient nvidia.com/gpu", "running": False}, "Unschedulable"),
        ({"waiting_reason": "ImagePullBackOff", "running": False}, "ImagePullFailed"),
        ({"waiting_reason": "CreateContainerConfigError", "running": False}, "ContainerConfigInvalid"),
        ({"ended": Ended("OOMKilled", 137, ""), "running": False}, "OutOfMemory"),
        ({"ended": Ended("Error", 1, "error: creating server"), "running": False}, "ContainerCrashed"),
        ({"phase": "Failed", "running": False}, "PodFailed"),
    ],
)
def test_what_keeps_a_pod_from_starting_is_named(changes: dict[str, Any], reason: str) -> None:
    world = World().settle()
    world.pods = (make_pod(world.revision, **changes),)
    world.settle()
    assert world.condition("Ready") == ("False", reason)
    assert world.condition("Degraded") == ("False", "NothingFailed"), "it never worked"


def test_a_container_that_worked_and_crashed_is_degraded() -> None:
    world = World().settle()
    gate = Gate(False, "NotYetProven", CONTAINER)
    world.pods = (make_pod(world.revision, gate=gate, ended=Ended("Error", 1, "")),)
    world.settle()
    assert world.condition("Degraded") == ("True", "ContainerCrashed")


def test_a_container_that_never_generated_progresses_until_its_deadline() -> None:
    world = World().settle()
    gate = Gate(False, "GenerateFailed", CONTAINER, has_generated=False)
    world.pods = (make_pod(world.revision, gate=gate),)
    decision = world.step()
    assert world.condition("Degraded") == ("False", "NothingFailed")
    assert world.condition("Progressing") == ("True", "GenerateFailed")
    assert decision.look_again_at is not None
    world.now = decision.look_again_at
    world.settle()
    assert world.condition("Progressing") == ("False", "StartupDeadlineExceeded")
    assert "answers the probe with an error" in world.message("Progressing")


def test_a_pod_that_is_up_and_not_reached_is_named() -> None:
    world = World().settle()
    pod = make_pod(world.revision, containers_ready_at=world.now)
    world.pods, world.changes = (pod,), {"probes": {pod.uid: ProbeHistory(CONTAINER, unreached=True)}}
    decision = world.step()
    assert world.condition("Progressing") == ("True", "Starting"), "its first probe after the port opened is on its way"
    assert decision.look_again_at is not None
    world.now = decision.look_again_at
    world.settle()
    assert world.condition("Ready") == ("False", "PodUnreachable")
    assert "NetworkPolicy" in world.message("Ready")


def test_an_evicted_pod_that_was_replaced_is_not_spoken_of() -> None:
    world = World().settle()
    evicted = make_pod(world.revision, "llama-0", phase="Failed", phase_message="Evicted")
    world.pods = (evicted,)
    world.settle()
    assert world.condition("Ready") == ("False", "PodFailed")
    world.pods = (evicted, make_serving(world.revision))
    world.settle()
    assert world.condition("Ready") == ("True", "AllReplicasGenerate")
    assert world.status.replicas == 1


def test_a_dead_engine_is_replaced_and_its_last_words_are_kept() -> None:
    world = World().settle()
    dead = Gate(False, "EngineDead", CONTAINER, detail="EngineCore encountered an issue")
    world.pods = (make_pod(world.revision, gate=dead),)
    assert world.step().replacement is None, "this process has not asked it"
    seen = ProbeHistory(CONTAINER, generated=True, failures=1, reason=Reason.ENGINE_DEAD)
    world.changes = {"probes": {"uid-llama-1": seen}}
    decision = world.step()
    assert decision.replacement is not None
    assert (decision.replacement.pod_name, world.condition("Progressing")) == ("llama-1", ("True", "EngineDead"))
    assert world.message("Degraded").endswith("; it is replaced")
    world.pods = (make_pod(world.revision, "llama-2"),)
    world.settle()
    assert world.condition("Degraded") == ("True", "EngineDead")
    assert "EngineCore encountered an issue); its successor has not generated yet" in world.message("Degraded")
    world.pods = (make_serving(world.revision, "llama-2"),)
    world.settle()
    assert world.condition("Degraded") == ("False", "NothingFailed")
    world.edit(replicas=2).settle()
    assert world.condition("Degraded") == ("False", "NothingFailed"), "what starts now has not been replaced"


def dead_world(**spec: Any) -> World:
    """Two dead pods, of which one was replaced just now."""
    world = World().edit(replicas=2, **spec).settle()
    gate = Gate(False, "EngineDead", CONTAINER)
    names = ("llama-1", "llama-2")
    world.pods = tuple(make_pod(world.revision, name, gate=gate) for name in names)
    seen = ProbeHistory(CONTAINER, failures=1, reason=Reason.ENGINE_DEAD)
    world.changes = {"probes": {f"uid-{name}": seen for name in names}}
    return world


def test_what_waits_to_be_replaced_is_looked_at_again() -> None:
    world = dead_world()
    world.step()
    world.pods = (world.pods[1], make_serving(world.revision, "llama-3"))
    decision = world.step()
    assert decision.replacement is None
    assert decision.look_again_at == NOW + timedelta(minutes=1)
    assert world.step().status is None, "settled"


def test_a_successor_has_as_long_as_a_start_may_take() -> None:
    world = dead_world(probe={"startupDeadlineSeconds": 600})
    world.step()
    world.pods = (world.pods[1], make_pod(world.revision, "llama-3", scheduled_at=None))
    assert world.step().look_again_at == NOW + timedelta(seconds=600)


def test_a_spec_that_cannot_be_read_but_says_report_deletes_nothing() -> None:
    world = dead_world()
    world.spec["recovery"] = {"policy": "Report"}
    world.spec["engine"] = {"maxNumSeqs": "many"}
    assert world.step().replacement is None
    world.spec["recovery"] = {"policy": "Replace"}
    assert world.step().replacement is not None


def test_what_its_owner_must_do_is_no_progress_though_another_pod_is_replaced() -> None:
    world = dead_world()
    failed = Gate(False, "GenerateFailed", CONTAINER)
    world.pods = (make_pod(world.revision, "llama-0", gate=failed), *world.pods)
    world.step()
    assert world.condition("Progressing") == ("False", "GenerateFailed")


def test_a_dead_engine_that_is_only_reported_is_no_progress() -> None:
    world = World().edit(recovery={"policy": "Report"}).settle()
    world.pods = (make_pod(world.revision, gate=Gate(False, "EngineDead", CONTAINER)),)
    world.settle()
    assert world.condition("Progressing") == ("False", "EngineDead")
    assert world.condition("Degraded") == ("True", "EngineDead")


def test_a_refused_edit_says_that_the_rest_runs_on() -> None:
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    world.edit(runtime={"version": "99.99"}).settle()
    assert "what was accepted before keeps running" in world.message("Ready")


def test_the_startup_deadline_is_looked_at_and_kept() -> None:
    world = World().settle()
    world.pods = (make_pod(world.revision),)
    decision = world.step()
    assert decision.look_again_at is not None
    world.now = decision.look_again_at
    world.settle()
    assert world.condition("Progressing") == ("False", "StartupDeadlineExceeded")


def test_a_transition_keeps_its_time_until_the_next() -> None:
    world = World().settle()
    times = [c.last_transition_time for c in world.status.conditions or ()]
    world.later(100)
    world.pods = (make_pod(world.revision),)
    world.settle()
    assert [c.last_transition_time for c in world.status.conditions or ()] == times


def test_only_running_containers_are_probed() -> None:
    world = World().settle()
    world.pods = (
        make_pod(world.revision, "a"),
        make_pod(world.revision, "b", running=False),
        make_pod(world.revision, "c", terminating=True),
    )
    assert [target.pod_name for target in world.decide().probes] == ["a"]


def test_an_object_of_a_wanted_kind_is_the_same_object_for_the_same_spec() -> None:
    one, other = World().decide().manifests, World(spec=copy.deepcopy(CPU_SPEC)).decide().manifests
    assert [(kind_of(m), name_of(m)) for m in one] == [(kind_of(m), name_of(m)) for m in other]
    assert one == other
