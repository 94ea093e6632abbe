"""The reliability diagram: what became of detections, over the score that they had."""

from collections.abc import Sequence
from dataclasses import dataclass

from segtrain.report.figures.axes import QUARTERS, Frame
from segtrain.report.figures.drawing import Canvas, Hue, hues, line
from segtrain.report.tables.cells import Results, contenders, number

_LARGEST, _SMALLEST = 11.0, 3.0  # radii in pixels


@dataclass(frozen=True)
class Dot:
    """A bin of scores; ``hollow`` ones stand for the mean IoU, the others for the share of right detections."""

    x: float
    y: float
    radius: float
    hollow: bool
    title: str


@dataclass(frozen=True, kw_only=True)
class ReliabilityPlot(Canvas):
    """All that is drawn of one method."""

    method: str
    hue: Hue
    diagonal: str
    path: str
    dots: Sequence[Dot]
    error: str


def reliability_plots(results: Results, width: float) -> list[ReliabilityPlot]:
    """One drawing for each method whose scores are learned.

    Args:
        results: the content of ``results.json``.
        width: in pixels.
    """
    look = hues(results)
    plots = []
    for name in contenders(results):
        own = results["methods"][name].get("calibration") or {}
        bins = [part for part in own.get("bins") or () if part["count"]]
        if not bins or number(own.get("ece")) is None:
            continue
        frame = Frame(width, width, 40, 28, width - 12, width - 46)
        most = max(part["count"] for part in bins)
        dots = []
        for part in bins:
            # The area tells the number.
            radius = max(_SMALLEST, _LARGEST * (part["count"] / most) ** 0.5)
            said = f"score {part['low']:.1f} to {part['high']:.1f}, {part['count']:,} detections, "
            for key, hollow, what in (("mean_iou", True, "mean IoU"), ("precision", False, "right")):
                place = frame.at(part["mean_score"], part[key])
                title = f"{said}mean score {part['mean_score']:.2f}: {what} {part[key]:.2f}"
                dots.append(Dot(*place, radius, hollow, title))
        right = [frame.at(part["mean_score"], part["precision"]) for part in bins]
        plots.append(
            ReliabilityPlot(
                method=name,
                title=f"Reliability of {name}",
                description=f"{'; '.join(dot.title for dot in dots if not dot.hollow)}.",
                hue=look[name],
                frame=frame,
                x_title="mean score",
                y_title="share right, mean IoU",
                x_ticks=frame.x_ticks(QUARTERS),
                y_ticks=frame.y_ticks(QUARTERS),
                diagonal=line([frame.at(0, 0), frame.at(1, 1)]),
                path=line(right),
                dots=sorted(dots, key=lambda dot: -dot.radius),  # no dot hides a smaller one
                error=f"ECE {own['ece']:.3f}",
            )
        )
    return plots
