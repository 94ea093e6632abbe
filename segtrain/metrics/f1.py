"""F1 of instances at one IoU: found, missed and false objects, counted as COCO matches them."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import fmean

import numpy as np

from segtrain import masks
from segtrain.instances import GroundTruth, Prediction

MAX_AREA = 1e5**2  # COCO's "all areas" ends here; a larger truth is ignored


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
    """Match detections to true instances of their image and category as COCO does, and count.

    There is no cut at a number of detections. Detections matched to a crowd count neither way.

    Args:
        truths: all true instances.
        predictions: the detections at the operating point: the caller has applied the score threshold.
        category_ids: the categories to average over; records of others are left out.
        image_ids: every image that was segmented; records of others are left out.
        iou_threshold: a match needs at least this IoU of masks, in (0, 1].
    """
    pairs: dict[tuple[int, int], tuple[list[GroundTruth], list[Prediction]]] = defaultdict(lambda: ([], []))
    for truth in truths:
        pairs[truth["image_id"], truth["category_id"]][0].append(truth)
    for prediction in predictions:
        pairs[prediction["image_id"], prediction["category_id"]][1].append(prediction)

    per_image = {image_id: np.zeros(3, dtype=np.int64) for image_id in image_ids}
    totals = {category_id: np.zeros(3, dtype=np.int64) for category_id in sorted(category_ids)}
    for (image_id, category_id), (real, found) in pairs.items():
        if image_id in per_image and category_id in totals:
            counts = _match(real, found, iou_threshold)
            per_image[image_id] += counts
            totals[category_id] += counts

    per_category = {category_id: _f1(*counts.tolist()) for category_id, counts in totals.items()}
    defined = [value for value in per_category.values() if not isnan(value)]
    return F1(
        f1=fmean(defined) if defined else nan,
        per_category=per_category,
        per_image={image_id: (int(tp), int(fp), int(fn)) for image_id, (tp, fp, fn) in per_image.items()},
    )


def _f1(tp: int, fp: int, fn: int) -> float:
    return 2 * tp / (2 * tp + fp + fn) if tp + fn else nan


def _match(
    truths: Sequence[GroundTruth], predictions: Sequence[Prediction], iou_threshold: float
) -> tuple[int, int, int]:
    """TP, FP, FN of one category in one image.

    COCO's greedy matching (``pycocotools.cocoeval.evaluateImg``): best score first, each detection takes the free truth
    it overlaps most; a truth to ignore only when no other will do. A crowd is never used up.
    """
    # Both sorts are stable, and of equal overlaps the last wins, as in COCO.
    predictions = sorted(predictions, key=lambda p: -p["score"])
    crowd = np.array([bool(t["iscrowd"]) for t in truths], dtype=bool)
    ignored = crowd | np.array([not 0 <= t["area"] <= MAX_AREA for t in truths], dtype=bool)
    overlaps = masks.iou([p["segmentation"] for p in predictions], [t["segmentation"] for t in truths], crowd.tolist())
    free = np.ones(len(truths), dtype=bool)
    tp = fp = 0
    for overlap in overlaps if len(truths) else np.zeros((len(predictions), 0)):
        candidates = free & (overlap >= min(iou_threshold, 1 - 1e-10))
        if (candidates & ~ignored).any():
            candidates &= ~ignored
            tp += 1
        elif not candidates.any():
            fp += 1
            continue
        best = np.flatnonzero(candidates & (overlap == overlap[candidates].max()))[-1]
        free[best] = crowd[best]
    return tp, fp, int((~ignored).sum()) - tp
