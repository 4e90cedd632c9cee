"""No request is lost while pods go: 100 clients over the Service, on the real server, each answer held to be whole."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from cluster.images import RUNTIME_CPU
from cluster.kubectl import kubectl, wait_until
from support.client_pod import run_client_beside
from support.llm import SMOLLM2, apply, make_llm, pods_of, wait_ready

pytestmark = [pytest.mark.e2e, pytest.mark.full]
NAME: Final = "drained"
CLIENTS: Final = 100
SECONDS: Final = 150
"""For which they ask: a pod starts and another one goes within it, on two cores that compute for both."""
PROBE: Final = {"periodSeconds": 10, "timeoutSeconds": 60, "failureThreshold": 3}
GRPC_CLIENTS: Final = 20
AGE_SECONDS: Final = 10
PRE_STOP_SECONDS: Final = 5
"""From the deletion of a pod until SIGTERM."""
EVICTION: Final = {"apiVersion": "policy/v1", "kind": "Eviction"}


@pytest.fixture(scope="module")
def namespace(shared_namespace: str) -> Iterator[str]:
    """With two pods that serve."""
    apply(two_pods(shared_namespace))
    wait_ready(shared_namespace, NAME, 600)
    yield shared_namespace
    kubectl("-n", shared_namespace, "delete", "llm", NAME, "--ignore-not-found", timeout=180)


def two_pods(namespace: str, **changes: Any) -> dict[str, Any]:
    return make_llm(NAME, namespace, **{"replicas": 2, "probe": PROBE, **changes})


def asked(namespace: str, work: Callable[[], object], *options: str) -> dict[str, Any]:
    """What the clients saw while something is done."""
    url = f"http://{NAME}.{namespace}.svc:8000/v2/models/{NAME}/generate"
    return ask_beside(namespace, work, "drained.py", url, str(CLIENTS), str(SECONDS), *options)


def ask_beside(namespace: str, work: Callable[[], object], *words: str, image: str = "") -> dict[str, Any]:
    def work_to_its_end() -> None:
        work()
        wait_ready(namespace, NAME, 600)

    return run_client_beside(namespace, work_to_its_end, *words, seconds=SECONDS + 400, image=image)


def delete_one(namespace: str) -> None:
    name = pods_of(namespace, NAME)[0]["metadata"]["name"]
    kubectl("-n", namespace, "delete", "pod", name, timeout=180)


def evict_one(namespace: str) -> None:
    name = pods_of(namespace, NAME)[0]["metadata"]["name"]
    body = {**EVICTION, "metadata": {"name": name, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def scale_down_and_up(namespace: str) -> None:
    for replicas in (1, 2):
        kubectl("-n", namespace, "scale", "llm", NAME, f"--replicas={replicas}")
        wait_until(f"{replicas} pods", 300, lambda count=replicas: len(pods_of(namespace, NAME)) == count)


def roll(namespace: str) -> None:
    apply(two_pods(namespace, engine={**SMOLLM2["engine"], "maxNumSeqs": 127}))


WAYS: Final = {"deletion": delete_one, "eviction": evict_one, "scaling": scale_down_and_up, "rollout": roll}


@pytest.mark.parametrize("way", WAYS)
def test_no_answer_is_lost(namespace: str, way: str) -> None:
    seen = asked(namespace, lambda: WAYS[way](namespace))
    print(f"{way}: {seen}")
    assert seen["failed"] == 0, seen
    assert seen["answered"] > CLIENTS


def test_what_clients_lose_that_keep_their_connections(namespace: str) -> None:
    """What began is answered; a request that meets the end of its connection is the client's to send again."""
    told_to_end_at = 0.0

    def delete() -> None:
        nonlocal told_to_end_at
        name = pods_of(namespace, NAME)[0]["metadata"]["name"]
        told_to_end_at = time.time() + PRE_STOP_SECONDS
        kubectl("-n", namespace, "delete", "pod", name, timeout=180)

    seen = asked(namespace, delete, "--keep-alive")
    print(f"keep-alive: {seen}")
    if (lost_at := seen["first_lost_at"]) is not None:
        print(f"the first lost request was sent {lost_at - told_to_end_at:.1f} s after SIGTERM")
        assert lost_at > told_to_end_at, seen
    assert all("Disconnected" in error or "ClientOSError" in error for error in seen["errors"]), seen
    assert seen["failed"] <= CLIENTS


def test_a_grpc_connection_that_ends_in_time_loses_nothing(namespace: str) -> None:
    """Each client keeps its channel, whose connections grow so old and no older."""
    apply(two_pods(namespace, drain={"grpcMaxConnectionAgeSeconds": AGE_SECONDS}))
    wait_ready(namespace, NAME, 600)
    words = ("grpc_clients.py", f"{NAME}.{namespace}.svc:8001", NAME, str(GRPC_CLIENTS), str(SECONDS))
    seen = ask_beside(namespace, lambda: delete_one(namespace), *words, image=RUNTIME_CPU.name)
    print(f"gRPC: {seen}")
    assert seen["failed"] == 0, seen
    assert seen["answered"] > GRPC_CLIENTS
