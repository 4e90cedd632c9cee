"""Lists the nodes when a decision needs them: they are not watched. This module does I/O."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import Gone, Refused
from triton_vllm_operator.kube.kept import REFUSED_SECONDS, Kept
from triton_vllm_operator.kube.nodes import Node, find_sliced, project_node
from triton_vllm_operator.kube.resources import NODE, RESOURCE_SLICE

_LOG = logging.getLogger(__name__)
_FRESH_SECONDS: Final = 30.0
"""For so long one list serves all decisions, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class NodesSeen:
    """The nodes as they were listed."""

    nodes: tuple[Node, ...] = ()
    why_unknown: str = ""
    """Why they could not be listed; empty if they were."""


class NodeLister:
    """One list of nodes for all who ask within some time."""

    def __init__(
        self, client: KubeClient, clock: Callable[[], float] = time.monotonic, fresh_seconds: float = _FRESH_SECONDS
    ) -> None:
        """`fresh_seconds` is for how long one list serves."""
        self._client = client
        self._fresh_seconds = fresh_seconds
        self._kept = Kept(self._list, clock)

    async def nodes(self) -> NodesSeen:
        """The nodes; also why they may not be had.

        Raises:
            ApiError: the API server gave no answer: nothing is decided without it.
        """
        return await self._kept.get(None)

    async def _list(self, _: None) -> tuple[NodesSeen, float]:
        """The nodes, and for how many seconds that holds."""
        try:
            nodes = [project_node(body) async for body in self._client.list_all(NODE, None, None)]
            sliced = await self._find_sliced()
        except (Refused, Gone) as error:
            # Models start all the same; only whether they fit is not known.
            _LOG.warning("the nodes cannot be listed: %s", error)
            return NodesSeen(why_unknown=f"the nodes cannot be listed: {error}"), REFUSED_SECONDS
        seen = NodesSeen(tuple(replace(node, has_sliced_gpus=node.name in sliced) for node in nodes))
        return seen, self._fresh_seconds

    async def _find_sliced(self) -> frozenset[str]:
        """Nodes with GPUs in ResourceSlices; none where the API server does not know them, or does not show them."""
        try:
            return find_sliced([body async for body in self._client.list_all(RESOURCE_SLICE, None, None)])
        except (Refused, Gone) as error:
            _LOG.debug("resource slices cannot be listed: %s", error)
            return frozenset()
