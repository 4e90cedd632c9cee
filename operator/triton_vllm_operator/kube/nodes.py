"""Nodes, reduced to what decides which pods they take and which GPUs those get."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.kube.requests import Amounts, read_amounts
from triton_vllm_operator.kube.resources import as_dict, as_list, metadata_of, name_of

_GPU_DRIVER: Final = "gpu.nvidia.com"


@dataclass(frozen=True, slots=True)
class Taint:
    """What keeps pods away that do not tolerate it."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Node:
    """One node."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    allocatable: Amounts
    has_sliced_gpus: bool = False
    """Whether GPUs of it stand in ResourceSlices (dynamic resource allocation), for which pods ask in another way."""
    not_ready: str = ""
    """Why Kubernetes calls it not ready; empty if it does not."""


def project_node(body: Json) -> Node:
    """What is read of a node."""
    spec, status, labels = (
        as_dict(body.get("spec")),
        as_dict(body.get("status")),
        as_dict(metadata_of(body).get("labels")),
    )
    taints = spec.get("taints")
    return Node(
        name=name_of(body),
        labels={str(key): str(value) for key, value in labels.items()},
        taints=tuple(_taint(taint) for taint in taints or () if isinstance(taint, dict)),
        allocatable=dict(read_amounts(as_dict(status.get("allocatable")))),
        not_ready=_why_not_ready(status.get("conditions")),
    )


def find_sliced(slices: Iterable[Json]) -> frozenset[str]:
    """The nodes with GPUs of NVIDIA's driver for dynamic resource allocation.

    https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
    """
    specs = (as_dict(body.get("spec")) for body in slices)
    return frozenset(str(spec.get("nodeName")) for spec in specs if spec.get("driver") == _GPU_DRIVER)


def _why_not_ready(conditions: object) -> str:
    """A node of which nothing is said yet counts as ready."""
    ready = next((condition for condition in as_list(conditions) if condition.get("type") == "Ready"), None)
    if ready is None or ready.get("status") == "True":
        return ""
    return str(ready.get("message") or ready.get("reason") or "it does not say why")


def _taint(taint: Mapping[str, Any]) -> Taint:
    return Taint(str(taint.get("key", "")), str(taint.get("value") or ""), str(taint.get("effect", "")))
