"""Whether the scheduler could place one more pod now, by what nodes have and pods ask for. Pure.

A hint: kube-scheduler is the judge. What it filters by beside (ports, volumes, other pods' affinity) is not known here.
https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/#kube-scheduler-implementation
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations, islice
from typing import Final

from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.kube.nodes import Node
from triton_vllm_operator.kube.place_lister import Places
from triton_vllm_operator.kube.requests import PODS, Amounts, add_to
from triton_vllm_operator.memory.admission import admits
from triton_vllm_operator.rollout.own import Own
from triton_vllm_operator.rollout.spread import Spread, find_required

_MOST_TRIED: Final = 100
"""Ways to choose pods that go: half of 60 may be chosen in more than anybody waits for."""
_OF_KUBERNETES: Final = "node.kubernetes.io/"
"""Taints of what is wrong with a node, or that it is cordoned: own pods stay there, and no new one comes."""
_MEBI: Final = 2**20
_GIBI: Final = 2**30
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The pod to place."""

    requests: Amounts
    scheduling: Scheduling
    accelerator: str
    """The extended resource of its GPUs; empty on a CPU."""
    short_nodes: int = 0
    """Of how many nodes the scheduler says that they lack room alone."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Whether one more pod fits."""

    fits: bool | None
    """None where that cannot be known."""
    fits_soon: bool | None
    """The same, once own pods are gone that are being deleted, or will be before a new one is made."""
    fits_instead: bool | None
    """The same, once one more old pod is gone."""
    message: str
    """What was counted."""
    is_contradicted: bool = False
    """Whether the scheduler knows better: something lets the pod onto more nodes than its spec does."""


def estimate(places: Places, wanted: Wanted, own: Iterable[Own], leaving: int = 0) -> Estimate:
    """Whether one more pod fits onto one of the nodes; `places` is without the own pods.

    `leaving` is how many of the old pods Kubernetes takes away before it makes one more.
    """
    own = tuple(own)
    found = _estimate(places, wanted, own, leaving)
    if found.fits_instead is False and _is_contradicted(places.nodes, wanted, own):
        why = (
            f"the scheduler says of {wanted.short_nodes} nodes that they lack room alone, and by spec.scheduling fewer "
            "take the pod: something adds tolerations to it"
        )
        return Estimate(None, None, None, why, is_contradicted=True)
    return found


def _is_contradicted(nodes: tuple[Node, ...], wanted: Wanted, own: tuple[Own, ...]) -> bool:
    """Whether own pods that ask for the same run where that lets none, and the scheduler counts more nodes.

    Tolerations come by a RuntimeClass, by a queue (Kueue), by a namespace's defaults or by a webhook.
    """
    refusing = [node for node in nodes if not admits(node, wanted.scheduling, wanted.accelerator)]
    if wanted.short_nodes <= len(nodes) - len(refusing):
        return False
    sound = {node.name for node in refusing if not any(taint.key.startswith(_OF_KUBERNETES) for taint in node.taints)}
    return any(each.is_alike and each.node in sound for each in own)


def _estimate(places: Places, wanted: Wanted, own: tuple[Own, ...], leaving: int) -> Estimate:
    if why := places.why_unknown or _find_unknown(wanted.scheduling):
        return Estimate(None, None, None, why)
    admitted = [node for node in places.nodes if admits(node, wanted.scheduling, wanted.accelerator)]
    if not admitted:
        return _nowhere(f"none of {len(places.nodes)} nodes takes the pod by its labels and taints")
    spread = Spread(wanted.scheduling, places.nodes)
    allowed = spread.find_allowed(admitted, own)
    taken = _with(places.taken, own)
    short = {node.name: _find_shortage(node, taken.get(node.name, {}), wanted) for node in allowed}
    fitting = [name for name, lacks in short.items() if not lacks]
    if fitting:
        says = f"there is room for {_tell(wanted)} on {len(fitting)} of {_nodes(allowed)}"
        return Estimate(True, True, True, says)
    if wanted.accelerator and _are_dynamic(allowed, wanted.accelerator):
        dynamic = "GPUs of its nodes stand in ResourceSlices (DRA), which tell nothing of what is free"
        return Estimate(None, None, None, dynamic)
    room = _Room(admitted, spread, places.taken, wanted, tuple(each for each in own if not each.goes))
    soon = room.is_left_by(leaving)
    instead = soon or room.is_left_by(leaving + 1)
    return Estimate(False, soon, instead, _tell_shortage(short, allowed, admitted, wanted))


