"""A metrics API for the HPA: prometheus-adapter on this machine, over a Prometheus that finds the cluster's pods."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cluster import binaries, network, paths
from cluster.errors import ClusterError
from cluster.kubectl import kubectl, kubectl_json, wait_until
from support.prometheus import URL, prometheus

_NAMESPACE: Final = "metrics"
_PORT: Final = 16444
_API: Final = "external.metrics.k8s.io"
_METRIC: Final = "llmdeployment_requests"
_TARGETS: Final = "targets.json"
_SELECTOR: Final = "app.kubernetes.io/managed-by=triton-vllm-operator"
_LOOK_SECONDS: Final = 2.0


@contextmanager
def metrics_api(folder: Path, settings: Path, rules: Path) -> Iterator[None]:
    """An external metrics API with these settings of prometheus-adapter, while the context is open."""
    binaries.build_programs((binaries.METRICS_ADAPTER,))
    # Debian's Prometheus is built without the discovery of Kubernetes.
    found = {"files": [_TARGETS], "refresh_interval": "2s"}
    scrapes = [{"job_name": "engines", "file_sd_configs": [found]}]
    with _discovery(folder), prometheus(folder, scrapes, rules), _adapter(folder, settings):
        for manifest in _manifests():
            kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        try:
            wait_until(f"the metrics API offers {_METRIC}", 60, _is_offered)
            yield
        finally:
            kubectl("delete", "apiservice", f"v1beta1.{_API}", "--ignore-not-found")
            kubectl("delete", "namespace", _NAMESPACE, "--ignore-not-found", "--wait=false")


@contextmanager
def _discovery(folder: Path) -> Iterator[None]:
    """The pods of LLMDeployments, with the labels that the chart's PodMonitor gives them."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            pods = kubectl_json("get", "pods", "--all-namespaces", "-l", _SELECTOR)["items"]
            unfinished = folder / "targets.new"
            unfinished.write_text(json.dumps([_target(pod) for pod in pods if pod["status"].get("podIP")]))
            unfinished.rename(folder / _TARGETS)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _target(pod: dict[str, Any]) -> dict[str, Any]:
    metadata = pod["metadata"]
    labels = {
        "namespace": metadata["namespace"],
        "pod": metadata["name"],
        "llmdeployment": metadata["labels"]["app.kubernetes.io/instance"],
    }
    return {"targets": [f"{pod['status']['podIP']}:8002"], "labels": labels}


def _is_offered() -> bool:
    try:
        return _METRIC in kubectl("get", "--raw", f"/apis/{_API}/v1beta1")
    except ClusterError:
        return False


@contextmanager
def _adapter(folder: Path, settings: Path) -> Iterator[None]:
    words: list[str | Path] = [
        binaries.METRICS_ADAPTER.path,
        f"--config={settings}",
        f"--prometheus-url={URL}",
        "--metrics-relist-interval=2s",
        "--metrics-max-age=1m",
        f"--bind-address={network.NODE_ADDRESS}",
        f"--secure-port={_PORT}",
        f"--cert-dir={folder / 'certificates'}",
    ]
    words += [f"--{use}-kubeconfig={paths.KUBECONFIG}" for use in ("lister", "authentication", "authorization")]
    with (folder / "adapter.log").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log) as server:
        try:
            yield
        finally:
            os.kill(server.pid, signal.SIGTERM)


def _manifests() -> list[dict[str, Any]]:
    """https://kubernetes.io/docs/tasks/extend-kubernetes/setup-extension-api-server/."""
    metadata = {"name": "adapter", "namespace": _NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 443}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "adapter"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [network.NODE_ADDRESS]}],
            "ports": [{"port": _PORT, "protocol": "TCP"}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"v1beta1.{_API}"},
            "spec": {
                "service": metadata,
                "group": _API,
                "version": "v1beta1",
                # The adapter's certificate is its own, of this minute.
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    ]
