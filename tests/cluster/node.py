"""Start and stop the cluster, and clean up after one that was killed."""

import fcntl
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cluster import binaries, components, network, paths
from cluster.checks import check_alone, check_machine, check_ports
from cluster.errors import ClusterError
from cluster.images import BASE, BASE_MARK, import_pause
from cluster.kubectl import kubectl, kubectl_json, wait_until
from cluster.packages import install_packages
from cluster.processes import (
    command_line,
    is_running,
    kill,
    kill_component,
    log_tail,
    pids_with_argument,
    require_running,
    start_process,
    started_at,
    stop_process,
)
from cluster.progress import step
from cluster.shell import run, succeeds

COMPONENTS: Final = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
    "coredns",
)


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold off every other driver of this cluster.

    Raises:
        ClusterError: another one is at work.
    """
    with paths.LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ClusterError("another process is starting or stopping the cluster; wait for it") from error
        yield


def prepare() -> None:
    """Everything that a start needs and that outlives it: packages and programs.

    Raises:
        ClusterError: this machine cannot run the cluster, or something could not be built.
    """
    prepare_packages()
    binaries.build_programs()


def prepare_packages() -> None:
    """What programs and images are built with, and the cluster runs on.

    Raises:
        ClusterError: this machine cannot run the cluster, or a package could not be installed.
    """
    check_machine()
    install_packages()


def is_ready() -> bool:
    """Whether the cluster runs and its node is ready."""
    return all(map(is_running, COMPONENTS)) and _node_is_ready()


def start() -> None:
    """Start the cluster, unless it is ready already. What an earlier, killed start left is removed first.

    Raises:
        ClusterError: a component did not start; the end of its log is in the text.
    """
    prepare()
    with exclusive():
        if is_ready():
            return
        with step("cleaning up after an earlier cluster"):
            _sweep()
        check_ports(components.PORTS)
        with step("starting Kubernetes"):
            _start_components()


def stop(delete_data: bool) -> None:
    """Stop the cluster; nothing of it is left but what is on disk."""
    with exclusive(), step("stopping Kubernetes"):
        _sweep()
        if delete_data:
            shutil.rmtree(paths.STATE, ignore_errors=True)


@contextmanager
def without_apiserver() -> Iterator[None]:
    """Do something while the API server is gone; it dies at once and comes back as it was.

    Raises:
        ClusterError: it did not come back.
    """
    command = kill_component("kube-apiserver")
    try:
        yield
    finally:
        _start_apiserver(command)


@contextmanager
def apiserver_with(*flags: str) -> Iterator[None]:
    """Do something while the API server runs with other flags as well.

    Raises:
        ClusterError: it did not come up with them, or not again without.
    """
    command = kill_component("kube-apiserver")
    try:
        _start_apiserver([*command, *flags])
        yield
    finally:
        if is_running("kube-apiserver"):
            kill_component("kube-apiserver")
        _start_apiserver(command)


def _start_apiserver(command: list[str]) -> None:
    """In the place of one that was killed: its port may be taken for a moment longer."""
    listens = _listens("127.0.0.1", components.API_PORT)
    wait_until("the port of kube-apiserver is free", 10, lambda: not listens(), every=0.2)
    start_process("kube-apiserver", command)
    _wait_for("kube-apiserver", 60, _apiserver_is_ready)


def clean() -> None:
    """Stop the cluster and remove everything that was ever built or stored for it."""
    stop(delete_data=True)
    base_is_ours = BASE_MARK.exists()
    with step("removing built programs and images"):
        shutil.rmtree(paths.CACHE, ignore_errors=True)
        names = run(["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"]).split() if shutil.which("buildah") else []
        ours = [name for name in names if "/triton-vllm-operator/" in name or (base_is_ours and name == BASE)]
        if ours:
            succeeds(["buildah", "rmi", "--force", *ours])
            succeeds(["buildah", "rmi", "--prune"])


def status() -> list[str]:
    """One line for each component, and one for the node."""
    lines = [f"{name}: {'running' if is_running(name) else 'not running'}" for name in COMPONENTS]
    return [*lines, f"node: {'ready' if is_ready() else 'not ready'}"]


def collect_logs(target: Path) -> None:
    """Copy the logs of all components and pods, and the state of the objects."""
    target.mkdir(parents=True, exist_ok=True)
    for log in paths.LOGS.glob("*.log"):
        shutil.copy(log, target)
    for words in (["get", "all,llm", "-A", "-o", "wide"], ["get", "events", "-A"], ["describe", "pods", "-A"]):
        try:
            (target / f"{words[0]}-{words[1].split(',')[0]}.txt").write_text(kubectl(*words))
        except ClusterError as error:
            (target / "kubectl-errors.txt").write_text(str(error))
    if Path("/var/log/pods").exists():
        shutil.copytree("/var/log/pods", target / "pods", dirs_exist_ok=True, ignore_dangling_symlinks=True)


def _start_components() -> None:
    for folder in (paths.RUN, paths.CONFIG, paths.LOGS, paths.KUBELET_ROOT):
        folder.mkdir(parents=True, exist_ok=True)
    network.bring_up()
    credentials = components.issue_credentials()
    start_process("etcd", components.etcd())
    start_process("containerd", components.containerd(), [binaries.SHIM.folder])
    _wait_for("etcd", 30, _listens("127.0.0.1", components.ETCD_PORT))
    start_process("kube-apiserver", components.apiserver(credentials))
    _wait_for("containerd", 30, _containerd_answers)
    import_pause()
    _wait_for("kube-apiserver", 60, _apiserver_is_ready)
    start_process("kube-controller-manager", components.controller_manager(credentials))
    start_process("kube-scheduler", components.scheduler(credentials))
    start_process("kubelet", components.kubelet(credentials))
    start_process("kube-proxy", components.kube_proxy(credentials))
    _bind_kube_proxy()
    _grant_coredns()
    start_process("coredns", components.coredns(credentials))
    _wait_for("coredns", 60, _listens(network.NODE_ADDRESS, components.DNS_PORT))
    _wait_for("kubelet", 90, _node_is_ready)
    _forget_earlier_pods()


def _bind_kube_proxy() -> None:
    if not _is_there("clusterrolebinding", "kube-proxy"):
        binding = "--clusterrole=system:node-proxier"
        kubectl("create", "clusterrolebinding", "kube-proxy", binding, "--user=system:kube-proxy")


def _grant_coredns() -> None:
    if _is_there("clusterrolebinding", "coredns"):
        return
    read = "--resource=services,namespaces,endpointslices.discovery.k8s.io"
    kubectl("create", "clusterrole", "coredns", "--verb=list,watch", read)
    kubectl("create", "clusterrolebinding", "coredns", "--clusterrole=coredns", f"--user={components.DNS_USER}")


def _is_there(kind: str, name: str) -> bool:
    return succeeds([binaries.KUBECTL.path, f"--kubeconfig={paths.KUBECONFIG}", "get", kind, name])


def _forget_earlier_pods() -> None:
    """Pods of an earlier run of this cluster are shells of dead processes: their controllers make new ones."""
    kubectl("delete", "pods", "--all", "--all-namespaces", "--grace-period=0", "--force", "--wait=false")


def _wait_for(component: str, seconds: float, holds: Callable[[], bool]) -> None:
    def alive_and_holds() -> bool:
        require_running(component)
        return holds()

    try:
        wait_until(f"{component} is up", seconds, alive_and_holds, every=0.2)
    except ClusterError as error:
        raise ClusterError(f"{error}\nthe end of its log:\n{log_tail(component)}") from error


def _listens(host: str, port: int) -> Callable[[], bool]:
    def probe() -> bool:
        with socket.socket() as client:
            client.settimeout(1)
            return client.connect_ex((host, port)) == 0

    return probe


def _containerd_answers() -> bool:
    return succeeds([binaries.CTR.path, "--address", paths.CONTAINERD_SOCKET, "version"])


def _apiserver_is_ready() -> bool:
    return kubectl("get", "--raw", "/readyz", timeout=5) == "ok"


def _node_is_ready() -> bool:
    """Whether the present kubelet says so: what an earlier one said stays in the API server for a while."""
    try:
        node = kubectl_json("get", "node", components.NODE)
    except ClusterError:
        return False
    began = datetime.fromtimestamp(started_at("kubelet"), UTC).replace(microsecond=0)
    return any(
        c["type"] == "Ready" and c["status"] == "True" and datetime.fromisoformat(c["lastHeartbeatTime"]) >= began
        for c in node["status"]["conditions"]
    )


def _sweep() -> None:
    """Remove every process, mount, namespace, interface and rule of an earlier cluster.

    Raises:
        ClusterError: another Kubernetes runs on this machine.
    """
    check_alone()
    for name in reversed(COMPONENTS):
        stop_process(name)
    _kill_helpers()
    _kill_pods()
    _unmount_below(paths.RUN, paths.KUBELET_ROOT)
    network.take_down()
    shutil.rmtree(paths.RUN, ignore_errors=True)
    shutil.rmtree(paths.KUBELET_ROOT, ignore_errors=True)
    _remove_pod_cgroups()


def _kill_helpers() -> None:
    """Shims, the runc of a pod that was being made (it outlives its shim), and components of which nothing is known."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        left = [*pids_with_argument(str(paths.RUN / "containerd")), *pids_with_argument(str(paths.KUBELET_ROOT))]
        # A component whose record is lost: a start that was killed between the process and the note of it.
        lost = [pid for name in COMPONENTS for pid in pids_with_argument(f"/{name}\0")]
        left += [pid for pid in lost if command_line(pid).startswith(str(paths.BINARIES))]
        if not left:
            return
        for pid in left:
            kill(pid)
        time.sleep(0.02)


def _kill_pods() -> None:
    for tasks in Path("/sys/fs/cgroup").glob("**/kubepods/**/cgroup.procs"):
        try:
            pids = tasks.read_text().split()
        except OSError:
            continue
        for pid in pids:
            kill(int(pid))


def _unmount_below(*folders: Path) -> None:
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in reversed(mounted):
        if any(Path(point).is_relative_to(folder) for folder in folders):
            succeeds(["umount", "--lazy", point])


def _remove_pod_cgroups() -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        left = sorted(Path("/sys/fs/cgroup").glob("**/kubepods"), key=lambda p: -len(p.parts))
        left = [folder for root in left for folder in sorted(root.rglob("*/"), key=lambda p: -len(p.parts))] + left
        if not left:
            return
        for folder in left:
            try:
                folder.rmdir()
            except OSError:
                time.sleep(0.02)
