"""COCO's matching of detections to true instances (pycocotools.cocoeval.evaluateImg), and their overlaps."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segtrain import boxes, masks
from segtrain.arrays import BoolArray, FloatArray, IntArray
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
    overlaps: FloatArray, crowd: BoolArray, ignored: BoolArray, thresholds: FloatArray
) -> tuple[IntArray, IntArray]:
    """Match the detections of one image and category, at all thresholds and areas at once.

    Best score first, each takes the free truth that it overlaps most, the last of equal ones; a truth to ignore only
    where no other will do. A crowd is never used up.

    Args:
        overlaps: (D, G) IoU, best detection first.
        crowd: (G,).
        ignored: (A, G) truths that do not count, crowds among them.
        thresholds: (T,) IoU that a match needs at least.

    Returns:
        For each detection its truth, (T, A, D), and for each truth its last detection, (T, A, G); -1 for none.
    """
    least = np.minimum(thresholds, 1 - 1e-10)
    shape = (len(thresholds), len(ignored))
    matched = np.full((*shape, overlaps.shape[0]), -1, dtype=np.int64)
    taken = np.full((*shape, overlaps.shape[1]), -1, dtype=np.int64)
    near = overlaps >= least.min()
    # Most pairs have no rival; those that have are settled one after the other.
    alone = near & (near.sum(axis=1, keepdims=True) == 1) & (near.sum(axis=0) == 1)
    row, column = np.nonzero(alone)
    enough = (overlaps[row, column] >= least[:, None])[:, None]
    matched[:, :, row] = np.where(enough, column, -1)
    taken[:, :, column] = np.where(enough, row, -1)
    for d in np.flatnonzero((near & ~alone).any(axis=1)):
        rivals = np.flatnonzero(near[d])
        overlap = overlaps[d, rivals]
        free = ((taken[:, :, rivals] < 0) | crowd[rivals]) & (overlap >= least[:, None, None])
        regular = free & ~ignored[:, rivals]
        wanted = np.where(regular.any(axis=2, keepdims=True), regular, free)
        last_best = len(rivals) - 1 - np.where(wanted, overlap, -1.0)[:, :, ::-1].argmax(axis=2)
        t, a = np.nonzero(wanted.any(axis=2))
        chosen = rivals[last_best[t, a]]
        matched[t, a, d] = chosen
        taken[t, a, chosen] = d
    return matched, taken


@dataclass(frozen=True)
class Matches:
    """What each of D detections was matched to, and each of G true instances, at T IoU thresholds and A areas.

    The detections stand by category, best score first, then by image, then as they were given. Categories and images
    are counted from 0 in the order of their ids.

    Attributes:
        image_ids: the I images, increasing.
        category_ids: the K categories, increasing.
        record: (D,) where in the given predictions the detection stood.
        score: (D,).
        image: (D,).
        category: (D,).
        rank: (D,) how many detections of its image and category come before it.
        truth: (T, A, D) the true instance it was matched to, as a position in the given truths; -1 for none.
        ignored: (T, A, D) whether it counts neither way: matched to what is ignored, or unmatched and of other size.
        truth_record: (G,) where in the given truths the instance stood.
        truth_image: (G,).
        truth_category: (G,).
        truth_ignored: (A, G) crowds, instances of other size, and those that were set aside.
        detection: (T, A, G) the last detection matched to the instance (only a crowd has several); -1 for none.
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

    A detection's match does not depend on those of lower score, so a cut at ``max_dets`` detections or at a score can
    be made afterwards, by ``rank`` or by ``score``.

    Args:
        truths: all true instances.
        predictions: all detections; of equal scores in an image the first counts as the better one.
        image_ids: every image that was segmented; records of others are left out.
        category_ids: records of other categories are left out.
        iou_type: "segm" compares masks; "bbox" compares boxes: each prediction's ``bbox``, or the box of its mask.
        thresholds: (T,) IoU that a match needs at least, each in (0, 1].
        areas: least and largest area in pixels, A of them; instances of other size are ignored.
        ignore: (A, N) which of all N given truths are ignored beside those, for what is no matter of size: detections
            matched to them count neither way, and unmatched ones as they would.
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

    shape = (len(thresholds), len(areas))
    truth = np.full((*shape, len(found)), -1, dtype=np.int32)
    detection = np.full((*shape, len(known)), -1, dtype=np.int32)
    by_group = _groups(category * len(images) + image)
    truths_by_group = _groups(truth_category * len(images) + truth_image)
    rank = np.zeros(len(found), dtype=np.int64)
    for group, here in by_group.items():
        rank[here] = np.arange(len(here))
        there = truths_by_group.get(group)
        if there is not None:
            overlaps = shapes.iou(here, there, crowd[there])
            matched, taken = match_greedily(overlaps, crowd[there], truth_ignored[:, there], thresholds)
            truth[:, :, here] = np.where(matched >= 0, there[matched], -1)
            detection[:, :, there] = np.where(taken >= 0, here[taken], -1)

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
        rank=rank,
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
    """Masks or boxes (xywh) of all truths and detections."""

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

    def iou(self, detections: IntArray, truths: IntArray, crowd: BoolArray) -> FloatArray:
        if isinstance(self.truths, list):
            found = [self.detections[n] for n in detections]
            return masks.iou(found, [self.truths[n] for n in truths], crowd.tolist())
        return boxes.iou(self.detections[detections], self.truths[truths], crowd)


