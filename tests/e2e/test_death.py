"""How soon an engine that is dead, or stopped, leaves the Service with the probe's defaults, while nobody asks it."""

import time
from collections.abc import Iterator
from typing import Final

import pytest

from cluster.kubectl import kubectl, wait_until
from support.llm import apply, condition, endpoints_of, get_llm, make_llm, pods_of, wait_ready

pytestmark = pytest.mark.e2e
NAME: Final = "mortal"
LLM: Final = {"image": {"reference": "localhost/triton-vllm-operator/smollm2-135m-instruct:1", "pullPolicy": "Never"}}
KILL, STOP = 9, 19


@pytest.fixture(scope="module")
def served(shared_namespace: str) -> Iterator[str]:
    apply(make_llm(NAME, shared_namespace, model=LLM, probe={}))
    wait_ready(shared_namespace, NAME)
    yield shared_namespace
    kubectl("-n", shared_namespace, "delete", "llm", NAME, "--ignore-not-found")


def signal_engine(namespace: str, signal: int) -> str:
    """Send it to the engine's own process; the pod's name."""
    (pod,) = pods_of(namespace, NAME)
    name = str(pod["metadata"]["name"])
    send = "import os,glob\nfor f in glob.glob('/proc/[0-9]*/cmdline'):\n"
    send += f"  c=open(f,'rb').read()\n  if b'Engine' + b'Core' in c: os.kill(int(f.split('/')[2]), {signal})"
    kubectl("-n", namespace, "exec", name, "--", "python3", "-c", send)
    return name


def seconds_in_service(namespace: str, most: float) -> float:
    began = time.monotonic()
    wait_until("the pod is out of the Service", most, lambda: endpoints_of(namespace, NAME) == set())
    return time.monotonic() - began


def test_a_killed_engine_leaves_the_service_at_the_first_proof(served: str) -> None:
    signal_engine(served, KILL)
    # A period of 10 s, and what it takes until the Service knows.
    print(f"killed: out of the Service after {seconds_in_service(served, 12):.1f} s")
    assert condition(get_llm(served, NAME), "Degraded")["reason"] == "EngineDead"


def test_a_stopped_engine_leaves_it_after_one_timeout(served: str) -> None:
    (pod,) = pods_of(served, NAME)
    kubectl("-n", served, "delete", "pod", pod["metadata"]["name"], "--wait=false")
    wait_until(
        "another pod is there",
        60,
        lambda: [p["metadata"]["name"] for p in pods_of(served, NAME)] != [pod["metadata"]["name"]],
    )
    wait_ready(served, NAME)
    # Its answers are known after the first probe that follows the proof.
    time.sleep(11)
    signal_engine(served, STOP)
    print(f"stopped: out of the Service after {seconds_in_service(served, 45):.1f} s")
    assert condition(get_llm(served, NAME), "Degraded")["reason"] == "GenerateTimedOut"
