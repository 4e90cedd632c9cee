"""How far a fetch is: a line of text from time to time, which the operator shows in the status."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

Say = Callable[[str], None]
"""Takes one line for people."""
_PERIOD_SECONDS: Final = 5.0
_GIB: Final = 2**30
_MIB: Final = 2**20


class Progress:
    """Says how many of `total` bytes lie in a folder, while its context is open."""

    def __init__(self, what: str, folder: Path, total: int, say: Say) -> None:
        self._what = what
        self._folder = folder
        self._total = total
        self._say = say
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def found(self) -> int:
        """Bytes that lie in the folder, also of files that are not complete yet."""
        # Files are renamed while this looks: one that is gone is counted under its next name.
        return sum(_size(path) for path in self._folder.rglob("*"))

    def __enter__(self) -> Self:
        """Begin to speak."""
        self._speak()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Be silent."""
        self._over.set()
        self._thread.join()
        self._speak()

    def _run(self) -> None:
        while not self._over.wait(_PERIOD_SECONDS):
            self._speak()

    def _speak(self) -> None:
        unit, name = (_GIB, "GiB") if self._total >= _GIB else (_MIB, "MiB")
        found = min(self.found, self._total)
        self._say(f"{self._what}: {found / unit:.1f} of {self._total / unit:.1f} {name}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0
