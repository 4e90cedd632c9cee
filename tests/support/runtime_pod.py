"""A Python script in a pod of the CPU runtime, with SmolLM2's weights at /weights."""

import json
from typing import Any

from cluster.images import RUNTIME_CPU, SMOLLM2
from cluster.kubectl import kubectl, kubectl_json, wait_until

_NAME = "script"


def run_in_runtime(
    namespace: str, script: str, data: str = "{}", seconds: float = 120, claims: dict[str, str] | None = None
) -> Any:
    """Run `script` with the path of a file that holds `data`; the JSON that it prints as its last line.

    `claims`: PersistentVolumeClaims by the path where they are mounted.

    Raises:
        ClusterError: it did not end in time.
        AssertionError: it failed.
    """
    kubectl("-n", namespace, "delete", "pod,configmap", _NAME, "--ignore-not-found", "--now")
    for manifest in _manifests(namespace, {"script.py": script, "data.json": data}, claims or {}):
        kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def phase() -> str:
        return str(kubectl_json("-n", namespace, "get", "pod", _NAME)["status"]["phase"])

    wait_until("the script is over", seconds, lambda: phase() in ("Succeeded", "Failed"))
    log = kubectl("-n", namespace, "logs", _NAME)
    assert phase() == "Succeeded", log[-3000:]
    kubectl("-n", namespace, "delete", "pod,configmap", _NAME, "--now")
    return json.loads(next(line for line in reversed(log.splitlines()) if line.startswith(("{", "["))))


def _manifests(namespace: str, files: dict[str, str], claims: dict[str, str]) -> list[dict[str, Any]]:
    metadata = {"name": _NAME, "namespace": namespace}
    mounted = [(f"claim-{number}", path, claim) for number, (path, claim) in enumerate(claims.items())]
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    container = {
        "name": _NAME,
        "image": RUNTIME_CPU.name,
        "imagePullPolicy": "Never",
        "command": ["python", "/script/script.py", "/script/data.json"],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            {"name": "HF_HUB_OFFLINE", "value": "1"},
            {"name": "VLLM_CPU_KVCACHE_SPACE", "value": "1"},
        ],
        "securityContext": security,
        "volumeMounts": [
            {"name": "script", "mountPath": "/script"},
            {"name": "weights", "mountPath": "/weights", "readOnly": True},
            *({"name": name, "mountPath": path, "readOnly": True} for name, path, _ in mounted),
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    volumes = [
        {"name": "script", "configMap": {"name": _NAME}},
        {"name": "weights", "image": {"reference": SMOLLM2.name, "pullPolicy": "Never"}},
        *({"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, _, claim in mounted),
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    spec = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": volumes,
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
    ]
