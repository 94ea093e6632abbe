"""Average precision on many resamples of the images, from one matching."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from segtrain.arrays import BoolArray, FloatArray, IntArray, mean_of_defined
from segtrain.metrics.matching import Matches

CountArray = npt.NDArray[np.int32]
RECALLS: FloatArray = np.linspace(0.0, 1.0, 101)
_CELLS = 2**20  # largest size of a table of runs by resamples; bounds the memory
_DRAWS = 2**25  # largest size of the table of draws, copies included


def interpolated_ap(hits: CountArray, misses: CountArray | FloatArray, truths: IntArray) -> tuple[IntArray, FloatArray]:
    """Compute COCO's interpolated average precision from runs of detections that end with a hit.

    Args:
        hits: (R, B) number of correct detections in each run; overwritten.
        misses: (R, B) number, or weight, of false detections in each run, all of which rank before its last hit;
            overwritten.
        truths: (B,) number of true instances.

    Returns:
        (B,) number of hits, and (B,) mean over the recalls 0, .01, ..., 1 of the largest precision at that recall or a
        higher one.

    Source: Lin et al., Microsoft COCO (2014), and ``pycocotools.cocoeval.COCOeval.accumulate``.

    >>> hits, misses = np.array([[1], [1]], np.int32), np.array([[0], [2]], np.int32)  # right, wrong, wrong, right
    >>> interpolated_ap(hits, misses, np.array([2]))[1].round(4).tolist()
    [0.7525]
    """
    if not len(hits):
        return np.zeros(len(truths), dtype=np.int64), np.zeros(len(truths))
    for counts in (hits, misses):
        for before, row in pairwise(counts):
            row += before
    precision = hits / np.maximum(hits + misses, 1)
    for after, row in pairwise(precision[::-1]):
        np.maximum(after, row, out=row)
    reached = reached_recalls(hits / np.maximum(truths, 1))
    reached[1:] -= reached[:-1].copy()
    return hits[-1].astype(np.int64), np.einsum("rb,rb->b", reached, precision) / len(RECALLS)


def reached_recalls(recall: FloatArray) -> IntArray:
    """Count the recalls 0, .01, ..., 1 that do not exceed each given recall, as floating point compares them.

    >>> reached_recalls(np.array([0.0, 0.5, 1.0])).tolist()
    [1, 51, 101]
    """
    # Hundredths are not exact in floating point: only a recall that is one of them needs the comparison.
    nearest = (recall * 100 + 1e-9).astype(np.int64)
    return nearest + (RECALLS[nearest] <= recall)


@dataclass(frozen=True)
class ResampledPrecision:
    """Average precision and recall of B resamples, at T IoU thresholds, A ranges of areas and K categories.

    Attributes:
        category_precision: (T, A, K, B) mean precision over recall 0, .01, ..., 1; nan without true instances.
        category_recall: (T, A, K, B) recall; nan without true instances.
    """

    category_precision: FloatArray
    category_recall: FloatArray

    @property
    def precision(self) -> FloatArray:
        """Mean precision over the categories with true instances, (T, A, B)."""
        return mean_of_defined(np.moveaxis(self.category_precision, 2, -1))

    @property
    def recall(self) -> FloatArray:
        """Mean recall over the categories with true instances, (T, A, B)."""
        return mean_of_defined(np.moveaxis(self.category_recall, 2, -1))


def resampled_precision(
    matches: Matches,
    draws: IntArray,
    *,
    max_dets: int,
    areas: Sequence[int] | None = None,
    false_weight: FloatArray | None = None,
) -> ResampledPrecision:
    """Compute average precision and recall of each resample, as COCO defines them.

    The result of a resample is that of COCO's evaluator for its images in increasing order, copies of an image side by
    side.

    Args:
        matches: matches of the detections of all images.
        draws: (B, I) number of times that each image is drawn.
        max_dets: detections kept per image and category, best first; at least 1.
        areas: indices into the ranges of areas of the matches; None for all of them.
        false_weight: (A, B) weight of an unmatched detection, in [0, 1]; None for 1.

    Source: Lin et al., Microsoft COCO (2014), and ``pycocotools.cocoeval.COCOeval.accumulate``.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> truths = [truth | {"image_id": 1}, truth | {"image_id": 2}]
    >>> found = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}
    >>> from segtrain.metrics.matching import match
    >>> matches = match(truths, [found], image_ids=[1, 2], category_ids=[1], iou_type="segm")
    >>> resampled_precision(matches, np.array([[1, 1], [2, 0]]), max_dets=100).precision[0, 0].round(3).tolist()
    [0.505, 1.0]
    """
    chosen = range(matches.truth.shape[1]) if areas is None else areas
    most = int(draws.max(initial=1))
    pieces = max(1, -(-draws.size * (most + 1) // _DRAWS))
    parts = [
        _resample(matches, draws[part], most, max_dets, chosen, None if false_weight is None else false_weight[:, part])
        for part in np.array_split(np.arange(len(draws)), pieces)
    ]
    precision, recall = (np.concatenate(tables, axis=-1) for tables in zip(*parts, strict=True))
    return ResampledPrecision(precision, recall)


def _resample(
    matches: Matches,
    draws: IntArray,
    most: int,
    max_dets: int,
    areas: Sequence[int],
    false_weight: FloatArray | None,
) -> tuple[FloatArray, FloatArray]:
    """Compute precision and recall of some resamples, (T, A, K, B) each."""
    categories = len(matches.category_ids)
    drawn = _Draws(np.ascontiguousarray(draws.T, dtype=np.int32), most)
    precision, recall = np.full((2, matches.truth.shape[0], len(areas), categories, len(draws)), np.nan)
    for category in range(categories):
        ranked = _Ranking.of(matches, category, max_dets)
        for column, area in enumerate(areas):
            truths = _per_image(matches, category, area) @ drawn.times
            there = truths > 0
            if not there.any():
                continue
            weight = None if false_weight is None else false_weight[column]
            for t in range(len(precision)):
                hits, mean = ranked.curve(matches, t, area, drawn, truths, weight)
                precision[t, column, category] = np.where(there, mean, np.nan)
                recall[t, column, category] = np.where(there, hits / np.maximum(truths, 1), np.nan)
    return precision, recall


def precision_at_recalls(matches: Matches, *, max_dets: int) -> FloatArray:
    """Compute the precision-recall curve of each category on all images, for true instances of every size.

    Args:
        matches: matches of the detections of all images; the first of their ranges of areas holds instances of every
            size.
        max_dets: detections kept per image and category, best first; at least 1.

    Returns:
        (T, K, 101) largest precision at each recall 0, .01, ..., 1 or a higher one; nan without true instances.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> truths = [truth | {"image_id": 1}, truth | {"image_id": 2}]
    >>> found = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}
    >>> from segtrain.metrics.matching import match
    >>> matches = match(truths, [found], image_ids=[1, 2], category_ids=[1], iou_type="segm")
    >>> precision_at_recalls(matches, max_dets=100)[0, 0, 49:53].tolist()  # recall .49 to .52
    [1.0, 1.0, 0.0, 0.0]
    """
    thresholds, categories = len(matches.truth), len(matches.category_ids)
    curves = np.full((thresholds, categories, len(RECALLS)), np.nan)
    for category in range(categories):
        found = _Ranking.of(matches, category, max_dets).found
        truths = int(_per_image(matches, category, 0).sum())
        if not truths:
            continue
        curves[:, category] = 0
        for t in range(thresholds):
            hit = matches.truth[t, 0, found[~matches.ignored[t, 0, found]]] >= 0
            hits = np.cumsum(hit)
            precision = hits / np.arange(1, len(hits) + 1)
            highest = np.maximum.accumulate(precision[::-1])[::-1]
            reached = reached_recalls(hits / truths)
            curves[t, category, : reached.max(initial=0)] = np.repeat(highest, np.diff(reached, prepend=0))
    return curves


def _per_image(matches: Matches, category: int, area: int) -> IntArray:
    """Count the true instances of each image that are not ignored, (I,)."""
    counted = (matches.truth_category == category) & ~matches.truth_ignored[area]
    return np.bincount(matches.truth_image[counted], minlength=len(matches.image_ids))


@dataclass(frozen=True)
class _Draws:
    """Number of times that each image is drawn.

    Attributes:
        times: (I, B) number of times.
        most: largest of these numbers.
    """

    times: CountArray
    most: int

    @cached_property
    def copies(self) -> CountArray:
        """``times``, then 1 or 0 for each copy of each image: drawn more than 0 times, 1 time, ...; (I + most I, B)."""
        more = self.times > np.arange(self.most, dtype=np.int32)[:, None, None]
        return np.concatenate([self.times, more.reshape(-1, self.times.shape[1])], dtype=np.int32)


@dataclass(frozen=True)
class _Ranking:
    """Detections of a category, best first.

    Attributes:
        found: (D,) index of each detection in the matches.
        image: (D,) number of each detection's image.
        tie: (D,) group of each detection; detections of one image with equal scores form a group.
    """

    found: IntArray
    image: IntArray
    tie: IntArray

    @classmethod
    def of(cls, matches: Matches, category: int, max_dets: int) -> "_Ranking":
        found = np.flatnonzero((matches.category == category) & (matches.rank < max_dets))
        image, score = matches.image[found], matches.score[found]
        changes = (np.diff(image) != 0) | (np.diff(score) != 0)
        return cls(found, image, np.concatenate([np.zeros(min(len(found), 1), dtype=np.int64), np.cumsum(changes)]))

    def curve(
        self, matches: Matches, t: int, a: int, drawn: _Draws, truths: IntArray, false_weight: FloatArray | None
    ) -> tuple[IntArray, FloatArray]:
        """Compute the number of hits of each resample, (B,), and the mean precision over all recalls, (B,)."""
        counted = np.flatnonzero(~matches.ignored[t, a, self.found])
        hit, row, draws = matches.truth[t, a, self.found[counted]] >= 0, self.image[counted], drawn.times
        mixed = _mixed(hit, self.tie[counted])
        if mixed.any():
            hit, row = _unroll(hit, row, self.tie[counted], mixed, drawn)
            draws = drawn.copies
        ends = hit & ~np.append(hit[1:], False)
        run = np.cumsum(ends) - ends
        count = int(ends.sum())
        hits, misses = (_table(run[kept], row[kept], count, len(draws)) for kept in (hit, ~hit & (run < count)))
        total, mean = np.zeros(len(truths), dtype=np.int64), np.zeros(len(truths))
        for part in _parts(len(truths), count):
            wrong = misses @ draws[:, part]
            wrong = wrong if false_weight is None else wrong * false_weight[part]
            total[part], mean[part] = interpolated_ap(hits @ draws[:, part], wrong, truths[part])
        return total, mean


def _mixed(hit: BoolArray, tie: IntArray) -> BoolArray:
    """Tell whether the group of each detection holds both hits and misses, (D,)."""
    number = np.cumsum(np.diff(tie, prepend=-1) != 0) - 1
    hits = np.bincount(number, weights=hit)
    mixed: BoolArray = (hits > 0) & (hits < np.bincount(number))
    of_detections: BoolArray = mixed[number]
    return of_detections


def _unroll(
    hit: BoolArray, image: IntArray, tie: IntArray, mixed: BoolArray, drawn: _Draws
) -> tuple[BoolArray, IntArray]:
    """Repeat the groups of equal scores that hold both hits and misses, where the order matters, once per copy.

    Returns:
        For each entry, true if it is a hit, and its row in ``_Draws.copies``.
    """
    times = np.where(mixed, drawn.most, 1)
    place = np.repeat(np.arange(len(hit)), times)
    copy = np.arange(len(place)) - np.repeat(np.cumsum(times) - times, times)
    order = np.lexsort((place, copy, tie[place]))
    place, copy = place[order], copy[order]
    return hit[place], np.where(mixed[place], (copy + 1) * len(drawn.times), 0) + image[place]


def _table(run: IntArray, row: IntArray, runs: int, rows: int) -> csr_array:
    """Count the entries of each run and row of draws, (runs, rows)."""
    starts = np.searchsorted(run, np.arange(runs + 1)).astype(np.int32)
    return csr_array((np.ones(len(row), dtype=np.int32), row.astype(np.int32), starts), shape=(runs, rows))


def _parts(resamples: int, runs: int) -> Iterator[slice]:
    size = max(1, _CELLS // max(runs, 1))
    return (slice(start, min(start + size, resamples)) for start in range(0, resamples, size))
