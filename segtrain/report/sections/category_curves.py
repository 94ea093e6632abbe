"""Section of precision over recall, a small chart for each of the most frequent categories."""

import math
from collections import Counter
from collections.abc import Sequence

from segtrain.benchmark.results import CategoryCurve, Results
from segtrain.console import counted
from segtrain.evaluation import Detections, GroundTruthSet, metric_input
from segtrain.metrics.average_precision import precision_at_half
from segtrain.report.blocks import Charts, Paragraph, Section
from segtrain.report.charts import SMALL, Axis, Chart, Line, series_styles
from segtrain.report.text import number_text

_SHOWN = 12  # most categories with a chart
_HALVES = ((0.0, "0"), (0.5, "0.5"), (1.0, "1"))


def find_category_curves(
    detections: Detections, ground_truth: GroundTruthSet, max_dets: int
) -> list[CategoryCurve] | None:
    """Compute the curves of the categories with the most objects.

    Args:
        detections: detections of the method.
        ground_truth: true objects, with their categories.
        max_dets: detections per image and category that count for AP.

    Returns:
        Curves, that of the most frequent category first; None for a method without categories, and on data of a single
        category.
    """
    if not detections.class_aware or len(ground_truth.categories) < 2:
        return None
    objects = Counter(truth["category_id"] for truth in ground_truth.truths if not truth["iscrowd"])
    inputs = metric_input(detections, ground_truth, max_dets, "class_aware")
    precision = precision_at_half(inputs, "segm" if inputs.has("segm") else "bbox")
    place = {category_id: number for number, category_id in enumerate(inputs.category_ids)}
    shown = sorted(objects, key=lambda category_id: (-objects[category_id], category_id))[:_SHOWN]
    return [
        CategoryCurve(category_id, [round(value, 4) for value in precision[place[category_id]].tolist()])
        for category_id in shown
    ]


def category_curves(results: Results) -> Section | None:
    """Draw precision over recall of the most frequent categories; None if no method has curves of categories."""
    curves = {name: own for name in results.contenders if (own := results.methods[name].category_curves)}
    if not curves:
        return None
    names = {category.id: category.name for category in results.data.categories}
    styles = series_styles(results.ranked, results.oracles)
    charts = []
    for place, first in enumerate(next(iter(curves.values()))):
        lines = [Line(_corners(own[place].precision), styles[name], name) for name, own in curves.items()]
        best = max(_area(own[place].precision) for own in curves.values())
        charts.append(
            Chart(
                names[first.id],
                Axis("recall", 0.0, 1.0, _HALVES),
                Axis("precision", 0.0, 1.0, _HALVES),
                lines[::-1],  # the best method's line lies on top
                widths=(SMALL,),
                aspect=1.0,
                note=number_text(best),
            )
        )
    lead = (
        "Class-aware, at IoU 0.50, the most frequent category first. The number is the area under the highest curve, "
        "its AP50; those of all methods and categories are listed above."
    )
    known = sum(category.annotations > 0 for category in results.data.categories)
    if known > len(charts):
        left = counted(known - len(charts), "category with fewer objects is", "categories with fewer objects are")
        lead += f" {left} not drawn."
    return Section(
        "category-curves", "Curves of categories", [Paragraph(lead), Charts(charts, legend=True)], short="Their curves"
    )


def _area(precision: Sequence[float]) -> float:
    return math.fsum(precision) / len(precision)


def _corners(precision: Sequence[float]) -> list[tuple[float, float]]:
    """Return (recall, precision) where the precision changes; it does not between others."""
    last = len(precision) - 1
    return [
        (place / last, value)
        for place, value in enumerate(precision)
        if place in (0, last) or not value == precision[place - 1] == precision[place + 1]
    ]
