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
        left, was_waited_for = _AFTERWARDS, False
        while left and not self._over.wait(self._look_seconds):
            if (is_waited_for := is_waited_for_by_parent(self._proc)) and was_waited_for:
                self._leave()
                return
            was_waited_for = is_waited_for
            left -= self._loaded.is_set()


def is_waited_for_by_parent(proc: Path = _PROC) -> bool:
    """Whether the parent waits for a child to end, and has this one alone. False where the kernel does not tell."""
    parent = os.getppid()
    try:
        waits = any((task / "wchan").read_text() == _WAITING for task in (proc / str(parent) / "task").iterdir())
    except OSError:
        return False
    return waits and _children(proc, parent) == [os.getpid()]


def _children(proc: Path, parent: int) -> list[int]:
    return [int(folder.name) for folder in proc.glob("[0-9]*") if _parent_of(folder) == parent]


def _parent_of(folder: Path) -> int:
    try:
        # The name before it may hold spaces and brackets.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        # It has ended meanwhile.
        return 0
