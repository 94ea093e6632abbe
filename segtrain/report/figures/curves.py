"""Lines over recall and over IoU."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from segtrain.report.figures.axes import QUARTERS, Frame
from segtrain.report.figures.drawing import Curve, Figure, hues, line
from segtrain.report.tables.cells import Results, contenders, number

Places = Sequence[tuple[float, float]]  # (x, y) in fractions of the axes


def precision_recall(results: Results, key: str, title: str, width: float) -> Figure | None:
    """Class-agnostic precision over recall of every method that has a curve; None if none has.

    Args:
        results: the content of ``results.json``.
        key: which curve, "iou50" or "mean".
        title: the figure's title.
        width: in pixels.
    """

    def places(track: Mapping[str, Any]) -> Places:
        values = [number(v) for v in (track.get("precision_recall") or {}).get(key) or []]
        last = max(1, len(values) - 1)
        return [(i / last, v) for i, v in enumerate(values) if v is not None]

    return _figure(results, places, title, ("recall", "precision"), QUARTERS, width)


def f1_over_iou(results: Results, width: float) -> Figure | None:
    """Class-agnostic F1 over the IoU that a match needs, .50 to .95; None if no method has the curve.

    Args:
        results: the content of ``results.json``.
        width: in pixels.
    """
    low, high = 0.5, 0.95

    def places(track: Mapping[str, Any]) -> Places:
        curve = track.get("f1_curve") or {}
        pairs = zip(curve.get("thresholds") or (), map(number, curve.get("f1") or ()), strict=False)
        return [((t - low) / (high - low), value) for t, value in pairs if value is not None]

    ticks = [((t - low) / (high - low), f"{t:g}") for t in (0.5, 0.6, 0.7, 0.8, 0.9)]
    return _figure(results, places, "F1 over IoU", ("IoU that a match needs", "F1"), ticks, width)


def _figure(
    results: Results,
    places: Callable[[Mapping[str, Any]], Places],
    title: str,
    axes: tuple[str, str],
    x_ticks: Sequence[tuple[float, str]],
    width: float,
) -> Figure | None:
    """A square-ish drawing of one line for each method; oracles are left out, as they rank nowhere."""
    height = 0.86 * width
    frame = Frame(width, height, 40, 28, width - 10, height - 44)
    look = hues(results)
    curves = []
    for name in contenders(results):
        found = places(results["methods"][name].get("class_agnostic") or {})
        if len(found) > 1:
            curves.append(Curve(name, look[name], line([frame.at(x, y) for x, y in found])))
    if not curves:
        return None
    return Figure(
        title=title,
        description=f"{axes[1]} over {axes[0]}, one line each for {', '.join(curve.method for curve in curves)}.",
        frame=frame,
        x_title=axes[0],
        y_title=axes[1],
        x_ticks=frame.x_ticks(x_ticks),
        y_ticks=frame.y_ticks(QUARTERS),
        curves=curves[::-1],  # the best method's line is drawn last, on top
    )
