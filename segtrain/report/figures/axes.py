"""The frame of a figure: where values stand and which of them are ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in pixels, and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Frame:
    """A drawing and the rectangle between its axes, in pixels from the top left."""

    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float

    def at(self, across: float, up: float) -> tuple[float, float]:
        """Pixels of a place that is given in fractions of the two axes."""
        return self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)

    def x_ticks(self, marked: Iterable[tuple[float, str]]) -> list[Tick]:
        """Ticks of the lower axis, from fractions of it and labels."""
        return [Tick(self.at(fraction, 0)[0], label) for fraction, label in marked]

    def y_ticks(self, marked: Iterable[tuple[float, str]]) -> list[Tick]:
        """Ticks of the left axis, from fractions of it and labels."""
        return [Tick(self.at(0, fraction)[1], label) for fraction, label in marked]


QUARTERS = ((0.0, "0"), (0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"), (1.0, "1"))  # ticks of an axis from 0 to 1
_DIGIT, _AIR = 8.0, 8.0  # pixels that a digit takes, and between two labels


def scale(value: float, room: float = math.inf) -> tuple[float, float]:
    """The top of an axis that starts at 0, with a little air above the value, and its round step.

    Args:
        value: the largest one to show, at least 0; up to 1 the top is at most 1.
        room: pixels of the axis where its labels stand side by side.
    """
    steps = [digit * 10.0**power for power in range(-3, 3) for digit in (1, 2, 5)]
    counts = [max(1, math.ceil(value / step * 1.04)) for step in steps]
    step, count = next(
        (step, count)
        for step, count in zip(steps, counts, strict=True)
        if value / step <= 6 and count * (_DIGIT * (_decimals(step) + 2) + _AIR) <= room
    )
    return (min(1.0, step * count) if value <= 1 else step * count), step


def ticks(top: float, step: float) -> list[tuple[float, str]]:
    """Every whole step of an axis from 0 to its top: the fraction of the axis, and the label."""
    return [(i * step / top, f"{i * step:.{_decimals(step)}f}") for i in range(math.floor(top / step + 1e-9) + 1)]


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))


def round_times(low: float, high: float, few: bool) -> list[float]:
    """Round times within 10**low..10**high: steps of 1-2-5 where not many decades show, else powers of ten.

    Args:
        low: decimal logarithm of the shortest time.
        high: decimal logarithm of the longest time.
        few: there is little room for ticks.
    """
    digits = (1, 2, 5) if high - low < (1.4 if few else 2.6) else (1,)
    times = [d * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for d in digits]
    return [time for time in times if low <= math.log10(time) <= high]


def time_text(value: float) -> str:
    """A time in seconds, in the unit that suits it."""
    return f"{value * 1000:.3g} ms" if value < 0.9995 else f"{value:.3g} s"
