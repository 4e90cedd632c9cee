"""What pods ask the scheduler for."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.quantity import parse_quantity
from triton_vllm_operator.kube.resources import as_dict, as_list

Amounts = Mapping[str, Decimal]
"""Of each resource, in its base unit: cores, bytes, GPUs."""
PODS: Final = "pods"
"""The resource of a node that each pod takes one of."""


def pod_requests(spec: Json) -> dict[str, Decimal]:
    """What the scheduler sets aside for a pod: for its containers together, or for one that runs before them.

    https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers, and
    sidecars as in https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/api/v1/resource/helpers.go.
    """
    together = _add(*(_container(each) for each in as_list(spec.get("containers"))))
    beside: dict[str, Decimal] = {}
    before: dict[str, Decimal] = {}
    for container in as_list(spec.get("initContainers")):
        own = _container(container)
        if container.get("restartPolicy") == "Always":
            beside = _add(beside, own)
            own = {}
        before = _largest(before, _add(own, beside))
    needed = _largest(_add(together, beside), before)
    if level := _of(as_dict(spec.get("resources"))):
        # Of the whole pod, where that is set: https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/2837-pod-level-resource-spec
        needed = {**needed, **level}
    return _add(needed, dict(read_amounts(as_dict(spec.get("overhead")))), {PODS: Decimal(1)})


def _container(container: Mapping[str, Any]) -> dict[str, Decimal]:
    return _of(as_dict(container.get("resources")))


def _of(resources: Mapping[str, Any]) -> dict[str, Decimal]:
    """The API server fills a request in from its limit; a template that it has not seen yet may lack it."""
    return {
        **dict(read_amounts(as_dict(resources.get("limits")))),
        **dict(read_amounts(as_dict(resources.get("requests")))),
    }


def read_amounts(given: Mapping[str, Any]) -> Iterator[tuple[str, Decimal]]:
    """What can be read: one odd value of one object must not keep all others from being seen."""
    for name, amount in given.items():
        try:
            yield name, parse_quantity(amount)
        except (ValueError, ArithmeticError):
            continue


def add_to(sums: dict[str, Decimal], amounts: Amounts) -> None:
    """Add amounts to sums."""
    for name, amount in amounts.items():
        sums[name] = sums.get(name, Decimal(0)) + amount


def add_all(parts: Iterable[Amounts]) -> Amounts:
    """Their sum."""
    return _add(*parts)


def _add(*parts: Amounts) -> dict[str, Decimal]:
    return {name: sum((part.get(name, Decimal(0)) for part in parts), Decimal(0)) for part in parts for name in part}


def _largest(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in (*one, *other)}
