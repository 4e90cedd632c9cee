"""How many requests pods have, by the metrics of their servers."""

import aiohttp
import pytest
from aiohttp import web

from support.pods import make_serving
from triton_vllm_operator.api import names
from triton_vllm_operator.health.inspector import Inspector
from triton_vllm_operator.kube.pod import Pod

RUNNING = 'vllm:num_requests_running{model="m"} 3\nvllm:num_requests_waiting{model="m"} 2\n'
TOKENS = 'vllm:generation_tokens_total{model="m"} 7\n'


@pytest.mark.parametrize(
    ("metrics", "wanted"),
    [
        (TOKENS + RUNNING, {"llama-1": 5}),
        (TOKENS + 'vllm:num_requests_running{model="m"} 0\n', {"llama-1": 0}),
        (TOKENS, {"llama-1": None}),
        ("nv_inference_request_success 7\n", {"llama-1": None}),
        (None, {}),
    ],
    ids=["busy", "idle", "a backend that does not tell", "no engine's metrics", "no answer"],
)
async def test_requests_are_read_from_a_pod_that_serves(
    metrics: str | None, wanted: dict[str, int | None], unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "PORT_METRICS", unused_tcp_port)

    async def tell(_: web.Request) -> web.Response:
        return web.Response(text=metrics)

    app = web.Application()
    app.add_routes([web.get("/metrics", tell)])
    runner = web.AppRunner(app)
    await runner.setup()
    if metrics is not None:
        await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        async with aiohttp.ClientSession() as session:
            assert await Inspector(None, session).loads([make_serving("r"), starting()]) == wanted  # type: ignore[arg-type]
    finally:
        await runner.cleanup()


def starting() -> Pod:
    """It serves nobody, so that it is not asked."""
    return Pod("llama-2", "u2", "r", ip="127.0.0.1")
