"""Pairs of detections and true objects that may be matched, found once for all ways of matching."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from segtrain import boxes, masks
from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.mask_records import column, rles_of, select
from segtrain.metrics.pairs import NO_PAIRS, Pairs, box_pairs, mask_pairs
from segtrain.records import BoxPrediction, GroundTruth, Prediction

IouType = Literal["segm", "bbox"]


@dataclass(frozen=True)
class Candidates:
    """D detections and G true objects in the order of ``Matches``, and the pairs of them that may be matched.

    They depend neither on the IoU thresholds nor on the objects that are ignored, so that one search for pairs, which
    decodes all masks, serves several matchings.

    Attributes:
        image_ids: (I,) ids of the images, increasing.
        category_ids: (K,) ids of the categories, increasing.
        record: (D,) index of each detection in the given predictions.
        score: (D,) score of each detection.
        image: (D,) number of each detection's image.
        category: (D,) number of each detection's category.
        area: (D,) area of each detection in pixels.
        truth_record: (G,) index of each true object in the given truths.
        truth_image: (G,) number of each true object's image.
        truth_category: (G,) number of each true object's category.
        truth_area: (G,) area of each true object, the annotation's own.
        crowd: (G,) true for crowds.
        pairs: IoU of the detections and true objects of one image and category.
        others: IoU of the masks of one image and different categories; empty for boxes.
    """

    image_ids: IntArray
    category_ids: IntArray
    record: IntArray
    score: FloatArray
    image: IntArray
    category: IntArray
    area: FloatArray
    truth_record: IntArray
    truth_image: IntArray
    truth_category: IntArray
    truth_area: FloatArray
    crowd: BoolArray
    pairs: Pairs
    others: Pairs

    @property
    def nbytes(self) -> int:
        """Memory of all arrays in bytes."""
        own = sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))
        return own + sum(array.nbytes for array in (*self.pairs, *self.others))

    def by_boxes(self, truths: Sequence[GroundTruth], predictions: Sequence[Any]) -> "Candidates":
        """Find the pairs whose boxes overlap, of the same detections and true objects.

        Args:
            truths: the given truths.
            predictions: the given detections.
        """
        images = len(self.image_ids)
        area, pairs = _by_boxes(
            select(truths, self.truth_record),
            select(predictions, self.record),
            self.truth_category * images + self.truth_image,
            self.category * images + self.image,
            self.crowd,
        )
        return replace(self, area=area, pairs=pairs, others=NO_PAIRS)

    def highest_iou(self, detections: BoolArray, truths: BoolArray) -> float:
        """Return the highest IoU of some detections with some true objects; 0 where none overlap.

        Args:
            detections: (D,) true for each detection that counts.
            truths: (G,) true for each object that counts.
        """
        counted = detections[self.pairs.detection] & truths[self.pairs.truth]
        return float(self.pairs.iou[counted].max(initial=0.0))

    def max_iou_per_detection(self) -> FloatArray:
        """Compute the IoU of each detection with the true object of its category that it overlaps most, (D,).

        It is 0 for detections that overlap none; crowds do not count.
        """
        best = np.zeros(len(self.record))
        counted = self.pairs.where(~self.crowd[self.pairs.truth])
        np.maximum.at(best, counted.detection, counted.iou)
        return best

    def max_iou_per_truth(self, truths: int, score_threshold: float) -> FloatArray:
        """Compute the IoU of each true object with the detection of its category that overlaps it most.

        Args:
            truths: number of the given truths, N.
            score_threshold: least score of a detection that counts.

        Returns:
            (N,) IoU; 0 for objects without a detection, and for crowds.
        """
        best = np.zeros(truths)
        pairs = self.pairs.where((self.score[self.pairs.detection] >= score_threshold) & ~self.crowd[self.pairs.truth])
        np.maximum.at(best, self.truth_record[pairs.truth], pairs.iou)
        return best


def find_candidates(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction] | Sequence[BoxPrediction],
    *,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    iou_type: IouType,
    all_pairs: Pairs | None = None,
) -> Candidates:
    """Find the pairs of detections and true objects that overlap.

    Args:
        truths: all true objects.
        predictions: all detections; of equal scores in an image the first counts as the better one.
        image_ids: every image that was segmented; records of others are left out.
        category_ids: categories to match; records of others are left out.
        iou_type: "segm" compares masks; "bbox" compares boxes: each prediction's ``bbox``, or the box of its mask.
        all_pairs: what ``pairs_in_images`` finds; None to find it.

    >>> mask = masks.encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> pair = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": score} for score in (0.4, 0.9)]
    >>> found = find_candidates([truth], pair, image_ids=[1], category_ids=[1], iou_type="segm")
    >>> found.score.tolist(), found.pairs.iou.tolist()
    ([0.9, 0.4], [1.0, 1.0])
    """
    images = np.unique(np.array(image_ids, dtype=np.int64))
    categories = np.unique(np.array(category_ids, dtype=np.int64))
    found, found_image, found_category = _columns(predictions, images, categories)
    real, truth_image, truth_category = _columns(truths, images, categories)
    score = column(predictions, "score")[found]
    order = np.lexsort((found, found_image, -score, found_category))
    found, score, image, category = found[order], score[order], found_image[order], found_category[order]

    known = select(truths, real)
    crowd = np.array([bool(t["iscrowd"]) for t in known], dtype=np.bool_)
    others = NO_PAIRS
    if iou_type == "bbox":
        groups = truth_category * len(images) + truth_image, category * len(images) + image
        area, pairs = _by_boxes(known, select(predictions, found), *groups, crowd)
    else:
        area = masks.area(rles_of(predictions))[found].astype(np.float64)
        every = pairs_in_images(truths, predictions) if all_pairs is None else all_pairs
        every = every.renumbered(found, len(predictions), real, len(truths))
        same = category[every.detection] == truth_category[every.truth]
        pairs, others = every.where(same), every.where(~same)
    return Candidates(
        image_ids=images,
        category_ids=categories,
        record=found,
        score=score,
        image=image,
        category=category,
        area=area,
        truth_record=real,
        truth_image=truth_image,
        truth_category=truth_category,
        truth_area=np.array([t["area"] for t in known], dtype=np.float64),
        crowd=crowd,
        pairs=pairs,
        others=others,
    )


def _by_boxes(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Any],
    truth_group: IntArray,
    detection_group: IntArray,
    crowd: BoolArray,
) -> tuple[FloatArray, Pairs]:
    """Measure the areas of the detections' boxes, and find the pairs of boxes of one group that overlap."""
    found = boxes.of_predictions(predictions)
    real = np.array([t["bbox"] for t in truths], dtype=np.float64).reshape(-1, 4)
    return found[:, 2] * found[:, 3], box_pairs(found, real, detection_group, truth_group, crowd)


