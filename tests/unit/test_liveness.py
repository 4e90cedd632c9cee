"""/healthz and /metrics of the operator."""

import asyncio
import logging

import aiohttp
import pytest

from triton_vllm_operator.controller.logs import soften
from triton_vllm_operator.controller.metrics import Metrics
from triton_vllm_operator.controller.queue import WorkQueue
from triton_vllm_operator.controller.serving import StatusServer
from triton_vllm_operator.controller.settings import read_settings
from triton_vllm_operator.kube.resources import Key


async def test_a_stuck_queue_is_noticed(unused_tcp_port: int) -> None:
    hold = asyncio.Event()

    async def work(_: Key) -> None:
        await hold.wait()

    metrics = Metrics()
    queue = WorkQueue(work, metrics)
    queue.start(1)
    server = StatusServer(queue, metrics, stuck_seconds=0.1)
    await server.start(unused_tcp_port)
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with aiohttp.ClientSession() as session:
        assert (await session.get(f"{url}/healthz")).status == 200
        queue.add(Key("ns", "web"))
        await asyncio.sleep(0.2)
        assert (await session.get(f"{url}/healthz")).status == 503
        hold.set()
        await asyncio.sleep(0.05)
        assert (await session.get(f"{url}/healthz")).status == 200
        text = await (await session.get(f"{url}/metrics")).text()
    assert 'triton_vllm_operator_reconciles_total{result="success"} 1.0' in text
    await queue.stop()
    await server.stop()


def test_what_kopf_tries_again_is_a_warning() -> None:
    retried, given_up = (
        logging.LogRecord("kopf", logging.ERROR, "", 0, text, None, None)
        for text in (
            "Request attempt #1 failed; will retry: GET x -> y",
            "Request attempt #1 failed; escalating: GET x",
        )
    )
    assert soften(retried)
    assert soften(given_up)
    assert (retried.levelname, given_up.levelname) == ("WARNING", "ERROR")


def test_settings_come_from_the_environment() -> None:
    settings = read_settings({"TRITON_VLLM_OPERATOR_NAMESPACES": "b,a", "TRITON_VLLM_OPERATOR_WORKERS": "3"})
    assert (settings.namespaces, settings.workers, settings.kubeconfig) == (("a", "b"), 3, None)


def test_an_unknown_level_of_logging_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        read_settings({"TRITON_VLLM_OPERATOR_LOG_LEVEL": "LOUD"})


def test_a_setting_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="many"):
        read_settings({"TRITON_VLLM_OPERATOR_WORKERS": "many"})
