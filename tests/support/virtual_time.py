"""An event loop whose time jumps to the next timer instead of waiting for it: a day of probes takes seconds."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

Found = TypeVar("Found")
Given = ParamSpec("Given")


class _JumpingSelector(selectors.SelectSelector):
    """Waits for nothing: where a loop would wait, time has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run_virtually(main: Coroutine[Any, Any, Found]) -> Found:
    """Run it as asyncio.run does, in virtual time."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(main)


def virtually(test: Callable[Given, Coroutine[Any, Any, None]]) -> Callable[Given, None]:
    """A test that is run so."""

    @functools.wraps(test)
    def run(*given: Given.args, **named: Given.kwargs) -> None:
        run_virtually(test(*given, **named))

    return run
