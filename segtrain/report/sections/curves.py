"""Section of curves: precision over recall, and F1 over the IoU threshold of a match."""

from collections.abc import Callable, Sequence

from segtrain.benchmark.results import Results
from segtrain.metrics.scores import TrackScores
from segtrain.report.blocks import Block, Charts, Folded, Paragraph, Section
from segtrain.report.charts import Axis, Chart, Line, series_styles, unit_axis
from segtrain.report.tables import Column, Table, method_table

_IOUS = (0.5, 0.6, 0.7, 0.8, 0.9)
_F1_COLUMNS = tuple(
    Column(f"{iou:.2f}", f"F1 at {iou:.2f}", f"F1 of matched objects at IoU {iou:.2f}, at the score threshold")
    for iou in _IOUS
)
_F1_AXIS = Axis("IoU that a match needs", 0.5, 0.95, [(iou, f"{iou:g}") for iou in _IOUS])

Points = Sequence[tuple[float, float]]


def curves(results: Results) -> Section | None:
    """Draw precision over recall and F1 over IoU; None if no method has a curve."""
    recall, f1 = unit_axis("recall"), f1_table(results)
    charts = [
        chart
        for chart in (
            _chart(results, "Precision-recall at IoU 0.50", recall, "precision", _at_half),
            _chart(results, "Precision-recall, mean over IoU", recall, "precision", _over_iou),
            _chart(results, "F1 over IoU", _F1_AXIS, "F1", _f1),
        )
        if chart
    ]
    if not charts:
        return None
    lead = (
        "Class-agnostic. Precision over recall takes all detections from the best-scored down; the area under the "
        "curve is the AP."
    )
    blocks: list[Block] = [Charts(charts, legend=True)]
    if f1:
        lead += " F1 over IoU shows how tightly outlines fit: a line that falls late is a method with exact edges."
        blocks.append(Folded("F1 over IoU in numbers", [f1]))
    return Section("curves", "Curves", [Paragraph(lead), *blocks])


def f1_table(results: Results) -> Table | None:
    """Make the table of class-agnostic F1 at some IoU thresholds; None if no method has it."""
    curves = {name: dict(_f1(m.class_agnostic)) for name, m in results.methods.items() if m.class_agnostic}
    values = {name: {f"{iou:.2f}": f1 for iou, f1 in curve.items()} for name, curve in curves.items() if curve}
    if not values:
        return None
    return method_table(
        results, _F1_COLUMNS, lambda name, _: values.get(name), "F1 over IoU", "Marked: best of its column."
    )


def _at_half(track: TrackScores) -> Points:
    return _over_recall(track.precision_recall.iou50 if track.precision_recall else ())


def _over_iou(track: TrackScores) -> Points:
    return _over_recall(track.precision_recall.mean if track.precision_recall else ())


def _over_recall(values: Sequence[float | None]) -> Points:
    last = max(1, len(values) - 1)
    return [(i / last, value) for i, value in enumerate(values) if value is not None]


def _f1(track: TrackScores) -> Points:
    curve = track.f1_curve
    pairs = zip(curve.thresholds, curve.f1, strict=True) if curve else ()
    return [(iou, f1) for iou, f1 in pairs if f1 is not None]


def _chart(results: Results, title: str, x: Axis, y: str, points: Callable[[TrackScores], Points]) -> Chart | None:
    """Draw a line for each contender; None if none has a curve."""
    styles, lines = series_styles(results.ranked, results.oracles), []
    for name in results.contenders:
        track = results.methods[name].class_agnostic
        if track and len(found := points(track)) > 1:
            lines.append(Line(found, styles[name], name))
    return Chart(title, x, unit_axis(y), lines[::-1]) if lines else None  # the best method's line lies on top
