"""GPUs that this machine's node is said to have, and a server that needs none: for tests of what becomes of pods.

https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/: a resource that the API server is told of
is offered and counted like any other.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from cluster.images import OPERATOR, SMOLLM2, Image, ensure_images
from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.install import install_operator

PRETENDED: Final = Image(
    "pretended",
    "",
    "tests/pretended/Dockerfile",
    ("tests/pretended",),
    arguments=(("OPERATOR", OPERATOR.name),),
    needs=(OPERATOR,),
)
GPU: Final = "nvidia.com/gpu"
VERSION = "pretended"
_VLLM = "0.27.1"


@contextmanager
def pretended_gpus(count: int) -> Iterator[None]:
    """The node has so many GPUs, and the operator a runtime that takes them."""
    ensure_images((PRETENDED,))
    runtime = {
        "version": VERSION,
        "image": PRETENDED.name,
        "triton": "0.0.0",
        "vllm": _VLLM,
        "accelerator": "NvidiaGPU",
    }
    install_operator([f"extraRuntimes[0].{name}={value}" for name, value in runtime.items()])
    offer_gpus(count)
    try:
        yield
    finally:
        offer_gpus(0)
        install_operator()


def offer_gpus(count: int) -> None:
    """Say that the node has so many."""
    (node,) = kubectl_json("get", "nodes")["items"]
    name = node["metadata"]["name"]
    patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(count)}]
    kubectl("patch", "node", name, "--subresource=status", "--type=json", "-p", json.dumps(patch))

    def offered() -> bool:
        return bool(kubectl_json("get", "node", name)["status"]["allocatable"].get(GPU) == str(count))

    wait_until(f"the node offers {count} GPUs", 60, offered)


def pretended_llm(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """An LLMDeployment on pretended GPUs, probed often."""
    return {
        "apiVersion": "triton-vllm.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"image": {"reference": SMOLLM2.name, "pullPolicy": "Never"}},
            "runtime": {"version": VERSION},
            "memory": {"policy": "Off"},
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            "probe": {"periodSeconds": 2, "timeoutSeconds": 20, "failureThreshold": 2},
            **spec,
        },
    }
