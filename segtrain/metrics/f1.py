"""F1 of objects over IoU thresholds."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from segtrain.arrays import BoolArray, FloatArray, IntArray, mean_of_defined
from segtrain.metrics.matching import ALL, AREAS, IOU_THRESHOLDS, Matches, match
from segtrain.records import GroundTruth, Prediction

TP, FP, FN = range(3)  # columns of the counts


@dataclass(frozen=True)
class F1:
    """F1 = 2 TP / (2 TP + FP + FN), with TP, FP and FN summed over images.

    Attributes:
        f1: mean over the categories with ground truth, in [0, 1]; nan without any.
        per_category: category id -> F1; nan without ground truth.
        per_image: image id -> (TP, FP, FN), all categories together; images by increasing id.
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
    """Compute F1 at one IoU threshold, from COCO's matching of detections to true objects.

    The number of detections is not limited. Detections matched to a crowd are neither right nor wrong.

    Args:
        truths: all true objects.
        predictions: the detections at the operating point: the caller has applied the score threshold.
        category_ids: the categories to average over; records of others are left out.
        image_ids: every image that was segmented; records of others are left out.
        iou_threshold: least IoU of the masks of a match, in (0, 1].

    Source: van Rijsbergen, Information Retrieval (1979), for the F measure; ``pycocotools.cocoeval``, for the matching.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> pair = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": score} for score in (0.9, 0.4)]
    >>> round(f1([truth], pair, category_ids=[1], image_ids=[1]).f1, 3)  # the second one is a duplicate
    0.667
    """
    matches = match(
        truths,
        predictions,
        image_ids=list(image_ids),
        category_ids=list(category_ids),
        iou_type="segm",
        thresholds=np.array([iou_threshold]),
        areas=AREAS[:1],
    )
    counts = count_matches(matches, -np.inf, 0)
    per_category = f1_of_sums(counts.sum(axis=0).astype(np.float64))
    triples = [(hits, false, missed) for hits, false, missed in counts.sum(axis=1).tolist()]
    return F1(
        float(mean_of_defined(per_category)),
        dict(zip(matches.category_ids.tolist(), per_category.tolist(), strict=True)),
        dict(zip(matches.image_ids.tolist(), triples, strict=True)),
    )


def count_matches(matches: Matches, score_threshold: float | FloatArray, t: int) -> IntArray:
    """Count TP, FP and FN of each image and category at one IoU threshold, (I, K, 3).

    Args:
        matches: matches of the masks of all detections; the first of its ranges of areas holds objects of every size.
        score_threshold: operating point, or (K,) that of each category; detections of a lower score are left out.
        t: number of the IoU threshold.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> pair = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": score} for score in (0.9, 0.4)]
    >>> matches = match([truth], pair, image_ids=[1], category_ids=[1], iou_type="segm")
    >>> count_matches(matches, 0.0, 0)[0, 0].tolist(), count_matches(matches, 0.5, 0)[0, 0].tolist()
    ([1, 1, 0], [1, 0, 0])
    """
    images, categories = len(matches.image_ids), len(matches.category_ids)

    def count(image: IntArray, category: IntArray, chosen: BoolArray) -> IntArray:
        cells = np.bincount((image * categories + category)[chosen], minlength=images * categories)
        return cells.reshape(images, categories)

    counts = np.zeros((images, categories, 3), dtype=np.int64)
    true = count(matches.truth_image, matches.truth_category, ~matches.truth_ignored[ALL])
    matched, counted = matches.truth(t, ALL) >= 0, matches.reaching(score_threshold) & ~matches.ignored(t, ALL)
    counts[..., TP] = count(matches.image, matches.category, counted & matched)
    counts[..., FP] = count(matches.image, matches.category, counted & ~matched)
    counts[..., FN] = true - counts[..., TP]
    return counts


def f1_of_sums(sums: FloatArray) -> FloatArray:
    """Compute F1 from counts that are summed over images, (..., 3) to (...); nan without true objects.

    >>> f1_of_sums(np.array([[3.0, 1.0, 1.0], [0.0, 2.0, 0.0]]))
    array([0.75,  nan])
    """
    hits, false, missed = np.moveaxis(sums, -1, 0)
    value: FloatArray = np.divide(
        2 * hits, 2 * hits + false + missed, out=np.full(hits.shape, np.nan), where=hits + missed > 0
    )
    return value


def f1_curve(matches: Matches, score_threshold: float | FloatArray) -> dict[str, list[float]]:
    """Compute the mean F1 of the categories at each of COCO's IoU thresholds.

    Args:
        matches: matches of the masks of all detections, as ``count_matches`` takes them.
        score_threshold: operating point, or (K,) that of each category; detections of a lower score are left out.

    Returns:
        "thresholds", and "f1" at each of them; nan without true objects.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> most = {"image_id": 1, "category_id": 1, "segmentation": encode(np.eye(4) < 1), "score": 0.9}
    >>> matches = match([truth], [most], image_ids=[1], category_ids=[1], iou_type="segm")
    >>> f1_curve(matches, 0.5)["f1"]  # an IoU of .75
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    counts = [count_matches(matches, score_threshold, t).sum(axis=0) for t in range(matches.thresholds)]
    per_threshold = f1_of_sums(np.array(counts, dtype=np.float64))  # (T, K)
    return {"thresholds": np.round(IOU_THRESHOLDS, 2).tolist(), "f1": mean_of_defined(per_threshold).tolist()}
