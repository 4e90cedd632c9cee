"""What pods ask for is summed up when a rollout has to know, and own pods are told from others'."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from support.nodes import H100, node_body
from triton_vllm_operator.api.names import LABEL_REVISION, child_labels
from triton_vllm_operator.kube.errors import ApiError, Gone, Refused
from triton_vllm_operator.kube.place_lister import PlaceLister
from triton_vllm_operator.kube.resources import NODE, POD, Key, Kind

GPU = "nvidia.com/gpu"


def pod(name: str, gpus: int, node: str | None = "a", instance: str | None = None) -> dict[str, Any]:
    labels = {**child_labels(instance), LABEL_REVISION: "r"} if instance else {"app.kubernetes.io/instance": "web"}
    owner = {"kind": "ReplicaSet", "controller": True, "uid": "u", "name": f"{instance or 'web'}-1"}
    return {
        "metadata": {"name": name, "namespace": "ns", "labels": labels, "ownerReferences": [owner]},
        "spec": {"nodeName": node, "containers": [{"resources": {"limits": {GPU: str(gpus)}}}]},
    }


class Cluster:
    """Answers lists of nodes and pods, and counts those of pods."""

    def __init__(self, *pods: dict[str, Any], cost: float = 0.0) -> None:
        self.now = 0.0
        self.pods = pods
        self.cost = cost
        self.fields: list[str | None] = []
        self.error: ApiError | None = None
        self.lister = PlaceLister(self, lambda: self.now)  # type: ignore[arg-type]

    async def list_all(
        self, kind: Kind, _namespace: str | None, _selector: str | None, fields: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        await asyncio.sleep(0)
        if kind is NODE:
            yield node_body("a", H100, 8)
        elif kind is POD:
            self.fields.append(fields)
            self.now += self.cost
            if self.error is not None:
                raise self.error
            for body in self.pods:
                yield body
        else:
            raise Gone(404, "list resourceslices", "")


async def test_pods_with_a_node_are_summed_up_and_own_ones_are_left_out() -> None:
    cluster = Cluster(pod("a", 1), pod("b", 2, instance="llama"), pod("c", 3, instance="other"), pod("d", 8, node=None))
    places = await cluster.lister.places()
    # Others may bear the instance label as well: it is Kubernetes' own recommendation.
    assert places.beside(Key("ns", "web")).taken == {"a": {GPU: Decimal(6), "pods": Decimal(3)}}
    assert places.beside(Key("ns", "llama")).taken == {"a": {GPU: Decimal(4), "pods": Decimal(2)}}
    assert places.beside(Key("elsewhere", "llama")).taken["a"][GPU] == 6
    assert cluster.fields == ["status.phase!=Succeeded,status.phase!=Failed"]


async def test_one_list_serves_for_some_seconds() -> None:
    cluster = Cluster()
    await asyncio.gather(*(cluster.lister.places() for _ in range(5)))
    cluster.now += 4.9
    await cluster.lister.places()
    assert len(cluster.fields) == 1
    cluster.now += 0.2
    await cluster.lister.places()
    assert len(cluster.fields) == 2


async def test_one_that_took_long_serves_longer_but_not_for_ever() -> None:
    for cost, lasts in ((0.5, 10.0), (5.0, 30.0), (60.0, 180.0)):
        cluster = Cluster(cost=cost)
        await cluster.lister.places()
        cluster.now += lasts - 0.1
        await cluster.lister.places()
        assert len(cluster.fields) == 1
        cluster.now += 0.2
        await cluster.lister.places()
        assert len(cluster.fields) == 2


async def test_a_right_that_is_missing_leaves_it_unknown() -> None:
    cluster = Cluster()
    cluster.error = Refused(403, "list pods", "pods is forbidden")
    assert "pods is forbidden" in (await cluster.lister.places()).beside(Key("ns", "web")).why_unknown
