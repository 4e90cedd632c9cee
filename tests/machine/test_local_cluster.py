"""The local cluster's own promises, on this machine. Last of all tests: they stop and start it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster import network, node, paths
from cluster.processes import command_line, is_running, pids_with_argument
from cluster.shell import run, succeeds

pytestmark = pytest.mark.e2e
WARM_START_SECONDS = 60
NUL = chr(0)
KILLED_AT = [
    pytest.param("etcd", marks=pytest.mark.full),
    "kube-apiserver",
    pytest.param("kubelet", marks=pytest.mark.full),
]


def leftovers() -> list[str]:
    """What a stopped cluster has left on the machine."""
    ours = (paths.RUN, paths.KUBELET_ROOT)
    processes = pids_with_argument(str(paths.RUN)) + pids_with_argument(str(paths.STATE))
    mounts = [Path(line.split()[1]) for line in Path("/proc/self/mounts").read_text().splitlines()]
    interfaces = [folder.name for folder in Path("/sys/class/net").iterdir()]
    families = [family for family in ("ip", "ip6") if succeeds(["nft", "list", "table", family, "kube-proxy"])]
    rules = [rule for tool in ("iptables", "ip6tables") for rule in run([f"{tool}-save"]).splitlines()]
    return [
        *(f"process {pid}: {' '.join(command_line(pid).split(NUL))}" for pid in processes),
        *(f"mount {point}" for point in mounts if any(point.is_relative_to(folder) for folder in ours)),
        *(f"interface {name}" for name in interfaces if name == network.BRIDGE or name.startswith("veth")),
        *(f"table {family} kube-proxy" for family in families),
        *(f"rule {rule}" for rule in rules if "KUBE-" in rule),
        *(f"cgroup {folder}" for folder in Path("/sys/fs/cgroup").glob("**/kubepods")),
    ]


def test_a_stopped_cluster_leaves_nothing_behind() -> None:
    node.start()
    node.stop(delete_data=False)
    assert leftovers() == []


@pytest.mark.parametrize("component", KILLED_AT)
def test_a_start_that_was_killed_half_way_is_recovered_from(component: str) -> None:
    node.stop(delete_data=False)
    starting = subprocess.Popen([sys.executable, "-m", "cluster", "start"], cwd=paths.REPOSITORY)
    while not is_running(component):
        assert starting.poll() is None, "it was killed before it had ended"
        time.sleep(0.01)
    starting.send_signal(signal.SIGKILL)
    starting.wait(10)
    assert not node.is_ready()
    began = time.monotonic()
    node.start()
    assert time.monotonic() - began < WARM_START_SECONDS
    assert node.is_ready()
