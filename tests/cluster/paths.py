"""Where the local cluster keeps things. All of it is outside the tree."""

from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
GO_MODULES: Final = Path(__file__).resolve().parent / "go"

CACHE: Final = Path("/var/cache/triton-vllm-operator")
"""Built binaries and imported images: kept by `stop`, removed by `clean`."""
BINARIES: Final = CACHE / "bin"
IMAGE_MARKS: Final = CACHE / "images"
IMAGE_STORE: Final = CACHE / "containerd"

STATE: Final = Path("/var/lib/triton-vllm-operator")
"""The data of a cluster: removed by `stop --delete-data`."""
PKI: Final = STATE / "pki"
LOGS: Final = STATE / "logs"
CONFIG: Final = STATE / "config"
AUDIT_LOG: Final = LOGS / "audit.log"
KUBECONFIG: Final = CONFIG / "admin.kubeconfig"
KUBELET_ROOT: Final = STATE / "kubelet"

RUN: Final = Path("/run/triton-vllm-operator")
"""Sockets, process ids and mounts of a running cluster."""
PIDS: Final = RUN / "pids"
CONTAINERD_SOCKET: Final = RUN / "containerd.sock"
LOCK: Final = Path("/run/triton-vllm-operator.lock")
