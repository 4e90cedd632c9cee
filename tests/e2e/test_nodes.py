"""Nodes that are cordoned, drained, lost, or that refuse a pod: on pretended GPUs, and on a node without a kubelet."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.llm import apply, condition, get_llm, pods_of, wait_for, wait_ready
from support.pretended import GPU, offer_gpus, pretended_llm, real_node

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("one_gpu")]
NAME: Final = "placed"
LOST: Final = "without-kubelet"
UNREACHABLE: Final = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20}
TOLERATIONS: Final = [{"key": f"node.kubernetes.io/{key}", **UNREACHABLE} for key in ("not-ready", "unreachable")]


@pytest.fixture(autouse=True)
def _no_lost_node(nothing_left: None) -> Iterator[None]:
    """Gone before its pods are waited for, which it has no kubelet to end."""
    yield
    kubectl("delete", "node", LOST, "--ignore-not-found")


@contextmanager
def cordoned() -> Iterator[None]:
    kubectl("cordon", real_node())
    try:
        yield
    finally:
        kubectl("uncordon", real_node())


def is_because(reason: str) -> Any:
    return lambda llm: condition(llm, "Ready").get("reason") == reason


def test_an_update_takes_no_pod_from_a_node_that_takes_no_other(namespace: str) -> None:
    apply(pretended_llm(NAME, namespace))
    wait_ready(namespace, NAME)
    (before,) = pods_of(namespace, NAME)
    with cordoned():
        apply(pretended_llm(NAME, namespace, engine={"maxNumSeqs": 9}))
        wait_for(namespace, NAME, "is told of", 30, is_because("Unschedulable"))
        time.sleep(5)
        llm = get_llm(namespace, NAME)
        print(f"an update while the node is cordoned: {condition(llm, 'Ready')['message']}")
        assert condition(llm, "Available")["status"] == "True"
        assert before["metadata"]["uid"] in {pod["metadata"]["uid"] for pod in pods_of(namespace, NAME)}
    wait_ready(namespace, NAME)


def test_an_eviction_is_not_fought(namespace: str) -> None:
    """As kubectl drain, or a tool that takes faulty GPUs out of use: the pod goes, and stays off a closed node."""
    apply(pretended_llm(NAME, namespace))
    wait_ready(namespace, NAME)
    (before,) = pods_of(namespace, NAME)
    with cordoned():
        name = before["metadata"]["name"]
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
        kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
        wait_for(namespace, NAME, "is told of", 60, is_because("Unschedulable"))
        print(f"evicted from a cordoned node: {condition(get_llm(namespace, NAME), 'Ready')['message']}")
        assert [pod["spec"].get("nodeName") for pod in pods_of(namespace, NAME)] == [None]
    wait_ready(namespace, NAME)
    assert get_llm(namespace, NAME)["status"].get("recovery") is None


def test_a_gpu_that_is_gone_is_named_with_counts(namespace: str) -> None:
    """Whatever ran on it goes on; its successor finds none."""
    apply(pretended_llm(NAME, namespace))
    wait_ready(namespace, NAME)
    offer_gpus(0)
    try:
        time.sleep(3)
        assert condition(get_llm(namespace, NAME), "Ready")["status"] == "True"
        kubectl("-n", namespace, "delete", "pods", "-l", f"app.kubernetes.io/instance={NAME}")
        wait_for(namespace, NAME, "is told of", 60, is_because("Unschedulable"))
        message = condition(get_llm(namespace, NAME), "Ready")["message"]
        print(f"a GPU that is gone: {message}")
        assert f"1 Insufficient {GPU}" in message
    finally:
        offer_gpus(1)
    wait_ready(namespace, NAME)


def test_a_pod_that_its_node_refuses_is_no_failed_engine(namespace: str) -> None:
    """A kubelet looks once more whether the node has what a pod asks for; nobody schedules this one but the test."""
    nowhere = {"schedulerName": "by-hand", "nodeSelector": {"there-is": "no-such-node"}}
    apply(pretended_llm(NAME, namespace, scheduling=nowhere))
    wait_until("a pod is made", 30, lambda: len(pods_of(namespace, NAME)) == 1)
    refused = pods_of(namespace, NAME)[0]["metadata"]["name"]
    bind(namespace, refused, real_node())
    wait_until("the kubelet refuses it", 30, lambda: reason_of(namespace, refused) == "NodeAffinity")
    wait_for(namespace, NAME, "is told of", 30, lambda x: "not taken by its node" in condition(x, "Ready")["message"])
    llm = get_llm(namespace, NAME)
    print(f"a refused pod: {condition(llm, 'Ready')['message']}")
    assert condition(llm, "Stalled")["status"] == "False"
    assert llm["status"].get("recovery") is None
    apply(pretended_llm(NAME, namespace))
    wait_ready(namespace, NAME)


def reason_of(namespace: str, pod: str) -> str:
    return str(kubectl_json("-n", namespace, "get", "pod", pod)["status"].get("reason", ""))


def bind(namespace: str, pod: str, node: str) -> None:
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    metadata = {"name": pod, "namespace": namespace}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
    kubectl("create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}/binding", "-f", "-", stdin=json.dumps(body))


@pytest.mark.full
def test_a_lost_node_is_named_and_its_pod_replaced(namespace: str) -> None:
    """The node has no kubelet: what one would say of the pod the test says, once, and then nobody says anything."""
    apply(pretended_llm(NAME, namespace, scheduling={"tolerations": TOLERATIONS}, drain={"timeoutSeconds": 1}))
    wait_ready(namespace, NAME)
    # The first pod, whose address the pretended one has, stays where the probes reach it.
    (server,) = pods_of(namespace, NAME)
    offer_gpus(0)
    make_node()
    try:
        kubectl("-n", namespace, "scale", "llm", NAME, "--replicas=2")
        wait_until("a pod is on it", 60, lambda: len(pods_on(namespace, LOST)) == 1)
        (pod,) = pods_on(namespace, LOST)
        say_running(namespace, pod, server)
        wait_until("it generates", 30, lambda: gate_of(namespace, pod) == "True")
        say_ready(namespace, pod)
        wait_for(namespace, NAME, "is told of", 120, is_because("NodeNotReady"))
        message = condition(get_llm(namespace, NAME), "Ready")["message"]
        print(f"a lost node: {message}")
        assert f"its node {LOST} is not ready: Kubelet" in message
        wait_for(namespace, NAME, "is told of", 120, is_because("Unschedulable"))
        wait_until("it says what keeps the place", 120, lambda: is_kept(namespace))
        print(f"the same, later: {condition(get_llm(namespace, NAME), 'Ready')['message']}")
    finally:
        offer_gpus(2)
    wait_ready(namespace, NAME)
    offer_gpus(1)


def is_kept(namespace: str) -> bool:
    message = condition(get_llm(namespace, NAME), "Ready")["message"]
    return f"is not gone and keeps its place, since its node {LOST} is not ready" in message


def pods_on(namespace: str, node: str) -> list[dict[str, Any]]:
    return [pod for pod in pods_of(namespace, NAME) if pod["spec"].get("nodeName") == node]


def gate_of(namespace: str, pod: dict[str, Any]) -> str:
    found = kubectl_json("-n", namespace, "get", "pod", pod["metadata"]["name"])["status"].get("conditions", [])
    return str(next((each["status"] for each in found if each["type"] == "triton-vllm.dev/generates"), ""))


def make_node() -> None:
    """Ready, and silent from now on."""
    labels = {"kubernetes.io/hostname": LOST}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": LOST, "labels": labels}}
    kubectl("create", "-f", "-", stdin=json.dumps(node))
    capacity = {"cpu": "4", "memory": "8Gi", "pods": "10", GPU: "1"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now()}
    patch = {"status": {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}}
    kubectl("patch", "node", LOST, "--subresource=status", "--type=merge", "-p", json.dumps(patch))


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def say_running(namespace: str, pod: dict[str, Any], server: dict[str, Any]) -> None:
    """With the address of a pod that answers."""
    container = server["status"]["containerStatuses"][0]
    patch = {
        "phase": "Running",
        "podIP": server["status"]["podIP"],
        "podIPs": server["status"]["podIPs"],
        "startTime": now(),
        "conditions": [{"type": kind, "status": "True"} for kind in ("Initialized", "ContainersReady")],
        "containerStatuses": [{**container, "containerID": "containerd://pretended"}],
    }
    say(namespace, pod, patch)


def say_ready(namespace: str, pod: dict[str, Any]) -> None:
    say(namespace, pod, {"conditions": [{"type": "Ready", "status": "True"}]})


def say(namespace: str, pod: dict[str, Any], status: dict[str, Any]) -> None:
    name = pod["metadata"]["name"]
    patch = json.dumps({"status": status})
    kubectl("-n", namespace, "patch", "pod", name, "--subresource=status", "--type=strategic", "-p", patch)
