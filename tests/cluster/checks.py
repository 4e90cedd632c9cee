"""Whether this machine can run the cluster, and what it lacks."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from cluster import paths
from cluster.errors import ClusterError
from cluster.processes import other_kubelets

DISK_GIB_FRESH: Final = 40
DISK_GIB_WARM: Final = 8
_GO_AT_LEAST: Final = (1, 26)
_PYTHON_AT_LEAST: Final = (3, 11)
PACKAGES: Final = {
    "runc": "runc",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "busybox": "busybox-static",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "mount": "mount",
}
CNI_PLUGIN: Final = Path("/usr/lib/cni/bridge")


def check_machine() -> None:
    """Check what cannot be installed.

    Raises:
        ClusterError: one line for each thing that is missing.
    """
    problems = [*_system(), *_tools(), *_disk()]
    if problems:
        raise ClusterError("this machine cannot run the local cluster:\n" + "\n".join(f"- {p}" for p in problems))


def check_alone() -> None:
    """Check that no other Kubernetes runs here: cleaning up ends the pods of a machine and removes kube-proxy's rules.

    Raises:
        ClusterError: there is another one.
    """
    if others := other_kubelets():
        raise ClusterError(
            f"another Kubernetes runs on this machine (process {', '.join(map(str, others))}); the local cluster needs "
            "a machine of its own, since cleaning up would take the other one's pods and rules with it"
        )


def check_ports(ports: dict[str, tuple[str, int]]) -> None:
    """Check that the ports of the components are free.

    Raises:
        ClusterError: another process holds one of them.
    """
    taken = [
        f"{name} needs {host}:{port}, which is in use" for name, (host, port) in ports.items() if _taken(host, port)
    ]
    if taken:
        raise ClusterError("\n".join([*taken, "`ss -ltnp` shows which process holds a port"]))


def _system() -> list[str]:
    problems = []
    release = Path("/etc/os-release")
    text = release.read_text() if release.exists() else ""
    if "ID=debian" not in text or 'VERSION_ID="12"' not in text:
        problems.append("it is not Debian 12, whose packages the cluster is made with")
    if os.uname().machine != "x86_64":
        problems.append(f"it is {os.uname().machine}; the runtime's packages are for x86-64")
    if os.geteuid() != 0:
        problems.append("you are not root, which containers and their network need")
    return problems


def _tools() -> list[str]:
    problems = []
    if sys.version_info[:2] < _PYTHON_AT_LEAST:
        problems.append(f"Python is {sys.version.split()[0]}; 3.11 or newer is needed")
    if shutil.which("go") is None:
        problems.append("go is not on PATH; 1.26 or newer is needed")
    else:
        answer = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"go(\d+)\.(\d+)", answer)
        if found is None or (int(found[1]), int(found[2])) < _GO_AT_LEAST:
            problems.append(f"go is {answer.strip() or 'unreadable'}; 1.26 or newer is needed")
    return problems


def _disk() -> list[str]:
    warm = paths.BINARIES.exists() and paths.IMAGE_STORE.exists()
    needed = DISK_GIB_WARM if warm else DISK_GIB_FRESH
    place = next(p for p in (paths.CACHE, *paths.CACHE.parents) if p.exists())
    free = shutil.disk_usage(place).free / 2**30
    if free >= needed:
        return []
    return [
        f"{place} has {free:.0f} GiB free, {needed} are needed; `make demo-clean` frees what the demo built, "
        "`go clean -cache -modcache` Go's caches, `buildah rmi --all` other images"
    ]


def _taken(host: str, port: int) -> bool:
    """Whether somebody listens: found by binding, so that nothing is ever sent to an address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