def _columns(records: Sequence[Any], images: IntArray, categories: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Find the indices of the records of known images and categories, and the numbers of their image and category."""
    image, image_known = _numbers(column(records, "image_id"), images)
    category, category_known = _numbers(column(records, "category_id"), categories)
    kept = np.flatnonzero(image_known & category_known)
    return kept, image[kept], category[kept]


def _numbers(ids: IntArray, known: IntArray) -> tuple[IntArray, BoolArray]:
    """Find the position of each id among the known ones, which increase, and which ids are known."""
    place = np.minimum(np.searchsorted(known, ids), max(len(known) - 1, 0))
    return place, known[place] == ids if len(known) else np.zeros(len(ids), dtype=np.bool_)


def pairs_in_images(truths: Sequence[GroundTruth], predictions: Sequence[Any]) -> Pairs:
    """Find the pairs of detected and true masks of one image that overlap, whatever their categories.

    Args:
        truths: all true objects.
        predictions: all detections, with masks.

    Returns:
        The pairs, with indices of the given records.

    >>> whole, half = masks.encode(np.ones((4, 4))), masks.encode(np.tri(4, 4, -1))
    >>> truth = {"image_id": 1, "segmentation": whole, "iscrowd": 0}
    >>> pairs_in_images([truth], [{"image_id": 1, "segmentation": half}, {"image_id": 2, "segmentation": half}]).iou
    array([0.375])
    """
    crowd = np.array([bool(truth["iscrowd"]) for truth in truths], dtype=np.bool_)
    groups = column(predictions, "image_id"), column(truths, "image_id")
    return mask_pairs(rles_of(predictions), rles_of(truths), *groups, crowd)
