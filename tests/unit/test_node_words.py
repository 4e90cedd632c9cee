"""What nodes and schedulers say of pods that do not start, and what a user reads of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.pods import make_pod
from support.simulate import NOW, World
from triton_vllm_operator.health.failures.pods import cannot_begin, find_problem
from triton_vllm_operator.kube.pod import Image, Pod
from triton_vllm_operator.reconcile.held import ask_again_at, is_held

SECRET = "a private registry needs spec.scheduling.imagePullSecrets"
TAKEN: dict[str, Any] = {"running": False, "phase": "Pending", "container_id": ""}


def told(**changes: Any) -> tuple[str, str]:
    found = find_problem(make_pod("r", **{**TAKEN, **changes}))
    assert found is not None
    return found.reason, found.message


@pytest.mark.parametrize(
    ("said", "wanted", "unwanted"),
    [
        ('persistentvolumeclaim "models" not found', "create the claim", ""),
        ('persistentvolumeclaim "models" is being deleted', "fits on no node", "create the claim"),
        (
            "Scheduling is blocked due to non-empty scheduling gates",
            "is held back by a scheduling gate, as a queue sets it (Kueue)",
            "fits on no node",
        ),
    ],
)
def test_why_a_pod_has_no_node(said: str, wanted: str, unwanted: str) -> None:
    reason, message = told(unschedulable=said)
    assert reason == "Unschedulable"
    assert wanted in message
    assert not unwanted or unwanted not in message


@pytest.mark.parametrize(
    ("said", "needs"),
    [
        ("failed to authorize: 401 Unauthorized", True),
        ("pull access denied, repository does not exist", True),
        ("docker.io/acme/model:1: not found", True),
        ("toomanyrequests: You have reached your pull rate limit", True),
        ("write /var/lib/containerd/x: no space left on device: unknown", False),
        ("failed size validation: 6239744 != 17386982", False),
        ("dial tcp: lookup registry.example: i/o timeout", False),
        ("no match for platform in manifest", False),
    ],
)
def test_a_secret_is_advised_where_one_may_help(said: str, needs: bool) -> None:
    image = Image("registry.example/acme:1", "weights")
    reason, message = told(waiting_reason="ErrImagePull", waiting_message=said, awaited_image=image)
    assert reason == "ImagePullFailed"
    assert (SECRET in message) is needs


def test_a_short_name_is_written_out() -> None:
    reason, message = told(waiting_reason="ImageInspectError", waiting_message="returns ambiguous list")
    assert (reason, message) == ("ImagePullFailed", "pod llama-1: returns ambiguous list")


def test_a_node_that_is_late_is_not_a_wrong_setting() -> None:
    said = 'failed to reserve container name "x": name is reserved for "818fcfef"'
    pod = make_pod("r", **{**TAKEN, "waiting_reason": "CreateContainerError", "waiting_message": said})
    assert not cannot_begin(pod)
    found = find_problem(pod)
    assert found is not None
    assert found.reason == "NodeCannotStartPod"


def test_a_gpu_that_the_runtime_does_not_get_is_named() -> None:
    said = "OCI runtime create failed: nvidia-container-cli: initialization error: driver rpc error: timed out"
    reason, message = told(waiting_reason="RunContainerError", waiting_message=said)
    assert reason == "NoGpuInContainer"
    assert "the container toolkit of the node looked at" in message


def test_a_pod_that_its_node_refused_is_named() -> None:
    said = "Allocate failed due to no healthy devices present; cannot allocate unhealthy devices nvidia.com/gpu"
    assert told(phase="Failed", phase_message=f"Pod was rejected: {said}, which is unexpected")[0] == "GpuUnhealthy"
    assert told(phase="Failed", phase_message="The node was low on resource: memory.")[0] == "PodFailed"


def test_what_stands_in_events_alone_is_told() -> None:
    said = 'FailedMount: MountVolume.SetUp failed for volume "models"'
    reason, message = told(held=said)
    assert (reason, message) == (
        "NodeCannotStartPod",
        f"pod llama-1: its node cannot start it and tries again: {said}",
    )


def taken(**changes: Any) -> Pod:
    return make_pod("r", **{**TAKEN, "waiting_reason": "ContainerCreating", **changes})


@pytest.mark.parametrize(
    ("pod", "held"),
    [
        (taken(), True),
        (taken(scheduled_at=NOW + timedelta(seconds=30)), False),
        (taken(scheduled_at=None), False),
        (taken(initialized_at=NOW), False),
        (taken(prepares=True), False),
        (taken(running=True), False),
        (taken(waiting_reason="ErrImagePull"), False),
        (taken(terminating=True), False),
    ],
)
def test_events_are_read_of_a_pod_that_its_node_does_not_start(pod: Pod, held: bool) -> None:
    now = NOW + timedelta(seconds=60)
    assert is_held(pod, now) is held


def test_events_are_read_again_while_it_stands_still() -> None:
    assert ask_again_at(taken(), NOW) == NOW + timedelta(seconds=60)
    assert ask_again_at(taken(), NOW + timedelta(seconds=90)) == NOW + timedelta(seconds=151)
    assert ask_again_at(taken(running=True), NOW) is None
    world = World().settle()
    world.pods = (replace(taken(), revision=world.revision),)
    world.settle()
    assert world.decide().look_again_at == NOW + timedelta(seconds=60)
