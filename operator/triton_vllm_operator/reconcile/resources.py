"""Requests and limits that Kubernetes would refuse the pods for. Pure.

https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/validation/validation.go
(ValidateContainerResourceRequirements)
"""

from collections.abc import Iterator, Mapping
from typing import Final

from triton_vllm_operator.api.base import Quantity
from triton_vllm_operator.api.quantity import parse_quantity
from triton_vllm_operator.api.spec import LLMDeploymentSpec

Amounts = Mapping[str, Quantity]

_KNOWN: Final = ("cpu", "memory", "ephemeral-storage")
_BEFORE_HUGE: Final = frozenset({"cpu", "memory"})
_HUGE: Final = "hugepages-"


def find_resource_faults(spec: LLMDeploymentSpec) -> Iterator[str]:
    """What is wrong, a sentence each that begins with the field."""
    fetch = spec.fetch.resources if spec.fetch else None
    for field, resources in (("spec.resources", spec.resources), ("spec.fetch.resources", fetch)):
        if resources is not None:
            requests, limits = resources.requests or {}, resources.limits or {}
            yield from _find_unknown(f"{field}.requests", requests)
            yield from _find_unknown(f"{field}.limits", limits)
            yield from _find_huge(field, requests, limits)
            yield from _find_too_much(field, requests, limits)


def _find_unknown(field: str, named: Amounts) -> Iterator[str]:
    for name in named:
        if name not in _KNOWN and not name.startswith(_HUGE):
            gpus = "; GPUs follow from spec.engine.tensorParallelSize" if "gpu" in name else ""
            yield f"{field}.{name}: there is no such resource; it takes {', '.join(_KNOWN)} and hugepages-SIZE{gpus}"


def _find_too_much(field: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name in (name for name in requests if name in limits and not name.startswith(_HUGE)):
        if parse_quantity(requests[name]) > parse_quantity(limits[name]):
            yield (
                f"{field}.requests.{name} {requests[name]} is more than {field}.limits.{name} {limits[name]}: "
                f"write {limits[name]} or less, or raise the limit"
            )


def _find_huge(field: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    """They are asked for and limited alike, and never alone."""
    huge = sorted(name for name in {*requests, *limits} if name.startswith(_HUGE))
    for name in huge:
        limit = limits.get(name)
        if limit is None or parse_quantity(requests.get(name, limit)) != parse_quantity(limit):
            yield f"{field}.requests.{name}: write the same amount in {field}.limits.{name}"
    if huge and _BEFORE_HUGE.isdisjoint({*requests, *limits}):
        yield f"{field}: {huge[0]} needs cpu or memory beside it"
