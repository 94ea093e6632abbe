"""Registry of metrics: all numbers that a report shows of a method, and the functions that compute them.

A new metric is a module with its ``counts`` and ``ratio`` and one entry in ``METRICS``, from which values, values of
categories, intervals, tables, definitions and the reasons of zeros are made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan

import numpy as np

from segtrain.arrays import CountArray, FloatArray, IntArray, mean_of_defined
from segtrain.metrics import f1 as f1_metric
from segtrain.metrics.boundary_iou import boundary_counts
from segtrain.metrics.matching import IOU50, IOU75, LARGE, MEDIUM, SMALL
from segtrain.metrics.mean_iou import FOREGROUND, class_iou_of_sums, iou_of_sums, pixel_counts
from segtrain.metrics.metric import Metric, MetricInput, PrecisionMetric, RatioMetric, Resamples
from segtrain.metrics.panoptic import panoptic_counts, qualities

_COCO = "Lin et al., Microsoft COCO (2014)"
_EVERINGHAM = "Everingham et al., The PASCAL Visual Object Classes Challenge (2010)"
_KIRILLOV = "Kirillov et al., Panoptic Segmentation (2019)"
_CELLS = 2**22  # values of a chunk of resamples, over IoU thresholds and categories; bounds the memory
_AP = (
    "COCO's average precision: the area under the precision-recall curve, averaged over the IoU thresholds 0.50, 0.55,"
    " …, 0.95, and over the categories. AP50 and AP75 use one threshold. S, M, L restrict it to objects below 32², up "
    "to 96², and above 96² pixels, by the annotation's own area. AR is the average recall."
)
_IOU = (
    "IoU of all predicted against all true pixels, summed over the images before dividing. mIoU is the mean over the "
    "background and each category that occurs, or background and foreground in the class-agnostic track. Foreground "
    "IoU takes all objects together. Crowd regions are left out."
)
_F1 = (
    "Detections at the operating point, matched one to one with true objects at IoU 0.50 or more: 2 TP / (2 TP + FP + "
    "FN), summed over the images for each category, then the mean over those that have objects. It needs no ranking. "
    "F1 over IoU thresholds repeats this at 0.50, 0.55, …, 0.95: how strictly outlines may be judged before the "
    "matches are lost."
)
_PQ = (
    "Panoptic quality, with no pixel in two objects: detections take theirs by score, the highest first, and one that "
    "loses half of its area is dropped; of true objects that overlap the smallest is on top. A true and a found object "
    "of one category match if their IoU exceeds 0.50. SQ is the mean IoU of the matches, RQ is TP / (TP + FP/2 + "
    "FN/2), and PQ is SQ × RQ, for each category, then the mean over those that have objects. An unmatched detection "
    "mostly on a crowd of its category is not false."
)
_BOUNDARY_IOU = (
    "IoU of outlines, since the inside of a large object hides errors at its edge: only pixels of an object within 2 % "
    "of the image diagonal of its outline count. All predicted against all true outlines, summed over the images "
    "before dividing, then the mean over the categories that have objects. Each object has an outline of its own, also "
    "where two touch. Crowd regions are left out."
)


def pixels(inputs: MetricInput) -> IntArray:
    """Count pixels at the operating point, (I, 2 + K, 3): background, foreground, then the categories."""
    return pixel_counts(inputs.truths, inputs.operating_point, category_ids=inputs.category_ids, sizes=inputs.sizes)


def class_pixels(inputs: MetricInput) -> IntArray:
    """Count pixels of the background and of each category, (I, 1 + K, 3)."""
    return np.delete(inputs.once(pixels), FOREGROUND, axis=1)


def foreground_pixels(inputs: MetricInput) -> IntArray:
    """Count pixels of all objects together, (I, 1, 3)."""
    return inputs.once(pixels)[:, [FOREGROUND]]


def f1_50_counts(inputs: MetricInput) -> IntArray:
    """Count TP, FP and FN at IoU .50 and the operating point, (I, K, 3)."""
    return f1_metric.count_matches(inputs.matches("segm"), inputs.least_scores, IOU50)


def segments(inputs: MetricInput) -> FloatArray:
    """Count matched panoptic segments at the operating point, (I, K, 4)."""
    return panoptic_counts(inputs.truths, inputs.operating_point, category_ids=inputs.category_ids, sizes=inputs.sizes)


def boundary_pixels(inputs: MetricInput) -> FloatArray:
    """Count pixels of boundaries at the operating point, (I, K, 3)."""
    return boundary_counts(inputs.truths, inputs.operating_point, category_ids=inputs.category_ids, sizes=inputs.sizes)


_coco = partial(PrecisionMetric, definition=_AP, source=_COCO, uses="all", kind="objects")
_panoptic = partial(
    RatioMetric, definition=_PQ, source=_KIRILLOV, uses="operating_point", kind="segments", counts=segments
)

METRICS: tuple[Metric, ...] = (
    _coco(
        key="mask_ap",
        title="mask AP",
        hint="Average precision of masks, mean over IoU 0.50 to 0.95",
        headline=True,
        charted=True,
        in_terminal=True,
        validated=True,
        category_key="mask_ap",
    ),
    _coco(
        key="mask_ap50",
        title="AP50",
        hint="Average precision of masks at IoU 0.50",
        threshold=IOU50,
        headline=True,
        in_terminal=True,
        validated=True,
        category_key="mask_ap50",
    ),
    _coco(
        key="mask_ap75",
        title="AP75",
        hint="Average precision of masks at IoU 0.75",
        min_iou=0.75,
        threshold=IOU75,
        validated=True,
    ),
    _coco(
        key="mask_ap_small",
        title="AP S",
        hint="Average precision of masks, objects below 32 × 32 pixels",
        area=SMALL,
    ),
    _coco(
        key="mask_ap_medium",
        title="AP M",
        hint="Average precision of masks, objects of 32 × 32 to 96 × 96 pixels",
        area=MEDIUM,
    ),
    _coco(
        key="mask_ap_large",
        title="AP L",
        hint="Average precision of masks, objects above 96 × 96 pixels",
        area=LARGE,
    ),
    _coco(
        key="mask_ar",
        title="AR",
        hint="Average recall of masks",
        statistic="recall",
    ),
    _coco(
        key="box_ap",
        title="box AP",
        hint="Average precision of boxes, mean over IoU 0.50 to 0.95",
        iou_type="bbox",
        headline=True,
        in_terminal=True,
        validated=True,
        category_key="box_ap",
    ),
    RatioMetric(
        key="miou",
        title="mIoU",
        hint="Mean intersection over union of background and classes",
        definition=_IOU,
        source=_EVERINGHAM,
        uses="operating_point",
        kind="pixels",
        counts=class_pixels,
        ratio=class_iou_of_sums,
        headline=True,
        charted=True,
        in_terminal=True,
        validated=True,
        category_key="iou",
        category_title="IoU",
        category_hint="Intersection over union of this category's pixels",
    ),
    RatioMetric(
        key="fg_iou",
        title="fg IoU",
        hint="Intersection over union of all objects against background",
        definition=_IOU,
        source=_EVERINGHAM,
        uses="operating_point",
        kind="pixels",
        counts=foreground_pixels,
        ratio=iou_of_sums,
    ),
    RatioMetric(
        key="f1_50",
        title="F1",
        hint="F1 of matched objects at IoU 0.50, at the row's score threshold",
        definition=_F1,
        source=f"van Rijsbergen, Information Retrieval (1979); matching: {_COCO}",
        uses="operating_point",
        kind="objects",
        counts=f1_50_counts,
        ratio=f1_metric.f1_of_sums,
        headline=True,
        in_terminal=True,
        validated=True,
        category_key="f1_50",
    ),
    _panoptic(
        key="pq",
        title="PQ",
        hint="Panoptic quality: mean IoU of matched objects times their F1, no pixel used twice",
        ratio=lambda sums: qualities(sums)[..., 0],
        headline=True,
        category_key="pq",
    ),
    _panoptic(
        key="sq",
        title="SQ",
        hint="Segmentation quality: mean IoU of the matched objects of PQ",
        ratio=lambda sums: qualities(sums)[..., 1],
    ),
    _panoptic(
        key="rq",
        title="RQ",
        hint="Recognition quality: F1 of the matched objects of PQ",
        ratio=lambda sums: qualities(sums)[..., 2],
    ),
    RatioMetric(
        key="boundary_iou",
        title="boundary IoU",
        hint="Intersection over union of the objects' outlines, 2 % of the diagonal wide",
        definition=_BOUNDARY_IOU,
        source="Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation (2021)",
        uses="operating_point",
        kind="outlines",
        counts=boundary_pixels,
        ratio=iou_of_sums,
        headline=True,
        category_key="boundary_iou",
    ),
)

MASK_AP_KEYS = tuple(
    metric.key
    for metric in METRICS
    if isinstance(metric, PrecisionMetric) and metric.iou_type == "segm" and metric.statistic == "precision"
)  # in the order of COCO's statistics


@dataclass(frozen=True)
class MetricValues:
    """Metrics of one method in one track; nan where undefined.

    Attributes:
        values: values by ``Metric.key``.
        per_category: values of each category, by category id, then by ``Metric.category_key``.
    """

    values: dict[str, float]
    per_category: dict[int, dict[str, float]]


def metric_values(
    inputs: MetricInput, metrics: Sequence[Metric] | None = None, begin: Callable[[Metric], None] = lambda metric: None
) -> MetricValues:
    """Compute metrics on all images.

    Args:
        inputs: the ground truth and the detections.
        metrics: metrics to compute; None for all. Metrics of masks are nan where the method has boxes only.
        begin: called with each metric before it is computed.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> found = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}
    >>> inputs = MetricInput(
    ...     truths=[truth],
    ...     masks=[found, found],
    ...     boxes=None,
    ...     category_ids=[1],
    ...     sizes={1: (4, 4)},
    ...     max_dets=100,
    ...     score_threshold=0.5,
    ... )
    >>> values = metric_values(inputs, [metric for metric in METRICS if metric.iou_type == "segm"]).values
    >>> round(values["mask_ap"], 3), round(values["f1_50"], 3)  # the duplicate lowers F1, but not AP
    (1.0, 0.667)
    """
    result = MetricValues({}, {category_id: {} for category_id in inputs.category_ids})
    for metric in METRICS if metrics is None else metrics:
        begin(metric)
        classes = (
            metric.values(inputs.all_images)[0]
            if inputs.has(metric.iou_type)
            else np.full(len(inputs.category_ids), nan)
        )
        result.values[metric.key] = float(mean_of_defined(classes))
        if metric.category_key is not None:
            categories = classes[len(classes) - len(inputs.category_ids) :].tolist()
            for values, value in zip(result.per_category.values(), categories, strict=True):
                values[metric.category_key] = value
    return result


def resampled_values(inputs: MetricInput, draws: CountArray) -> dict[str, FloatArray]:
    """Compute all metrics on resamples of the images.

    Args:
        inputs: the ground truth and the detections.
        draws: (B, I) times that each image is drawn, images by increasing id.

    Returns:
        (B,) values by ``Metric.key``, nan where undefined; without metrics of masks where the method has boxes only.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"category_id": 1, "segmentation": mask, "bbox": [0, 0, 4, 4], "area": 16.0, "iscrowd": 0}
    >>> truths = [truth | {"image_id": 1}, truth | {"image_id": 2}]
    >>> found = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}
    >>> inputs = MetricInput(truths, [found], None, [1], {1: (4, 4), 2: (4, 4)}, max_dets=100, score_threshold=0.0)
    >>> resampled_values(inputs, np.array([[1, 1], [2, 0]]))["f1_50"].round(3).tolist()  # the second image has a miss
    [0.667, 1.0]
    """
    metrics = [metric for metric in METRICS if inputs.has(metric.iou_type)]
    return _resampled(inputs, draws, metrics, mean_of_defined)


def resampled_categories(inputs: MetricInput, draws: CountArray, metrics: Sequence[Metric]) -> dict[str, FloatArray]:
    """Compute metrics of single categories on resamples of the images.

    Args:
        inputs: the ground truth and the detections.
        draws: (B, I) times that each image is drawn, images by increasing id.
        metrics: metrics that have a ``category_key``; those of masks are left out where the method has boxes only.

    Returns:
        (B, K) values of the K categories by ``Metric.key``, nan where undefined.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truths = [
    ...     {"image_id": 1, "category_id": label, "segmentation": mask, "area": 16.0, "iscrowd": 0} for label in (1, 2)
    ... ]
    >>> found = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}
    >>> inputs = MetricInput(truths, [found], None, [1, 2], {1: (4, 4)}, max_dets=100, score_threshold=0.0)
    >>> f1 = next(metric for metric in METRICS if metric.key == "f1_50")
    >>> resampled_categories(inputs, np.array([[1]]), [f1])["f1_50"].tolist()
    [[1.0, 0.0]]
    """
    count = len(inputs.category_ids)
    known = [metric for metric in metrics if inputs.has(metric.iou_type)]
    return _resampled(inputs, draws, known, lambda values: values[:, values.shape[1] - count :])


def _resampled(
    inputs: MetricInput, draws: CountArray, metrics: Sequence[Metric], take: Callable[[FloatArray], FloatArray]
) -> dict[str, FloatArray]:
    """Compute metrics on some resamples at a time, and take what is wanted of the (B, C) values of their classes."""
    chunks = max(1, -(-len(draws) * 10 * (len(inputs.category_ids) + 1) // _CELLS))
    parts: dict[str, list[FloatArray]] = {metric.key: [] for metric in metrics}
    for chunk in np.array_split(draws, chunks):
        resamples = Resamples(inputs, chunk)
        for metric in sorted(metrics, key=lambda own: (own.iou_type, own.area)):  # those that share a precision
            parts[metric.key].append(take(metric.values(resamples)))
    return {key: np.concatenate(values) for key, values in parts.items()}