def _columns(
    records: Sequence[Any], images: Mapping[int, int], categories: Mapping[int, int]
) -> tuple[IntArray, IntArray, IntArray]:
    """Positions of the records of known images and categories, and their image and category as numbers."""
    kept = [n for n, r in enumerate(records) if r["image_id"] in images and r["category_id"] in categories]
    image = [images[records[n]["image_id"]] for n in kept]
    category = [categories[records[n]["category_id"]] for n in kept]
    return np.array(kept, np.int64), np.array(image, np.int64), np.array(category, np.int64)


def _groups(key: IntArray) -> dict[int, IntArray]:
    """Where each value of the key stands, in order."""
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    return {int(key[part[0]]): part for part in np.split(order, starts)[1:]}


def _outside(area: FloatArray, areas: Sequence[tuple[float, float]]) -> BoolArray:
    """(A, N) whether an area lies outside a range."""
    return np.array([(area < low) | (area > high) for low, high in areas], dtype=np.bool_).reshape(len(areas), -1)


def max_iou(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction] | Sequence[BoxPrediction],
    iou_type: IouType = "segm",
) -> FloatArray:
    """IoU of each detection with the true object of its image that it overlaps most, (D,); 0 where there is none.

    Args:
        truths: true instances; crowds are left out. Categories do not matter.
        predictions: the detections; several may overlap one object.
        iou_type: "segm" compares masks; "bbox" compares boxes: each prediction's ``bbox``, or the box of its mask.
    """
    best = np.zeros(len(predictions))
    for _, here, overlaps in _overlaps(truths, predictions, iou_type):
        best[here] = overlaps.max(axis=1)
    return best


def max_iou_per_truth(truths: Sequence[GroundTruth], predictions: Sequence[Prediction]) -> FloatArray:
    """IoU of each true object with the detection of its image that overlaps it most, (N,); 0 without any, or a crowd.

    Args:
        truths: true instances. Categories do not matter.
        predictions: the detections; one may overlap several objects.
    """
    best = np.zeros(len(truths))
    for there, _, overlaps in _overlaps(truths, predictions, "segm"):
        best[there] = overlaps.max(axis=0)
    return best


def _overlaps(
    truths: Sequence[GroundTruth], predictions: Sequence[Any], iou_type: IouType
) -> Iterator[tuple[list[int], list[int], FloatArray]]:
    """Of each image with both: which true objects and which detections it has, and their (D, G) IoU."""
    real, found = _by_image(truths), _by_image(predictions)
    shapes = boxes.of_predictions(predictions) if iou_type == "bbox" else None
    for image_id in found.keys() & real.keys():
        there, here = [n for n in real[image_id] if not truths[n]["iscrowd"]], found[image_id]
        if not there:
            continue
        crowd = np.zeros(len(there), dtype=np.bool_)
        if shapes is None:
            own = [predictions[n]["segmentation"] for n in here]
            yield there, here, masks.iou(own, [truths[n]["segmentation"] for n in there], crowd.tolist())
        else:
            yield there, here, boxes.iou(shapes[here], np.array([truths[n]["bbox"] for n in there], np.float64), crowd)


def _by_image(records: Sequence[Any]) -> dict[int, list[int]]:
    """The places of each image's records."""
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        places[record["image_id"]].append(place)
    return places
