"""LLMDeployments for tests: a fluent maker, and what to read of one."""

import copy
import json
from collections.abc import Callable
from typing import Any

from cluster.errors import ClusterError
from cluster.kubectl import kubectl, kubectl_json, wait_until

SMOLLM2: dict[str, Any] = {
    "model": {"image": {"reference": "localhost/triton-vllm-operator/smollm2-135m-instruct:1", "pullPolicy": "Never"}},
    "runtime": {"version": "cpu-0.32.0"},
    "accelerator": {"cpu": {"kvCacheSize": "1Gi"}},
    "engine": {"maxModelLen": 1024, "maxNumSeqs": 128, "enforceEager": True},
    "resources": {"requests": {"cpu": "500m", "memory": "4Gi"}, "limits": {"memory": "8Gi"}},
    # A Job looks into the model of each unless this says not to; tests/e2e/test_memory.py does without it.
    "memory": {"policy": "Off"},
    "probe": {"periodSeconds": 2, "timeoutSeconds": 20, "failureThreshold": 2},
}
PROBED_ONCE = {"periodSeconds": 3600}
"""For tests that count tokens: a probe generates one as well."""


def make_llm(name: str, namespace: str, **changes: Any) -> dict[str, Any]:
    """An LLMDeployment of SmolLM2; each change replaces one field of the spec."""
    spec = {**copy.deepcopy(SMOLLM2), **changes}
    return {
        "apiVersion": "triton-vllm.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


def apply(manifest: dict[str, Any], *options: str) -> None:
    """kubectl apply."""
    kubectl("apply", *options, "-f", "-", stdin=json.dumps(manifest))


def get_llm(namespace: str, name: str) -> dict[str, Any]:
    """The LLMDeployment as it is."""
    return dict(kubectl_json("-n", namespace, "get", "llm", name))


def condition(llm: dict[str, Any], kind: str) -> dict[str, Any]:
    """One condition; empty if it is not there."""
    conditions = llm.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def is_observed(llm: dict[str, Any]) -> bool:
    """Whether the status speaks of the present spec."""
    return bool(llm.get("status", {}).get("observedGeneration") == llm["metadata"]["generation"])


def is_scaled_to_zero(llm: dict[str, Any]) -> bool:
    """Whether an LLMDeployment of no replicas is settled."""
    return bool(condition(llm, "Ready").get("reason") == "ScaledToZero")


def wait_for(namespace: str, name: str, what: str, seconds: float, holds: Callable[[dict[str, Any]], bool]) -> float:
    """Wait until an LLMDeployment is as wanted; the seconds that it took."""
    last: dict[str, Any] = {}

    def check() -> bool:
        nonlocal last
        last = get_llm(namespace, name)
        return holds(last)

    try:
        return wait_until(f"{namespace}/{name} {what}", seconds, check)
    except ClusterError as error:
        raise ClusterError(f"{error}\n{json.dumps(last.get('status'), indent=1)}") from error


def wait_ready(namespace: str, name: str, seconds: float = 300) -> float:
    """Wait until an LLMDeployment is ready for its present spec."""
    return wait_for(
        namespace, name, "is ready", seconds, lambda x: is_observed(x) and condition(x, "Ready").get("status") == "True"
    )


def pods_of(namespace: str, name: str) -> list[dict[str, Any]]:
    """The pods that are not being deleted."""
    found = kubectl_json("-n", namespace, "get", "pods", "-l", f"app.kubernetes.io/instance={name}")
    return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]


def container_ids(namespace: str, name: str) -> set[str]:
    """The ids of all running serving containers."""
    return {
        status.get("containerID", "")
        for pod in pods_of(namespace, name)
        for status in pod["status"].get("containerStatuses", [])
    }


def endpoints_of(namespace: str, name: str) -> set[str]:
    """The names of the pods that the Service sends requests to."""
    slices = kubectl_json("-n", namespace, "get", "endpointslices", "-l", f"kubernetes.io/service-name={name}")
    return {
        endpoint["targetRef"]["name"]
        for part in slices["items"]
        for endpoint in part.get("endpoints") or []
        if endpoint["conditions"].get("ready")
    }
