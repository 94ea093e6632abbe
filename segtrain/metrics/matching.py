"""COCO's matching of detections to true instances (pycocotools.cocoeval.evaluateImg), and their overlaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segtrain import boxes, masks
from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.metrics.pairs import Pairs, box_pairs, mask_pairs
from segtrain.records import BoxPrediction, GroundTruth, Prediction

IouType = Literal["segm", "bbox"]
PlaceArray = npt.NDArray[np.int32]  # the largest tables: half the memory
IOU_THRESHOLDS: FloatArray = np.linspace(0.5, 0.95, 10)
AREAS = (
    (0.0, 1e5**2),
    (0.0, 32.0**2),
    (32.0**2, 96.0**2),
    (96.0**2, 1e5**2),
)  # ends included
ALL, SMALL, MEDIUM, LARGE = range(4)  # indices into AREAS
IOU50, IOU75 = 0, 5  # indices into IOU_THRESHOLDS


def match_greedily(
    pairs: Pairs, detections: int, crowd: BoolArray, ignored: BoolArray, thresholds: FloatArray
) -> tuple[PlaceArray, PlaceArray]:
    """Match detections, at all thresholds and areas at once.

    In order of decreasing score, each detection takes the free truth that it overlaps most, the last of equal ones; an
    ignored truth only if no other one reaches the threshold. A crowd can be matched any number of times.

    Args:
        pairs: IoU of those of D detections and G truths that may be matched, such as those of one image and category;
            of the detections that overlap one truth the better ones come first.
        detections: number of detections, D.
        crowd: (G,) true for crowds.
        ignored: (A, G) true for truths that do not count, crowds included.
        thresholds: (T,) least IoU of a match.

    Returns:
        For each detection the index of its truth, (T, A, D), and for each truth the index of its last detection,
        (T, A, G); -1 for none.

    Source: ``pycocotools.cocoeval.COCOeval.evaluateImg``.

    >>> duplicates = Pairs(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.9, 0.6, 0.8]))
    >>> nothing = np.zeros(2, np.bool_)
    >>> match_greedily(duplicates, 2, nothing, nothing[None], np.array([0.5]))[0].tolist()
    [[[0, -1]]]
    """
    least = np.minimum(thresholds, 1 - 1e-10)
    shape = (len(thresholds), len(ignored))
    matched = np.full((*shape, detections), -1, dtype=np.int32)
    taken = np.full((*shape, len(crowd)), -1, dtype=np.int32)
    near = pairs.where(pairs.iou >= least.min())
    # Most pairs have no rival and are matched at once; the others one after the other.
    rivals = np.bincount(near.detection, minlength=detections), np.bincount(near.truth, minlength=len(crowd))
    alone = (rivals[0][near.detection] == 1) & (rivals[1][near.truth] == 1)
    row, column, overlap = near.where(alone)
    enough = (overlap >= least[:, None])[:, None]
    matched[:, :, row] = np.where(enough, column, -1)
    taken[:, :, column] = np.where(enough, row, -1)
    rows, columns, overlaps = near.where(~alone)
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    for start, stop in pairwise([*starts.tolist(), len(rows)]):
        candidates, overlap = columns[start:stop], overlaps[start:stop]
        free = ((taken[:, :, candidates] < 0) | crowd[candidates]) & (overlap >= least[:, None, None])
        regular = free & ~ignored[:, candidates]
        wanted = np.where(regular.any(axis=2, keepdims=True), regular, free)
        last_best = len(candidates) - 1 - np.where(wanted, overlap, -1.0)[:, :, ::-1].argmax(axis=2)
        t, a = np.nonzero(wanted.any(axis=2))
        chosen = candidates[last_best[t, a]]
        matched[t, a, rows[start]] = chosen
        taken[t, a, chosen] = rows[start]
    return matched, taken


@dataclass(frozen=True)
class Matches:
    """Matches of D detections with G true instances, at T IoU thresholds and A ranges of areas.

    Detections are sorted by category, then by decreasing score, then by image, then by their order in the input.
    Categories and images are numbered from 0 in the order of their ids.

    Attributes:
        image_ids: (I,) ids of the images, increasing.
        category_ids: (K,) ids of the categories, increasing.
        record: (D,) index of each detection in the given predictions.
        score: (D,) score of each detection.
        image: (D,) number of each detection's image.
        category: (D,) number of each detection's category.
        rank: (D,) number of better detections of the same image and category.
        truth: (T, A, D) index in the given truths of the matched instance; -1 for none.
        ignored: (T, A, D) true for detections that are neither right nor wrong: matched to an ignored instance, or
            unmatched and of an area outside the range.
        truth_record: (G,) index of each true instance in the given truths.
        truth_image: (G,) number of each true instance's image.
        truth_category: (G,) number of each true instance's category.
        truth_ignored: (A, G) true for crowds, for instances of an area outside the range, and for those that the
            caller chose to ignore.
        detection: (T, A, G) index of the last detection matched to each instance (only crowds have several); -1 for
            none.
    """

    image_ids: IntArray
    category_ids: IntArray
    record: IntArray
    score: FloatArray
    image: IntArray
    category: IntArray
    rank: IntArray
    truth: PlaceArray
    ignored: BoolArray
    truth_record: IntArray
    truth_image: IntArray
    truth_category: IntArray
    truth_ignored: BoolArray
    detection: PlaceArray

    @property
    def nbytes(self) -> int:
        """Memory of all arrays in bytes."""
        return sum(array.nbytes for array in vars(self).values())


def match(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction] | Sequence[BoxPrediction],
    *,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    iou_type: IouType,
    thresholds: FloatArray = IOU_THRESHOLDS,
    areas: Sequence[tuple[float, float]] = AREAS,
    ignore: BoolArray | None = None,
) -> Matches:
    """Match all detections, however many an image has.

    A detection's match does not depend on those of lower score, so detections beyond ``max_dets`` or below a score can
    be left out afterwards, by ``rank`` or by ``score``.

    Args:
        truths: all true instances.
        predictions: all detections; of equal scores in an image the first counts as the better one.
        image_ids: every image that was segmented; records of others are left out.
        category_ids: categories to match; records of others are left out.
        iou_type: "segm" compares masks; "bbox" compares boxes: each prediction's ``bbox``, or the box of its mask.
        thresholds: (T,) least IoU of a match, each in (0, 1].
        areas: A ranges of areas in pixels, ends included; instances outside of a range are ignored in it.
        ignore: (A, N) true for truths, of all N given ones, that are ignored for another reason than their area:
            detections matched to them are neither right nor wrong; unmatched detections count as usual.

    Source: Lin et al., Microsoft COCO (2014), and ``pycocotools.cocoeval.COCOeval.evaluateImg``.

    >>> mask = masks.encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> pair = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": score} for score in (0.4, 0.9)]
    >>> found = match([truth], pair, image_ids=[1], category_ids=[1], iou_type="segm")
    >>> found.score.tolist(), found.truth[IOU50, ALL].tolist()
    ([0.9, 0.4], [0, -1])
    """
    images = {image_id: number for number, image_id in enumerate(sorted(set(image_ids)))}
    categories = {category_id: number for number, category_id in enumerate(sorted(set(category_ids)))}
    found, found_image, found_category = _columns(predictions, images, categories)
    real, truth_image, truth_category = _columns(truths, images, categories)
    score = np.array([predictions[n]["score"] for n in found], dtype=np.float64)
    order = np.lexsort((found, found_image, -score, found_category))
    found, score, image, category = found[order], score[order], found_image[order], found_category[order]

    known = [truths[n] for n in real]
    crowd = np.array([bool(t["iscrowd"]) for t in known], dtype=np.bool_)
    area = np.array([t["area"] for t in known], dtype=np.float64)
    truth_ignored = crowd | _outside(area, areas)
    if ignore is not None:
        truth_ignored |= ignore[:, real]
    shapes = _Shapes.of(known, [predictions[n] for n in found], iou_type)

    groups = category * len(images) + image, truth_category * len(images) + truth_image
    pairs = shapes.pairs(*groups, crowd)
    truth, detection = match_greedily(pairs, len(found), crowd, truth_ignored, thresholds)

    a = np.arange(len(areas))[:, None]
    of_ignored = truth_ignored[a, truth] if len(known) else np.zeros(truth.shape, dtype=np.bool_)
    ignored = np.where(truth >= 0, of_ignored, _outside(shapes.area, areas))
    return Matches(
        image_ids=np.array(list(images), dtype=np.int64),
        category_ids=np.array(list(categories), dtype=np.int64),
        record=found,
        score=score,
        image=image,
        category=category,
        rank=_rank(groups[0]),
        truth=np.where(truth >= 0, real.astype(np.int32)[truth], np.int32(-1)) if len(known) else truth,
        ignored=ignored,
        truth_record=real,
        truth_image=truth_image,
        truth_category=truth_category,
        truth_ignored=truth_ignored,
        detection=detection,
    )


@dataclass(frozen=True)
class _Shapes:
    """Masks, or boxes (xywh), of all truths and detections."""

    truths: Any
    detections: Any
    area: FloatArray  # of the detections

    @classmethod
    def of(cls, truths: Sequence[GroundTruth], predictions: Sequence[Any], iou_type: str) -> "_Shapes":
        if iou_type == "segm":
            rles = [p["segmentation"] for p in predictions]
            return cls([t["segmentation"] for t in truths], rles, masks.area(rles).astype(np.float64))
        found = boxes.of_predictions(predictions)
        real = np.array([t["bbox"] for t in truths], dtype=np.float64).reshape(-1, 4)
        return cls(real, found, found[:, 2] * found[:, 3])

    def pairs(self, detection_group: IntArray, truth_group: IntArray, crowd: BoolArray) -> Pairs:
        find = mask_pairs if isinstance(self.truths, list) else box_pairs
        return find(self.detections, self.truths, detection_group, truth_group, crowd)


def _columns(
    records: Sequence[Any], images: Mapping[int, int], categories: Mapping[int, int]
) -> tuple[IntArray, IntArray, IntArray]:
    """Find the indices of the records of known images and categories, and the numbers of their image and category."""
    kept = [n for n, r in enumerate(records) if r["image_id"] in images and r["category_id"] in categories]
    image = [images[records[n]["image_id"]] for n in kept]
    category = [categories[records[n]["category_id"]] for n in kept]
    return np.array(kept, np.int64), np.array(image, np.int64), np.array(category, np.int64)


def _rank(group: IntArray) -> IntArray:
    """Count the preceding entries of the same group."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    rank = np.zeros(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))
    return rank


