"""A number of every method on one scale, with the interval it is known to."""

from collections.abc import Sequence
from dataclasses import dataclass

from segtrain.reporting.figures.axes import Frame, Tick, scale
from segtrain.reporting.figures.drawing import Hue, hues
from segtrain.reporting.figures.labels import shorten
from segtrain.reporting.tables.cells import METRICS, Results, interval, is_oracle, number, ranking

_LINE = 22.0  # pixels from one method to the next
_NAMES = 132.0  # pixels that names take, about 20 letters
_NUMBERS = 40.0  # pixels that the numbers at the right take


@dataclass(frozen=True)
class Mark:
    """One method: its place, its interval's ends (None: unknown), its name and number as they are written."""

    x: float
    y: float
    whisker: tuple[float, float] | None
    name: str
    text: str
    hue: Hue
    title: str
    oracle: bool


@dataclass(frozen=True)
class IntervalPlot:
    """All that is drawn; ``bounds_at`` is the height of the line above the oracles, None without any."""

    title: str
    description: str
    frame: Frame
    x_ticks: Sequence[Tick]
    marks: Sequence[Mark]
    bounds_at: float | None


def interval_plot(results: Results, key: str, width: float) -> IntervalPlot | None:
    """A class-agnostic number of every method that has it, in the order of the tables; None if none has.

    Args:
        results: the content of ``results.json``.
        key: of the number, in [0, 1].
        width: in pixels.
    """
    title = next(column.title for column in METRICS if column.key == key)
    found = []
    for name in ranking(results):
        track = results["methods"][name].get("class_agnostic") or {}
        if (value := number(track.get(key))) is not None:
            found.append((name, value, interval(track, key), is_oracle(results["methods"][name])))
    if not found:
        return None
    fair = sum(not oracle for *_, oracle in found)
    gap = 1.4 * _LINE if fair < len(found) else 0.0
    frame = Frame(width, len(found) * _LINE + gap + 52, _NAMES, 12, width - _NUMBERS - 8, len(found) * _LINE + gap + 14)
    top, step = scale(max(max(value, ends[1] if ends else 0.0) for _, value, ends, _ in found))
    look = hues(results)

    def across(value: float) -> float:
        return frame.at(value / top, 0)[0]

    marks = [
        Mark(
            x=across(value),
            y=frame.top + (i + 0.5) * _LINE + (gap if oracle else 0.0),
            whisker=(across(ends[0]), across(ends[1])) if ends else None,
            name=shorten(name, 20),
            text=f"{value:.3f}",
            hue=look[name],
            title=f"{name}: {title} {value:.3f}" + (f", 95 % interval {ends[0]:.3f} to {ends[1]:.3f}" if ends else ""),
            oracle=oracle,
        )
        for i, (name, value, ends, oracle) in enumerate(found)
    ]
    decimals = 1 if step >= 0.1 else 2 if step >= 0.01 else 3
    return IntervalPlot(
        title=title,
        description="; ".join(mark.title + (" (upper bound)" if mark.oracle else "") for mark in marks) + ".",
        frame=frame,
        x_ticks=[Tick(across(i * step), f"{i * step:.{decimals}f}") for i in range(round(top / step) + 1)],
        marks=marks,
        bounds_at=frame.top + fair * _LINE + 0.25 * gap if gap else None,
    )
