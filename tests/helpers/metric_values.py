"""Panoptic quality and boundary IoU of all images together: means of the categories, and the categories' own."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from segtrain.arrays import mean_of_defined
from segtrain.metrics.boundary_iou import boundary_counts
from segtrain.metrics.mean_iou import iou_of_sums
from segtrain.metrics.panoptic import panoptic_counts, qualities
from segtrain.records import GroundTruth, Prediction


class PanopticQuality(NamedTuple):
    pq: float
    sq: float
    rq: float
    per_category: dict[int, tuple[float, float, float]]


def panoptic_quality(truths: Sequence[GroundTruth], predictions: Sequence[Prediction], **data: Any) -> PanopticQuality:
    """Sum and average `panoptic_counts`."""
    values = qualities(panoptic_counts(truths, predictions, **data).sum(axis=0))
    triples = [(pq, sq, rq) for pq, sq, rq in values.tolist()]
    per_category = dict(zip(sorted(data["category_ids"]), triples, strict=True))
    return PanopticQuality(*mean_of_defined(values.T).tolist(), per_category)


class BoundaryIou(NamedTuple):
    boundary_iou: float
    per_category: dict[int, float]


def boundary_iou(truths: Sequence[GroundTruth], predictions: Sequence[Prediction], **data: Any) -> BoundaryIou:
    """Sum and average `boundary_counts`."""
    values = iou_of_sums(boundary_counts(truths, predictions, **data).sum(axis=0))
    per_category = dict(zip(sorted(data["category_ids"]), values.tolist(), strict=True))
    return BoundaryIou(float(mean_of_defined(values)), per_category)
