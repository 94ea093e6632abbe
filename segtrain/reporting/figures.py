"""Where the marks of a figure stand; ``templates/figures.svg.jinja`` draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segtrain.reporting.labels import place_labels, shorten
from segtrain.reporting.tables import Results, number, ranking, seconds

PALETTE = 10  # colours --m0 to --m9 of templates/report.css.jinja


@dataclass(frozen=True)
class Hue:
    """How a method looks everywhere: a colour of the palette and, from its second round on, rings and dashes."""

    slot: int
    ring: bool
    dash: str


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in pixels, and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Point:
    """A labelled mark; ``anchor`` is SVG's text-anchor of the label, ``leader`` says that a line joins the two."""

    x: float
    y: float
    label: str
    hue: Hue
    title: str
    label_x: float
    label_y: float
    anchor: str
    leader: bool


@dataclass(frozen=True)
class Curve:
    """A line through the figure, as SVG path data."""

    label: str
    hue: Hue
    path: str


@dataclass(frozen=True)
class Figure:
    """A figure's frame, axes and marks, in pixels from the top left."""

    title: str
    description: str
    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float
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
    """Seconds per image (logarithmic) against class-agnostic mask AP; None if no method has both."""
    measured: list[tuple[str, float, float]] = []
    for name in ranking(results):
        time = seconds(results["methods"][name])
        quality = number((results["methods"][name].get("class_agnostic") or {}).get("mask_ap"))
        if time is not None and time > 0 and quality is not None:
            measured.append((name, time, quality))
    if not measured:
        return None
    height = 400.0 if width > 500 else 370.0
    left, top, right, bottom = 46.0, 30.0, width - 14, height - 46
    low, high = math.log10(min(t for _, t, _ in measured)), math.log10(max(t for _, t, _ in measured))
    pad = max(0.18, 0.12 * (high - low))
    low, high = low - pad, high + pad
    ceiling, step = _ceiling(max(q for _, _, q in measured))

    def place(time: float, quality: float) -> tuple[float, float]:
        across = (math.log10(time) - low) / (high - low)
        return left + across * (right - left), bottom - quality / ceiling * (bottom - top)

    spots = [place(time, quality) for _, time, quality in measured]
    names = [shorten(name, 24) for name, _, _ in measured]
    labels = place_labels(spots, names, (left, top, right, bottom))
    look = hues(results)
    points = [
        Point(x, y, short, look[name], f"{name}: {_time(time)} per image, mask AP {quality:.3f}", *label)
        for (name, time, quality), short, (x, y), label in zip(measured, names, spots, labels, strict=True)
    ]
    best = "; ".join(point.title for point in points)
    return Figure(
        "Speed against quality", f"Scatter plot. {best}.", width, height, left, top, right, bottom,
        "seconds per image (logarithmic)", "mask AP",
        [Tick(place(t, 0)[0], _time(t)) for t in _decades(low, high, few=width < 500)],
        [Tick(place(1, q)[1], f"{q:.2f}") for q in _steps(ceiling, step)],
        points=points, frontier=_frontier(spots, right),
    )  # fmt: skip


def precision_recall(results: Results, key: str, title: str, width: float) -> Figure | None:
    """Precision over recall of every method that has a curve; None if none has.

    Args:
        results: the content of ``results.json``.
        key: which curve, "iou50" or "mean".
        title: the figure's title.
        width: in pixels.
    """
    height = 0.86 * width
    left, top, right, bottom = 40.0, 28.0, width - 10, height - 44
    look = hues(results)
    curves = []
    for name in ranking(results):
        track = results["methods"][name].get("class_agnostic") or {}
        values = [number(v) for v in (track.get("precision_recall") or {}).get(key) or []]
        across = (right - left) / max(1, len(values) - 1)
        places = [(left + i * across, bottom - v * (bottom - top)) for i, v in enumerate(values) if v is not None]
        if len(places) > 1:
            curves.append(Curve(name, look[name], _path(places)))
    if not curves:
        return None
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    return Figure(
        title, f"Precision-recall curves of {', '.join(curve.label for curve in curves)}.",
        width, height, left, top, right, bottom, "recall", "precision",
        [Tick(left + t * (right - left), f"{t:g}") for t in ticks],
        [Tick(bottom - t * (bottom - top), f"{t:g}") for t in ticks],
        curves=curves[::-1],  # the best method's line is drawn last, on top
    )  # fmt: skip


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


def _ceiling(value: float) -> tuple[float, float]:
    """The top of an axis that starts at 0 and its step: 4 to 7 ticks of a round size, a little air above."""
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if value / s <= 6), 0.2)
    return step * max(1, math.ceil(value / step * 1.04)), step


def _steps(ceiling: float, step: float) -> list[float]:
    return [i * step for i in range(round(ceiling / step) + 1)]


def _decades(low: float, high: float, few: bool) -> list[float]:
    """Round times within 10**low..10**high: 1-2-5 steps where few decades show, else powers of ten."""
    digits = (1, 2, 5) if high - low < (1.4 if few else 2.6) else (1,)
    times = [d * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for d in digits]
    return [time for time in times if low <= math.log10(time) <= high]


def _time(value: float) -> str:
    if value < 0.9995:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g} s"
