"""kopf's part: it watches, and every event becomes a key in the queue."""

from collections.abc import Iterator
from typing import Any

import kopf

from triton_vllm_operator.api import names
from triton_vllm_operator.controller.connection import connect_kopf
from triton_vllm_operator.controller.metrics import Metrics
from triton_vllm_operator.controller.queue import WorkQueue
from triton_vllm_operator.controller.resync import Resync
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.controller.storage import NoDiffBase, NoProgress
from triton_vllm_operator.kube.cache import Cache
from triton_vllm_operator.kube.resources import CHILDREN, POD, WATCHED, Kind


class EndlessBackoffs:
    """Pauses between tries of kopf's requests: without an end, since an end would end the process."""

    def __iter__(self) -> Iterator[float]:
        """Doubling from one second, capped at thirty."""
        pause = 1.0
        while True:
            yield pause
            pause = min(pause * 2, 30.0)


def configure(settings: kopf.OperatorSettings, streams_lists: bool) -> None:
    """Settings of kopf; why each is what it is stands in docs/design/watching.md."""
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.networking.error_backoffs = EndlessBackoffs()
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.networking.enforce_retry_after = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1.0
    settings.watching.initial_streaming = streams_lists
    settings.queueing.idle_timeout = 0.05
    settings.process.ultimate_exiting_timeout = 25
    settings.persistence.finalizer = f"{names.GROUP}/finalizer"
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    for kind in (*CHILDREN, POD):
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = names.child_selector()


def build_registry(
    own_settings: Settings, cache: Cache, queue: WorkQueue, resync: Resync, metrics: Metrics
) -> kopf.OperatorRegistry:
    """All of kopf's handlers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo:
        return connect_kopf(own_settings, settings)

    for kind in WATCHED:
        _watch(registry, kind, cache, queue, resync, metrics)
    return registry


def _watch(
    registry: kopf.OperatorRegistry, kind: Kind, cache: Cache, queue: WorkQueue, resync: Resync, metrics: Metrics
) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"watch-{kind.plural}")
    async def event(event: Any, **_: Any) -> None:
        body, happened = event["object"], event["type"]
        metrics.event(kind.plural)
        if happened is None:
            # An item of a list, not of a watch: the watch began anew.
            resync.relisted()
        key = cache.drop(kind, body) if happened == "DELETED" else cache.put(kind, body)
        if key is not None:
            queue.add(key)
