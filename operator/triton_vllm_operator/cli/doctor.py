"""`kubectl llm doctor`: what a cluster lacks for LLMDeployments, and how to get it. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from triton_vllm_operator import __version__
from triton_vllm_operator.api import names
from triton_vllm_operator.kube.nodes import Node

_LEAST_MINOR: Final = 30
_IMAGE_VOLUMES_MINOR: Final = 35
_VENDOR: Final = "nvidia.com/"


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """Something cannot be used, which may not be needed."""
    UNKNOWN = "unknown"
    """Whoever asks may not see it."""
    MISSING = "missing"
    """LLMDeployments cannot work without it."""


class CrdSeen(StrEnum):
    """The CRD of the cluster."""

    OURS = "ours"
    OTHER = "another version's"
    ABSENT = "absent"
    HIDDEN = "hidden"
    """Whoever asks may not see it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    found: str
    do: str = ""
    """How to get what is missing."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An installed operator."""

    namespace: str
    name: str
    account: str
    image: str
    ready: int
    wanted: int
    namespaces: tuple[str, ...] = ()
    """Which it watches; none means all."""
    has_lease: bool = False
    """Whether there are several, of which one leads."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen; None is what may not be seen."""

    version: str
    crd: CrdSeen
    """Whether it is there, and of this program's version."""
    operators: tuple[Operator, ...] | None = None
    nodes: tuple[Node, ...] | None = None
    default_storage: str | None = None
    """Name of the default StorageClass; empty if there is none."""
    sliced_nodes: frozenset[str] | None = None
    """Nodes whose GPUs stand in ResourceSlices."""
    runtime_classes: tuple[str, ...] | None = None
    rights: Mapping[str, bool] = field(default_factory=dict)
    """Whether the operator may do it, by verb and resource."""


def find_findings(facts: Facts) -> tuple[Finding, ...]:
    """Everything, in the order in which it is needed."""
    return (
        *_find_kubernetes(facts),
        *_find_operator(facts),
        *_find_rights(facts),
        *_find_gpus(facts),
        _find_storage(facts),
    )


def minor_version(version: str) -> int:
    """36 of v1.36.3+k3s1; 0 if it cannot be read."""
    found = re.match(r"v?1\.(\d+)", version)
    return int(found[1]) if found else 0


def _find_kubernetes(facts: Facts) -> Iterator[Finding]:
    minor = minor_version(facts.version)
    if minor < _LEAST_MINOR:
        yield Finding(Level.MISSING, "Kubernetes", facts.version, f"upgrade to 1.{_LEAST_MINOR} or later")
    else:
        yield Finding(Level.OK, "Kubernetes", facts.version)
    if minor >= _IMAGE_VOLUMES_MINOR:
        yield Finding(Level.OK, "image volumes", "models and adapters can come as images")
    else:
        do = f"take models from a hub or a PersistentVolumeClaim, or upgrade to 1.{_IMAGE_VOLUMES_MINOR}"
        yield Finding(Level.NOTE, "image volumes", "not before 1.35, unless the feature gate ImageVolume is on", do)


def _find_operator(facts: Facts) -> Iterator[Finding]:
    install = "helm install triton-vllm-operator charts/triton-vllm-operator -n triton-vllm-system --create-namespace"
    if facts.crd is CrdSeen.ABSENT:
        yield Finding(Level.MISSING, "CRD", f"no {names.PLURAL}.{names.GROUP}", install)
    elif facts.crd is CrdSeen.HIDDEN:
        yield Finding(Level.UNKNOWN, "CRD", "you may not get CustomResourceDefinitions")
    elif facts.crd is CrdSeen.OTHER:
        do = "helm upgrade with the chart of this version, or this program of the operator's version"
        yield Finding(Level.NOTE, "CRD", f"another version's than that of this program ({__version__})", do)
    else:
        yield Finding(Level.OK, "CRD", f"{names.GROUP}/{names.VERSION}")
    if facts.operators is None:
        yield Finding(Level.UNKNOWN, "operator", "you may not list Deployments")
    elif not facts.operators:
        yield Finding(Level.MISSING, "operator", "no Deployment of it", install)
    for operator in facts.operators or ():
        where, image = f"{operator.namespace}/{operator.name}", operator.image
        if operator.ready:
            yield Finding(Level.OK, "operator", f"{where}, {operator.ready} of {operator.wanted} ready, {image}")
        else:
            do = f"kubectl -n {operator.namespace} describe deployment {operator.name}"
            yield Finding(Level.MISSING, "operator", f"{where}: 0 of {operator.wanted} ready", do)


