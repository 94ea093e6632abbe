"""The frame of a figure: where values stand and which of them are ticks."""

import math
from dataclasses import dataclass


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


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in pixels, and its label."""

    at: float
    label: str


def scale(value: float) -> tuple[float, float]:
    """The top of an axis that starts at 0, with a little air above the value but at most 1, and its round step.

    Args:
        value: the largest one to show, in [0, 1].
    """
    step = next((s for s in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1) if value / s <= 6), 0.2)
    return min(1.0, step * max(1, math.ceil(value / step * 1.04))), step


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
