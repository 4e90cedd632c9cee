"""The operator's process: builds its parts, runs them, ends them."""

import asyncio
import logging
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final

import kopf

from triton_vllm_operator.controller.connection import open_api_client
from triton_vllm_operator.controller.handlers import build_registry, configure
from triton_vllm_operator.controller.lease import Leadership
from triton_vllm_operator.controller.metrics import PREFIX, Metrics
from triton_vllm_operator.controller.proofs import Proofs
from triton_vllm_operator.controller.queue import WorkQueue
from triton_vllm_operator.controller.resync import Resync
from triton_vllm_operator.controller.serving import StatusServer
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.health.inspector import Inspector
from triton_vllm_operator.health.prober import look, probe
from triton_vllm_operator.health.reading import open_session
from triton_vllm_operator.health.watcher import ProbeWatcher
from triton_vllm_operator.kube.cache import Cache
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.errors import ApiError
from triton_vllm_operator.kube.resources import LLM_DEPLOYMENT
from triton_vllm_operator.reconcile.reconciler import Reconciler
from triton_vllm_operator.repository.catalogue import Catalogue

_LOG = logging.getLogger(__name__)

_FIRST_LOOK_SECONDS: Final = 5.0
"""For which the watches may wait for the first look at everything."""


async def run(settings: Settings, catalogue: Catalogue) -> None:
    """Run until a signal ends the process.

    Raises:
        OSError: the port is taken.
        CancelledError: a signal came before kopf ran.
        ExceptionGroup: of a LeaseLost; another operator may lead by now.
    """
    _end_on_signals()
    metrics, cache = Metrics(), Cache()
    api = await open_api_client(settings, settings.workers + 4)

    def leads() -> bool:
        return leadership is None or leadership.holds

    client = KubeClient(api, metrics.requested, leads)
    leadership = Leadership(client, *settings.lease, identity=_identity()) if settings.lease else None
    async with open_session() as session:
        probes = ProbeWatcher(
            partial(probe, session), partial(look, session), lambda key: queue.add(key), metrics.probed
        )
        inspector = Inspector(client, session)
        reconciler = Reconciler(cache, client, probes, inspector, catalogue, lambda: datetime.now(UTC), metrics)
        queue = WorkQueue(reconciler.reconcile, metrics)
        resync = Resync(cache, client, settings.namespaces, queue.add, metrics)
        server = StatusServer(queue, metrics)
        _expose(metrics, cache, queue, probes)
        metrics.gauge("leads", "1 in the operator that writes.", leads)
        try:
            await server.start(settings.port)
            async with _leading(leadership):
                # What is there must be known before anything is decided, or a restart would write.
                _, streams_lists = await asyncio.gather(resync.fill(), _streams_lists(client, settings))
                queue.start(settings.workers)
                _LOG.info("watching %s; %d LLMDeployments", settings.namespaces or "all namespaces", len(cache))
                # Each watch begins by telling all that is there. That is known, and telling it takes the
                # processor for as long as the first look does.
                await queue.wait_idle(_FIRST_LOOK_SECONDS)
                # What was deleted since it was listed, no watch tells.
                resync.relisted()
                await _watch(settings, cache, queue, resync, metrics, streams_lists)
        finally:
            await queue.stop()
            await probes.stop()
            await server.stop()
            if leadership is not None:
                await leadership.release()
            await client.close()


@asynccontextmanager
async def _leading(leadership: Leadership | None) -> AsyncIterator[None]:
    """What is done within is done by the leader; it ends with the Lease."""
    if leadership is None:
        yield
        return
    await leadership.acquire()
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(leadership.keep())
        yield
        keeping.cancel()


def _end_on_signals() -> None:
    """Until kopf runs, which has handlers of its own: a container's first process ignores what it does not handle."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)


def _identity() -> str:
    """Of this process: its pod, and what no earlier process of it had."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


async def _streams_lists(client: KubeClient, settings: Settings) -> bool:
    try:
        streams = await client.streams_initial_lists(LLM_DEPLOYMENT, next(iter(settings.namespaces), None))
    except ApiError as error:
        # Lists are always answered; a start must not fail for what only spares memory.
        _LOG.info("whether this API server streams lists could not be asked: %s", error)
        return False
    if not streams:
        _LOG.info("this API server streams no lists: watches begin with a list, which takes more memory")
    return streams


async def _watch(
    settings: Settings, cache: Cache, queue: WorkQueue, resync: Resync, metrics: Metrics, streams_lists: bool
) -> None:
    kopf_settings = kopf.OperatorSettings()
    configure(kopf_settings, streams_lists)
    # In a group, a resync that ends by an error ends the process: without it deletions would be missed for good.
    async with asyncio.TaskGroup() as group:
        comparing = group.create_task(resync.run(settings.resync_seconds))
        await kopf.operator(
            registry=build_registry(settings, cache, queue, resync, metrics),
            settings=kopf_settings,
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
        )
        comparing.cancel()


def _expose(metrics: Metrics, cache: Cache, queue: WorkQueue, probes: ProbeWatcher) -> None:
    metrics.gauge("llmdeployments", "LLMDeployments that are known.", lambda: len(cache))
    metrics.gauge("queue_depth", "Keys that wait for a reconcile.", lambda: queue.depth)
    metrics.gauge("queue_oldest_seconds", "How long the oldest key has waited.", lambda: queue.oldest_seconds)
    metrics.gauge("probed_containers", "Containers that are probed.", lambda: len(probes))
    metrics.registry.register(Proofs(PREFIX, probes.oldest_proofs, time.monotonic))
