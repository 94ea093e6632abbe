"""Speed against quality."""

import math
from collections.abc import Sequence

from segtrain.report.figures.axes import Frame, round_times, scale, ticks, time_text
from segtrain.report.figures.drawing import Figure, Point, hues, line
from segtrain.report.figures.labels import place_labels
from segtrain.report.figures.text import fit
from segtrain.report.tables.cells import Results, contenders, interval, number, seconds

_NAME = 160.0  # pixels that a name may take


def speed_quality(results: Results, width: float) -> Figure | None:
    """Time per image (logarithmic) against class-agnostic mask AP and its interval; None if no method has both.

    Oracles are left out: what they do to find their setting has no time worth comparing.

    Args:
        results: the content of ``results.json``.
        width: in pixels.
    """
    measured = _measured(results)
    if not measured:
        return None
    # Many names need height where they have no width.
    height = 400.0 if width > 500 else 400.0 + 14 * max(0, len(measured) - 13)
    frame = Frame(width, height, 46, 30, width - 20, height - 46)
    logs = [math.log10(time) for _, time, _, _ in measured]
    # A quarter of a decade on both sides is room for the marks, and always holds a tick.
    pad = max(0.25, 0.12 * (max(logs) - min(logs)))
    low, high = min(logs) - pad, max(logs) + pad
    top, step = scale(max(max(quality, ends[1] if ends else 0.0) for _, _, quality, ends in measured))

    def place(time: float, quality: float) -> tuple[float, float]:
        return frame.at((math.log10(time) - low) / (high - low), quality / top)

    spots = [place(time, quality) for _, time, quality, _ in measured]
    whiskers = [(place(time, ends[0])[1], place(time, ends[1])[1]) if ends else None for _, time, _, ends in measured]
    names = [fit(name, min(_NAME, 0.36 * width)) for name, *_ in measured]
    labels = place_labels(spots, names, whiskers, (frame.left, frame.top, width, frame.bottom))
    look = hues(results)
    points = [
        Point(
            *spot,
            text,
            label,
            look[name],
            f"{name}: {time_text(time)} per image, mask AP {quality:.3f}",
            whisker,
        )
        for (name, time, quality, _), spot, text, label, whisker in zip(
            measured, spots, names, labels, whiskers, strict=True
        )
    ]
    return Figure(
        title="Speed against quality",
        description=f"Scatter plot. {'; '.join(point.title for point in points)}.",
        frame=frame,
        x_title="time per image (logarithmic)",
        y_title="mask AP",
        x_ticks=frame.x_ticks(
            ((math.log10(time) - low) / (high - low), time_text(time))
            for time in round_times(low, high, few=width < 500)
        ),
        y_ticks=frame.y_ticks(ticks(top, step)),
        points=points,
        frontier=_frontier(spots, frame.right),
    )


def _measured(results: Results) -> list[tuple[str, float, float, tuple[float, float] | None]]:
    """Name, seconds per image, mask AP and its interval of the methods that have the first two, best first."""
    found = []
    for name in contenders(results):
        track = results["methods"][name].get("class_agnostic") or {}
        time, quality = seconds(results["methods"][name]), number(track.get("mask_ap"))
        if time is not None and time > 0 and quality is not None:
            found.append((name, time, quality, interval(track, "mask_ap")))
    return found


def _frontier(spots: Sequence[tuple[float, float]], right: float) -> str:
    """The staircase that only the methods not beaten in both speed and quality touch."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted(spots):
        if not corners or y < corners[-1][1]:
            if corners:
                corners.append((x, corners[-1][1]))
            corners.append((x, y))
    return line([*corners, (right, corners[-1][1])])
