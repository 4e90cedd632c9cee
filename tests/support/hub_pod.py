"""The local hub as a pod: it serves SmolLM2 under the name acme/smollm2."""

import json
from pathlib import Path
from typing import Any

from cluster.images import MODEL_TOOLS, SMOLLM2
from cluster.kubectl import kubectl, wait_until

REPOSITORY = "acme/smollm2"
_NAME = "hub"
_PORT = 8080


def start_hub(namespace: str) -> str:
    """Start it; its endpoint."""
    for manifest in _manifests(namespace):
        kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    kubectl("-n", namespace, "wait", "--for=condition=Ready", f"pod/{_NAME}", "--timeout=60s")
    address = kubectl("-n", namespace, "get", "service", _NAME, "-o", "jsonpath={.spec.clusterIP}")
    wait_until("the hub is in its Service", 20, lambda: bool(_endpoints(namespace)))
    return f"http://{address}:{_PORT}"


def downloads(namespace: str, file: str) -> int:
    """How often a file has been asked for."""
    log = kubectl("-n", namespace, "logs", _NAME).splitlines()
    return sum(line.startswith("GET /store/") and line.endswith(f"/{file}") for line in log)


def _endpoints(namespace: str) -> str:
    labels = f"kubernetes.io/service-name={_NAME}"
    return kubectl("-n", namespace, "get", "endpointslices", "-l", labels, "-o", "jsonpath={.items[*].endpoints[*]}")


def _manifests(namespace: str) -> list[dict[str, Any]]:
    metadata = {"name": _NAME, "namespace": namespace, "labels": {"app": _NAME}}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    container = {
        "name": _NAME,
        "image": MODEL_TOOLS.name,
        "imagePullPolicy": "Never",
        "command": ["python", "/hub/hub.py", str(_PORT), "$(POD_IP)", "/weights", REPOSITORY],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
        "securityContext": security,
        "volumeMounts": [
            {"name": "hub", "mountPath": "/hub"},
            {"name": "weights", "mountPath": "/weights", "readOnly": True},
        ],
    }
    volumes = [
        {"name": "hub", "configMap": {"name": _NAME}},
        {"name": "weights", "image": {"reference": SMOLLM2.name, "pullPolicy": "Never"}},
    ]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": volumes,
        },
    }
    script = Path(__file__).with_name("hub.py").read_text()
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"hub.py": script}},
        pod,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": {"app": _NAME}, "ports": [{"port": _PORT}]},
        },
    ]
