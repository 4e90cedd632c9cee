"""An engine that is dead, or stopped, with the defaults of the probe, while nobody asks it: it is replaced."""

import concurrent.futures
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

import pytest

from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.client_pod import run_client
from support.forward import forwarded
from support.generate import generate
from support.llm import apply, condition, endpoints_of, get_llm, make_llm, pods_of, wait_for, wait_ready
from support.processes import signal_processes

pytestmark = pytest.mark.e2e
NAME: Final = "mortal"
LLM: Final = {"image": {"reference": "localhost/triton-vllm-operator/smollm2-135m-instruct:1", "pullPolicy": "Never"}}


@pytest.fixture(scope="module")
def served(shared_namespace: str) -> Iterator[str]:
    apply(make_llm(NAME, shared_namespace, model=LLM, probe={}))
    wait_ready(shared_namespace, NAME)
    yield shared_namespace
    kubectl("-n", shared_namespace, "delete", "llm", NAME, "--ignore-not-found")


def signal_engine(namespace: str, number: int) -> str:
    """Send it to the engine's own process; the pod's name."""
    (pod,) = pods_of(namespace, NAME)
    name = str(pod["metadata"]["name"])
    signal_processes(pod, b"EngineCore", number)
    return name


def seconds_in_service(namespace: str, pod: str, most: float) -> float:
    began = time.monotonic()
    wait_until("the pod is out of the Service", most, lambda: pod not in endpoints_of(namespace, NAME))
    return time.monotonic() - began


def names_replaced(namespace: str) -> list[str]:
    """Pods that were replaced so far, by whichever test."""
    recovery = get_llm(namespace, NAME)["status"].get("recovery", {})
    return [str(replaced["name"]) for replaced in recovery.get("replaced", [])]


def wait_replaced(namespace: str, pod: str, reason: str, before: list[str]) -> None:
    """Until another pod serves; meanwhile Degraded says what the engine's last words were."""

    def is_said(llm: dict[str, Any]) -> bool:
        degraded = condition(llm, "Degraded")
        return degraded.get("reason") == reason and f"pod {pod} was replaced" in degraded.get("message", "")

    wait_for(namespace, NAME, "says what it replaced", 90, is_said)
    print(f"{reason}: replaced, and ready {wait_ready(namespace, NAME):.0f} s later")
    assert names_replaced(namespace) == [*before, pod]
    llm = get_llm(namespace, NAME)
    assert llm["status"]["recovery"]["replaced"][-1]["reason"] == reason
    assert condition(llm, "Degraded")["status"] == "False"
    assert endpoints_of(namespace, NAME) == {other["metadata"]["name"] for other in pods_of(namespace, NAME)} != {pod}
    events = kubectl_json("-n", namespace, "get", "events", "--field-selector", "reason=PodReplaced")["items"]
    assert [pod in event["message"] for event in events].count(True) == 1
    told = kubectl_json("-n", namespace, "get", "events", "--field-selector", f"involvedObject.name={NAME}")["items"]
    assert {"Ready", "NotReady", "Degraded"} <= {event["reason"] for event in told}


def test_a_killed_engine_leaves_the_service_at_the_first_proof_and_is_replaced(served: str) -> None:
    before = names_replaced(served)
    pod = signal_engine(served, signal.SIGKILL)
    print(f"killed: out of the Service after {seconds_in_service(served, pod, 12):.1f} s")
    wait_replaced(served, pod, "EngineDead", before)


def test_under_traffic_it_leaves_the_service_within_5_seconds(served: str) -> None:
    """An engine that works is not probed: that its counters stand still is seen between two probes."""
    before = names_replaced(served)
    (pod,) = pods_of(served, NAME)
    name = str(pod["metadata"]["name"])
    with traffic(served, f"pod/{name}") as answered:
        # Longer than a period, so that no probe of it is due by chance.
        time.sleep(15)
        assert answered() > 3
        assert signal_engine(served, signal.SIGKILL) == name
        print(f"killed under traffic: out of the Service after {seconds_in_service(served, name, 5):.1f} s")
    wait_replaced(served, name, "EngineDead", before)


@contextmanager
def traffic(namespace: str, target: str) -> Iterator[Callable[[], int]]:
    """Two clients that ask without a pause; how many answers they have had."""
    ended, count = threading.Event(), 0

    def ask(port: int) -> None:
        nonlocal count
        while not ended.is_set():
            try:
                status, _ = generate(port, NAME, {"text_input": "Tell", "parameters": {"max_tokens": 64}})
            except OSError:
                return
            count += status == HTTPStatus.OK
            time.sleep(0.05)

    with forwarded(namespace, target, 8000) as port, concurrent.futures.ThreadPoolExecutor(2) as pool:
        clients = [pool.submit(ask, port) for _ in range(2)]
        yield lambda: count
        ended.set()
        concurrent.futures.wait(clients, timeout=60)


@pytest.mark.full
def test_an_engine_under_a_hundred_long_prompts_is_never_taken_out(served: str) -> None:
    """It has no token for its probes for a while, and works: its cache fills."""
    (pod,) = pods_of(served, NAME)
    name = pod["metadata"]["name"]
    url = f"http://{NAME}.{served}.svc:8000/v2/models/{NAME}/generate"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        load = pool.submit(run_client, served, "long_prompts.py", url, "100")
        looks = 0
        while not load.done():
            assert endpoints_of(served, NAME) == {name}, f"it was taken out after {looks} looks"
            looks += 1
            time.sleep(1)
    found = json.loads(load.result())
    print(f"100 long prompts: {found}, in the Service at all of {looks} looks")
    assert (found["answered"], found["errors"]) == (100, [])
    assert [other["metadata"]["name"] for other in pods_of(served, NAME)] == [name]


@pytest.mark.full
def test_a_stopped_engine_leaves_it_after_one_timeout_and_is_replaced(served: str) -> None:
    # Its answers are known after the first probe that follows the proof.
    time.sleep(11)
    before = names_replaced(served)
    pod = signal_engine(served, signal.SIGSTOP)
    print(f"stopped: out of the Service after {seconds_in_service(served, pod, 45):.1f} s")
    wait_replaced(served, pod, "GenerateTimedOut", before)
