"""Run the load generator as a pod of the local cluster."""

import json
from typing import Any, TypedDict

from cluster.kubectl import kubectl, kubectl_json, wait_until
from cluster.paths import REPOSITORY
from support.install import operator_image

_NAME = "load"


class Measured(TypedDict):
    """The result of one concurrency."""

    concurrency: int
    complete: int
    failed: list[str]
    seconds: float
    tokens_per_second: float


def run_load(namespace: str, url: str, *concurrencies: int) -> list[Measured]:
    """Send `concurrencies` requests at once, one after the other, from a pod.

    Raises:
        ClusterError: the pod did not end well within ten minutes.
    """
    script = (REPOSITORY / "tests/load/generate.py").read_text()
    kubectl("-n", namespace, "delete", "pod,configmap", _NAME, "--ignore-not-found", "--now")
    for manifest in _manifests(namespace, script, ["/load/generate.py", url, *map(str, concurrencies)]):
        kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def is_over() -> bool:
        return kubectl_json("-n", namespace, "get", "pod", _NAME)["status"]["phase"] in ("Succeeded", "Failed")

    wait_until("the load generator is done", 600, is_over)
    lines = kubectl("-n", namespace, "logs", _NAME).splitlines()
    kubectl("-n", namespace, "delete", "pod,configmap", _NAME, "--now")
    measured: list[Measured] = json.loads(lines[-1])
    return measured


def _manifests(namespace: str, script: str, arguments: list[str]) -> list[dict[str, Any]]:
    metadata = {"name": _NAME, "namespace": namespace}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    container = {
        "name": "load",
        "image": operator_image(),
        "imagePullPolicy": "Never",
        "command": ["python", *arguments],
        "securityContext": security,
        "volumeMounts": [{"name": "load", "mountPath": "/load"}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "load", "configMap": {"name": _NAME}}],
        },
    }
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"generate.py": script}}
    return [config_map, pod]
