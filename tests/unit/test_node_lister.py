"""Nodes are listed when they are asked for, and one list serves all who ask within half a minute."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.nodes import H100, node_body
from triton_vllm_operator.kube.errors import ApiError, Gone, Refused, Unavailable
from triton_vllm_operator.kube.node_lister import NodeLister
from triton_vllm_operator.kube.resources import RESOURCE_SLICE, Kind


class Cluster:
    """Answers lists of nodes, and counts them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lists = 0
        self.error: ApiError | None = None
        self.slices: list[dict[str, Any]] | None = None
        self.lister = NodeLister(self, lambda: self.now)  # type: ignore[arg-type]

    async def list_all(self, kind: Kind, *_: Any) -> AsyncIterator[dict[str, Any]]:
        if kind is RESOURCE_SLICE:
            if self.slices is None:
                raise Gone(404, "list resourceslices", "the server could not find the requested resource")
            for body in self.slices:
                yield body
            return
        self.lists += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        yield node_body("a", H100, 8)


async def test_one_list_serves_all_who_ask_at_once() -> None:
    cluster = Cluster()
    seen = await asyncio.gather(*(cluster.lister.nodes() for _ in range(5)))
    assert cluster.lists == 1
    assert all(each.nodes[0].allocatable["nvidia.com/gpu"] == 8 for each in seen)
    cluster.now = 31
    await cluster.lister.nodes()
    assert cluster.lists == 2


async def test_a_right_that_is_missing_is_said_and_not_asked_for_every_minute() -> None:
    cluster = Cluster()
    cluster.error = Refused(403, "list nodes", "nodes is forbidden")
    assert "nodes is forbidden" in (await cluster.lister.nodes()).why_unknown
    cluster.now = 300
    await cluster.lister.nodes()
    assert cluster.lists == 1
    cluster.now = 601
    cluster.error = None
    assert (await cluster.lister.nodes()).nodes


async def test_without_an_answer_nothing_is_decided() -> None:
    cluster = Cluster()
    cluster.error = Unavailable(503, "list nodes", "away")
    with pytest.raises(Unavailable):
        await cluster.lister.nodes()
    cluster.error = None
    assert (await cluster.lister.nodes()).nodes


async def test_gpus_in_resource_slices_are_known_by_node() -> None:
    cluster = Cluster()
    gpu = {"name": "gpu-0", "attributes": {"type": {"string": "gpu"}}}
    cluster.slices = [
        {"spec": {"driver": "gpu.nvidia.com", "nodeName": "a", "devices": [gpu, gpu]}},
        {"spec": {"driver": "gpu.nvidia.com", "nodeName": "a", "devices": [gpu]}},
        {"spec": {"driver": "net.example.com", "nodeName": "a", "devices": [gpu]}},
        {"spec": {"driver": "gpu.nvidia.com", "devices": "odd"}},
    ]
    (node,) = (await cluster.lister.nodes()).nodes
    assert node.has_sliced_gpus
    cluster.now, cluster.slices = 31, cluster.slices[2:3]
    (node,) = (await cluster.lister.nodes()).nodes
    assert not node.has_sliced_gpus
