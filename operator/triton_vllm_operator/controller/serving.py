"""/healthz and /metrics.

/healthz is 503 when the work stands still: keys wait and none is finished. That the event loop turns,
which is all that kopf's own liveness shows, is no proof of work.
"""

import asyncio
from typing import Final

from aiohttp import web

from triton_vllm_operator.controller.metrics import Metrics
from triton_vllm_operator.controller.queue import WorkQueue

STUCK_SECONDS: Final = 300.0
"""More than twice what one reconcile may take (queue.RECONCILE_SECONDS)."""


class StatusServer:
    """Serves liveness and metrics."""

    def __init__(self, queue: WorkQueue, metrics: Metrics, stuck_seconds: float = STUCK_SECONDS) -> None:
        self._queue = queue
        self._metrics = metrics
        self._stuck_seconds = stuck_seconds
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> None:
        """Listen on all addresses.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application()
        app.add_routes([web.get("/healthz", self._healthz), web.get("/metrics", self._render)])
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, port=port).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        stalled = self._queue.stalled_seconds
        stuck = stalled > self._stuck_seconds
        body = {"depth": self._queue.depth, "stalled_seconds": round(stalled, 1), "stuck": stuck}
        return web.json_response(body, status=503 if stuck else 200)

    async def _render(self, _request: web.Request) -> web.Response:
        # Of thousands it takes a third of a second, in which probes and the Lease go on.
        return web.Response(body=await asyncio.to_thread(self._metrics.render), content_type="text/plain")
