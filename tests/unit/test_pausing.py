"""While an LLMDeployment is paused nothing of its is changed, and the status goes on."""

from dataclasses import replace
from typing import Any

import pytest

from support.pods import CONTAINER, make_pod, make_serving
from support.simulate import CPU_SPEC, World
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.health.failures.last_words import find_last_words
from triton_vllm_operator.health.verdict import ProbeHistory
from triton_vllm_operator.kube.pod import Ended, Gate
from triton_vllm_operator.kube.resources import as_dict
from triton_vllm_operator.reconcile.model import UnreadableRevision


def pause(world: World, paused: bool = True) -> World:
    """The owner annotates it, or takes the annotation away."""
    world.changes.pop("resource", None)
    if paused:
        world.changes["resource"] = replace(world.observe().resource, paused=True)
    return world


def serving() -> World:
    """With one pod that generates."""
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    return world.settle()


def deployment(world: World) -> dict[str, Any]:
    (child,) = world.of_kind("Deployment")
    return as_dict(child.body["spec"])


def test_one_that_is_settled_stays_ready_and_says_it() -> None:
    world = pause(serving())
    assert world.step().writes == ()
    assert world.condition("Ready")[0] == "True"
    assert world.message("Ready") == "1 of 1 pods generate; but changes are paused"
    decision = pause(world).decide()
    assert (decision.writes, decision.prunes, decision.status) == ((), (), None)


@pytest.mark.parametrize("edit", [{"engine": {"maxNumSeqs": 7}}, {"replicas": 3}, {"replicas": 0}])
def test_an_edit_waits_and_the_latest_is_applied(edit: dict[str, Any]) -> None:
    world = serving()
    revision = world.revision
    pause(world.edit(engine={"maxNumSeqs": 5})).settle()
    pause(world.edit(engine={}, replicas=1)).settle()
    decision = pause(world.edit(**edit)).step()
    assert (decision.writes, decision.prunes) == ((), ())
    assert world.condition("Ready") == ("False", "Paused")
    assert world.condition("Progressing") == ("Unknown", "Paused")
    assert world.condition("Stalled")[0] == "False"
    assert "Deployment llama" in world.message("Ready")
    assert "kubectl annotate llm llama triton-vllm.dev/paused-" in world.message("Ready")
    assert world.revision == revision
    pause(world, paused=False).settle()
    assert deployment(world)["replicas"] == edit.get("replicas", 1)
    assert len(world.of_kind("ControllerRevision")) == (2 if "engine" in edit else 1)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_look_that_is_under_way_is_not_held_back(is_there: bool) -> None:
    hub = {"repository": "org/model", "cache": {"persistentVolumeClaim": {"claimName": "weights"}}}
    world = World(spec={**CPU_SPEC, "model": {"huggingFace": hub}})
    if is_there:
        world.settle()
        assert world.of_kind("Job")
    pause(world).settle()
    assert ("a Job that looks up the model" in world.message("Ready")) is not is_there


def test_while_a_model_is_fetched_the_spec_does_not_run() -> None:
    """Ready would say that it does."""
    world = serving()
    hub = {"repository": "org/model", "cache": {"persistentVolumeClaim": {"claimName": "weights"}}}
    world.edit(model={"huggingFace": hub}).settle()
    assert world.of_kind("Job")
    pause(world).settle()
    assert world.condition("Ready")[0] == "False"
    assert world.condition("Progressing")[1] == "FetchingModel"
    pause(world.edit(replicas=3)).settle()
    assert "Deployment llama" in world.message("Ready")


def test_a_child_that_is_deleted_comes_back_afterwards() -> None:
    world = serving()
    del world.children["Service", "llama"]
    assert pause(world).step().writes == ()
    assert world.condition("Ready") == ("False", "Paused")
    pause(world, paused=False).settle()
    assert world.of_kind("Service")


def test_a_dead_engine_leaves_the_service_and_is_not_replaced() -> None:
    world = pause(serving())
    world.changes["probes"] = {"uid-llama-1": ProbeHistory(CONTAINER, failures=1, reason=Reason.ENGINE_DEAD)}
    (gate,) = world.decide().gates
    assert not gate.state.generates
    world.pods = (make_pod(world.revision, gate=Gate(False, "EngineDead", CONTAINER)),)
    decision = pause(world).step()
    assert decision.replacement is None
    assert world.condition("Degraded") == ("True", "EngineDead")
    pause(world, paused=False)
    assert world.decide().replacement is not None


def test_a_rollout_stands_still() -> None:
    world = serving()
    world.edit(engine={"maxNumSeqs": 7}).settle()
    (write,) = pause(world).step().writes
    assert write.manifest["kind"] == "Deployment"
    assert deployment(world)["paused"] is True
    assert pause(world).decide().writes == ()
    pause(world).settle()
    assert world.message("Progressing").startswith("changes are paused: a rollout stands still")
    pause(world, paused=False).settle()
    assert "paused" not in deployment(world)


def test_as_many_pods_stay_as_there_are_where_a_rollout_stands_still() -> None:
    """One that is paused shares out what is too many for it among its generations, whoever serves."""
    world = serving()
    old = world.revision
    world.edit(engine={"maxNumSeqs": 7}).settle()
    loading = (make_pod(world.revision, f"llama-new-{number}") for number in range(2))
    world.pods = (make_serving(old), *loading)
    pause(world).step()
    assert deployment(world)["strategy"]["rollingUpdate"]["maxSurge"] == 2


def test_a_restart_goes_on_and_is_told_of() -> None:
    """kubectl's own: the same revision, and another template."""
    world = serving()
    old = replace(world.pods[0], template="first")
    world.pods = (old, make_pod(world.revision, "llama-2", template="second", created_at=world.now))
    pause(world).settle()
    assert "paused" not in deployment(world)
    assert world.condition("Progressing") == ("True", "ReplacingPods")


def test_where_the_newest_revision_cannot_be_read_nothing_is_written() -> None:
    """A newer operator was taken back: what runs is of a revision that this one does not know."""
    world = serving()
    world.pods = (make_serving("of-tomorrow"),)
    world.changes["unreadable"] = (UnreadableRevision("llama-of-tomorrow", 9, "odd"),)
    assert pause(world).decide().writes == ()


def test_one_that_is_made_paused_makes_nothing() -> None:
    world = pause(World())
    assert world.step().writes == ()
    assert world.condition("Ready") == ("False", "Paused")
    pause(world, paused=False).settle()
    assert world.of_kind("Deployment")


def test_a_pause_does_not_make_a_model_ready_whose_pods_are_not_kept() -> None:
    world = World().settle()
    message = "Total number of attention heads (9) must be divisible by tensor parallel size (2)."
    crash = Ended("Error", 1, message, container_id=CONTAINER)
    world.pods = (make_pod(world.revision, running=False, ended=crash, restarts=9),)
    world.changes["last_words"] = {"llama-1": find_last_words(message)}
    world.settle()
    world.pods = ()
    world.settle().settle()
    assert world.status.stopped is not None
    pause(world).settle()
    assert world.condition("Ready") == ("False", "HeadsAgainstTp")
    assert world.condition("Stalled")[0] == "True"
