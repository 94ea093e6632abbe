"""Panoptic quality and boundary IoU of all images together: means of the categories, and the categories' own."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

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


def panoptic_quality(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> PanopticQuality:
    counts = panoptic_counts(truths, predictions, category_ids=category_ids, sizes=sizes)
    values = qualities(counts.sum(axis=0))
    triples = [(pq, sq, rq) for pq, sq, rq in values.tolist()]
    return PanopticQuality(*mean_of_defined(values.T).tolist(), dict(zip(sorted(category_ids), triples, strict=True)))


class BoundaryIou(NamedTuple):
    boundary_iou: float
    per_category: dict[int, float]


def boundary_iou(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> BoundaryIou:
    counts = boundary_counts(truths, predictions, category_ids=category_ids, sizes=sizes)
    values = iou_of_sums(counts.sum(axis=0))
    return BoundaryIou(float(mean_of_defined(values)), dict(zip(sorted(category_ids), values.tolist(), strict=True)))
