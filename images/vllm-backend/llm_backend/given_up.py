"""Ends this process once Triton waits for that.

While a model loads, Triton asks each second whether a thread of this process ran. Where none did (a full node, a
container that is throttled) it takes the model for failed, and then waits for the end of this process, without a limit
and without a word: the server never is ready, and never ends
(python_backend, src/stub_launcher.cc: ReceiveMessageFromStub, and what Launch defers).
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

_PROC = Path("/proc")
_LOOK_SECONDS = 2.0
_AFTERWARDS = 30
"""Looks after the model is loaded: Triton may have given it up at its last moment."""
_WAITING = "do_wait"
"""Where the kernel holds a thread that waits for a child to end."""
_ENDED = "Z"


class Watch:
    """Looks at Triton from a thread of its own, until it has what was loaded."""

    def __init__(self, leave: Callable[[], None], proc: Path = _PROC, look_seconds: float = _LOOK_SECONDS) -> None:
        """`leave` is called once, when Triton was seen to wait twice in a row."""
        self._leave, self._proc, self._look_seconds = leave, proc, look_seconds
        self._loaded, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="given-up", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def loaded(self) -> None:
        """The model is loaded: Triton takes it now, or has given it up."""
        self._loaded.set()

    def stop(self) -> None:
        """Look no longer: Triton waits for this process because it is to end."""
        self._over.set()

    def _run(self) -> None:
        looks_left, seen_before = _AFTERWARDS, False
        while looks_left > 0 and not self._over.wait(self._look_seconds):
            seen = is_waited_for(self._proc)
            if seen and seen_before:
                self._leave()
                return
            seen_before = seen
            if self._loaded.is_set():
                looks_left -= 1


def is_waited_for(proc: Path = _PROC) -> bool:
    """Whether the parent waits for a child to end, and has this one alone. False where the kernel does not tell.

    Of other programs it may have more: what `spec.cache` started before it became the server (compile_cache.py).
    """
    parent = os.getppid()
    try:
        waits = any((task / "wchan").read_text() == _WAITING for task in (proc / str(parent) / "task").iterdir())
    except OSError:
        return False
    mine, children = _program(proc, os.getpid()), _running_children(proc, parent)
    return waits and [each for each in children if _program(proc, each) in (mine, None)] == [os.getpid()]


def _running_children(proc: Path, parent: int) -> list[int]:
    """Without those that have ended: as a container's first process Triton inherits them, and never looks."""
    found = ((int(folder.name), _state_and_parent(folder)) for folder in proc.glob("[0-9]*"))
    return [process for process, (state, its_parent) in found if its_parent == parent and state != _ENDED]


def _program(proc: Path, process: int) -> str | None:
    """The file that it runs; None if that may not be read."""
    try:
        return str((proc / str(process) / "exe").readlink())
    except OSError:
        return None


def _state_and_parent(folder: Path) -> tuple[str, int]:
    try:
        # The name before them may hold spaces and brackets.
        state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return _ENDED, 0
    return state, int(parent)
