"""All headline numbers of one method on many resamples of the images."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from segtrain.metrics.boundary_iou import boundary_iou, ratios
from segtrain.metrics.matching import AREAS, IOU_THRESHOLDS, Matches, match
from segtrain.metrics.mean_iou import iou_of_sums, pixel_counts
from segtrain.metrics.panoptic import mean_of_defined, panoptic_quality, qualities
from segtrain.metrics.resampled_ap import resampled_precision
from segtrain.records import BoxPrediction, GroundTruth, Prediction

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class _Given(TypedDict):
    category_ids: Sequence[int]
    sizes: Mapping[int, tuple[int, int]]


_ALL, _IOU50, _IOU75 = 0, 0, 5  # positions in AREAS and in IOU_THRESHOLDS


def resampled_numbers(
    truths: Sequence[GroundTruth],
    masks: Sequence[Prediction] | None,
    boxes: Sequence[BoxPrediction] | None,
    draws: IntArray,
    *,
    category_ids: Sequence[int],
    sizes: Mapping[int, tuple[int, int]],
    max_dets: int,
    score_threshold: float,
) -> dict[str, FloatArray]:
    """What the metrics themselves would give on each resample.

    Args:
        truths: all true instances.
        masks: all detections; None if the method has boxes only.
        boxes: the boxes that the method itself predicts; None: a mask's box is its box.
        draws: (B, I) how often each image is drawn, images by increasing id.
        category_ids: the categories; records of others are left out.
        sizes: image id -> (H, W) of every image.
        max_dets: detections per image and category that AP and AR use.
        score_threshold: operating point of all numbers but AP and AR.

    Returns:
        Key of a track of ``results.json`` -> (B,) numbers, nan where undefined; only box AP without masks.
    """
    images = sorted(sizes)
    found = boxes if boxes is not None else masks
    assert found is not None
    of_boxes = match(
        truths, found, image_ids=images, category_ids=category_ids, iou_type="bbox", areas=AREAS[: _ALL + 1]
    )
    box_ap = resampled_precision(of_boxes, draws, max_dets=max_dets).precision[:, _ALL].mean(axis=0)
    if masks is None:
        return {"box_ap": box_ap}
    of_masks = match(truths, masks, image_ids=images, category_ids=category_ids, iou_type="segm")
    drawn = resampled_precision(of_masks, draws, max_dets=max_dets)
    small, medium, large = drawn.precision[:, 1:].mean(axis=0)
    operating = [p for p in masks if p["score"] >= score_threshold]
    given: _Given = {"category_ids": category_ids, "sizes": {i: sizes[i] for i in images}}
    # Whole numbers are exact in float64, and their products are much faster than those of integers.
    times = draws.astype(np.float64)
    counts = pixel_counts(truths, operating, **given).counts.astype(np.float64)
    layers, miou = iou_of_sums(np.tensordot(times, counts, axes=1))
    segments = qualities(np.tensordot(times, panoptic_quality(truths, operating, **given).sums, axes=1))
    outlines = ratios(np.tensordot(times, boundary_iou(truths, operating, **given).sums, axes=1))
    return {
        "mask_ap": drawn.precision[:, _ALL].mean(axis=0),
        "mask_ap50": drawn.precision[_IOU50, _ALL],
        "mask_ap75": drawn.precision[_IOU75, _ALL],
        "mask_ap_small": small,
        "mask_ap_medium": medium,
        "mask_ap_large": large,
        "mask_ar": drawn.recall[:, _ALL].mean(axis=0),
        "box_ap": box_ap,
        "miou": miou,
        "fg_iou": layers[:, 1],
        "f1_50": resampled_f1(of_masks, draws, score_threshold),
        **{key: mean_of_defined(segments[..., n]) for n, key in enumerate(("pq", "sq", "rq"))},
        "boundary_iou": mean_of_defined(outlines),
    }


def resampled_f1(matches: Matches, draws: IntArray, score_threshold: float, iou_threshold: float = 0.5) -> FloatArray:
    """F1 of objects on each resample, (B,): the mean over the categories with truth in it; nan without any.

    Args:
        matches: at the areas and thresholds of this module's defaults.
        draws: (B, I) how often each image is drawn.
        score_threshold: detections of lower score are left out.
        iou_threshold: one of ``IOU_THRESHOLDS``.
    """
    t = int(np.argmin(np.abs(IOU_THRESHOLDS - iou_threshold)))
    categories, images = len(matches.category_ids), len(matches.image_ids)
    times = draws.astype(np.float64)

    def in_resamples(category: IntArray, image: IntArray, kept: npt.NDArray[np.bool_]) -> FloatArray:
        """(B, K) how many there are."""
        cells = np.bincount((category * images + image)[kept], minlength=categories * images)
        return times @ cells.reshape(categories, images).T.astype(np.float64)

    counted = ~matches.ignored[t, _ALL] & (matches.score >= score_threshold)
    right = matches.truth[t, _ALL] >= 0
    tp, fp = (in_resamples(matches.category, matches.image, counted & kept) for kept in (right, ~right))
    true = in_resamples(matches.truth_category, matches.truth_image, ~matches.truth_ignored[_ALL])
    f1 = np.divide(2 * tp, tp + fp + true, out=np.full(tp.shape, np.nan), where=true > 0)
    return mean_of_defined(f1)
