"""Several pods get a PodDisruptionBudget, unless somebody else's is for them: a pod of two cannot be evicted at all."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.simulate import CPU_SPEC, World
from triton_vllm_operator.api import names
from triton_vllm_operator.kube.budget_lister import Budget, BudgetLister, BudgetsSeen
from triton_vllm_operator.kube.errors import ApiError, Refused
from triton_vllm_operator.kube.resources import Kind

OURS = {names.LABEL_INSTANCE: "llama"}
BUDGET = "PodDisruptionBudget"


def world(replicas: int = 2, *budgets: Budget, why_unknown: str = "", **spec: Any) -> World:
    made = World(spec={**CPU_SPEC, "replicas": replicas, **spec})
    made.changes["budgets"] = BudgetsSeen(budgets, why_unknown)
    return made


def test_two_pods_go_one_at_a_time_and_dead_ones_hold_up_nothing() -> None:
    (budget,) = world().settle().of_kind(BUDGET)
    spec = budget.body["spec"]
    assert isinstance(spec, dict)
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert spec["selector"] == {"matchLabels": names.child_labels("llama")}


def test_one_pod_has_none_and_it_goes_when_there_is_one() -> None:
    assert world(1).settle().of_kind(BUDGET) == []
    assert world(2).settle().edit(replicas=1).settle().of_kind(BUDGET) == []


def test_it_comes_with_more_pods_and_restarts_nothing() -> None:
    made = world(1).settle()
    revision = made.status.revision
    assert len(made.edit(replicas=3).settle().of_kind(BUDGET)) == 1
    assert made.status.revision == revision
    assert made.settle().decide().manifests == ()


@pytest.mark.parametrize(
    ("selector", "is_for_them"),
    [
        ({}, True),
        ({"matchLabels": OURS}, True),
        ({"matchLabels": {names.LABEL_INSTANCE: "other"}}, False),
        ({"matchLabels": {"team": "a"}}, True),
        ({"matchLabels": {"team": "b"}}, False),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["b"]}]}, False),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["b"]}]}, True),
        ({"matchLabels": OURS, "matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_beside_somebody_elses_there_is_none(selector: dict[str, Any], is_for_them: bool) -> None:
    made = world(2, Budget("theirs", selector), podMetadata={"labels": {"team": "a"}})
    assert bool(made.settle().of_kind(BUDGET)) is not is_for_them


def test_ours_goes_when_somebody_elses_comes() -> None:
    made = world().settle()
    made.changes["budgets"] = BudgetsSeen((Budget("theirs", {"matchLabels": OURS}),))
    assert made.settle().of_kind(BUDGET) == []


def test_a_name_that_is_taken_is_left_alone() -> None:
    made = world(2, Budget("llama", {"matchLabels": {"app": "web"}})).settle()
    assert made.of_kind(BUDGET) == []
    assert made.condition("Accepted")[0] == "True"


def test_where_they_cannot_be_seen_nothing_changes() -> None:
    assert world(why_unknown="forbidden").settle().of_kind(BUDGET) == []
    made = world().settle()
    made.changes["budgets"] = BudgetsSeen(why_unknown="forbidden")
    assert len(made.settle().of_kind(BUDGET)) == 1


class Cluster:
    """Answers lists, and counts them."""

    def __init__(self) -> None:
        self.now, self.lists = 0.0, 0
        self.error: ApiError | None = None
        self.lister = BudgetLister(self, lambda: self.now)  # type: ignore[arg-type]

    async def list_all(self, _: Kind, namespace: str, *__: Any) -> AsyncIterator[dict[str, Any]]:
        self.lists += 1
        if self.error is not None:
            raise self.error
        yield {"metadata": {"name": "ours", "ownerReferences": [{"kind": names.KIND, "controller": True}]}, "spec": {}}
        yield {"metadata": {"name": f"of-{namespace}"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}


async def test_one_list_of_a_namespace_serves_a_minute_and_ours_are_left_out() -> None:
    cluster = Cluster()
    for _ in range(3):
        seen = await cluster.lister.budgets("a")
    assert seen == BudgetsSeen((Budget("of-a", {"matchLabels": {"app": "web"}}),))
    assert cluster.lists == 1
    await cluster.lister.budgets("b")
    cluster.now = 61
    await cluster.lister.budgets("a")
    assert cluster.lists == 3


async def test_a_right_that_is_missing_is_not_asked_for_every_minute() -> None:
    cluster = Cluster()
    cluster.error = Refused(403, "list poddisruptionbudgets", "forbidden")
    assert "forbidden" in (await cluster.lister.budgets("a")).why_unknown
    cluster.now = 300
    await cluster.lister.budgets("a")
    assert cluster.lists == 1
