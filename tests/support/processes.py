"""Processes of a pod on this machine, which is its node: to kill one, to stop it, or to hold a single thread of it."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cluster.errors import ClusterError

_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17
_EPOLL_WAIT: Final = frozenset({"232", "281", "441"})
"""Numbers of epoll_wait, epoll_pwait and epoll_pwait2 on x86-64."""


def processes_of(pod: dict[str, Any], words: bytes) -> list[int]:
    """The processes of a pod whose command line holds these words."""
    uid = str(pod["metadata"]["uid"])
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            groups = (folder / "cgroup").read_text()
            is_of_pod = uid in groups or uid.replace("-", "_") in groups
            if is_of_pod and words in (folder / "cmdline").read_bytes().replace(b"\0", b" "):
                found.append(int(folder.name))
        except OSError:
            # It has ended meanwhile.
            continue
    return found


def signal_processes(pod: dict[str, Any], words: bytes, number: int) -> None:
    """Send a signal to all of them.

    Raises:
        ClusterError: there is none.
    """
    found = processes_of(pod, words)
    if not found:
        raise ClusterError(f"pod {pod['metadata']['name']} has no process {words!r}")
    for process in found:
        os.kill(process, number)


@contextmanager
def held_event_loops(process: int) -> Iterator[int]:
    """Hold every thread of a process that waits for events, and nothing else of it; how many these are.

    Raises:
        ClusterError: there is none, or the kernel does not let us.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    held: list[int] = []
    for task in Path(f"/proc/{process}/task").iterdir():
        if task.joinpath("syscall").read_text().split()[0] not in _EPOLL_WAIT:
            continue
        if libc.ptrace(_PTRACE_ATTACH, int(task.name), None, None) != 0:
            raise ClusterError(f"thread {task.name}: {os.strerror(ctypes.get_errno())}")
        held.append(int(task.name))
    if not held:
        raise ClusterError(f"no thread of process {process} waits for events")
    try:
        yield len(held)
    finally:
        for thread in held:
            libc.ptrace(_PTRACE_DETACH, thread, None, None)


def overwrite(process: int, sample: bytes, length: int, value: bytes) -> int:
    """Fill with `value` whatever begins with a sample in the memory of a process, for so many bytes; how often.

    Raises:
        ClusterError: it is nowhere.
    """
    count = 0
    with Path(f"/proc/{process}/mem").open("r+b", buffering=0) as memory:
        for begin, end in _writable_regions(process):
            memory.seek(begin)
            place, region = 0, memory.read(end - begin)
            while region is not None and (place := region.find(sample, place)) >= 0:
                size = min(length, end - begin - place)
                memory.seek(begin + place)
                memory.write((value * (size // len(value) + 1))[:size])
                place, count = place + size, count + 1
    if not count:
        raise ClusterError(f"process {process} holds no such bytes")
    return count


def _writable_regions(process: int) -> Iterator[tuple[int, int]]:
    """Of memory that no file is behind."""
    for line in Path(f"/proc/{process}/maps").read_text().splitlines():
        addresses, rights, _, _, inode, *_ = line.split()
        if rights.startswith("rw") and inode == "0":
            begin, end = (int(address, 16) for address in addresses.split("-"))
            yield begin, end
