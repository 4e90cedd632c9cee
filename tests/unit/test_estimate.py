"""Whether one more pod fits onto pretended nodes."""

import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from support.nodes import make_node
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.kube.nodes import Node
from triton_vllm_operator.kube.place_lister import Places
from triton_vllm_operator.rollout.estimate import Estimate, Wanted, estimate
from triton_vllm_operator.rollout.own import Own

GPU = "nvidia.com/gpu"
TAINT = [{"key": "team", "value": "a", "effect": "NoSchedule"}]
ZONE = "topology.kubernetes.io/zone"


def amounts(**given: str) -> dict[str, Decimal]:
    return {{"gpu": GPU}.get(name, name): Decimal(amount) for name, amount in given.items()}


def asking(gpus: int = 1, scheduling: dict[str, Any] | None = None) -> Wanted:
    return Wanted(amounts(gpu=str(gpus), pods="1"), Scheduling.model_validate(scheduling or {}), GPU)


def on(*nodes: Node, taken: dict[str, dict[str, Decimal]] | None = None) -> Places:
    return Places(nodes, taken or {})


def spread(**more: Any) -> dict[str, Any]:
    rule = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", **more}
    return {"topologySpreadConstraints": [rule]}


def away_from_others(how: str) -> dict[str, Any]:
    return {"affinity": {"podAntiAffinity": {f"{how}DuringSchedulingIgnoredDuringExecution": [{}]}}}


A, B = make_node("a", {ZONE: "1"}, 2), make_node("b", {ZONE: "2"}, 1)
FULL = {"a": amounts(gpu="2", pods="2"), "b": amounts(gpu="1", pods="1")}


@pytest.mark.parametrize(
    ("places", "wanted", "fits", "says"),
    [
        (on(A, B), asking(), True, "there is room for 1 nvidia.com/gpu on 2 of 2 nodes that would take it"),
        (on(A, B), asking(2), True, "on 1 of 2 nodes"),
        # GPUs of two nodes are not one pod's.
        (on(A, B), asking(3), False, "of 2 nodes that would take it, the nearest has 2 of 3 nvidia.com/gpu free"),
        (on(A, B, taken=FULL), asking(), False, "the nearest has 0 of 1 nvidia.com/gpu free"),
        (on(A, taken={"a": amounts(gpu="1", pods="1")}), asking(), True, "on 1 of 1 node"),
        (on(A, taken={"a": amounts(pods="110")}), asking(), False, "0 of 1 pods"),
        (on(make_node("c", {}, 1, taints=TAINT)), asking(), False, "none of 1 nodes takes the pod"),
        (on(A, B), asking(1, {"nodeSelector": {ZONE: "3"}}), False, "none of 2 nodes takes the pod"),
        (on(), asking(), False, "none of 0 nodes"),
        (Places(why_unknown="403"), asking(), None, "403"),
        (on(A), asking(1, away_from_others("required")), None, "podAntiAffinity depends on other pods"),
        (on(A), asking(1, away_from_others("preferred")), True, ""),
        (on(A), asking(1, spread(labelSelector={})), None, "counts other pods"),
    ],
)  # fmt: skip
def test_what_fits(places: Places, wanted: Wanted, fits: bool | None, says: str) -> None:
    found = estimate(places, wanted, ())
    assert (found.fits, found.fits_soon) == (fits, fits)
    assert says in found.message


def test_of_gpus_that_nodes_do_not_show_nothing_is_known() -> None:
    sliced = make_node("s", {}, 0)
    dynamic = Node(sliced.name, sliced.labels, sliced.taints, sliced.allocatable, has_sliced_gpus=True)
    assert estimate(on(dynamic), asking(), ()) == Estimate(
        None, None, None, "GPUs of its nodes stand in ResourceSlices (DRA), which tell nothing of what is free"
    )
    assert estimate(on(dynamic, A), asking(), ()).fits is True


ONE = amounts(gpu="1", pods="1")


