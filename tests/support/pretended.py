"""GPUs that this machine's node is said to have, and a server that needs none: for tests of what becomes of pods.

https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/: a resource that the API server is told of
is offered and counted like any other.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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
AGAIN: Final = replace(PRETENDED, repository="pretended-again", arguments=(*PRETENDED.arguments, ("AGAIN", "1")))
"""The same under another name: an image that no pod has yet."""
GPU: Final = "nvidia.com/gpu"
VERSION = "pretended"
ANOTHER_VERSION: Final = "pretended-again"
MISSING_VERSION: Final = "pretended-missing"
"""Of an image that there is not."""
_IMAGES: Final = {
    VERSION: PRETENDED.name,
    ANOTHER_VERSION: AGAIN.name,
    MISSING_VERSION: "localhost/triton-vllm-operator/missing:1",
}
_VLLM = "0.27.1"


@contextmanager
def pretended_gpus(count: int) -> Iterator[None]:
    """The node has so many GPUs, and the operator runtimes that take them."""
    ensure_images((PRETENDED, AGAIN))
    settings: list[str] = []
    for number, (version, image) in enumerate(_IMAGES.items()):
        runtime = {"version": version, "image": image, "triton": "0.0.0", "vllm": _VLLM, "accelerator": "NvidiaGPU"}
        settings += [f"extraRuntimes[{number}].{name}={value}" for name, value in runtime.items()]
    install_operator(settings)
    offer_gpus(count)
    try:
        yield
    finally:
        offer_gpus(0)
        install_operator()


def offer_gpus(count: int) -> None:
    """Say that the node has so many."""
    name = real_node()
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


def real_node() -> str:
    """The name of the node that has a kubelet."""
    nodes = kubectl_json("get", "nodes")["items"]
    (name,) = (node["metadata"]["name"] for node in nodes if node["status"].get("nodeInfo", {}).get("kubeletVersion"))
    return str(name)
