"""Processes that go on when the driver has ended, told apart by id and start time."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cluster import paths
from cluster.errors import ClusterError

_KUBELETS: Final = frozenset({"kubelet", "k3s", "k3s-server", "k3s-agent", "k0s", "rke2", "kubelite"})
_STOP_SECONDS: Final = 10.0


def start_process(name: str, command: Sequence[str | Path], search_path: Iterable[Path] = ()) -> None:
    """Start a component in the background; its output goes to a log file."""
    paths.PIDS.mkdir(parents=True, exist_ok=True)
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    # KUBECONFIG and proxies of the caller are none of the cluster's business.
    environment = {
        "PATH": ":".join([*map(str, search_path), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
        "HOME": "/root",
    }
    with (paths.LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    _pid_file(name).write_text(json.dumps({"pid": process.pid, "started": _start_time(process.pid)}))


def is_running(name: str) -> bool:
    """Whether the component that was started under this name still runs."""
    return recorded_pid(name) is not None


def started_at(name: str) -> float:
    """When a running component was started, in seconds since 1970."""
    return _pid_file(name).stat().st_mtime


def stop_process(name: str) -> None:
    """End a component: first politely, then not."""
    pid = recorded_pid(name)
    if pid is not None:
        _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while recorded_pid(name) is not None and time.monotonic() < deadline:
            _reap(pid)
            time.sleep(0.05)
        if recorded_pid(name) is not None:
            kill(pid)
    _pid_file(name).unlink(missing_ok=True)


def kill_component(name: str) -> list[str]:
    """End a component without a word, as a crash would; the command that starts it again.

    Raises:
        ClusterError: it does not run.
    """
    pid = recorded_pid(name)
    if pid is None:
        raise ClusterError(f"{name} does not run")
    command = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    kill(pid)
    return command


def kill(pid: int) -> None:
    """End one process at once, and see it gone: one that is in the kernel's hands (netlink) ends a moment later."""
    _signal(pid, signal.SIGKILL)
    deadline = time.monotonic() + _STOP_SECONDS
    while _start_time(pid) is not None and time.monotonic() < deadline:
        _reap(pid)
        time.sleep(0.01)


def command_line(pid: int) -> str:
    """The words of a process, each ended by a NUL; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def pids_with_argument(text: str) -> list[int]:
    """Processes that have `text` in their command line; never this one."""
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and text in command_line(pid)]


def other_kubelets() -> list[int]:
    """Kubernetes nodes on this machine that are not ours."""
    found = []
    for folder in Path("/proc").iterdir():
        command = command_line(int(folder.name)) if folder.name.isdigit() else ""
        if Path(command.split("\0")[0]).name in _KUBELETS and str(paths.KUBELET_ROOT) not in command:
            found.append(int(folder.name))
    return found


def log_tail(name: str, lines: int = 15) -> str:
    """The end of a component's log."""
    path = paths.LOGS / f"{name}.log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


def require_running(name: str) -> None:
    """Check that a component still runs.

    Raises:
        ClusterError: it has ended; the end of its log is in the text.
    """
    if not is_running(name):
        raise ClusterError(f"{name} has ended; the end of {paths.LOGS / name}.log:\n{log_tail(name)}")


def _pid_file(name: str) -> Path:
    return paths.PIDS / f"{name}.json"


def recorded_pid(name: str) -> int | None:
    """The id of a running component; None if it does not run."""
    try:
        recorded = json.loads(_pid_file(name).read_text())
    except (OSError, ValueError):
        return None
    pid = int(recorded["pid"])
    started = _start_time(pid)
    return pid if started is not None and started == recorded["started"] else None


def _start_time(pid: int) -> str | None:
    """Clock ticks after boot at which a process began; None if there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    """Take leave of a child of ours; others have their own parent for that."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
