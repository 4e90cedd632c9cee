"""The GPUs that nodes offer to the pods of a spec. Pure.

Labels are those of NVIDIA's GPU feature discovery, and of clouds where it is not installed:
https://github.com/NVIDIA/k8s-device-plugin/blob/main/docs/gpu-feature-discovery/README.md
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api.names import GPU_PRODUCT_LABEL
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.kube.nodes import Node
from triton_vllm_operator.memory.admission import admits
from triton_vllm_operator.memory.products import find_product
from triton_vllm_operator.memory.settings import Gpu

_MEMORY: Final = "nvidia.com/gpu.memory"
_REPLICAS: Final = "nvidia.com/gpu.replicas"
_STRATEGY: Final = "nvidia.com/gpu.sharing-strategy"
_CLOUD_PRODUCTS: Final = ("cloud.google.com/gke-accelerator", "karpenter.k8s.aws/instance-gpu-name")
_CLOUD_MEMORY: Final = "karpenter.k8s.aws/instance-gpu-memory"
_SLICE: Final = re.compile(r"nvidia\.com/mig-\d+g\.(?P<gb>\d+)gb")
_SLICED: Final = "-MIG-"
_MIB: Final = 2**20
# What CUDA reports is less than what nvidia-smi and the label do: by 0.4 to 0.85 GiB on the products that are known.
_RESERVED: Final = 640 * _MIB
_RESERVED_DOUBT: Final = 320 * _MIB
_SLICE_DOUBT: Final = 0.05
"""Part of a slice of which only the profile's name tells the size."""
_SHOWN: Final = 3
_OTHER_PRODUCT: Final = 1.2
"""A label of memory that differs so much from a product's own speaks of another one."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Nodes with GPUs of one kind."""

    gpu: Gpu | None
    """None if the nodes do not say which it is."""
    product: str
    """Value of the label nvidia.com/gpu.product, by which a nodeSelector names it; empty without one."""
    nodes: tuple[str, ...]
    sharing: str = ""
    """How several pods share one of them, as `time-slicing`; empty if each has its own."""
    shared_by: int = 1


@dataclass(frozen=True, slots=True)
class Offers:
    """All that the scheduler could choose from."""

    found: tuple[Offer, ...]
    why_none: str = ""
    """Empty if there are some."""
    are_dynamic: bool = False
    """Whether there are none since the GPUs stand in ResourceSlices."""


def find_offers(nodes: Sequence[Node], scheduling: Scheduling, resource: str, gpus: int) -> Offers:
    """The GPUs of nodes that take the pods, each of which asks for so many of a resource."""
    admitted = [node for node in nodes if admits(node, scheduling, resource)]
    if not admitted:
        return Offers((), f"none of {len(nodes)} nodes takes the pods by its labels and taints")
    most = max(node.allocatable.get(resource, 0) for node in admitted)
    if most < gpus and (sliced := [node.name for node in admitted if node.has_sliced_gpus]):
        why = (
            f"the GPUs of node {', '.join(sliced[:_SHOWN])} stand in ResourceSlices (DRA), and pods ask for {resource}"
        )
        return Offers((), why, are_dynamic=True)
    if most < gpus:
        has = f"the most that one has is {most}" if most else "none of them has any"
        return Offers((), f"no node that takes the pods has {gpus} {resource}: {has}")
    by_kind: dict[Offer, list[str]] = {}
    for node in admitted:
        if node.allocatable.get(resource, 0) >= gpus:
            by_kind.setdefault(_offer(node, resource), []).append(node.name)
    return Offers(
        tuple(
            Offer(kind.gpu, kind.product, tuple(sorted(names)), kind.sharing, kind.shared_by)
            for kind, names in by_kind.items()
        )
    )


def _offer(node: Node, resource: str) -> Offer:
    shared_by = count_shares(node)
    return Offer(
        gpu=find_node_gpu(node, resource),
        product=node.labels.get(GPU_PRODUCT_LABEL, ""),
        nodes=(),
        sharing=node.labels.get(_STRATEGY, "") if shared_by > 1 else "",
        shared_by=shared_by,
    )


def count_shares(node: Node) -> int:
    """How many pods may have one and the same GPU of a node, its memory included.

    https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-sharing.html
    """
    is_shared = node.labels.get(_STRATEGY, "") not in ("", "none")
    return (_count(node.labels.get(_REPLICAS)) or 1) if is_shared else 1


def find_node_gpu(node: Node, resource: str) -> Gpu | None:
    """One of the GPUs, or slices of one, that a resource of a node stands for; None if its labels do not tell."""
    product = node.labels.get(GPU_PRODUCT_LABEL, "")
    if profile := _SLICE.fullmatch(resource):
        mib = _count(node.labels.get(f"{resource}.memory"))
        named = int(profile["gb"]) * 2**30
        doubt = 0 if mib else int(named * _SLICE_DOUBT)
        return Gpu(product or resource, mib * _MIB or named - doubt, doubt_bytes=doubt, is_slice=True)
    mib = _count(node.labels.get(_MEMORY)) or _count(node.labels.get(_CLOUD_MEMORY))
    if _SLICED in product:
        return Gpu(product, mib * _MIB, is_slice=True) if mib else None
    candidates = (find_product(name) for name in (product, *map(node.labels.get, _CLOUD_PRODUCTS)) if name)
    known = next((gpu for gpu in candidates if gpu is not None), None)
    if known is not None and (not mib or 1 / _OTHER_PRODUCT < mib * _MIB / known.total_bytes < _OTHER_PRODUCT):
        return Gpu(product or known.product, known.total_bytes)
    if mib * _MIB <= _RESERVED:
        return None
    return Gpu(product or "a GPU", mib * _MIB - _RESERVED, doubt_bytes=_RESERVED_DOUBT)


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0
