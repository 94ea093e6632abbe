"""COCO's matching of detections to true objects (pycocotools.cocoeval.evaluateImg), and their overlaps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from segtrain.arrays import BoolArray, FloatArray, IntArray, rank_in_group
from segtrain.masks.sweep import ranges
from segtrain.metrics.candidates import Candidates, IouType, find_candidates
from segtrain.metrics.pairs import Pairs
from segtrain.records import BoxPrediction, GroundTruth, Prediction

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
_CELLS = 2**20  # largest size of a table of pairs that are matched at a time; bounds the memory


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
    # Most pairs have no rival and are matched at once.
    rivals = np.bincount(near.detection, minlength=detections), np.bincount(near.truth, minlength=len(crowd))
    alone = (rivals[0][near.detection] == 1) & (rivals[1][near.truth] == 1)
    row, column, overlap = near.where(alone)
    enough = (overlap >= least[:, None])[:, None]
    matched[:, :, row] = np.where(enough, column, -1)
    taken[:, :, column] = np.where(enough, row, -1)
    # The others, in turns of those that have no truth in common.
    for turn in _turns(near.where(~alone), detections, len(crowd), _CELLS // (len(thresholds) * len(ignored))):
        _match_turn(turn, least, crowd, ignored, matched, taken)
    return matched, taken


def _turns(pairs: Pairs, detections: int, truths: int, most: int) -> Iterator[Pairs]:
    """Divide pairs into turns that are matched one after the other.

    Detections that have no truth in common, not even through others, can be matched at the same time: each turn holds
    one detection of each such group, the best one that is left.

    Args:
        pairs: pairs to divide, of the detections that overlap one truth the better ones first.
        detections: number of detections.
        truths: number of truths.
        most: about the number of pairs of a turn; a detection's pairs are not divided.
    """
    size = detections + truths
    table = csr_array((np.ones(len(pairs.truth), np.bool_), (pairs.detection, detections + pairs.truth)), (size, size))
    group = connected_components(table, directed=False)[1]
    rows, starts, counts = np.unique(pairs.detection, return_index=True, return_counts=True)
    turn = rank_in_group(group[rows])
    order = np.argsort(turn, kind="stable")
    if not len(order):
        return
    for of_turn in np.split(order, np.flatnonzero(np.diff(turn[order])) + 1):
        width = int(counts[of_turn].max(initial=1))
        for part in np.array_split(of_turn, max(1, -(-len(of_turn) * width // max(most, 1)))):
            yield pairs.where(ranges(starts[part], starts[part] + counts[part]))


def _match_turn(
    pairs: Pairs, least: FloatArray, crowd: BoolArray, ignored: BoolArray, matched: PlaceArray, taken: PlaceArray
) -> None:
    """Match detections that share no truth, at all thresholds and areas at once; see ``match_greedily``.

    Args:
        pairs: pairs of the detections.
        least: (T,) least IoU of a match.
        crowd: (G,) true for crowds.
        ignored: (A, G) true for truths that do not count.
        matched: (T, A, D) index of each detection's truth, which is changed.
        taken: (T, A, G) index of each truth's last detection, likewise.
    """
    starts = np.flatnonzero(np.diff(pairs.detection, prepend=-1))
    counts = np.diff(starts, append=len(pairs.detection))
    rows = pairs.detection[starts]
    column = np.arange(int(counts.max(initial=0)))
    place = starts[:, None] + np.minimum(column, counts[:, None] - 1)
    candidates = pairs.truth[place]  # (N, C), the last one repeated where there are fewer
    overlap = np.where(column < counts[:, None], pairs.iou[place], -1.0)
    free = ((taken[:, :, candidates] < 0) | crowd[candidates]) & (overlap >= least[:, None, None, None])
    regular = free & ~ignored[:, candidates]
    wanted = np.where(regular.any(axis=3, keepdims=True), regular, free)
    last_best = len(column) - 1 - np.where(wanted, overlap, -1.0)[..., ::-1].argmax(axis=3)
    t, a, number = np.nonzero(wanted.any(axis=3))
    chosen = candidates[number, last_best[t, a, number]]
    matched[t, a, rows[number]] = chosen
    taken[t, a, chosen] = rows[number]


@dataclass(frozen=True)
class Matches:
    """Matches of D detections with G true objects, at T IoU thresholds and A ranges of areas.

    Detections are sorted by category, then by decreasing score, then by image, then by their order in the input.
    Categories and images are numbered from 0 in the order of their ids. Matches are kept for the M detections alone
    whose IoU with a true object reaches the least threshold; in noise, hundreds of thousands of others do not.

    Attributes:
        image_ids: (I,) ids of the images, increasing.
        category_ids: (K,) ids of the categories, increasing.
        record: (D,) index of each detection in the given predictions.
        score: (D,) score of each detection.
        image: (D,) number of each detection's image.
        category: (D,) number of each detection's category.
        rank: (D,) number of better detections of the same image and category.
        near: (D,) place of each detection in the tables of the M ones; M for others.
        near_truth: (T, A, M + 1) index in the given truths of the matched object; -1 for none, and in the last
            column.
        near_ignored: (T, A, M + 1) true for those that are matched to an ignored object; False in the last column.
        outside: (A, D) true for detections of an area outside the range.
        truth_record: (G,) index of each true object in the given truths.
        truth_image: (G,) number of each true object's image.
        truth_category: (G,) number of each true object's category.
        truth_ignored: (A, G) true for crowds, for objects of an area outside the range, and for those that the
            caller chose to ignore.
        detection: (T, A, G) index of the last detection matched to each object (only crowds have several); -1 for
            none.
    """

    image_ids: IntArray
    category_ids: IntArray
    record: IntArray
    score: FloatArray
    image: IntArray
    category: IntArray
    rank: IntArray
    near: PlaceArray
    near_truth: PlaceArray
    near_ignored: BoolArray
    outside: BoolArray
    truth_record: IntArray
    truth_image: IntArray
    truth_category: IntArray
    truth_ignored: BoolArray
    detection: PlaceArray

    @property
    def nbytes(self) -> int:
        """Memory of all arrays in bytes."""
        return sum(array.nbytes for array in vars(self).values())

    @property
    def thresholds(self) -> int:
        """Number of IoU thresholds, T."""
        return len(self.near_truth)

    @property
    def areas(self) -> int:
        """Number of ranges of areas, A."""
        return len(self.outside)

    def reaching(self, score_threshold: float | FloatArray) -> BoolArray:
        """Find the detections whose score reaches a threshold, (D,).

        Args:
            score_threshold: least score; or (K,), one for each category.
        """
        least = score_threshold[self.category] if isinstance(score_threshold, np.ndarray) else score_threshold
        reached: BoolArray = self.score >= least
        return reached

    def truth(self, t: int | slice, a: int, chosen: IntArray | BoolArray | None = None) -> PlaceArray:
        """Return the index in the given truths of the object that each detection is matched to; -1 for none.

        Args:
            t: number of the IoU threshold; several, as a slice, are the rows of the result.
            a: number of the range of areas.
            chosen: indices of detections, or true for each that is chosen; None for all.
        """
        truth: PlaceArray = self.near_truth[t, a, self.near if chosen is None else self.near[chosen]]
        return truth

    def ignored(self, t: int | slice, a: int, chosen: IntArray | BoolArray | None = None) -> BoolArray:
        """Find the detections that are neither right nor wrong.

        They are matched to an ignored object, or unmatched and of an area outside the range.

        Args:
            t: number of the IoU threshold; several, as a slice, are the rows of the result.
            a: number of the range of areas.
            chosen: indices of detections, or true for each that is chosen; None for all.
        """
        near, outside = (self.near, self.outside[a]) if chosen is None else (self.near[chosen], self.outside[a, chosen])
        ignored: BoolArray = self.near_ignored[t, a, near] | ((self.near_truth[t, a, near] < 0) & outside)
        return ignored


def match(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction] | Sequence[BoxPrediction],
    *,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    iou_type: IouType,
    thresholds: FloatArray = IOU_THRESHOLDS,
    areas: Sequence[tuple[float, float]] = AREAS,
) -> Matches:
    """Match all detections, however many an image has.

    Args:
        truths: all true objects.
        predictions: all detections; of equal scores in an image the first counts as the better one.
        image_ids: every image that was segmented; records of others are left out.
        category_ids: categories to match; records of others are left out.
        iou_type: "segm" compares masks; "bbox" compares boxes: each prediction's ``bbox``, or the box of its mask.
        thresholds: (T,) least IoU of a match, each in (0, 1].
        areas: A ranges of areas in pixels, ends included; objects outside of a range are ignored in it.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> pair = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": score} for score in (0.4, 0.9)]
    >>> found = match([truth], pair, image_ids=[1], category_ids=[1], iou_type="segm")
    >>> found.score.tolist(), found.truth(IOU50, ALL).tolist()
    ([0.9, 0.4], [0, -1])
    """
    candidates = find_candidates(truths, predictions, image_ids=image_ids, category_ids=category_ids, iou_type=iou_type)
    return match_candidates(candidates, thresholds=thresholds, areas=areas)


def match_candidates(
    candidates: Candidates,
    *,
    thresholds: FloatArray = IOU_THRESHOLDS,
    areas: Sequence[tuple[float, float]] = AREAS,
    ignore: BoolArray | None = None,
) -> Matches:
    """Match detections whose pairs are known.

    A detection's match does not depend on those of lower score, so detections beyond ``max_dets`` or below a score can
    be left out afterwards, by ``rank`` or by ``score``.

    Args:
        candidates: the detections and the true objects.
        thresholds: (T,) least IoU of a match, each in (0, 1].
        areas: A ranges of areas in pixels, ends included; objects outside of a range are ignored in it.
        ignore: (A, N) true for truths, of all N given ones, that are ignored for another reason than their area:
            detections matched to them are neither right nor wrong; unmatched detections count as usual.

    Source: Lin et al., Microsoft COCO (2014), and ``pycocotools.cocoeval.COCOeval.evaluateImg``.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> found = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.4}
    >>> pairs = find_candidates([truth], [found], image_ids=[1], category_ids=[1], iou_type="segm")
    >>> matches = match_candidates(pairs, areas=[(0, 20), (20, 99)])
    >>> matches.ignored(IOU50, 0).tolist(), matches.ignored(IOU50, 1).tolist()
    ([False], [True])
    """
    found, real = candidates.record, candidates.truth_record
    truth_ignored = candidates.crowd | _outside(candidates.truth_area, areas)
    if ignore is not None:
        truth_ignored |= ignore[:, real]
    pairs = candidates.pairs.where(candidates.pairs.iou >= min(thresholds.min(), 1 - 1e-10))
    near, numbers = np.unique(pairs.detection, return_inverse=True)
    place = np.full(len(found), len(near), dtype=np.int32)
    place[near] = np.arange(len(near), dtype=np.int32)
    pairs = pairs._replace(detection=numbers)
    truth, detection = match_greedily(pairs, len(near), candidates.crowd, truth_ignored, thresholds)
    detection = np.where(detection >= 0, near.astype(np.int32)[detection], np.int32(-1)) if len(near) else detection

    a = np.arange(len(areas))[:, None]
    of_ignored = truth_ignored[a, truth] & (truth >= 0) if len(real) else np.zeros(truth.shape, dtype=np.bool_)
    of_given = np.where(truth >= 0, real.astype(np.int32)[truth], np.int32(-1)) if len(real) else truth
    return Matches(
        image_ids=candidates.image_ids,
        category_ids=candidates.category_ids,
        record=found,
        score=candidates.score,
        image=candidates.image,
        category=candidates.category,
        rank=rank_in_group(candidates.category * len(candidates.image_ids) + candidates.image),
        near=place,
        near_truth=_with_column(of_given, np.int32(-1)),
        near_ignored=_with_column(of_ignored, np.False_),
        outside=_outside(candidates.area, areas),
        truth_record=real,
        truth_image=candidates.truth_image,
        truth_category=candidates.truth_category,
        truth_ignored=truth_ignored,
        detection=detection,
    )


def _with_column(table: npt.NDArray[Any], value: np.generic) -> npt.NDArray[Any]:
    """Append a column of one value to a table (T, A, M)."""
    return np.concatenate([table, np.full((*table.shape[:2], 1), value)], axis=2)


def _outside(area: FloatArray, areas: Sequence[tuple[float, float]]) -> BoolArray:
    """Find the areas outside of each range, (A, N)."""
    return np.array([(area < low) | (area > high) for low, high in areas], dtype=np.bool_).reshape(len(areas), -1)
