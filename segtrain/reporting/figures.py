"""Where the marks of a figure stand; ``templates/figures.svg.jinja`` draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segtrain.reporting.axes import Frame, Tick, round_times, scale, time_text
from segtrain.reporting.labels import Label, place_labels, shorten
from segtrain.reporting.tables import Results, number, ranking, seconds

PALETTE = 10  # colours --m0 to --m9 of templates/report.css.jinja


@dataclass(frozen=True)
class Hue:
    """How a method looks everywhere: a colour of the palette and, from its second round on, rings and dashes."""

    slot: int
    ring: bool
    dash: str


@dataclass(frozen=True)
class Point:
    """A mark with its label; ``title`` is what a pointer over it shows."""

    x: float
    y: float
    text: str
    label: Label
    hue: Hue
    title: str


@dataclass(frozen=True)
class Curve:
    """A line through the figure, as SVG path data."""

    method: str
    hue: Hue
    path: str


@dataclass(frozen=True)
class Figure:
    """All that is drawn; ``description`` says the same to those who cannot see it."""

    title: str
    description: str
    frame: Frame
    x_title: str
    y_title: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    points: Sequence[Point] = ()
    curves: Sequence[Curve] = ()
    frontier: str = ""


def hues(results: Results) -> dict[str, Hue]:
    """Each method's look, given out by rank, so that tables and figures agree."""
    dashes = ("", "7 4", "2 3")
    return {
        name: Hue(i % PALETTE, i >= PALETTE, dashes[min(i // PALETTE, len(dashes) - 1)])
        for i, name in enumerate(ranking(results))
    }


def speed_quality(results: Results, width: float) -> Figure | None:
    """Seconds per image (logarithmic) against class-agnostic mask AP; None if no method has both.

    Args:
        results: the content of ``results.json``.
        width: in pixels.
    """
    measured = _measured(results)
    if not measured:
        return None
    height = 400.0 if width > 500 else 370.0
    frame = Frame(width, height, 46, 30, width - 14, height - 46)
    logs = [math.log10(time) for _, time, _ in measured]
    # A quarter of a decade on both sides is room for the marks, and always holds a tick.
    pad = max(0.25, 0.12 * (max(logs) - min(logs)))
    low, high = min(logs) - pad, max(logs) + pad
    top, step = scale(max(quality for _, _, quality in measured))

    def place(time: float, quality: float) -> tuple[float, float]:
        return frame.at((math.log10(time) - low) / (high - low), quality / top)

    spots = [place(time, quality) for _, time, quality in measured]
    names = [shorten(name, 24) for name, _, _ in measured]
    labels = place_labels(spots, names, (frame.left, frame.top, frame.right, frame.bottom))
    look = hues(results)
    decimals = 2 if step >= 0.01 else 3
    points = [
        Point(*spot, text, label, look[name], f"{name}: {time_text(time)} per image, mask AP {quality:.3f}")
        for (name, time, quality), spot, text, label in zip(measured, spots, names, labels, strict=True)
    ]
    return Figure(
        title="Speed against quality",
        description=f"Scatter plot. {'; '.join(point.title for point in points)}.",
        frame=frame,
        x_title="seconds per image (logarithmic)",
        y_title="mask AP",
        x_ticks=[Tick(place(time, 0)[0], time_text(time)) for time in round_times(low, high, few=width < 500)],
        y_ticks=[
            Tick(frame.at(0, i * step / top)[1], f"{i * step:.{decimals}f}") for i in range(round(top / step) + 1)
        ],
        points=points,
        frontier=_frontier(spots, frame.right),
    )


def precision_recall(results: Results, key: str, title: str, width: float) -> Figure | None:
    """Class-agnostic precision over recall of every method that has a curve; None if none has.

    Args:
        results: the content of ``results.json``.
        key: which curve, "iou50" or "mean".
        title: the figure's title.
        width: in pixels.
    """
    height = 0.86 * width
    frame = Frame(width, height, 40, 28, width - 10, height - 44)
    look = hues(results)
    curves = []
    for name in ranking(results):
        track = results["methods"][name].get("class_agnostic") or {}
        values = [number(v) for v in (track.get("precision_recall") or {}).get(key) or []]
        last = max(1, len(values) - 1)
        places = [frame.at(i / last, v) for i, v in enumerate(values) if v is not None]
        if len(places) > 1:
            curves.append(Curve(name, look[name], _path(places)))
    if not curves:
        return None
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    return Figure(
        title=title,
        description=f"Precision-recall curves of {', '.join(curve.method for curve in curves)}.",
        frame=frame,
        x_title="recall",
        y_title="precision",
        x_ticks=[Tick(frame.at(t, 0)[0], f"{t:g}") for t in ticks],
        y_ticks=[Tick(frame.at(0, t)[1], f"{t:g}") for t in ticks],
        curves=curves[::-1],  # the best method's line is drawn last, on top
    )


def _measured(results: Results) -> list[tuple[str, float, float]]:
    """Name, seconds per image and mask AP of the methods that have both, best first."""
    found = []
    for name in ranking(results):
        time = seconds(results["methods"][name])
        quality = number((results["methods"][name].get("class_agnostic") or {}).get("mask_ap"))
        if time is not None and time > 0 and quality is not None:
            found.append((name, time, quality))
    return found


def _frontier(spots: Sequence[tuple[float, float]], right: float) -> str:
    """The staircase that only the methods not beaten in both speed and quality touch."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted(spots):
        if not corners or y < corners[-1][1]:
            if corners:
                corners.append((x, corners[-1][1]))
            corners.append((x, y))
    return _path([*corners, (right, corners[-1][1])])


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
