"""Requests and limits that Kubernetes would refuse the pods for. Pure.

https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/validation/validation.go
(ValidateContainerResourceRequirements)
"""

from collections.abc import Iterator
from typing import Final

from triton_vllm_operator.api.quantity import parse_quantity
from triton_vllm_operator.api.scheduling import Resources
from triton_vllm_operator.api.spec import LLMDeploymentSpec

_KNOWN: Final = ("cpu", "memory", "ephemeral-storage")
_HUGE: Final = "hugepages-"


def find_resource_faults(spec: LLMDeploymentSpec) -> Iterator[str]:
    """What is wrong, a sentence each that begins with the field."""
    fetch = spec.fetch.resources if spec.fetch else None
    for field, resources in (("spec.resources", spec.resources), ("spec.fetch.resources", fetch)):
        if resources is not None:
            yield from _find(field, resources)


def _find(field: str, resources: Resources) -> Iterator[str]:
    requests, limits = resources.requests or {}, resources.limits or {}
    for name in sorted({*requests, *limits}):
        if name not in _KNOWN and not name.startswith(_HUGE):
            where = "requests" if name in requests else "limits"
            yield f"{field}.{where}.{name}: there is no such resource; it takes {', '.join(_KNOWN)}"
        elif name in requests and name in limits and parse_quantity(requests[name]) > parse_quantity(limits[name]):
            yield (
                f"{field}.requests.{name} {requests[name]} is more than {field}.limits.{name} {limits[name]}: "
                "write that or less"
            )
        elif name.startswith(_HUGE) and name not in limits:
            yield f"{field}.requests.{name}: huge pages need the same in {field}.limits"
