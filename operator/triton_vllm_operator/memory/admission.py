"""Which nodes take the pods of a spec, as the scheduler would say before it looks at what is free. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from collections.abc import Callable, Mapping
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.scheduling import Scheduling, TaintEffect, Toleration, TolerationOperator
from triton_vllm_operator.kube.nodes import Node, Taint
from triton_vllm_operator.kube.resources import as_list

_KEEPS_AWAY: Final = (TaintEffect.NO_SCHEDULE.value, TaintEffect.NO_EXECUTE.value)
_NAME: Final = "metadata.name"
_OPERATORS: Final[Mapping[str, Callable[[str | None, list[str]], bool]]] = {
    "In": lambda value, wanted: value is not None and value in wanted,
    "NotIn": lambda value, wanted: value is None or value not in wanted,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, wanted: _compare(value, wanted) > 0,
    "Lt": lambda value, wanted: _compare(value, wanted) < 0,
}


def admits(node: Node, scheduling: Scheduling, resource: str) -> bool:
    """Whether labels and taints of a node let the pods in.

    `resource` is what they ask for, as nvidia.com/gpu; empty on a CPU.
    """
    # Kubernetes may give a pod that asks for GPUs this toleration by itself.
    # https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#extendedresourcetoleration
    own = (Toleration(key=resource, operator=TolerationOperator.EXISTS),) if resource else ()
    tolerations = (*(scheduling.tolerations or ()), *own)
    kept_away = (taint for taint in node.taints if taint.effect in _KEEPS_AWAY)
    if any(not any(_tolerates(toleration, taint) for toleration in tolerations) for taint in kept_away):
        return False
    return selects(node, scheduling)


def selects(node: Node, scheduling: Scheduling) -> bool:
    """Whether the labels of a node are those that the pods ask for."""
    selector = scheduling.node_selector or {}
    if any(node.labels.get(key) != value for key, value in selector.items()):
        return False
    terms = _required_terms(scheduling)
    return terms is None or any(_matches(node, term) for term in terms)


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect is not None and toleration.effect.value != taint.effect:
        return False
    if toleration.operator is TolerationOperator.EXISTS:
        return toleration.key in (None, taint.key)
    return toleration.key == taint.key and (toleration.value or "") == taint.value


def _required_terms(scheduling: Scheduling) -> list[Json] | None:
    """The terms of which one must hold; None if there is no such rule."""
    affinity = scheduling.affinity.node_affinity if scheduling.affinity else None
    required = (affinity or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    terms = required.get("nodeSelectorTerms") if isinstance(required, dict) else None
    return [term for term in terms if isinstance(term, dict)] if isinstance(terms, list) else None


def _matches(node: Node, term: Json) -> bool:
    """All expressions must hold; a term without any holds nowhere."""
    labels, fields = as_list(term.get("matchExpressions")), as_list(term.get("matchFields"))
    if not labels and not fields:
        return False
    named = {_NAME: node.name}
    return all(holds(rule, node.labels) for rule in labels) and all(holds(rule, named) for rule in fields)


def holds(rule: Json, values: Mapping[str, str]) -> bool:
    """Whether an expression of a selector holds for labels."""
    compare = _OPERATORS.get(str(rule.get("operator")))
    wanted = rule.get("values")
    listed = [str(value) for value in wanted] if isinstance(wanted, list) else []
    return compare is not None and compare(values.get(str(rule.get("key"))), listed)


def _compare(value: str | None, wanted: list[str]) -> int:
    """More than 0 if the value is the larger number; 0 if one of the two is none."""
    try:
        return int(value or "") - int(wanted[0])
    except (ValueError, IndexError):
        return 0
