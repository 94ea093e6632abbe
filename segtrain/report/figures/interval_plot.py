"""A number of every method on one scale, with the interval it is known to."""

from collections.abc import Sequence
from dataclasses import dataclass

from segtrain.report.figures.axes import Frame, scale, ticks
from segtrain.report.figures.drawing import Canvas, Hue, hues
from segtrain.report.figures.lanes import lanes
from segtrain.report.figures.text import fit, width_of
from segtrain.report.tables.cells import METRICS, Results, interval, is_oracle, number, ranking

_LANE = 22.0  # pixels from one method to the next
_NAMES, _NUMBERS = 136.0, 48.0  # pixels that names take at most, and the numbers at the right


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


@dataclass(frozen=True, kw_only=True)
class IntervalPlot(Canvas):
    """All that is drawn; ``bounds_at`` is the height of the line above the oracles, None without any."""

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
    lane = lanes([oracle for *_, oracle in found], 12, _LANE)
    names = [fit(name, _NAMES) for name, *_ in found]
    frame = Frame(width, lane.bottom + 40, max(map(width_of, names)) + 12, 12, width - _NUMBERS, lane.bottom + 2)
    top, step = scale(
        max(max(value, ends[1] if ends else 0.0) for _, value, ends, _ in found), frame.right - frame.left
    )
    look = hues(results)

    def across(value: float) -> float:
        return frame.at(value / top, 0)[0]

    marks = [
        Mark(
            x=across(value),
            y=middle,
            whisker=(across(ends[0]), across(ends[1])) if ends else None,
            name=short,
            text=f"{value:.3f}",
            hue=look[name],
            title=f"{name}: {title} {value:.3f}" + (f", 95 % interval {ends[0]:.3f} to {ends[1]:.3f}" if ends else ""),
            oracle=oracle,
        )
        for (name, value, ends, oracle), short, middle in zip(found, names, lane.middles, strict=True)
    ]
    return IntervalPlot(
        title=title,
        description="; ".join(mark.title + (" (upper bound)" if mark.oracle else "") for mark in marks) + ".",
        frame=frame,
        x_title=title,
        x_ticks=frame.x_ticks(ticks(top, step)),
        marks=marks,
        bounds_at=lane.bounds_at,
    )
