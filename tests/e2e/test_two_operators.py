"""Two operators: one leads, the other takes over within 15 s, and no two of them write at once."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.audit import operator_requests, writes
from support.install import RELEASE, SYSTEM_NAMESPACE, install_operator, operator_pods
from support.llm import apply, get_llm, is_observed, is_scaled_to_zero, make_llm, wait_for
from support.processes import processes_of

pytestmark = pytest.mark.e2e
TAKEOVER_SECONDS: Final = 15


@pytest.fixture(scope="module")
def two(cluster: str) -> Iterator[None]:
    install_operator(["replicas=2"])
    yield
    install_operator()


def holder() -> str:
    """The pod that leads; empty while the Lease is free."""
    spec = kubectl_json("-n", SYSTEM_NAMESPACE, "get", "lease", RELEASE)["spec"]
    return str(spec.get("holderIdentity", "")).partition("_")[0]


def pods() -> dict[str, dict[str, Any]]:
    return {pod["metadata"]["name"]: pod for pod in operator_pods()}


def process_of(pod: dict[str, Any]) -> int:
    """The operator's process on this machine."""
    (found,) = processes_of(pod, b"triton_vllm_operator")
    return found


def replace(pod: dict[str, Any]) -> None:
    """One whose container was started again: that it ended was wanted."""
    kubectl("-n", SYSTEM_NAMESPACE, "delete", "pod", pod["metadata"]["name"], "--now")
    kubectl("-n", SYSTEM_NAMESPACE, "rollout", "status", "deployment", RELEASE, "--timeout=90s")


def is_led(namespace: str, name: str, began: float) -> float:
    """The seconds until an LLMDeployment that was made then is seen to."""
    apply(make_llm(name, namespace, replicas=0))
    wait_for(namespace, name, "is scaled to zero", 40, is_scaled_to_zero)
    return time.monotonic() - began


def test_the_second_takes_over_from_one_that_is_killed(two: None, namespace: str) -> None:
    wait_until("one leads", 30, lambda: holder() in pods())
    first = pods()[holder()]
    assert is_led(namespace, "before", time.monotonic()) < TAKEOVER_SECONDS
    os.kill(process_of(first), signal.SIGKILL)
    took = is_led(namespace, "after", time.monotonic())
    print(f"killed: another reconciles after {took:.1f} s")
    replace(first)
    assert took <= TAKEOVER_SECONDS


def test_one_that_stood_still_writes_nothing_when_it_goes_on(two: None, namespace: str) -> None:
    wait_until("one leads", 30, lambda: holder() in pods())
    apply(make_llm("edited", namespace, replicas=0))
    wait_for(namespace, "edited", "is scaled to zero", 40, is_scaled_to_zero)
    first = pods()[holder()]
    process = process_of(first)
    os.kill(process, signal.SIGSTOP)
    try:
        began = time.monotonic()
        wait_until("another leads", 30, lambda: holder() not in ("", first["metadata"]["name"]))
        print(f"stopped: another leads after {time.monotonic() - began:.1f} s")
        apply(make_llm("edited", namespace, replicas=0, engine={"maxModelLen": 512}))
        wait_for(namespace, "edited", "is seen to", 30, is_observed)
    finally:
        os.kill(process, signal.SIGCONT)
    since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    kubectl("-n", namespace, "delete", "service", "edited")
    wait_until("it is put back", 20, lambda: "edited" in kubectl("-n", namespace, "get", "services"))
    time.sleep(3)
    mine = [r for r in writes(operator_requests(since)) if r.namespace == namespace]
    # The one that stood still has ended by itself, and may be there again: it waits for its turn.
    assert {request.source for request in mine} == {pods()[holder()]["status"]["podIP"]}
    assert holder() != first["metadata"]["name"]
    assert get_llm(namespace, "edited")["status"]["observedGeneration"] == 2
    replace(first)
