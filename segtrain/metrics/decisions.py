"""All numbers that need a decision which detections to believe, by their names in ``results.json``."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from segtrain.metrics.boundary_iou import boundary_iou
from segtrain.metrics.f1 import IOU_THRESHOLDS, f1_curve
from segtrain.metrics.mean_iou import mean_iou
from segtrain.metrics.panoptic import panoptic_quality
from segtrain.records import GroundTruth, Prediction


@dataclass(frozen=True)
class DecisionMetrics:
    """Numbers at the operating point, in [0, 1]; what is undefined is nan.

    Attributes:
        numbers: "miou", "fg_iou", "f1_50", "pq", "sq", "rq", "boundary_iou", and "f1_curve": "thresholds" of IoU and
            the "f1" at each.
        per_category: category id -> "iou", "f1_50", "pq", "boundary_iou".
    """

    numbers: dict[str, Any]
    per_category: dict[int, dict[str, float]]


def decision_metrics(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction] | None,
    *,
    score_threshold: float,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> DecisionMetrics:
    """Compute them all.

    Args:
        truths: all true instances.
        predictions: all detections; None from a method that finds no masks, of which nothing is defined.
        score_threshold: the operating point: detections of a lower score are left out.
        category_ids: the categories; records of others are left out.
        sizes: image id -> (H, W) of every image, those without objects included; records of others are left out.
    """
    found = [p for p in predictions or () if p["score"] >= score_threshold]
    pixels = mean_iou(truths, found, category_ids=category_ids, sizes=sizes)
    outlines = boundary_iou(truths, found, category_ids=category_ids, sizes=sizes)
    panoptic = panoptic_quality(truths, found, category_ids=category_ids, sizes=sizes)
    curve = f1_curve(truths, found, category_ids=category_ids, image_ids=sizes)
    objects = curve[IOU_THRESHOLDS.index(0.5)]

    def known(value: float) -> float:
        return nan if predictions is None else value

    numbers = {
        "miou": known(pixels.miou),
        "fg_iou": known(pixels.fg_iou),
        "f1_50": known(objects.f1),
        "pq": known(panoptic.pq),
        "sq": known(panoptic.sq),
        "rq": known(panoptic.rq),
        "boundary_iou": known(outlines.boundary_iou),
        "f1_curve": {"thresholds": list(IOU_THRESHOLDS), "f1": [known(matches.f1) for matches in curve]},
    }
    per_category = {
        category_id: {
            "iou": known(pixels.per_category[category_id]),
            "f1_50": known(objects.per_category[category_id]),
            "pq": known(panoptic.per_category[category_id][0]),
            "boundary_iou": known(outlines.per_category[category_id]),
        }
        for category_id in category_ids
    }
    return DecisionMetrics(numbers, per_category)
