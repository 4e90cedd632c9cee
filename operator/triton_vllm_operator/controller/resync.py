"""Resync: compare the cache with fresh lists.

It fills the cache before the first reconcile, so that a restart sees what is there and writes nothing.
Later it heals what the watches lost: kopf replays survivors after a gap in a watch, but tells of no
deletion (docs/design/watching.md).
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.controller.metrics import Metrics
from triton_vllm_operator.kube.cache import Cache, ObjectKey, evict_missing, owner_key
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import ApiError
from triton_vllm_operator.kube.resources import LLM_DEPLOYMENT, WATCHED, Key, Kind, name_of

_LOG = logging.getLogger(__name__)

_BACKOFF_CAP_SECONDS: Final = 30.0
_AFTER_RELIST_SECONDS: Final = 3.0


class Resync:
    """Lists all that is watched, from time to time and when a watch began anew."""

    def __init__(
        self,
        cache: Cache,
        client: KubeClient,
        namespaces: Sequence[str],
        changed: Callable[[Key], None],
        metrics: Metrics,
    ) -> None:
        self._cache = cache
        self._client = client
        self._scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._changed = changed
        self._metrics = metrics
        self._relisted = asyncio.Event()

    def relisted(self) -> None:
        """A watch began anew: deletions may have been missed."""
        self._relisted.set()

    async def fill(self) -> None:
        """Fill the cache; tries until it has succeeded."""
        failures = 0
        while True:
            try:
                await self.once()
                return
            except ApiError as error:
                failures += 1
                pause = min(2.0**failures, _BACKOFF_CAP_SECONDS) * random.uniform(0.8, 1.2)
                _LOG.warning("cannot list what is there, next try in %.0f s: %s", pause, error)
                await asyncio.sleep(pause)

    async def run(self, period_seconds: float) -> None:
        """Resync forever."""
        while True:
            try:
                await asyncio.wait_for(self._relisted.wait(), period_seconds)
                # A watch that lists anew does so in a burst of events; one comparison after it is enough.
                await asyncio.sleep(_AFTER_RELIST_SECONDS)
            except TimeoutError:
                pass
            self._relisted.clear()
            await self.fill()

    async def once(self) -> None:
        """One comparison of everything.

        Raises:
            ApiError: a list could not be had; nothing was forgotten.
        """
        try:
            for kind in WATCHED:
                await self._compare(kind)
        except ApiError:
            self._metrics.resynced("failure")
            raise
        self._metrics.resynced("success")

    async def _compare(self, kind: Kind) -> None:
        before = self._cache.slots(kind)
        found: set[tuple[Key, ObjectKey]] = set()
        selector = None if kind == LLM_DEPLOYMENT else names.child_selector()
        for namespace in self._scopes:
            async for body in self._client.list_all(kind, namespace, selector):
                if (key := owner_key(kind, body)) is not None:
                    found.add((key, (kind, name_of(body))))
                if changed := self._cache.put(kind, body):
                    self._changed(changed)
        evict_missing(self._cache, before, found, self._changed)
