"""Nodes that refuse pods, give them up, or are lost, as the status of an LLMDeployment tells of them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.nodes import node_body
from support.pods import make_pod, make_serving
from support.simulate import NOW, World
from triton_vllm_operator.health.failures.pods import find_problem
from triton_vllm_operator.kube.nodes import project_node
from triton_vllm_operator.kube.pod_reading import project_pod

REFUSALS = [
    (
        "UnexpectedAdmissionError",
        "Pod was rejected: Allocate failed due to requested number of devices unavailable for nvidia.com/gpu. "
        "Requested: 1, Available: 0, which is unexpected",
        "NodeRefusedPod",
        "restart its device plugin",
    ),
    (
        "OutOfnvidia.com/gpu",
        "Pod was rejected: Node didn't have enough resource: nvidia.com/gpu, requested: 1, used: 1, capacity: 1",
        "NodeRefusedPod",
        "fuller than the scheduler knew",
    ),
    ("OutOfpods", "Pod was rejected: Node didn't have enough resource: pods", "NodeRefusedPod", "fuller"),
    ("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed", "NodeRefusedPod", "labels of the node"),
    (
        "TopologyAffinityError",
        "Pod was rejected: Resources cannot be allocated with Topology locality",
        "NodeRefusedPod",
        "Topology Manager",
    ),
    ("VolumeAttachmentLimitExceeded", "Pod was rejected: Node has reached its limit", "NodeRefusedPod", "describe"),
    ("NodeShutdown", "Pod was rejected as the node is shutting down.", "NodeRefusedPod", "the node shuts down"),
    ("Terminated", "Pod was terminated in response to imminent node shutdown.", "NodeEvictedPod", "shut down"),
    ("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi", "NodeEvictedPod", "requests"),
    ("Evicted", "Pod was rejected: The node had condition: [DiskPressure]. ", "NodeRefusedPod", "takes no pods while"),
    ("Evicted", 'Usage of EmptyDir volume "tmp" exceeds the limit "1Gi". ', "NodeEvictedPod", "raise that"),
    ("Preempting", "Preempted in order to admit critical pod", "NodeEvictedPod", "the node itself needs"),
]


@pytest.mark.parametrize(("reason", "message", "wanted", "helps"), REFUSALS, ids=[each[1][:40] for each in REFUSALS])
def test_what_a_node_says_of_a_pod_is_no_failure_of_its_engine(
    reason: str, message: str, wanted: str, helps: str
) -> None:
    pod = project_pod(failed_body(reason, message))
    found = find_problem(pod)
    assert found is not None
    assert found.reason == wanted
    assert message in found.message
    assert helps in found.message
    assert found.message.endswith("; another pod is made")
    assert not found.in_vain


def failed_body(reason: str, message: str) -> dict[str, Any]:
    """A kubelet's status of a pod that it does not take holds nothing else."""
    return {
        "kind": "Pod",
        "metadata": {"name": "llama-1", "uid": "u1", "labels": {}},
        "status": {"phase": "Failed", "reason": reason, "message": message},
    }


def test_pods_that_a_node_refused_are_told_of_until_one_serves() -> None:
    world = World().settle()
    refused = [
        replace(
            project_pod(failed_body(*REFUSALS[0][:2])),
            name=f"llama-{9 - n}",
            uid=f"u{n}",
            revision=world.revision,
            created_at=NOW + timedelta(seconds=n),
        )
        for n in range(3)
    ]
    world.pods = tuple(refused)
    assert world.settle().condition("Ready") == ("False", "NodeRefusedPod")
    fresh = make_pod(world.revision, "llama-1", phase="Pending", running=False)
    world.pods = (*refused, fresh)
    world.settle()
    assert world.condition("Ready") == ("False", "Starting")
    assert "has not generated yet; before it, pod llama-7 was not taken by its node: " in world.message("Ready")
    world.pods = (*refused, make_serving(world.revision, "llama-1"))
    world.settle()
    assert world.condition("Ready") == ("True", "AllReplicasGenerate")
    assert world.status.recovery is None


def test_of_many_failed_pods_the_newest_are_kept() -> None:
    world = World().settle()
    failed = [
        make_pod(world.revision, f"llama-{n}", phase="Failed", running=False, created_at=NOW + timedelta(seconds=n))
        for n in range(8)
    ]
    world.pods = tuple(reversed(failed))
    pruned = world.decide().prunes
    assert [(child.kind.kind, child.name) for child in pruned] == [("Pod", f"llama-{n}") for n in range(3)]
    world.pods = tuple(failed[3:])
    assert world.decide().prunes == ()


def lost(world: World, **changes: Any) -> World:
    pod = replace(make_serving(world.revision), ready=False, node="gpu-1", generates_since=NOW, **changes)
    world.pods = (pod,)
    world.changes["lost_nodes"] = {"gpu-1": "Kubelet stopped posting node status."}
    return world.later(15).settle()


def test_a_pod_on_a_lost_node_names_it() -> None:
    world = lost(World().settle())
    assert world.condition("Ready") == ("False", "NodeNotReady")
    assert world.condition("Degraded")[0] == "True"
    message = world.message("Ready")
    assert "its node gpu-1 is not ready: Kubelet stopped posting node status; Kubernetes makes" in message
    assert world.decide().look_again_at == world.now + timedelta(seconds=31)


def test_a_pod_that_a_lost_node_keeps_is_named_where_its_successor_finds_no_place() -> None:
    world = lost(World().settle())
    (old,) = world.pods
    gone = replace(old, terminating=True, ends_at=NOW)
    fresh = make_pod(world.revision, "llama-2", phase="Pending", running=False, scheduled_at=None,
                     unschedulable="0/2 nodes are available: 2 Insufficient nvidia.com/gpu")  # fmt: skip
    world.pods = (gone, fresh)
    world.settle()
    assert world.condition("Ready") == ("False", "Unschedulable")
    assert "pod llama-1 is not gone and keeps its place, since its node gpu-1 is not ready" in world.message("Ready")


def test_why_a_pod_goes_is_told() -> None:
    world = World().settle()
    said = "PreemptionByScheduler: default-scheduler: preempting to accommodate a higher priority pod"
    old = replace(make_serving(world.revision), terminating=True, disruption=said)
    world.pods = (old, make_pod(world.revision, "llama-2", phase="Pending", running=False))
    world.settle()
    assert f"pod llama-2 has not generated yet; pod llama-1 goes: {said}" in world.message("Ready")


def test_a_disruption_is_read_from_its_condition() -> None:
    body = failed_body("", "")
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "evicting"}
    body["status"] = {"phase": "Running", "conditions": [condition]}
    assert project_pod(body).disruption == "EvictionByEvictionAPI: evicting"
    condition["status"] = "False"
    assert project_pod(body).disruption == ""


def test_a_node_says_why_it_is_not_ready() -> None:
    body = node_body("a", {})
    assert project_node(body).not_ready == ""
    ready = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped"}
    body["status"]["conditions"] = [{"type": "MemoryPressure", "status": "False"}, ready]
    assert project_node(body).not_ready == "Kubelet stopped"
    ready["status"] = "True"
    assert project_node(body).not_ready == ""
