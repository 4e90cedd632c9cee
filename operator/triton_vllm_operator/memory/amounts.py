"""Bytes that are known within bounds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes: at least, expected, at most."""

    low: int
    expected: int
    high: int

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def or_more(self, other: "Range") -> "Range":
        """The larger of both, in each way."""
        return Range(max(self.low, other.low), max(self.expected, other.expected), max(self.high, other.high))

    def taken_from(self, total: int) -> "Range":
        """What is left of a total: the most where the least is taken."""
        return Range(total - self.high, total - self.expected, total - self.low)


def exactly(count: int) -> Range:
    """Bytes that are certain."""
    return Range(count, count, count)


def around(expected: float, below: float, above: float) -> Range:
    """Bytes that may be less and more than expected."""
    return Range(max(0, int(expected - below)), int(expected), int(expected + above))
