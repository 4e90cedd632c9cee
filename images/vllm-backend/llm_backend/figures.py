"""What the engine said of itself since the server's metrics were last written."""

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

# Each value of a histogram is a message to the server, of 0.1 ms: of tokens no more than these go into one writing.
TOKEN_SAMPLE = 100


@dataclass(slots=True)
class Figures:
    """Figures to be written."""

    counters: dict[str, float] = field(default_factory=dict)
    """What is to be added."""
    gauges: dict[str, float] = field(default_factory=dict)
    values: list[tuple[str, float]] = field(default_factory=list)
    """Of histograms."""


class Collector:
    """Keeps figures until they are taken: of tokens never more than a writing can hold, however fast the engine is.

    Counters are added up, of gauges the newest stands, of requests every value is kept. Of values for each token a
    uniform sample is kept (reservoir sampling): one time between two writings weighs as much as another then, whether
    it had many tokens or few.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures = Figures()
        self._sample: list[tuple[str, float]] = []
        self._tokens = 0

    @property
    def values(self) -> int:
        """How many values of histograms wait."""
        return len(self._figures.values) + len(self._sample)

    def increment(self, name: str, value: float) -> None:
        """Add to a counter."""
        if value > 0:
            with self._lock:
                self._figures.counters[name] = self._figures.counters.get(name, 0) + value

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self._figures.gauges[name] = value

    def observe(self, name: str, values: Iterable[float]) -> None:
        """Put values of requests into a histogram."""
        with self._lock:
            self._figures.values += [(name, value) for value in values]

    def observe_tokens(self, name: str, values: Iterable[float]) -> None:
        """Put values of tokens into a histogram."""
        with self._lock:
            for value in values:
                self._tokens += 1
                if len(self._sample) < TOKEN_SAMPLE:
                    self._sample.append((name, value))
                elif (place := random.randrange(self._tokens)) < TOKEN_SAMPLE:
                    self._sample[place] = (name, value)

    def take(self) -> Figures:
        """Everything that came since the last time."""
        with self._lock:
            taken, self._figures = self._figures, Figures()
            taken.values += self._sample
            self._sample, self._tokens = [], 0
        return taken
