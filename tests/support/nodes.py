"""Nodes as GPU feature discovery labels them."""

from typing import Any

from triton_vllm_operator.kube.nodes import Node, project_node

H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"}
L4 = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"}


def node_body(
    name: str,
    labels: dict[str, str],
    gpus: int | str = 1,
    taints: list[dict[str, str]] | None = None,
    resource: str = "nvidia.com/gpu",
) -> dict[str, Any]:
    allocatable = {"cpu": "3920m", "memory": "15Gi", "pods": "110", **({resource: str(gpus)} if gpus else {})}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
        "spec": {"taints": taints} if taints else {},
        "status": {"allocatable": allocatable},
    }


def make_node(name: str, labels: dict[str, str], gpus: int = 1, **more: Any) -> Node:
    return project_node(node_body(name, labels, gpus, **more))