def _find_rights(facts: Facts) -> Iterator[Finding]:
    if not facts.operators:
        return
    if not facts.rights:
        yield Finding(Level.UNKNOWN, "operator's rights", "you may not ask what others may do")
        return
    lacking = [right for right, is_allowed in facts.rights.items() if not is_allowed]
    if lacking:
        do = "helm upgrade with the chart of its version"
        yield Finding(Level.MISSING, "operator's rights", f"it may not {', '.join(lacking)}", do)
    else:
        yield Finding(Level.OK, "operator's rights", f"all {len(facts.rights)}")


def _find_gpus(facts: Facts) -> Iterator[Finding]:
    if facts.nodes is None:
        yield Finding(Level.UNKNOWN, "GPUs", "you may not list nodes")
        return
    having = [(node, gpus) for node in facts.nodes if (gpus := _gpus_of(node))]
    sliced = facts.sliced_nodes or frozenset()
    if having:
        by_name = sorted(having, key=lambda each: each[0].name)
        shown = "; ".join(f"{node.name}: {gpus}" for node, gpus in by_name[:8])
        yield Finding(Level.OK, "GPUs", f"{len(having)} nodes of {len(facts.nodes)}: {shown}")
    elif sliced:
        do = "the device plugin beside it: an LLMDeployment asks for GPUs as resources (spec.accelerator.nvidiaGPU)"
        yield Finding(Level.MISSING, "GPUs", "only in ResourceSlices (DRA)", do)
    else:
        do = "NVIDIA's GPU operator, or its device plugin; spec.accelerator.cpu needs none"
        yield Finding(Level.NOTE, "GPUs", "no node offers nvidia.com/gpu", do)
    unlabelled = [node.name for node, _ in having if names.GPU_PRODUCT_LABEL not in node.labels]
    if unlabelled:
        do = "GPU feature discovery, which is a part of the GPU operator: without it memory is not planned"
        yield Finding(Level.NOTE, "GPU labels", f"{', '.join(unlabelled[:8])}: no {names.GPU_PRODUCT_LABEL}", do)
    elif having:
        yield Finding(Level.OK, "GPU labels", f"{names.GPU_PRODUCT_LABEL} on all of them")
    if having and facts.runtime_classes is not None:
        named = [name for name in facts.runtime_classes if "nvidia" in name]
        said = f"{named[0]}: only where it is not the nodes' default, spec.scheduling.runtimeClassName" if named else ""
        yield Finding(Level.OK, "RuntimeClass", said or "none of NVIDIA's; CDI, or the nodes' default, is used")


def _gpus_of(node: Node) -> str:
    offered = [f"{count} {name}" for name, count in node.allocatable.items() if name.startswith(_VENDOR) and count]
    return ", ".join(sorted(offered))


def _find_storage(facts: Facts) -> Finding:
    if facts.default_storage is None:
        return Finding(Level.UNKNOWN, "storage", "you may not list StorageClasses")
    if facts.default_storage:
        return Finding(Level.OK, "storage", f"StorageClass {facts.default_storage} is the default")
    do = "name a storageClassName in each claim for models, or make one the default; models of images need none"
    return Finding(Level.NOTE, "storage", "no default StorageClass", do)


def finding_lines(findings: tuple[Finding, ...]) -> list[str]:
    """Each with what to do about it in the line below."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level.value:8} {finding.what:18} {finding.found}")
        lines += [f"{'':27} -> {finding.do}"] if finding.do else []
    return lines
