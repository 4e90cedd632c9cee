"""Pods for pure tests."""

from dataclasses import replace
from typing import Any

from support.simulate import NOW
from triton_vllm_operator.kube.pod import Gate, Pod

CONTAINER = "containerd://1"


def make_pod(revision: str, name: str = "llama-1", **changes: Any) -> Pod:
    """A pod whose container runs and has not generated yet."""
    pod = Pod(
        name=name,
        uid=f"uid-{name}",
        revision=revision,
        phase="Running",
        ip="127.0.0.1",
        container_id=CONTAINER,
        running=True,
        scheduled_at=NOW,
    )
    return replace(pod, **changes)


def make_serving(revision: str, name: str = "llama-1") -> Pod:
    """A pod that is in the Service."""
    return make_pod(revision, name, ready=True, gate=Gate(True, "Generates", CONTAINER))