def _outside(area: FloatArray, areas: Sequence[tuple[float, float]]) -> BoolArray:
    """Tell whether areas lie outside of ranges, (A, N)."""
    return np.array([(area < low) | (area > high) for low, high in areas], dtype=np.bool_).reshape(len(areas), -1)


def max_iou(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction] | Sequence[BoxPrediction],
    iou_type: IouType = "segm",
) -> FloatArray:
    """Compute the IoU of each detection with the true object that it overlaps most, (D,); 0 where there is none.

    Args:
        truths: true instances; crowds are left out. Categories do not matter.
        predictions: the detections; several may overlap one object.
        iou_type: "segm" compares masks; "bbox" compares boxes: each prediction's ``bbox``, or the box of its mask.

    >>> truth = {"image_id": 1, "bbox": [0.0, 0.0, 4.0, 4.0], "iscrowd": 0}
    >>> predictions = [{"image_id": 1, "bbox": [0.0, 0.0, 4.0, 2.0]}, {"image_id": 2, "bbox": [0.0, 0.0, 4.0, 4.0]}]
    >>> max_iou([truth], predictions, "bbox").tolist()
    [0.5, 0.0]
    """
    pairs = _pairs_in_images(truths, predictions, iou_type)
    best = np.zeros(len(predictions))
    np.maximum.at(best, pairs.detection, pairs.iou)
    return best


