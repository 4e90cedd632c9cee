"""Pods that end in vain are kept no longer, and tried again when something has changed."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from support.pods import CONTAINER, make_pod, make_serving
from support.simulate import World
from triton_vllm_operator.kube.pod import Ended, Gate, Pod
from triton_vllm_operator.kube.resources import DEPLOYMENT

HEADS = "ValueError: Total number of attention heads (9) must be divisible by tensor parallel size (2)."
TAKEN = (
    "ValueError: Free memory on device cuda:0 (10.0/79.1 GiB) on startup is less than desired GPU memory utilization "
    "(0.9, 71.2 GiB)."
)


def ended(world: World, times: int, message: str = HEADS, **changes: Any) -> Pod:
    """A pod whose container has ended so often."""
    pod = make_pod(world.revision, running=False, ended=Ended("Error", 1, message), restarts=times - 1)
    return replace(pod, **changes)


def ended_world(times: int, message: str = HEADS, **spec: Any) -> World:
    world = World()
    world.spec |= spec
    world.settle()
    world.pods = (ended(world, times, message),)
    # It is said before it is done.
    return world.settle().settle()


def replicas(world: World) -> int:
    (deployment,) = world.of_kind("Deployment")
    return int(deployment.body["spec"]["replicas"])  # type: ignore[index,call-overload]


@pytest.mark.parametrize(("times", "kept"), [(1, 1), (4, 1), (5, 0), (9, 0)])
def test_after_five_ends_in_vain_no_pod_is_kept(times: int, kept: int) -> None:
    world = ended_world(times)
    assert replicas(world) == kept
    assert world.condition("Ready") == ("False", "HeadsAgainstTp")
    assert world.condition("Stalled")[0] == str(not kept)
    assert ("kubectl llm restart" in world.message("Ready")) == (not kept)


def test_what_it_was_stays_said_when_the_pods_are_gone_and_nothing_is_written_again() -> None:
    world = ended_world(5)
    said = world.message("Ready")
    world.pods = ()
    world.later(600).settle()
    assert (replicas(world), world.message("Ready"), world.condition("Stalled")[0]) == (0, said, "True")
    assert world.decide().status is None
    assert world.decide().writes == ()


def test_what_a_new_start_may_mend_is_started_for_ever() -> None:
    world = ended_world(9, TAKEN)
    assert (replicas(world), world.condition("Ready")[1]) == (1, "GpuMemoryTaken")
    assert replicas(ended_world(9, "an unknown text")) == 1


def test_with_report_it_is_only_said() -> None:
    assert replicas(ended_world(9, recovery={"policy": "Report"})) == 1


def test_where_another_pod_generates_or_has_not_ended_so_often_all_are_kept() -> None:
    world = World().settle()
    world.spec["replicas"] = 2
    serving = make_pod(world.revision, "llama-2", ready=True, gate=Gate(True, "Generates", CONTAINER))
    for other in (serving, replace(serving, revision="older"), ended(world, 2, name="llama-2", uid="2")):
        world.pods = (ended(world, 9), other)
        assert replicas(world.settle().settle()) == 2


def test_an_edit_tries_again() -> None:
    world = ended_world(5)
    world.pods = ()
    world.edit(engine={"maxModelLen": 512}).settle()
    assert replicas(world) == 1
    assert world.status.stopped is None
    assert world.condition("Stalled")[0] == "False"


def test_an_edit_that_makes_no_other_revision_does_not() -> None:
    world = ended_world(5)
    world.pods = ()
    assert replicas(world.edit(replicas=3).settle()) == 0


def test_so_does_a_restart_of_the_deployment_once() -> None:
    world = ended_world(5)
    world.pods = ()
    (deployment,) = world.of_kind("Deployment")
    body: Any = copy.deepcopy(deployment.body)
    annotations = body["spec"]["template"].setdefault("metadata", {}).setdefault("annotations", {})
    annotations["kubectl.kubernetes.io/restartedAt"] = "2026-11-29T04:00:00Z"
    world.children[DEPLOYMENT.kind, deployment.name] = replace(deployment, body=body)
    decision = world.decide()
    (manifest,) = (manifest for manifest in decision.manifests if manifest["kind"] == "Deployment")
    assert manifest["spec"]["replicas"] == 1  # type: ignore[index]
    assert decision.status is not None
    assert decision.status.stopped is None
    # It ends as before.
    world.status = decision.status
    world.pods = (ended(world, 5),)
    stopped = world.decide().status
    assert stopped is not None
    assert stopped.stopped is not None
    assert stopped.stopped.restarted_at == "2026-11-29T04:00:00Z"


def test_it_is_said_before_it_is_done() -> None:
    """The pods that showed it go with it: an operator that ends in between must find it said."""
    world = World().settle()
    world.pods = (ended(world, 5),)
    first = world.decide()
    assert first.writes == ()
    assert first.status is not None
    assert first.status.stopped is not None
    # An API server whose CRD is older keeps no such field: then all go on.
    world.status = first.status.model_copy(update={"stopped": None})
    assert world.decide().writes == ()
    world.status = first.status
    (write,) = world.decide().writes
    assert write.manifest["spec"]["replicas"] == 0  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        # It begins once more: that may be the start that works.
        ({"running": True}, 1),
        ({}, 0),
    ],
)
def test_a_container_that_runs_is_not_stopped(change: dict[str, Any], kept: int) -> None:
    world = World().settle()
    world.pods = (ended(world, 5, **change),)
    assert replicas(world.settle().settle()) == kept


def test_a_pod_without_a_node_keeps_none_of_the_others() -> None:
    """It waits for the GPU that they hold."""
    world = World().settle()
    world.pods = (ended(world, 5), make_pod(world.revision, "llama-2", running=False, scheduled_at=None))
    assert replicas(world.settle().settle()) == 0


def test_pods_that_go_or_are_of_another_revision_count_for_nothing() -> None:
    for change in ({"terminating": True}, {"revision": "older"}):
        world = World().settle()
        world.pods = (ended(world, 5, **change), make_pod(world.revision, "llama-2"))
        assert replicas(world.settle().settle()) == 1


def test_one_that_has_worked_is_never_stopped() -> None:
    """Its pod may have come to another node, or to files that somebody changes."""
    world = World().settle()
    world.pods = (make_serving(world.revision),)
    world.pods = (replace(world.pods[0], created_at=world.now, started_at=world.now, containers_ready_at=world.now),)
    world.pods = (replace(world.pods[0], generates_since=world.now),)
    world.settle()
    world.pods = (ended(world, 9, name="llama-2", uid="2"),)
    assert replicas(world.settle().settle()) == 1
    assert world.status.stopped is None
