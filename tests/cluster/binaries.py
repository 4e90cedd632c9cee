"""The cluster's programs, built from pinned Go modules and cached by the hash of their lock files."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import paths
from cluster.progress import Steps
from cluster.shell import run

_KUBERNETES: Final = "v1.36.3"
_VERSION_FLAGS: Final = " ".join(
    f"-X {name}={value}"
    for name, value in {
        # Without these the server calls itself v0.0.0, and helm's kubeVersion checks fail.
        "k8s.io/component-base/version.gitVersion": _KUBERNETES,
        "k8s.io/component-base/version.gitMajor": "1",
        "k8s.io/component-base/version.gitMinor": "36",
        "k8s.io/client-go/pkg/version.gitVersion": _KUBERNETES,
    }.items()
)

_FAST: Final = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")
"""Tables for a debugger, which the linker would drop, are an eighth of the compiler's time."""
_ENVIRONMENT: Final = {
    "CGO_ENABLED": "0",
    "GOFLAGS": "-mod=readonly",
    "GOTOOLCHAIN": "local",
    # A fifth of the compiler's time is its own garbage collection; the largest package takes 0.6 GB so, not 0.4.
    "GOGC": "400",
}


@dataclass(frozen=True, slots=True)
class Program:
    """A main package of one of the modules under go/."""

    module: str
    package: str
    name: str
    flags: str = ""
    tags: str = ""

    @property
    def folder(self) -> Path:
        """Where it is built to: the hash of everything that decides what is built."""
        digest = hashlib.sha256()
        for source in sorted((paths.GO_MODULES / self.module).glob("*.*")):
            digest.update(source.read_bytes())
        digest.update(f"{self.flags} {self.tags}".encode())
        return paths.BINARIES / f"{self.module}-{digest.hexdigest()[:12]}"

    @property
    def path(self) -> Path:
        """The executable."""
        return self.folder / self.name


def _kubernetes(name: str) -> Program:
    return Program("kubernetes", f"k8s.io/kubernetes/cmd/{name}", name, flags=_VERSION_FLAGS)


def _containerd(name: str) -> Program:
    package = f"github.com/containerd/containerd/v2/cmd/{name}"
    return Program("containerd", package, name, tags="no_btrfs,no_zfs,no_devmapper")


ETCD: Final = Program("etcd", "go.etcd.io/etcd/server/v3", "etcd")
APISERVER: Final = _kubernetes("kube-apiserver")
CONTROLLER_MANAGER: Final = _kubernetes("kube-controller-manager")
SCHEDULER: Final = _kubernetes("kube-scheduler")
KUBELET: Final = _kubernetes("kubelet")
KUBE_PROXY: Final = _kubernetes("kube-proxy")
KUBECTL: Final = _kubernetes("kubectl")
CONTAINERD: Final = _containerd("containerd")
SHIM: Final = _containerd("containerd-shim-runc-v2")
CTR: Final = _containerd("ctr")
HELM: Final = Program("helm", "helm.sh/helm/v3/cmd/helm", "helm")
COREDNS: Final = Program("coredns", ".", "coredns")
KSTATUS: Final = Program("kstatus", ".", "kstatus")
METRICS_ADAPTER: Final = Program("prometheus-adapter", "sigs.k8s.io/prometheus-adapter/cmd/adapter", "adapter")
"""Of no part of the cluster: it is built where it is needed."""

PROGRAMS: Final = (
    ETCD,
    CONTAINERD,
    SHIM,
    CTR,
    KUBECTL,
    APISERVER,
    CONTROLLER_MANAGER,
    SCHEDULER,
    KUBELET,
    KUBE_PROXY,
    HELM,
    COREDNS,
    KSTATUS,
)


def build_programs(wanted: tuple[Program, ...] = PROGRAMS) -> None:
    """Build what is not in the cache.

    Raises:
        ClusterError: a build failed.
    """
    missing = [program for program in wanted if not program.path.exists()]
    steps = Steps(len(missing), "building")
    for program in missing:
        with steps.step(program.name):
            _build(program)
    _remove_stale()


def _build(program: Program) -> None:
    program.folder.mkdir(parents=True, exist_ok=True)
    # Built beside its place and moved there: a build that was killed leaves no half program.
    unfinished = program.path.with_suffix(".unfinished")
    command = ["go", "build", *_FAST, "-ldflags", f"-s -w {program.flags}".strip()]
    command += ["-tags", program.tags] if program.tags else []
    run(
        [*command, "-o", unfinished, program.package],
        cwd=paths.GO_MODULES / program.module,
        environment={**os.environ, **_ENVIRONMENT},
    )
    unfinished.rename(program.path)


def _remove_stale() -> None:
    current = {program.folder for program in (*PROGRAMS, METRICS_ADAPTER)}
    for folder in paths.BINARIES.iterdir():
        if folder not in current:
            shutil.rmtree(folder)