def max_iou_per_truth(truths: Sequence[GroundTruth], predictions: Sequence[Prediction]) -> FloatArray:
    """Compute the IoU of each true object with the detection that overlaps it most, (N,).

    Args:
        truths: true instances. Categories do not matter.
        predictions: the detections; one may overlap several objects.

    Returns:
        (N,) IoU; 0 for objects without a detection, and for crowds.

    >>> top, whole = np.zeros((4, 4)), np.ones((4, 4))
    >>> top[:1] = 1
    >>> truth = {"image_id": 1, "segmentation": masks.encode(whole), "iscrowd": 0}
    >>> max_iou_per_truth([truth], [{"image_id": 1, "segmentation": masks.encode(top)}]).tolist()
    [0.25]
    """
    pairs = _pairs_in_images(truths, predictions, "segm")
    best = np.zeros(len(truths))
    real = np.array([not truth["iscrowd"] for truth in truths], dtype=np.bool_)
    np.maximum.at(best, np.flatnonzero(real)[pairs.truth], pairs.iou)
    return best


def _pairs_in_images(truths: Sequence[GroundTruth], predictions: Sequence[Any], iou_type: IouType) -> Pairs:
    """Find the pairs of detections and true objects of the same image; indices count the true objects alone."""
    real = [truth for truth in truths if not truth["iscrowd"]]
    shapes = _Shapes.of(real, predictions, iou_type)
    found_image, real_image = (
        np.array([record["image_id"] for record in records], dtype=np.int64) for records in (predictions, real)
    )
    return shapes.pairs(found_image, real_image, np.zeros(len(real), dtype=np.bool_))
