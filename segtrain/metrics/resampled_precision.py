"""Average precision of many resamples of the images, from one matching.

A match depends on its own image alone, so drawing images again changes only how often each detection counts. COCO sorts
the detections of a category by score once (``pycocotools.cocoeval.accumulate``); a resample with copies of an image
runs through the same order, each detection as often as its image was drawn.

Order of equal scores: by image, and copies of an image lie side by side, so that equal scores within an image stand
once for each copy, as they would if the evaluator were run on the resample under new ids. A largest precision lies at
the end of a run of hits, and of recalls reached within a run each has that precision: a row for each run is enough.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from segtrain.metrics.matching import Matches

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CountArray = npt.NDArray[np.int32]

RECALLS: FloatArray = np.linspace(0.0, 1.0, 101)
_CELLS = 2**20  # of a table of runs by resamples; bounds the memory
_DRAWS = 2**25  # of the table of draws, copies included


@dataclass(frozen=True)
class ResampledPrecision:
    """COCO's numbers of B resamples at T IoU thresholds and A areas, means over the categories; nan without truth.

    Attributes:
        precision: (T, A, B) mean precision at recall 0, .01, ..., 1.
        recall: (T, A, B).
    """

    precision: FloatArray
    recall: FloatArray


def resampled_precision(matches: Matches, draws: IntArray, *, max_dets: int) -> ResampledPrecision:
    """Average precision and recall of each resample, as COCO defines them.

    Args:
        matches: of all images.
        draws: (B, I) how often each image is drawn.
        max_dets: detections kept per image and category, best first; at least 1.

    Returns:
        What the evaluator finds for the images of a resample, in increasing order, copies side by side.
    """
    most = int(draws.max(initial=1))
    pieces = max(1, -(-draws.size * (most + 1) // _DRAWS))
    parts = [_resample(matches, part, most, max_dets) for part in np.array_split(draws, pieces)]
    return ResampledPrecision(
        np.concatenate([part.precision for part in parts], axis=-1),
        np.concatenate([part.recall for part in parts], axis=-1),
    )


def _resample(matches: Matches, draws: IntArray, most: int, max_dets: int) -> ResampledPrecision:
    thresholds, areas = matches.truth.shape[:2]
    columns = np.ascontiguousarray(draws.T, dtype=np.int32)
    precision, recall = np.zeros((2, thresholds, areas, len(draws)))
    defined = np.zeros((areas, len(draws)))
    for category in range(len(matches.category_ids)):
        ranked = _Ranking.of(matches, category, max_dets, columns, most)
        for a in range(areas):
            truths = _per_image(matches, category, a) @ columns
            there = truths > 0
            if not there.any():
                continue
            defined[a] += there
            for t in range(thresholds):
                hits, sums = ranked.curve(matches, t, a, truths)
                precision[t, a] += np.where(there, sums, 0)
                recall[t, a] += np.where(there, hits / np.maximum(truths, 1), 0)
    defined[defined == 0] = np.nan
    return ResampledPrecision(precision / defined, recall / defined)


def _per_image(matches: Matches, category: int, area: int) -> IntArray:
    """(I,) true instances that count."""
    counted = (matches.truth_category == category) & ~matches.truth_ignored[area]
    return np.bincount(matches.truth_image[counted], minlength=len(matches.image_ids))


@dataclass(frozen=True)
class _Ranking:
    """The detections of a category, best first.

    Attributes:
        found: (D,) their places in the matches.
        image: (D,).
        tie: (D,) the same number where image and score are the same.
        draws: (I, B) how often each image is drawn, and after these rows, (copies I, B), whether it is drawn more than
            0, 1, ... times.
        most: the largest number of draws.
    """

    found: IntArray
    image: IntArray
    tie: IntArray
    draws: CountArray
    most: int

    @classmethod
    def of(cls, matches: Matches, category: int, max_dets: int, draws: CountArray, most: int) -> "_Ranking":
        found = np.flatnonzero((matches.category == category) & (matches.rank < max_dets))
        image, score = matches.image[found], matches.score[found]
        changes = (np.diff(image) != 0) | (np.diff(score) != 0)
        tie = np.concatenate([np.zeros(min(len(found), 1), dtype=np.int64), np.cumsum(changes)])
        if len(found) and not changes.all():
            copies = draws > np.arange(most, dtype=np.int32)[:, None, None]
            draws = np.concatenate([draws, copies.reshape(-1, draws.shape[1]).astype(np.int32)])
        return cls(found, image, tie, draws, most)

    def curve(self, matches: Matches, t: int, a: int, truths: IntArray) -> tuple[IntArray, FloatArray]:
        """Hits of each resample, (B,), and the mean precision over all recalls, (B,)."""
        counted = np.flatnonzero(~matches.ignored[t, a, self.found])
        hit = matches.truth[t, a, self.found[counted]] >= 0
        hit, row = self._unroll(hit, self.image[counted], self.tie[counted])
        ends = hit & ~np.append(hit[1:], False)
        run = np.cumsum(ends) - ends
        count = int(ends.sum())
        hits, misses = (_table(run[kept], row[kept], count, len(self.draws)) for kept in (hit, ~hit & (run < count)))
        total, mean = np.zeros(len(truths), dtype=np.int64), np.zeros(len(truths))
        for part in _parts(len(truths), count):
            draws = self.draws[:, part]
            total[part], mean[part] = _area_under(hits @ draws, misses @ draws, truths[part])
        return total, mean

    def _unroll(self, hit: BoolArray, image: IntArray, tie: IntArray) -> tuple[BoolArray, IntArray]:
        """Write out the copies of an image where equal scores in it are both hits and misses: there order matters.

        Returns:
            Whether each entry is a hit, and its row in the table of draws.
        """
        number = np.cumsum(np.diff(tie, prepend=-1) != 0) - 1
        entries = np.bincount(number)
        hits = np.bincount(number, weights=hit)
        mixed = ((hits > 0) & (hits < entries))[number]
        if not mixed.any():
            return hit, image
        times = np.where(mixed, self.most, 1)
        place = np.repeat(np.arange(len(hit)), times)
        copy = np.arange(len(place)) - np.repeat(np.cumsum(times) - times, times)
        order = np.lexsort((place, copy, number[place]))
        place, copy = place[order], copy[order]
        images = len(self.draws) // (self.most + 1)
        return hit[place], np.where(mixed[place], (copy + 1) * images, 0) + image[place]


def _table(run: IntArray, row: IntArray, runs: int, rows: int) -> csr_array:
    """(runs, rows) entries of each row of draws that belong to each run."""
    starts = np.searchsorted(run, np.arange(runs + 1)).astype(np.int32)
    return csr_array((np.ones(len(row), dtype=np.int32), row.astype(np.int32), starts), shape=(runs, rows))


def _parts(resamples: int, runs: int) -> Iterator[slice]:
    size = max(1, _CELLS // max(runs, 1))
    return (slice(start, min(start + size, resamples)) for start in range(0, resamples, size))


def _area_under(hits: CountArray, misses: CountArray, truths: IntArray) -> tuple[IntArray, FloatArray]:
    """Hits in all, and the mean over all recalls of the largest precision at that recall or a higher one.

    Args:
        hits: (R, B) detections of each run that are right; changed.
        misses: (R, B) detections before them, since the last run, that are wrong; changed.
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
    reached = _reached(hits / np.maximum(truths, 1))
    reached[1:] -= reached[:-1].copy()
    return hits[-1].astype(np.int64), np.einsum("rb,rb->b", reached, precision) / len(RECALLS)


def _reached(recall: FloatArray) -> IntArray:
    """How many of the recalls 0, .01, ..., 1 do not lie above each of these, as floating point compares them."""
    # The hundredths are not exact, and a recall of one of them may fall on either side; all others are far from one.
    nearest = (recall * 100 + 1e-9).astype(np.int64)
    return nearest + (RECALLS[nearest] <= recall)
