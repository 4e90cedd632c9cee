"""Progress: a live line at a terminal, plain lines in a pipe."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.status import Status

_CONSOLE = Console(stderr=True)


@dataclass(slots=True)
class Steps:
    """A known number of steps, each with its name and the time it took."""

    total: int
    title: str
    done: int = 0

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show `what` while it runs, and how long it took when it is over."""
        self.done += 1
        with step(f"{self.title} {self.done}/{self.total}: {what}"):
            yield


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show `what` while it runs, and how long it took when it is over."""
    started = time.monotonic()
    if not _CONSOLE.is_terminal:
        say(f"{what} ...")
        yield
        say(f"{what}: {time.monotonic() - started:.1f} s")
        return
    with Status(what, console=_CONSOLE) as status:
        ticker = _Ticker(status, what, started)
        with ticker:
            yield
    _CONSOLE.print(f"[green]done[/green] {what} [dim]{time.monotonic() - started:.1f} s[/dim]")


class _Ticker:
    """Shows the seconds that a step has taken so far."""

    def __init__(self, status: Status, what: str, started: float) -> None:
        self._status, self._what, self._started = status, what, started

    def __enter__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(1):
            self._status.update(f"{self._what} [dim]{time.monotonic() - self._started:.0f} s[/dim]")


def say(text: str) -> None:
    """One plain line."""
    print(text, file=sys.stderr, flush=True)
