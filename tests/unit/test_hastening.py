"""Pods that go and never answered anybody end at once; others in their own time."""

from datetime import timedelta
from typing import Any

import pytest

from support.pods import CONTAINER, make_pod
from support.simulate import NOW
from triton_vllm_operator.kube.pod import Gate, Pod
from triton_vllm_operator.reconcile.hastening import find_hastened

GOES: dict[str, Any] = {"terminating": True, "ends_at": NOW + timedelta(seconds=70), "ends_within": 80}
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
        (make_pod("r", **GOES, ready=True), False),
        (make_pod("r", **{**GOES, "ends_within": 5}), False),
        (make_pod("r", **GOES, job_uid="fetches"), False),
        (make_pod("", **GOES), False),
        (make_pod("r", terminating=True, ends_at=NOW + timedelta(seconds=5)), False),
        (make_pod("r", terminating=True, ends_at=NOW - timedelta(seconds=60)), False),
    ],
)
def test_which(pod: Pod, ends_at_once: bool) -> None:
    assert find_hastened((pod,), NOW) == ((pod,) if ends_at_once else ())
