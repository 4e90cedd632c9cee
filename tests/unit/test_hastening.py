"""Pods that go and never answered anybody end at once; others in their own time."""

from datetime import timedelta
from typing import Any

import pytest

from support.pods import CONTAINER, make_pod, make_serving
from support.simulate import NOW, World
from triton_vllm_operator.kube.pod import Gate, Pod
from triton_vllm_operator.reconcile.hastening import find_hastened

GOES = {"terminating": True, "ends_at": NOW + timedelta(seconds=70)}
STARTED_ANEW = Gate(False, "NotYetProven", "containerd://0", has_generated=True)


@pytest.mark.parametrize(
    ("pod", "ends_at_once"),
    [
        (make_pod("r", **GOES), True),
        (make_pod("r", **GOES, gate=Gate(False, "GenerateFailed", CONTAINER, has_generated=False)), True),
        (make_pod("r"), False),
        (make_pod("r", **GOES, gate=Gate(True, "Generates", CONTAINER)), False),
        (make_pod("r", **GOES, gate=Gate(False, "GenerateTimedOut", CONTAINER)), False),
        (make_pod("r", **GOES, gate=STARTED_ANEW), False),
        (make_pod("r", **GOES, running=False), False),
        (make_pod("r", terminating=True, ends_at=NOW + timedelta(seconds=5)), False),
        (make_pod("r", terminating=True, ends_at=NOW - timedelta(seconds=60)), False),
    ],
)
def test_which(pod: Pod, ends_at_once: bool) -> None:
    assert [each.pod_name for each in find_hastened((pod,), NOW)] == (["llama-1"] if ends_at_once else [])


@pytest.mark.parametrize("changes", [{}, {"replicas": 0}])
def test_it_is_done_beside_pods_that_serve(changes: dict[str, Any]) -> None:
    world = World().edit(**changes).settle()
    world.pods = (make_serving(world.revision), make_pod(world.revision, "llama-2", **GOES))
    assert [each.pod_name for each in world.decide().hastened] == ["llama-2"]