class _Room:
    """Whether there would be room if some of the own pods were gone.

    Of each choice only the nodes are looked at that it changes: there may be a thousand of both.
    """

    def __init__(
        self,
        admitted: list[Node],
        spread: "Spread",
        taken: Mapping[str, Amounts],
        wanted: Wanted,
        staying: tuple[Own, ...],
    ) -> None:
        self._admitted = {node.name: node for node in admitted}
        self._spread, self._wanted, self._staying = spread, wanted, staying
        self._taken = _with(taken, staying)
        self._roomy = [node for node in admitted if not self._find_shortage(node, ())]

    def is_left_by(self, count: int) -> bool:
        """Whether so many old pods, chosen well, would leave it."""
        return any(self._is_left_by(gone) for gone in _find_leaving(self._staying, count))

    def _is_left_by(self, gone: tuple[Own, ...]) -> bool:
        emptier = (self._admitted[name] for name in {each.node for each in gone} if name in self._admitted)
        roomy = [*self._roomy, *(node for node in emptier if not self._find_shortage(node, gone))]
        return bool(roomy) and bool(self._spread.find_allowed(roomy, _without(self._staying, gone)))

    def _find_shortage(self, node: Node, gone: tuple[Own, ...]) -> Amounts:
        taken = dict(self._taken.get(node.name, {}))
        for each in gone:
            if each.node == node.name:
                add_to(taken, {name: -amount for name, amount in each.requests.items()})
        return _find_shortage(node, taken, self._wanted)


def _find_leaving(own: tuple[Own, ...], count: int) -> Iterator[tuple[Own, ...]]:
    """Which of the old pods may be those that go: first the ones that do not serve."""
    idle = [each for each in own if each.is_old and not each.serves]
    serving = [each for each in own if each.is_old and each.serves]
    surely, pool = ((), idle) if count <= len(idle) else (tuple(idle), serving)
    left = min(count - len(surely), len(pool))
    # A node has the most room where as many as may be go from it.
    for node in dict.fromkeys(each.node for each in pool) or ("",):
        yield (*surely, *_from(node, pool)[:left])
    # By topologySpreadConstraints it counts as well what goes elsewhere.
    for gone in islice(combinations(pool, left), _MOST_TRIED):
        yield (*surely, *gone)


def _from(node: str, pool: list[Own]) -> list[Own]:
    """The pods of a node, and then the others."""
    return sorted(pool, key=lambda each: each.node != node)


def _without(own: tuple[Own, ...], gone: tuple[Own, ...]) -> tuple[Own, ...]:
    """By identity: two pods of a node are alike."""
    return tuple(each for each in own if not any(each is other for other in gone))


def _nowhere(why: str) -> Estimate:
    return Estimate(False, False, False, why)


def _find_unknown(scheduling: Scheduling) -> str:
    """What of a spec depends on other pods than its own; empty if nothing does."""
    affinity = scheduling.affinity
    for name, rules in (
        ("podAffinity", affinity and affinity.pod_affinity),
        ("podAntiAffinity", affinity and affinity.pod_anti_affinity),
    ):
        if rules and rules.get(_REQUIRED):
            return f"spec.scheduling.affinity.{name} depends on other pods"
    if any(constraint.label_selector is not None for constraint in find_required(scheduling)):
        return "spec.scheduling.topologySpreadConstraints counts other pods"
    return ""


def _with(taken: Mapping[str, Amounts], own: tuple[Own, ...]) -> Mapping[str, Amounts]:
    """What is taken, own pods among it."""
    sums = {node: dict(amounts) for node, amounts in taken.items()}
    for each in own:
        add_to(sums.setdefault(each.node, {}), each.requests)
    return sums


def _find_shortage(node: Node, used: Amounts, wanted: Wanted) -> Amounts:
    """What is free of each resource of which there is too little."""
    free = {name: node.allocatable.get(name, Decimal(0)) - used.get(name, Decimal(0)) for name in wanted.requests}
    return {name: free[name] for name, amount in wanted.requests.items() if amount > max(free[name], Decimal(0))}


def _are_dynamic(nodes: list[Node], resource: str) -> bool:
    return any(node.has_sliced_gpus and not node.allocatable.get(resource) for node in nodes)


def _tell_shortage(short: Mapping[str, Amounts], allowed: list[Node], admitted: list[Node], wanted: Wanted) -> str:
    """Of the node that comes nearest: counts, and no names, since what is taken is other people's."""
    if not allowed:
        return f"none of {len(admitted)} nodes keeps spec.scheduling.topologySpreadConstraints"
    nearest = min(short.values(), key=lambda lacks: (len(lacks), -lacks.get(wanted.accelerator, Decimal(0))))
    lacks = ", ".join(
        f"{_amount(name, max(free, Decimal(0)))} of {_amount(name, wanted.requests[name])} {name}"
        for name, free in sorted(nearest.items())
    )
    return f"no node has room for one more pod: of {_nodes(allowed)}, the nearest has {lacks} free"


def _nodes(nodes: list[Node]) -> str:
    return f"{len(nodes)} {'node' if len(nodes) == 1 else 'nodes'} that would take it"


def _tell(wanted: Wanted) -> str:
    """What a pod asks for, its GPUs first."""
    asked = sorted(wanted.requests.items(), key=lambda each: (each[0] != wanted.accelerator, each[0]))
    named = [f"{_amount(name, amount)} {name}" for name, amount in asked if amount and name != PODS]
    return " and ".join(named) or "one more pod"


def _amount(name: str, amount: Decimal) -> str:
    if name in ("memory", "ephemeral-storage") or name.startswith("hugepages-"):
        return f"{amount / _GIBI:.1f}Gi" if amount >= _GIBI else f"{amount / _MEBI:.0f}Mi"
    return f"{amount.normalize():f}"