def test_what_own_pods_leave_is_free_soon() -> None:
    """They are counted beside what others take, as they are now: the list of others is some seconds old."""
    others = {"a": amounts(gpu="1", pods="1")}
    stays, goes = Own("a", ONE, False), Own("b", ONE, True)
    found = estimate(on(A, B, taken=others), asking(), (stays, goes))
    assert (found.fits, found.fits_soon, found.fits_instead) == (False, True, True)
    found = estimate(on(A, B, taken=others), asking(2), (stays, goes))
    assert (found.fits, found.fits_soon, found.fits_instead) == (False, False, False)
    # Two that go from one node leave the places of both.
    both = (Own("a", ONE, True), Own("a", ONE, True), Own("b", ONE, False))
    assert estimate(on(A, B), asking(2), both).fits_soon is True


def test_it_is_known_whether_the_place_of_one_more_would_do() -> None:
    both = (Own("a", ONE, False), Own("a", ONE, False), Own("b", ONE, False))
    assert estimate(on(A, B), asking(1), both).fits_instead is True
    # On a, one that goes is not enough.
    assert estimate(on(A, B), asking(2), both).fits_instead is False
    assert estimate(on(A, B), asking(3), ()).fits_instead is False


@pytest.mark.parametrize(
    ("own", "rule", "fits"),
    [
        ((), spread(), True),
        # One in zone 1: the next must go to zone 2, which is full.
        ((Own("a", {}, False),), spread(), False),
        ((Own("a", {}, True),), spread(), True),
        ((Own("a", {}, False),), spread(maxSkew=2), True),
        ((Own("a", {}, False),), spread(whenUnsatisfiable="ScheduleAnyway"), True),
        ((), spread(topologyKey="rack"), False),
    ],
)
def test_pods_are_spread_as_the_scheduler_would(own: tuple[Own, ...], rule: dict[str, Any], fits: bool) -> None:
    full = {"b": amounts(gpu="1", pods="1")}
    assert estimate(on(A, B, taken=full), asking(1, rule), own).fits is fits


def test_the_scheduler_knows_better_where_something_adds_tolerations() -> None:
    """Own pods with the same rules run on a node that takes none by them, and the scheduler counts that node."""
    places = on(make_node("a", {}, 1, taints=TAINT))
    short = replace(asking(), short_nodes=1)
    alike = Own("a", amounts(gpu="1", pods="1"), goes=False, is_alike=True)
    assert estimate(places, short, (alike,)).is_contradicted
    # One with other rules may tolerate what the new one does not, and the scheduler may speak of another node.
    for wanted, own in ((short, replace(alike, is_alike=False)), (asking(), alike)):
        found = estimate(places, wanted, (own,))
        assert (found.fits_instead, found.is_contradicted) == (False, False)
    # A node that is cordoned keeps its pods.
    cordoned = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    assert not estimate(on(make_node("a", {}, 1, taints=cordoned)), short, (alike,)).is_contradicted


def test_a_thousand_nodes_are_counted_while_probes_go_on() -> None:
    """Nothing else happens meanwhile: 213 s were measured once."""
    nodes = tuple(make_node(f"n{number}", {}, 8) for number in range(1000))
    taken = {node.name: amounts(gpu="8", pods="1") for node in nodes}
    own = tuple(Own(f"n{number}", amounts(gpu="4", pods="1"), False, serves=number % 2 == 0) for number in range(60))
    began = time.process_time()
    found = estimate(Places(nodes, taken), asking(8), own, leaving=15)
    assert (found.fits, found.fits_instead) == (False, False)
    assert time.process_time() - began < 2


def test_the_node_that_most_pods_leave_is_among_those_that_are_tried() -> None:
    """The last of thirty that do not serve, of which any two go."""
    own = tuple(Own(f"n{number // 2}", amounts(gpu="1", pods="1"), False, serves=False) for number in range(30))
    nodes = tuple(make_node(f"n{number}", {}, 2) for number in range(15))
    full = {f"n{number}": amounts(gpu="2", pods="1") for number in range(14)}
    found = estimate(Places(nodes, full), asking(2), own, leaving=2)
    assert found.fits_soon


def test_of_many_pods_that_go_not_all_ways_are_tried() -> None:
    """Half of 60 pods may be chosen in more ways than a day has time for."""
    own = [Own("a", ONE, goes=False, serves=False) for _ in range(60)]
    for gpus, fits_soon in ((8, True), (31, False)):
        found = estimate(on(make_node("a", {}, 60)), asking(gpus=gpus), own, leaving=30)
        assert (found.fits, found.fits_soon) == (False, fits_soon)
