"""Lists what all pods of the cluster ask for, when a rollout needs to know what is free. This module does I/O.

There is no standing watch of other people's pods, and nothing of them is kept but a sum for each node.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.kube.cache import owner_key
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import Gone, Refused
from triton_vllm_operator.kube.kept import REFUSED_SECONDS, Kept
from triton_vllm_operator.kube.node_lister import NodeLister
from triton_vllm_operator.kube.nodes import Node
from triton_vllm_operator.kube.requests import Amounts, add_to, pod_requests
from triton_vllm_operator.kube.resources import POD, Key, as_dict, metadata_of

_LOG = logging.getLogger(__name__)
_FRESH_SECONDS: Final = 5.0
"""For so long one list serves all decisions."""
_TIMES_ITS_COST: Final = 20.0
"""A list that took a second serves for as many: listing takes a twentieth of the time."""
_LONGEST_SECONDS: Final = 30.0
"""For which a list serves that was long in coming: what it shows is no longer so."""
_TIMES_ITS_COST_AT_LEAST: Final = 3.0
"""Also of one that takes longer than that lasts, as of a hundred thousand pods: others get most of the time."""
_UNFINISHED: Final = "status.phase!=Succeeded,status.phase!=Failed"
"""Finished pods hold nothing, whether or not their objects are still there."""


@dataclass(frozen=True, slots=True)
class Places:
    """The nodes, and what is taken of each."""

    nodes: tuple[Node, ...] = ()
    taken: Mapping[str, Amounts] = field(default_factory=dict)
    """By the name of the node. What a pod that is being deleted asks for is taken until its object is gone."""
    ours: Mapping[Key, Mapping[str, Amounts]] = field(default_factory=dict)
    """The same of pods of each LLMDeployment, of which one knows better what its own are by now."""
    why_unknown: str = ""
    """Why they could not be listed; empty if they were."""

    def beside(self, key: Key) -> "Places":
        """Without what pods of one LLMDeployment ask for."""
        others = (taken for owner, taken in self.ours.items() if owner != key)
        taken = {node: dict(amounts) for node, amounts in self.taken.items()}
        for node, amounts in (each for other in others for each in other.items()):
            add_to(taken.setdefault(node, {}), amounts)
        return Places(self.nodes, taken, why_unknown=self.why_unknown)


class PlaceLister:
    """One list of pods for all who ask within some seconds."""

    def __init__(self, client: KubeClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._nodes = NodeLister(client, clock, _FRESH_SECONDS)
        self._kept = Kept(self._look, clock)

    async def places(self) -> Places:
        """What is there and what is taken; also why that may not be known.

        Raises:
            ApiError: the API server gave no answer: nothing is decided without it.
        """
        return await self._kept.get(None)

    async def _look(self, _: None) -> tuple[Places, float]:
        """What was found, and for how many seconds that holds: the longer, the longer it took."""
        began = self._clock()
        seen, seconds = await self._list()
        took = self._clock() - began
        cost = max(min(_LONGEST_SECONDS, _TIMES_ITS_COST * took), _TIMES_ITS_COST_AT_LEAST * took)
        return seen, max(seconds, cost)

    async def _list(self) -> tuple[Places, float]:
        seen = await self._nodes.nodes()
        if seen.why_unknown:
            return Places(why_unknown=seen.why_unknown), REFUSED_SECONDS
        try:
            taken, ours = await _sum_up(self._client.list_all(POD, None, None, _UNFINISHED))
        except (Refused, Gone) as error:
            _LOG.warning("the pods of the cluster cannot be listed: %s", error)
            return Places(why_unknown=f"the pods of the cluster cannot be listed: {error}"), REFUSED_SECONDS
        return Places(seen.nodes, taken, ours), _FRESH_SECONDS


async def _sum_up(bodies: AsyncIterator[Json]) -> tuple[dict[str, Amounts], dict[Key, Mapping[str, Amounts]]]:
    """What others' pods ask for on each node, and what those of each LLMDeployment do."""
    taken: dict[str, dict[str, Decimal]] = {}
    ours: dict[Key, dict[str, dict[str, Decimal]]] = {}
    async for body in bodies:
        spec = as_dict(body.get("spec"))
        if not (node := spec.get("nodeName")):
            continue
        is_managed = as_dict(metadata_of(body).get("labels")).get(names.LABEL_MANAGED_BY) == names.MANAGER
        key = owner_key(POD, body) if is_managed else None
        of_owner = ours.setdefault(key, {}) if key is not None else taken
        add_to(of_owner.setdefault(str(node), {}), pod_requests(spec))
    return dict(taken), dict(ours)
