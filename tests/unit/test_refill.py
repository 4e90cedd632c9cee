"""Weights that are gone from their volume are fetched again, and what is said meanwhile."""

from datetime import timedelta
from typing import Any

from support.fetches import COMMIT, GOOD, HUB, fetch_pod, hub_world, job_of, kinds, report
from support.pods import make_pod, make_serving
from support.simulate import NOW, World
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.kube.pod import Ended, Pod
from triton_vllm_operator.sources.report import Fault, fault_report
from triton_vllm_operator.sources.task import TaskList

GONE = "spec.model: there is no folder"


def pod_without(
    world: World, reason: Reason = Reason.MODEL_NOT_FOUND, volume: str = "weights", after: float = 0, **changes: Any
) -> Pod:
    """A pod whose init container found something wrong, some seconds after noon."""
    fault = fault_report(Fault(reason=reason, message=GONE, volume=volume))
    ended = Ended("Error", 3, fault.dump(), (NOW + timedelta(seconds=after)).isoformat())
    return make_pod(world.revision, running=False, unprepared=ended, **changes)


def fetched(world: World, after: float = 1) -> World:
    """The Job's pod succeeded, some seconds after noon."""
    ended = Ended("Completed", 0, GOOD.dump(), (NOW + timedelta(seconds=after)).isoformat())
    world.changes["fetch_pods"] = (fetch_pod(world, phase="Succeeded", running=False, ended=ended),)
    return world


def served_world(**changes: Any) -> World:
    world = report(hub_world(**changes).settle(), GOOD).settle()
    world.changes.clear()
    world.settle()
    assert "Job" not in kinds(world)
    return world


def test_a_volume_that_was_emptied_is_filled_again_with_the_same_commit() -> None:
    world = served_world()
    before = kinds(world)
    world.pods = (pod_without(world),)
    assert kinds(world.settle()) == {*before, "Job"}
    body: Any = job_of(world).body
    (task,) = TaskList.model_validate_json(body["spec"]["template"]["spec"]["containers"][0]["args"][0]).tasks
    assert task.repository is not None
    assert (task.repository.revision, task.repository.asked) == (COMMIT, "main")
    assert world.condition("Ready") == ("False", "FetchingModel")
    assert world.message("Ready") == "pod llama-1 did not find the weights on their volume; looking up the model"
    assert kinds(fetched(world).settle()) == {*before, "Job"}, "the pod has not looked again"
    assert "pod llama-1 looks at them within minutes" in world.message("Ready")
    decision = world.decide()
    assert (decision.writes, decision.prunes, decision.status) == ((), (), None)
    world.pods = (make_serving(world.revision),)
    assert kinds(world.settle()) == before
    assert world.condition("Ready")[0] == "True"


def test_a_pod_that_still_does_not_find_them_is_quoted_and_they_are_fetched_again_later() -> None:
    world = served_world()
    world.pods = (pod_without(world),)
    fetched(world.settle(), after=10).settle()
    world.pods = (pod_without(world, after=20),)
    world.later(20)
    decision = world.step()
    assert world.condition("Ready") == ("False", "ModelNotFound")
    assert world.message("Ready") == f"{GONE}; pod llama-1 looked after they were fetched again"
    assert world.condition("Progressing")[0] == "False"
    assert decision.look_again_at == NOW + timedelta(seconds=310)
    world.later(290).settle()
    assert "Job" not in kinds(world), "it goes, so that it can be made anew"
    world.changes.clear()
    assert "Job" in kinds(world.settle())


def test_weights_that_are_there_and_bad_are_not_fetched_again() -> None:
    world = served_world()
    world.pods = (pod_without(world, reason=Reason.MODEL_NOT_SERVABLE),)
    assert "Job" not in kinds(world.settle())
    assert world.condition("Ready") == ("False", "ModelNotServable")


def test_a_folder_of_the_users_own_is_not_fetched() -> None:
    adapter = {"name": "sql", "persistentVolumeClaim": {"claimName": "adapters", "path": "sql"}}
    world = hub_world()
    world.spec["model"] = {"huggingFace": HUB, "loraAdapters": [adapter]}
    report(world.settle(), GOOD).settle()
    world.changes.clear()
    world.settle().pods = (pod_without(world, volume="adapter-0"),)
    assert "Job" not in kinds(world.settle())
    assert world.condition("Ready") == ("False", "ModelNotFound")
    world.pods = (pod_without(world, volume="weights"),)
    assert "Job" in kinds(world.settle())


def test_pods_that_will_not_look_again_bring_no_job() -> None:
    world = served_world()
    for dead in (pod_without(world, phase="Failed"), pod_without(world, terminating=True)):
        world.pods = (dead, make_serving(world.revision, "llama-2"))
        assert "Job" not in kinds(world.settle())
    assert world.condition("Ready")[0] == "True"
    world.pods = (pod_without(world),)
    assert "Job" not in kinds(world.edit(replicas=0).settle())


def test_a_refused_edit_leaves_the_job_at_work() -> None:
    world = served_world()
    world.pods = (pod_without(world),)
    job = job_of(world.settle()).name
    world.edit(engine={"maxNumSeqs": 0}).settle()
    assert world.condition("Accepted")[0] == "False"
    assert job_of(world).name == job


def test_an_edit_says_that_the_old_pods_run_only_if_they_do() -> None:
    world = served_world()
    world.pods = (make_serving(world.revision),)
    world.settle().edit(model={"huggingFace": {**HUB, "revision": "next"}}).settle()
    assert world.message("Ready").endswith("; what was accepted before keeps running")
    world.pods = (pod_without(world),)
    assert world.settle().message("Ready") == "looking up the model"


def test_fetching_again_does_not_count_as_starting() -> None:
    world = served_world()
    world.pods = (make_pod(world.revision),)
    world.later(3600).settle()
    assert world.condition("Progressing") == ("False", "StartupDeadlineExceeded")
    world.pods = (make_pod(world.revision, initialized_at=world.now),)
    assert world.settle().condition("Progressing") == ("True", "Starting")
