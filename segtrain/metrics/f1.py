"""F1 of instances over IoU thresholds."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import fmean

import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.metrics.matching import AREAS, match_greedily
from segtrain.records import GroundTruth, Prediction

IOU_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)  # COCO's

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class F1:
    """2 TP / (2 TP + FP + FN), with TP, FP and FN summed over images.

    Attributes:
        f1: mean over the categories with ground truth, in [0, 1]; nan without any.
        per_category: category id -> F1; nan without ground truth.
        per_image: image id -> (TP, FP, FN), all categories together.
    """

    f1: float
    per_category: dict[int, float]
    per_image: dict[int, tuple[int, int, int]]


def f1(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    image_ids: Collection[int],
    iou_threshold: float = 0.5,
) -> F1:
    """F1 at one IoU threshold; see ``f1_curve``."""
    return f1_curve(
        truths, predictions, category_ids=category_ids, image_ids=image_ids, iou_thresholds=[iou_threshold]
    )[0]


def f1_curve(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    image_ids: Collection[int],
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> list[F1]:
    """Match detections to true instances of their image and category as COCO does, and count.

    There is no cut at a number of detections. Detections matched to a crowd count neither way. Masks are compared once,
    whatever the number of thresholds.

    Args:
        truths: all true instances.
        predictions: the detections at the operating point: the caller has applied the score threshold.
        category_ids: the categories to average over; records of others are left out.
        image_ids: every image that was segmented; records of others are left out.
        iou_thresholds: a match needs at least this IoU of masks, in (0, 1]; at least one.

    Returns:
        F1 at each threshold.
    """
    pairs: dict[tuple[int, int], tuple[list[GroundTruth], list[Prediction]]] = defaultdict(lambda: ([], []))
    for truth in truths:
        pairs[truth["image_id"], truth["category_id"]][0].append(truth)
    for prediction in predictions:
        pairs[prediction["image_id"], prediction["category_id"]][1].append(prediction)

    shape = len(iou_thresholds), 3
    per_image = {image_id: np.zeros(shape, dtype=np.int64) for image_id in image_ids}
    totals = {category_id: np.zeros(shape, dtype=np.int64) for category_id in sorted(category_ids)}
    for (image_id, category_id), (real, found) in pairs.items():
        if image_id in per_image and category_id in totals:
            counts = _match(real, found, iou_thresholds)
            per_image[image_id] += counts
            totals[category_id] += counts
    return [
        _summary(
            {category_id: counts[place] for category_id, counts in totals.items()},
            {image_id: counts[place] for image_id, counts in per_image.items()},
        )
        for place in range(len(iou_thresholds))
    ]


def _summary(totals: dict[int, Counts], per_image: dict[int, Counts]) -> F1:
    per_category = {category_id: _f1(*counts.tolist()) for category_id, counts in totals.items()}
    defined = [value for value in per_category.values() if not isnan(value)]
    return F1(
        f1=fmean(defined) if defined else nan,
        per_category=per_category,
        per_image={image_id: (int(tp), int(fp), int(fn)) for image_id, (tp, fp, fn) in per_image.items()},
    )


def _f1(tp: int, fp: int, fn: int) -> float:
    return 2 * tp / (2 * tp + fp + fn) if tp + fn else nan


def _match(truths: Sequence[GroundTruth], predictions: Sequence[Prediction], iou_thresholds: Sequence[float]) -> Counts:
    """TP, FP, FN of one category in one image, (T, 3)."""
    predictions = sorted(predictions, key=lambda p: -p["score"])  # stable: of equal scores the first comes first
    crowd = np.array([bool(t["iscrowd"]) for t in truths], dtype=bool)
    low, high = AREAS[0]  # where COCO's "all areas" end, a larger truth is ignored
    ignored = crowd | np.array([not low <= t["area"] <= high for t in truths], dtype=bool)
    overlaps = masks.iou([p["segmentation"] for p in predictions], [t["segmentation"] for t in truths], crowd.tolist())
    matched, _ = match_greedily(overlaps, crowd, ignored[None], np.array(iou_thresholds))
    settled = matched[:, 0] >= 0
    hits = (settled & ~np.append(ignored, True)[matched[:, 0]]).sum(axis=1)
    false = (~settled).sum(axis=1)
    return np.stack([hits, false, (~ignored).sum() - hits], axis=1)
