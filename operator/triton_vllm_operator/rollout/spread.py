"""Which nodes keep topologySpreadConstraints, as kube-scheduler's PodTopologySpread counts. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from triton_vllm_operator.api.scheduling import Scheduling, TopologySpreadConstraint, WhenUnsatisfiable
from triton_vllm_operator.kube.nodes import Node
from triton_vllm_operator.memory.admission import selects
from triton_vllm_operator.rollout.own import Own


class Spread:
    """The constraints of a spec on the nodes that there are."""

    def __init__(self, scheduling: Scheduling, nodes: Iterable[Node]) -> None:
        constraints = tuple(find_required(scheduling))
        # Nodes that lack a key do not count.
        counted = [
            node
            for node in (nodes if constraints else ())
            if selects(node, scheduling) and all(each.topology_key in node.labels for each in constraints)
        ]
        self._rules = [_make_rule(constraint, counted) for constraint in constraints]

    def find_allowed(self, nodes: list[Node], own: tuple[Own, ...]) -> list[Node]:
        """Those of the nodes that may get one more pod; own pods that are being deleted do not count."""
        for rule in self._rules:
            full = rule.find_full(own)
            nodes = [node for node in nodes if node.name in rule.domains and rule.domains[node.name] not in full]
        return nodes


@dataclass(frozen=True, slots=True)
class _Rule:
    """One constraint."""

    domains: Mapping[str, str]
    """Of each node that counts."""
    all_domains: frozenset[str]
    max_skew: int

    def find_full(self, own: tuple[Own, ...]) -> frozenset[str]:
        """The domains that have as many pods as they may."""
        counts = Counter(self.domains[each.node] for each in own if not each.goes and each.node in self.domains)
        least = min((counts[domain] for domain in self.all_domains), default=0)
        return frozenset(domain for domain, count in counts.items() if count + 1 - least > self.max_skew)


def find_required(scheduling: Scheduling) -> Iterator[TopologySpreadConstraint]:
    """The constraints that kube-scheduler does not break."""
    for constraint in scheduling.topology_spread_constraints or ():
        if constraint.when_unsatisfiable is WhenUnsatisfiable.DO_NOT_SCHEDULE:
            yield constraint


def _make_rule(constraint: TopologySpreadConstraint, counted: list[Node]) -> _Rule:
    domains = {node.name: node.labels[constraint.topology_key] for node in counted}
    return _Rule(domains, frozenset(domains.values()), constraint.max_skew)
