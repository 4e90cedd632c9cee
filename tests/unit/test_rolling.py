"""An update, as the children and the status of an LLMDeployment show it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from support.nodes import make_node
from support.pods import OWN_QUOTA, make_pod, make_serving
from support.rolling_cluster import GPU, SPEC
from support.simulate import World
from triton_vllm_operator.kube.place_lister import Places
from triton_vllm_operator.kube.pod import Pod
from triton_vllm_operator.kube.resources import DEPLOYMENT, as_dict

NODE = make_node("a", {}, 2)
OTHERS: Mapping[str, Mapping[str, Decimal]] = {"a": {GPU: Decimal(1), "pods": Decimal(1)}}
# Beside the own pod, one GPU is free or none is.
SPARE, FULL = Places((NODE,)), Places((NODE,), OTHERS)
UNKNOWN = Places(why_unknown="403")


def serving(**spec: Any) -> World:
    """One pod serves, and all is settled."""
    world = World(spec={**SPEC, **spec}).settle()
    world.pods = (make_placed(make_serving(world.revision)),)
    return world.settle().settle()


def make_placed(pod: Pod) -> Pod:
    return replace(pod, node="a")


def bounds(world: World) -> tuple[object, object]:
    """maxSurge and maxUnavailable of the Deployment."""
    (deployment,) = world.of_kind(DEPLOYMENT.kind)
    rolling = as_dict(as_dict(as_dict(deployment.body["spec"])["strategy"])["rollingUpdate"])
    return rolling["maxSurge"], rolling["maxUnavailable"]


def edited(world: World, places: Places) -> World:
    world.edit(engine={"maxNumSeqs": 7})
    asking = world.decide()
    assert asking.wants_places
    world.changes["places"] = places
    return world.settle()


@pytest.mark.parametrize(
    ("places", "wanted", "reason", "says"),
    [
        (SPARE, (1, 0), "SurgeFits", "there is room for 1 nvidia.com/gpu on 1 of 1 node"),
        (FULL, (0, 1), "ReplacingNoSpareGpu", "0 of 1 nvidia.com/gpu free; nobody answers until"),
        (UNKNOWN, (1, 0), "CapacityUnknown", "what is free is not known (403)"),
    ],
)
def test_an_update_goes_by_what_is_free(places: Places, wanted: tuple[int, int], reason: str, says: str) -> None:
    world = edited(serving(), places)
    assert bounds(world) == wanted
    assert world.condition("Progressing") == ("True", reason)
    message = world.message("Progressing")
    left = "1 pod of an earlier revision is left to replace: spec.engine.maxNumSeqs changed; it serves until then; "
    assert message.startswith(left)
    assert says in message
    assert world.status.ready_replicas == 1, "the old one still answers"
    assert world.condition("Available")[0] == "True"


def test_an_update_on_processors_goes_by_what_is_free_too() -> None:
    resources = {"requests": {"cpu": "2"}}
    for others, wanted in ((Places((NODE,)), (0, 1)), (Places((NODE, make_node("b", {}, 0))), (1, 0))):
        world = World()
        world.spec |= {"resources": resources}
        world.settle()
        world.pods = (make_placed(make_serving(world.revision)),)
        world.settle()
        assert bounds(edited(world, others)) == wanted


def test_nobody_is_asked_what_is_free_without_an_update() -> None:
    world = serving()
    assert not world.decide().wants_places
    world.edit(replicas=2)
    assert not world.decide().wants_places


def test_once_done_nothing_is_written_any_more() -> None:
    world = edited(serving(), SPARE)
    world.pods = (make_placed(make_serving(world.revision, "llama-2")),)
    world.settle()
    del world.changes["places"]
    world.settle()
    assert world.status.rollout is None
    assert bounds(world) == (1, 0)
    settled = world.later(3600).decide()
    assert (settled.writes, settled.status, settled.wants_places) == ((), None, False)


def test_a_new_pod_without_a_node_is_no_fault_until_its_time_is_over() -> None:
    world = edited(serving(), SPARE)
    waiting = make_pod(world.revision, "llama-2", scheduled_at=None, phase="Pending", running=False, ip=None,
                       unschedulable="0/1 nodes are available")  # fmt: skip
    world.pods = (*world.pods, waiting)
    world.settle()
    assert world.condition("Progressing") == ("True", "SurgeFits")
    assert "an old one goes at 2026-11-23T12:01:00Z" in world.message("Progressing")
    assert world.decide().look_again_at == world.now.replace(minute=1)
    world.later(60).settle()
    assert bounds(world) == (0, 1)
    # The old one has not gone yet.
    assert world.condition("Progressing")[1] == "Unschedulable"
    assert world.status.rollout is not None
    assert world.status.rollout.reason == "SurgeTimedOut"
    del world.changes["places"]
    assert not world.decide().wants_places


def test_a_restart_on_the_last_gpu_does_not_wait_for_a_second_one() -> None:
    """The last update surged, and so would the restart, of which only Kubernetes' own label of the pods tells."""
    world = edited(serving(), SPARE)
    old = replace(make_serving(world.revision), node="a", template="1", created_at=world.now)
    world.pods = (old,)
    world.settle()
    assert bounds(world) == (1, 0)
    world.later(60)
    new = replace(old, name="llama-2", uid="uid-llama-2", template="2", created_at=world.now, scheduled_at=None,
                  node="", ready=False, gate=None, running=False, phase="Pending", unschedulable="0/1")  # fmt: skip
    world.pods = (old, new)
    world.changes["places"] = FULL
    world.settle()
    assert bounds(world) == (0, 1)
    assert world.status.rollout is not None
    assert world.status.rollout.reason == "ReplacingNoSpareGpu"


