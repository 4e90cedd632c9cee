"""Pods for pure tests."""

from dataclasses import replace
from typing import Any

from support.simulate import NOW
from triton_vllm_operator.kube.pod import Gate, Pod

CONTAINER = "containerd://1"
OWN_QUOTA = "exceeded quota: team, requested: pods=1, used: pods=1, limited: pods=1"
"""What Kubernetes says of a pod where one of the LLMDeployment has used the quota up."""


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
