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
_CELLS = 2**20  # of a table of runs by resamples; bounds the memory
_DRAWS = 2**25  # of the table of draws, copies included


def interpolated_ap(hits: CountArray, misses: CountArray | FloatArray, truths: IntArray) -> tuple[IntArray, FloatArray]:
    """Hits in all, and the mean over all recalls of the largest precision at that recall or a higher one.

    Args:
        hits: (R, B) detections of each run that are right; changed.
        misses: (R, B) detections before them, since the last run, that are wrong, or what they count; changed.
        truths: (B,).
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
    """How many of the recalls 0, .01, ..., 1 do not lie above each of these, as floating point compares them."""
    # The hundredths are not exact, and a recall of one of them may fall on either side; all others are far from one.
    nearest = (recall * 100 + 1e-9).astype(np.int64)
    return nearest + (RECALLS[nearest] <= recall)


@dataclass(frozen=True)
class ResampledPrecision:
    """COCO's numbers of B resamples, at T IoU thresholds, A areas and K categories; nan without true instances.

    Attributes:
        category_precision: (T, A, K, B) mean precision over recall 0, .01, ..., 1.
        category_recall: (T, A, K, B) recall.
    """

    category_precision: FloatArray
    category_recall: FloatArray

    @property
    def precision(self) -> FloatArray:
        """(T, A, B) mean over the categories with true instances."""
        return mean_of_defined(np.moveaxis(self.category_precision, 2, -1))

    @property
    def recall(self) -> FloatArray:
        """(T, A, B) mean over the categories with true instances."""
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

    A resample gives what COCO's evaluator finds for its images in increasing order, copies of an image side by side.

    Args:
        matches: of all images.
        draws: (B, I) times that each image is drawn.
        max_dets: detections kept per image and category, best first; at least 1.
        areas: indices into the areas of the matches; None for all of them.
        false_weight: (A, B) what an unmatched detection counts, in [0, 1]; None for 1.
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
    """Precision and recall, (T, A, K, B) each."""
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
        matches: of all images; the first of their areas takes instances of every size.
        max_dets: detections kept per image and category, best first; at least 1.

    Returns:
        (T, K, 101) largest precision at each recall 0, .01, ..., 1 or a higher one; nan without true instances.
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
    """(I,) true instances that count."""
    counted = (matches.truth_category == category) & ~matches.truth_ignored[area]
    return np.bincount(matches.truth_image[counted], minlength=len(matches.image_ids))


@dataclass(frozen=True)
class _Draws:
    """How often each image is drawn.

    Attributes:
        times: (I, B).
        most: the largest of them.
    """

    times: CountArray
    most: int

    @cached_property
    def copies(self) -> CountArray:
        """(I + most I, B) the same, then whether each image is drawn more than 0 times, more than once, and so on."""
        more = self.times > np.arange(self.most, dtype=np.int32)[:, None, None]
        return np.concatenate([self.times, more.reshape(-1, self.times.shape[1])], dtype=np.int32)


@dataclass(frozen=True)
class _Ranking:
    """The detections of a category, best first.

    Attributes:
        found: (D,) their places in the matches.
        image: (D,).
        tie: (D,) the same number where image and score are the same.
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
        """Hits of each resample, (B,), and the mean precision over all recalls, (B,)."""
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
    """(D,) whether a detection ties with others of its image, hits and misses among them."""
    number = np.cumsum(np.diff(tie, prepend=-1) != 0) - 1
    hits = np.bincount(number, weights=hit)
    mixed: BoolArray = (hits > 0) & (hits < np.bincount(number))
    of_detections: BoolArray = mixed[number]
    return of_detections


def _unroll(
    hit: BoolArray, image: IntArray, tie: IntArray, mixed: BoolArray, drawn: _Draws
) -> tuple[BoolArray, IntArray]:
    """Write out the copies of an image where equal scores in it are both hits and misses: there order matters.

    Returns:
        Whether each entry is a hit, and its row in the table of draws with copies.
    """
    times = np.where(mixed, drawn.most, 1)
    place = np.repeat(np.arange(len(hit)), times)
    copy = np.arange(len(place)) - np.repeat(np.cumsum(times) - times, times)
    order = np.lexsort((place, copy, tie[place]))
    place, copy = place[order], copy[order]
    return hit[place], np.where(mixed[place], (copy + 1) * len(drawn.times), 0) + image[place]


def _table(run: IntArray, row: IntArray, runs: int, rows: int) -> csr_array:
    """(runs, rows) entries of each row of draws that belong to each run."""
    starts = np.searchsorted(run, np.arange(runs + 1)).astype(np.int32)
    return csr_array((np.ones(len(row), dtype=np.int32), row.astype(np.int32), starts), shape=(runs, rows))


def _parts(resamples: int, runs: int) -> Iterator[slice]:
    size = max(1, _CELLS // max(runs, 1))
    return (slice(start, min(start + size, resamples)) for start in range(0, resamples, size))
