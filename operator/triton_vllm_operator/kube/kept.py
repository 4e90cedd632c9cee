"""An answer that serves all who ask within some time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

REFUSED_SECONDS: Final = 600.0
"""A right that is missing does not come from one minute to the next."""
_Key = TypeVar("_Key", bound=Hashable)
_Answer = TypeVar("_Answer")


class Kept(Generic[_Key, _Answer]):
    """One answer for each key, asked for anew once it holds no longer. Whoever asks meanwhile waits for it."""

    def __init__(self, ask: Callable[[_Key], Awaitable[tuple[_Answer, float]]], clock: Callable[[], float]) -> None:
        """`ask` gives an answer, and for how many seconds it holds."""
        self._ask = ask
        self._clock = clock
        self._lock = asyncio.Lock()
        self._answers: dict[_Key, tuple[_Answer, float]] = {}

    async def get(self, key: _Key) -> _Answer:
        """The answer.

        Raises:
            Exception: what asking raises; nothing is kept then.
        """
        async with self._lock:
            now = self._clock()
            self._answers = {each: kept for each, kept in self._answers.items() if now < kept[1]}
            if key not in self._answers:
                answer, seconds = await self._ask(key)
                self._answers[key] = (answer, self._clock() + seconds)
            return self._answers[key][0]