def test_a_quota_that_lets_no_pod_be_made_ends_a_surge() -> None:
    world = edited(serving(), SPARE)
    (deployment,) = world.of_kind(DEPLOYMENT.kind)
    failure = {"type": "ReplicaFailure", "status": "True", "message": OWN_QUOTA}
    deployment.body["status"] = {"conditions": [failure]}
    # That of the pods before is told for a moment longer.
    assert world.settle().decide().look_again_at == world.now + timedelta(seconds=5)
    assert bounds(world) == (1, 0)
    world.later(5).settle()
    assert bounds(world) == (0, 1)
    assert world.status.rollout is not None
    assert world.status.rollout.reason == "SurgeRefused"


LATE = "FailedMount: Unable to attach or mount volumes: unmounted volumes=[weights], unattached volumes=[{}]: timed out"


@pytest.mark.parametrize(
    ("node", "claim", "held", "wanted"),
    [
        ("b", "weights", "FailedAttachVolume: Multi-Attach error", (0, 1)),
        ("b", "weights", LATE.format("weights"), (1, 0)),
        ("b", "weights", "FailedAttachVolume: AttachVolume.Attach failed: the node has no driver", (1, 0)),
        ("b", "weights", "FailedMount: MountVolume.SetUp failed: access denied by server", (1, 0)),
        ("b", "others", "FailedAttachVolume: Multi-Attach error", (1, 0)),
        ("a", "weights", "FailedAttachVolume: Multi-Attach error", (1, 0)),
    ],
    ids=["it is attached elsewhere", "nobody says so", "the node's own fault", "no right", "another", "the same node"],
)
def test_only_a_volume_that_another_node_holds_takes_a_pod_away(
    node: str, claim: str, held: str, wanted: tuple[int, int]
) -> None:
    world = serving(model={"persistentVolumeClaim": {"claimName": "weights"}})
    world.changes["places"] = Places((NODE, make_node("b", {}, 1)))
    world.edit(engine={"maxNumSeqs": 7}, model={"persistentVolumeClaim": {"claimName": claim}}).settle()
    new = make_pod(world.revision, "llama-2", running=False, node=node, created_at=world.now, held=held)
    world.pods = (*world.pods, new)
    world.settle()
    assert bounds(world) == (1, 0)
    if wanted == (0, 1):
        # After a while kubelet says more often that it waits.
        world.later(30)
        world.pods = (world.pods[0], replace(new, held=LATE.format("weights")))
        world.settle()
    world.later(31).settle()
    assert bounds(world) == wanted


def test_an_edited_strategy_is_put_back() -> None:
    world = serving()
    (deployment,) = world.of_kind(DEPLOYMENT.kind)
    as_dict(deployment.body["spec"])["strategy"] = {"type": "Recreate"}
    (write,) = world.decide().writes
    assert write.manifest["kind"] == "Deployment"


def test_the_seconds_of_the_last_start_are_said() -> None:
    world = serving()
    world.pods = (make_placed(make_pod(world.revision, ready=True, gate=world.pods[0].gate,
                                       started_at=world.now, containers_ready_at=world.now.replace(second=40),
                                       generates_since=world.now.replace(second=41))),)  # fmt: skip
    world.settle()
    assert "about 41 s by the last start" in edited(world, FULL).message("Progressing")
