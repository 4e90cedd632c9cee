"""Lists the nodes when a decision needs them: they are not watched. This module does I/O."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import ApiError
from triton_vllm_operator.kube.nodes import Node, project_node
from triton_vllm_operator.kube.resources import NODE

_LOG = logging.getLogger(__name__)
_FRESH_SECONDS: Final = 30.0
"""For so long one list serves all decisions."""


@dataclass(frozen=True, slots=True)
class NodesSeen:
    """The nodes as they were listed."""

    nodes: tuple[Node, ...] = ()
    why_unknown: str = ""
    """Why they could not be listed; empty if they were."""


class NodeLister:
    """One list of nodes for all who ask within half a minute."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._seen: tuple[float, NodesSeen] | None = None

    async def nodes(self) -> NodesSeen:
        """The nodes; also why they cannot be had."""
        async with self._lock:
            now = time.monotonic()
            if self._seen is None or now - self._seen[0] > _FRESH_SECONDS:
                self._seen = (now, await self._list())
            return self._seen[1]

    async def _list(self) -> NodesSeen:
        try:
            return NodesSeen(tuple([project_node(body) async for body in self._client.list_all(NODE, None, None)]))
        except ApiError as error:
            # Models start all the same; only whether they fit is not known.
            _LOG.warning("the nodes cannot be listed: %s", error)
            return NodesSeen(why_unknown=f"the nodes cannot be listed: {error}")
