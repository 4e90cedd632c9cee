"""What the operator estimates, held against what kube-scheduler does, on random states of pretended nodes."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from cluster import paths
from cluster.kubectl import kubectl, kubectl_json, wait_until
from triton_vllm_operator.api.scheduling import Scheduling
from triton_vllm_operator.controller.connection import open_api_client
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.place_lister import PlaceLister, Places
from triton_vllm_operator.kube.requests import pod_requests
from triton_vllm_operator.rollout.estimate import Wanted, estimate
from triton_vllm_operator.rollout.own import Own

pytestmark = [pytest.mark.e2e, pytest.mark.full]

STATES: Final = 200
NODES: Final = 4
PER_CLUSTER: Final = 20
"""States of the same nodes, with other pods on them."""
GPU: Final = "nvidia.com/gpu"
ZONE: Final = "topology.kubernetes.io/zone"
INSTANCE: Final = {"app": "estimated"}
TAINT: Final = {"key": "team", "value": "a", "effect": "NoSchedule"}
# Nodes without a kubelet are tainted so; nothing else is tolerated by every pod.
WITHOUT_KUBELET: Final = [
    {"key": f"node.kubernetes.io/{state}", "operator": "Exists"} for state in ("not-ready", "unreachable")
]
PAUSE: Final = [{"name": "pause", "image": "registry.k8s.io/pause:3.10"}]


def make_nodes(chance: random.Random) -> None:
    for number in range(NODES):
        name = f"estimated-{number}"
        labels = {"kubernetes.io/hostname": name, "pretended": "true"}
        labels |= {ZONE: chance.choice("ab")} if chance.random() < 0.8 else {}
        metadata = {"name": name, "labels": labels}
        spec = {"taints": [TAINT] if chance.random() < 0.3 else []}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}
        kubectl("create", "-f", "-", stdin=json.dumps(node))
        cpu, memory, pods, gpus = (chance.randint(*bounds) for bounds in ((1, 8), (1, 16), (1, 6), (0, 4)))
        capacity = {"cpu": str(cpu), "memory": f"{memory}Gi", "pods": str(pods), GPU: str(gpus)}
        status = {"status": {"capacity": capacity, "allocatable": capacity}}
        kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))


@pytest.fixture
def pretended_nodes(cluster: str) -> Iterator[None]:
    yield
    kubectl("delete", "nodes", "-l", "pretended=true")


def random_requests(chance: random.Random) -> dict[str, str]:
    asked = {"cpu": f"{chance.choice([0, 500, 1000, 3000])}m", "memory": f"{chance.choice([0, 512, 2048])}Mi"}
    return {**asked, **({GPU: str(gpus)} if (gpus := chance.randint(0, 3)) else {})}


def pod(name: str, namespace: str, requests: dict[str, str], **spec: Any) -> dict[str, Any]:
    resources = {"requests": requests, "limits": {key: value for key, value in requests.items() if key == GPU}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": INSTANCE},
        "spec": {
            "containers": [{**PAUSE[0], "resources": resources}],
            "tolerations": WITHOUT_KUBELET,
            "terminationGracePeriodSeconds": 0,
            **spec,
        },
    }


def random_scheduling(chance: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"nodeSelector": {"pretended": "true"}}
    if chance.random() < 0.3:
        found["nodeSelector"][ZONE] = chance.choice("ab")
    tolerations = [*WITHOUT_KUBELET, *([{"key": "team", "operator": "Exists"}] if chance.random() < 0.5 else [])]
    if chance.random() < 0.4:
        key = chance.choice([ZONE, "kubernetes.io/hostname"])
        rule = {"maxSkew": chance.randint(1, 2), "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule"}
        found["topologySpreadConstraints"] = [rule]
    return {**found, "tolerations": tolerations}


def fill(namespace: str, chance: random.Random) -> list[Own]:
    """Pods that have a node, whether or not there is room for them."""
    items, own = [], []
    for number in range(chance.randint(0, 8)):
        requests = random_requests(chance)
        node = f"estimated-{chance.randrange(NODES)}"
        body = pod(f"there-{number}", namespace, requests, nodeName=node)
        items.append(body)
        # What they ask for is counted with that of all others.
        own.append(Own(node, {}, goes=False))
    if items:
        kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return own


async def look() -> Places:
    client = KubeClient(await open_api_client(Settings(kubeconfig=paths.KUBECONFIG), 4), lambda *_: None)
    try:
        return await PlaceLister(client).places()
    finally:
        await client.close()


def is_placed(namespace: str) -> bool:
    """What the scheduler says of the pod, once it has."""
    said: list[bool] = []

    def decided() -> bool:
        found = kubectl_json("-n", namespace, "get", "pod", "wanted")
        conditions = {each["type"]: each for each in found["status"].get("conditions", [])}
        if (scheduled := conditions.get("PodScheduled")) is not None:
            said.append(scheduled["status"] == "True")
        return bool(said)

    wait_until("the scheduler has looked at it", 30, decided, every=0.1)
    return said[0]


def test_the_estimate_is_what_the_scheduler_does(namespace: str, pretended_nodes: None) -> None:
    chance, agreed, wrong = random.Random(14), Counter[tuple[bool | None, bool]](), list[str]()
    for state in range(STATES):
        if state % PER_CLUSTER == 0:
            kubectl("delete", "nodes", "-l", "pretended=true")
            make_nodes(chance)
        own = fill(namespace, chance)
        scheduling, requests = random_scheduling(chance), random_requests(chance)
        rules = scheduling.get("topologySpreadConstraints", [])
        with_selector = [{**rule, "labelSelector": {"matchLabels": INSTANCE}} for rule in rules]
        wanted = pod("wanted", namespace, requests, **{**scheduling, "topologySpreadConstraints": with_selector})
        asked = Wanted(pod_requests(wanted["spec"]), Scheduling.model_validate(scheduling), GPU)
        found = estimate(asyncio.run(look()), asked, own)
        kubectl("create", "-f", "-", stdin=json.dumps(wanted))
        placed = is_placed(namespace)
        agreed[found.fits, placed] += 1
        if found.fits is not placed:
            wrong.append(f"{state}: {found}, placed: {placed}, {requests}, {scheduling}")
        kubectl("-n", namespace, "delete", "pods", "--all", "--force", "--grace-period=0", "--wait=true")
    print(f"of {STATES} random states: {dict(agreed)} (what was estimated, whether it was placed)")
    assert wrong == []
