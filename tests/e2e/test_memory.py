"""A model that does not fit takes no GPU: nodes are pretended, and a hub of this cluster serves the model."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster.kubectl import kubectl, kubectl_json
from support.audit import operator_requests
from support.hub_pod import REPOSITORY, start_hub
from support.llm import SMOLLM2, apply, condition, get_llm, make_llm, wait_for

pytestmark = pytest.mark.e2e

NAME = "large"


def pretend_gpu_node(name: str, mib: int) -> None:
    """A node with two GPUs of that size, without a kubelet, and without room for what asks for processors."""
    labels = {"nvidia.com/gpu.product": f"Pretended-{mib}MiB", "nvidia.com/gpu.memory": str(mib)}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    kubectl("apply", "-f", "-", stdin=json.dumps(node))
    capacity = {"cpu": "0", "memory": "0", "pods": "0", "nvidia.com/gpu": "2"}
    status = {"status": {"capacity": capacity, "allocatable": capacity}}
    kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))


@pytest.fixture
def gpu_nodes(cluster: str) -> Iterator[None]:
    """One with GPUs of 1 GiB, and one with GPUs of 80."""
    pretend_gpu_node("pretended-small", 1024)
    pretend_gpu_node("pretended-large", 81559)
    yield
    kubectl("delete", "node", "pretended-small", "pretended-large")


def in_a_hub(namespace: str) -> dict[str, Any]:
    return {"huggingFace": {"repository": REPOSITORY, "endpoint": start_hub(namespace)}}


def in_an_image(_: str) -> dict[str, Any]:
    return dict(SMOLLM2["model"])


def gpu_llm(namespace: str, model: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "triton-vllm.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "model": model,
            "runtime": {"version": "26.08"},
            # A node without a kubelet is tainted.
            "scheduling": {"tolerations": [{"operator": "Exists"}]},
            **spec,
        },
    }


def deployments(namespace: str) -> list[str]:
    return [found["metadata"]["name"] for found in kubectl_json("-n", namespace, "get", "deployments")["items"]]


@pytest.mark.parametrize("source", [in_a_hub, in_an_image])
def test_a_model_that_does_not_fit_takes_no_gpu(
    namespace: str, gpu_nodes: None, source: Callable[[str], dict[str, Any]]
) -> None:
    model = source(namespace)
    apply(gpu_llm(namespace, model))
    wait_for(namespace, NAME, "does not fit", 90, lambda x: condition(x, "MemoryFits").get("status") == "False")
    llm = get_llm(namespace, NAME)
    fits, ready = condition(llm, "MemoryFits"), condition(llm, "Ready")
    assert (fits["reason"], ready["reason"]) == ("FitsOnSomeNodes", "FitsOnSomeNodes")
    assert fits["message"].startswith("does not fit on Pretended-1024MiB: ")
    assert "spec.scheduling.nodeSelector: {nvidia.com/gpu.product: Pretended-81559MiB}" in ready["message"]
    assert condition(llm, "Accepted")["status"] == "True"
    assert deployments(namespace) == []
    wide = kubectl("-n", namespace, "get", "llm", NAME, "-o", "wide")
    assert "FitsOnSomeNodes" in wide
    # What only warns makes its pods.
    apply(gpu_llm(namespace, model, memory={"policy": "Warn"}))
    wait_for(namespace, NAME, "is made all the same", 30, lambda x: "revision" in x["status"])
    assert deployments(namespace) == [NAME]
    predicted = get_llm(namespace, NAME)["status"]["memoryPlan"]["predicted"]
    assert (predicted["gpu"], predicted["kvBytesPerToken"]) == ("Pretended-1024MiB", 23040)


def test_without_a_node_that_matches_pods_are_made(namespace: str) -> None:
    """Autoscalers make nodes for pods that wait."""
    apply(gpu_llm(namespace, in_a_hub(namespace)))
    # Nodes of the test before may be remembered for half a minute, and are looked at once a minute.
    wait_for(namespace, NAME, "is made", 150, lambda x: "revision" in x["status"])
    found = condition(get_llm(namespace, NAME), "MemoryFits")
    assert (found["status"], found["reason"]) == ("Unknown", "NoMatchingNode")
    assert "none of them has any" in found["message"]
    assert deployments(namespace) == [NAME]
    # Its weights are fetched in the pod. It is written once, and stays as it was asked for.
    time.sleep(5)
    asked = ((request.namespace, request.resource, request.verb) for request in operator_requests())
    assert list(asked).count((namespace, "deployments", "patch")) == 1


def test_a_container_that_is_too_small_is_not_made_and_one_that_fits_is_measured(namespace: str) -> None:
    """On a CPU: what was planned is what the engine says itself."""
    small = make_llm(NAME, namespace, memory=None, resources={"limits": {"memory": "3Gi"}})
    apply(small)
    wait_for(namespace, NAME, "does not fit", 60, lambda x: condition(x, "Ready").get("reason") == "DoesNotFit")
    said = condition(get_llm(namespace, NAME), "Ready")["message"]
    assert "and spec.resources.limits.memory is 3.00 GiB; it would with spec.resources.limits.memory: 5Gi" in said
    assert deployments(namespace) == []
    # What it was said to fit in.
    apply(make_llm(NAME, namespace, memory=None, resources={"limits": {"memory": "5Gi"}}))
    wait_for(namespace, NAME, "serves", 240, lambda x: condition(x, "Ready")["status"] == "True")
    wait_for(namespace, NAME, "is measured", 30, lambda x: "measured" in x["status"]["memoryPlan"])
    llm = get_llm(namespace, NAME)
    assert condition(llm, "MemoryFits")["reason"] == "Fits"
    found = llm["status"]["memoryPlan"]
    assert found["predicted"]["gpu"] == "CPU"
    assert found["predicted"]["kvCacheTokens"]["expected"] == found["measured"]["kvCacheTokens"]
    assert found["predicted"]["kvCacheBytes"]["expected"] == found["measured"]["kvCacheBytes"] == 2**30
