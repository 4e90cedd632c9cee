"""A client of a model: a script in a pod of the local cluster, which sees names and addresses as a user's pod does."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster.kubectl import kubectl, kubectl_json, wait_until
from cluster.paths import REPOSITORY
from support.install import operator_image

_NAME = "client"


def run_client(namespace: str, script: str, *arguments: str, seconds: float = 600, image: str = "") -> str:
    """Run a file of tests/load with these arguments; the last line that it prints.

    `image` is one with Python; the operator's if none is named.

    Raises:
        ClusterError: the pod did not end in time.
        AssertionError: it failed.
    """
    text = (REPOSITORY / "tests/load" / script).read_text()
    kubectl("-n", namespace, "delete", "pod,configmap", _NAME, "--ignore-not-found", "--now")
    for manifest in _manifests(namespace, text, list(arguments), image or operator_image()):
        kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def phase() -> str:
        return str(kubectl_json("-n", namespace, "get", "pod", _NAME)["status"]["phase"])

    wait_until(f"{script} is done", seconds, lambda: phase() in ("Succeeded", "Failed"))
    log = kubectl("-n", namespace, "logs", _NAME)
    assert phase() == "Succeeded", log[-3000:]
    kubectl("-n", namespace, "delete", "pod,configmap", _NAME, "--now")
    return log.splitlines()[-1]


def run_client_beside(
    namespace: str, work: Callable[[], object], script: str, *arguments: str, seconds: float = 600, image: str = ""
) -> dict[str, Any]:
    """What such a client says in the end, with whom something is done from its first answer on.

    It prints a line with `answered` then, and JSON as its last one.
    """
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(run_client, namespace, script, *arguments, seconds=seconds, image=image)
        wait_until("the client is answered", 120, lambda: _is_answered(namespace))
        work()
        return dict(json.loads(found.result()))


def _is_answered(namespace: str) -> bool:
    return "answered" in kubectl("-n", namespace, "logs", _NAME, "--ignore-errors")


def _manifests(namespace: str, script: str, arguments: list[str], image: str) -> list[dict[str, Any]]:
    metadata = {"name": _NAME, "namespace": namespace}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    container = {
        "name": _NAME,
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python", "/client/client.py", *arguments],
        "securityContext": security,
        "volumeMounts": [{"name": "client", "mountPath": "/client"}],
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
            "volumes": [{"name": "client", "configMap": {"name": _NAME}}],
        },
    }
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"client.py": script}}
    return [config_map, pod]
