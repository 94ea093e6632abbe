"""Average precision on many resamples of the images, from one matching."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from segtrain.arrays import BoolArray, CountArray, FloatArray, IntArray, mean_of_defined
from segtrain.metrics.matching import Matches

RECALLS: FloatArray = np.linspace(0.0, 1.0, 101)
_CELLS = 2**18  # largest size of a table of rows by resamples; it stays in a core's cache
_LANE = 32  # largest number of rows of a lane
_TABLE = 2**22  # largest size of a table of reached recalls
_DRAWS = 2**24  # largest size of the table of draws
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Lanes:
    """Correct and false detections of the rows of a ranking, added up.

    The rows are divided into lanes of consecutive rows, whose first rows lie side by side, then their second rows, and
    so on: NumPy adds a row of all lanes at a time.

    Attributes:
        counts: (R, L, 2, B) correct and false detections from the start of the lane up to each row.
        ends: (L, 2, B) correct and false detections of all lanes up to the end of each.
    """

    counts: CountArray
    ends: IntArray

    @classmethod
    def of(cls, counts: CountArray) -> "Lanes":
        """Add up the detections of rows.

        Args:
            counts: (N, 2, B) correct and false detections of each row, at least one row; the false ones rank before
                the correct ones. Its type holds the sum of any ``_LANE`` rows.

        >>> Lanes.of(np.array([[[1], [0]], [[1], [2]]])).ends[-1, :, 0].tolist()  # right, wrong, wrong, right
        [2, 2]
        """
        lanes = -(-len(counts) // _LANE)
        rows = -(-len(counts) // lanes)
        full = len(counts) // rows
        left = counts[full * rows :]  # rows of the last lane, if it is not full; rows of zeros follow
        table = np.zeros((rows, lanes, *counts.shape[1:]), dtype=counts.dtype)
        table[:, :full] = counts[: full * rows].reshape(full, rows, *counts.shape[1:]).swapaxes(0, 1)
        table[: len(left), full:] = left[:, None]
        for before, row in pairwise(table):
            np.add(before, row, out=row)
        return cls(table, np.cumsum(table[-1], axis=0, dtype=np.int64))


def interpolated_ap(
    tables: Iterable[Lanes], total: IntArray, recalls: "Recalls", false_weight: FloatArray | None = None
) -> FloatArray:
    """Compute COCO's interpolated average precision.

    Args:
        tables: rows of a ranking; the worst rows come in the first table.
        total: (2, B) number of correct and of false detections in all tables.
        recalls: recalls of the resamples.
        false_weight: (B,) weight of a false detection; None for 1.

    Returns:
        (B,) mean over the recalls 0, .01, ..., 1 of the largest precision at that recall or a higher one.

    Source: Lin et al., Microsoft COCO (2014), and ``pycocotools.cocoeval.COCOeval.accumulate``.

    >>> lanes = Lanes.of(np.array([[[1], [0]], [[1], [2]]]))  # right, wrong, wrong, right
    >>> interpolated_ap([lanes], lanes.ends[-1], Recalls.of(np.array([2]))).round(4).tolist()
    [0.7525]
    """
    best, total_precision = np.zeros((2, total.shape[1]))
    for lanes in tables:
        before = total - lanes.ends[-1] + lanes.ends - lanes.counts[-1]
        total = before[0]
        precision = _precision(lanes, before.astype(np.float64), false_weight)
        for after, row in pairwise(precision[::-1]):
            np.maximum(after, row, out=row)
        # Of each lane the largest precision is known now: take that of the lanes after it into account.
        highest = np.maximum.accumulate(np.append(best[None], precision[0, ::-1], axis=0))
        np.maximum(precision, highest[-2::-1], out=precision)
        best = highest[-1]
        total_precision += recalls.sum_of(precision, lanes.counts[:, :, 0], before[:, 0])
    return total_precision / len(RECALLS)


def _precision(lanes: Lanes, before: FloatArray, false_weight: FloatArray | None) -> FloatArray:
    """Compute the precision of each row, (R, L, B), from the (L, 2, B) detections before each lane."""
    right, wrong = np.moveaxis(lanes.counts, 2, 0)
    right_before, wrong_before = np.moveaxis(before, 1, 0)
    if false_weight is not None:
        wrong, wrong_before = wrong * false_weight, wrong_before * false_weight
    precision: FloatArray = right + right_before
    found = wrong + np.maximum(wrong_before, _TINY)  # the precision of no detections is 0
    found += precision
    precision /= found
    return precision


@dataclass(frozen=True)
class Recalls:
    """Recalls 0, .01, ..., 1 of B resamples, as numbers of hits.

    Attributes:
        needed: (101, N) number of hits, at least 1, that reaches each recall of each different number of true objects.
        number: (B,) index of each resample's number of true objects among these.
    """

    needed: IntArray
    number: IntArray

    @classmethod
    def of(cls, truths: IntArray) -> "Recalls":
        """Find the hits that the recalls of resamples need.

        Args:
            truths: (B,) number of true objects of each.

        >>> Recalls.of(np.array([2])).needed[[0, 51, 100], 0].tolist()
        [1, 2, 2]
        """
        distinct, number = np.unique(truths, return_inverse=True)
        return cls(np.maximum(hits_needed(distinct), 1), number)

    @cached_property
    def least(self) -> IntArray:
        """Smallest number of hits that reaches each recall of any resample, (101,)."""
        return self.needed.min(axis=1)  # type: ignore[no-any-return]

    @cached_property
    def most(self) -> IntArray:
        """Largest number of hits that reaches each recall of any resample, (101,)."""
        return self.needed.max(axis=1)  # type: ignore[no-any-return]

    @cached_property
    def reached(self) -> npt.NDArray[np.uint8] | None:
        """Number of recalls that 0, 1, ... hits reach, for each number of true objects, (N, H); None if too large."""
        width = int(self.most[-1]) + 1
        if self.needed.shape[1] * width > _TABLE:
            return None
        return np.stack([np.cumsum(np.bincount(own, minlength=width), dtype=np.uint8) for own in self.needed.T])

    def sum_of(self, precision: FloatArray, hits: CountArray, before: IntArray) -> FloatArray:
        """Add up the precision at the first row that reaches each recall, over the recalls that rows reach, (B,).

        Args:
            precision: (R, L, B) largest precision of each row and those after it, in lanes.
            hits: (R, L, B) number of hits from the start of the lane up to each row.
            before: (L, B) number of hits before each lane.
        """
        if self.reached is not None:
            place = np.empty((len(hits) + 1, *before.shape), dtype=np.intp)
            place[0] = before + self.number * self.reached.shape[1]
            np.add(hits, place[0], out=place[1:])
            number = self.reached.reshape(-1).take(place)
            return np.einsum("rlb,rlb->b", number[1:] - number[:-1], precision)  # type: ignore[no-any-return]
        # Many hits, few of which reach a recall: find these.
        start, end = before[0], before[-1] + hits[-1, -1]
        possible = slice(
            np.searchsorted(self.most, start.min(), "right"), np.searchsorted(self.least, end.max(), "right")
        )
        needed = self.needed[possible][:, self.number]
        recall, column = np.nonzero((needed > start) & (needed <= end))
        goal = needed[recall, column]
        lane = (before[:, column] < goal).sum(axis=0) - 1
        row = (hits[:, lane, column] < goal - before[lane, column]).sum(axis=0)
        return np.bincount(column, precision[row, lane, column], minlength=len(start)).astype(np.float64)


def hits_needed(truths: IntArray) -> IntArray:
    """Find the number of hits that reaches each recall 0, .01, ..., 1, as floating point compares them, (101, N).

    Args:
        truths: (N,) number of true objects.

    >>> hits_needed(np.array([2]))[[0, 1, 50, 51, 100], 0].tolist()
    [0, 1, 1, 2, 2]
    """
    distinct, number = np.unique(truths, return_inverse=True)
    # Hundredths are not exact in floating point: a recall that is one of them needs the comparison.
    fewer = np.maximum(np.floor(RECALLS[:, None] * distinct).astype(np.int64) - 1, 0)
    for _ in range(2):
        fewer += fewer / np.maximum(distinct, 1) < RECALLS[:, None]
    needed: IntArray = fewer[:, number]
    return needed


@dataclass(frozen=True)
class ResampledPrecision:
    """Average precision and recall of B resamples, at T IoU thresholds, A ranges of areas and K categories.

    Attributes:
        category_precision: (T, A, K, B) mean precision over recall 0, .01, ..., 1; nan without true objects.
        category_recall: (T, A, K, B) recall; nan without true objects.
    """

    category_precision: FloatArray
    category_recall: FloatArray

    @property
    def precision(self) -> FloatArray:
        """Mean precision over the categories with true objects, (T, A, B)."""
        return mean_of_defined(np.moveaxis(self.category_precision, 2, -1))

    @property
    def recall(self) -> FloatArray:
        """Mean recall over the categories with true objects, (T, A, B)."""
        return mean_of_defined(np.moveaxis(self.category_recall, 2, -1))


def resampled_precision(
    matches: Matches,
    draws: CountArray,
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
    chosen = range(matches.areas) if areas is None else areas
    if false_weight is None and len(draws) == 1 and (draws == 1).all():
        return _of_all_images(matches, max_dets, chosen)
    pieces = max(1, -(-draws.size // _DRAWS))
    parts = [
        _resample(matches, draws[part], max_dets, chosen, None if false_weight is None else false_weight[:, part])
        for part in np.array_split(np.arange(len(draws)), pieces)
    ]
    precision, recall = (np.concatenate(tables, axis=-1) for tables in zip(*parts, strict=True))
    return ResampledPrecision(precision, recall)


def _resample(
    matches: Matches,
    draws: CountArray,
    max_dets: int,
    areas: Sequence[int],
    false_weight: FloatArray | None,
) -> tuple[FloatArray, FloatArray]:
    """Compute precision and recall of some resamples, (T, A, K, B) each."""
    categories = len(matches.category_ids)
    drawn = _Drawn.of(draws)
    precision, recall = np.full((2, matches.thresholds, len(areas), categories, len(draws)), np.nan)
    truths = [_true_objects(matches, area, drawn) for area in areas]
    for category in range(categories):
        if not any(counts[category].any() for counts in truths):
            continue
        ranked = _Ranking.of(matches, category, max_dets)
        for column, area in enumerate(areas):
            own = truths[column][category]
            there = own > 0
            if not there.any():
                continue
            recalls, weight = Recalls.of(own), None if false_weight is None else false_weight[column]
            for t in range(len(precision)):
                hits, mean = ranked.curve(matches, t, area, drawn, recalls, weight)
                precision[t, column, category] = np.where(there, mean, np.nan)
                recall[t, column, category] = np.where(there, hits / np.maximum(own, 1), np.nan)
    return precision, recall


def precision_at_recalls(matches: Matches, *, max_dets: int) -> FloatArray:
    """Compute the precision-recall curve of each category on all images, for true objects of every size.

    Args:
        matches: matches of the detections of all images; the first of their ranges of areas holds objects of every
            size.
        max_dets: detections kept per image and category, best first; at least 1.

    Returns:
        (T, K, 101) largest precision at each recall 0, .01, ..., 1 or a higher one; nan without true objects.

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
    return _precision_curves(matches, max_dets, [0])[0][:, 0]


def _of_all_images(matches: Matches, max_dets: int, areas: Sequence[int]) -> ResampledPrecision:
    """Compute precision and recall where each image is drawn once, all thresholds of a category together."""
    curves, recall = _precision_curves(matches, max_dets, areas)
    return ResampledPrecision(curves.mean(axis=-1)[..., None], recall[..., None])


def _precision_curves(matches: Matches, max_dets: int, areas: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Compute the precision at recall 0, .01, ..., 1, (T, A, K, 101), and the recall, (T, A, K); nan without truths."""
    shape = matches.thresholds, len(areas), len(matches.category_ids)
    curves, recall = np.full((*shape, len(RECALLS)), np.nan), np.full(shape, np.nan)
    objects = [np.bincount(matches.truth_category[~matches.truth_ignored[area]], minlength=shape[2]) for area in areas]
    for category in range(shape[2]):
        found = _Ranking.of(matches, category, max_dets).found
        step = max(1, _CELLS // max(len(found), 1))  # thresholds at a time; bounds the memory
        for column, area in enumerate(areas):
            truths = objects[column][category]
            if not truths:
                continue
            needed = hits_needed(np.array([truths]))[:, 0]
            for first in range(0, shape[0], step):
                some = slice(first, first + step)
                kept = ~matches.ignored(some, area, found)
                hits = np.cumsum(kept & (matches.truth(some, area, found) >= 0), axis=1)
                precision = hits / np.maximum(np.cumsum(kept, axis=1), 1)
                highest = np.zeros((len(hits), len(found) + 1))  # 0 where no detection reaches a recall
                np.maximum.accumulate(precision[:, ::-1], axis=1, out=highest[:, -2::-1])
                for t, (own_hits, own_highest) in enumerate(zip(hits, highest, strict=True), first):
                    curves[t, column, category] = own_highest[np.searchsorted(own_hits, needed)]
                recall[some, column, category] = hits[:, -1] / truths if len(found) else 0
    return curves, recall


@dataclass(frozen=True)
class _Drawn:
    """Draws of I images in B resamples.

    Attributes:
        times: (I, B) number of times that each image is drawn, in a narrow type.
        most: (I,) largest number of times that each image is drawn.
        longest: number of detections in a row of a ranking up to which the type holds the sum of a lane.
    """

    times: CountArray
    most: IntArray
    longest: int

    @classmethod
    def of(cls, draws: CountArray) -> "_Drawn":
        most = draws.max(axis=0, initial=0).astype(np.int64)
        of_lane = _LANE * int(most.max(initial=1))  # the largest sum of a lane with one detection in each row
        # Rows of up to 16 detections, which are most, are not divided.
        dtype = np.result_type(np.int16, np.min_scalar_type(-1 - 16 * of_lane))
        return cls(np.ascontiguousarray(draws.T, dtype=dtype), most, int(np.iinfo(dtype).max) // of_lane)

    def sums(self, line: IntArray | BoolArray, image: IntArray, lines: int) -> IntArray:
        """Add up the draws of the images of each line, (lines, B), where sums may be large.

        Args:
            line: (E,) line of each entry.
            image: (E,) image of each entry.
            lines: number of lines.
        """
        largest = len(line) * int(self.most.max(initial=1))
        dtype = np.result_type(self.times.dtype, np.min_scalar_type(-1 - largest))
        table = csr_array((np.ones(len(line), dtype=dtype), (line, image)), shape=(lines, len(self.times)))
        total = np.zeros((lines, self.times.shape[1]), dtype=np.int64)
        step = max(1, _CELLS // max(self.times.shape[1], 1))  # images at a time; bounds the memory
        for start in range(0, len(self.times), step):
            some = slice(start, start + step)
            total += table[:, some] @ self.times[some].astype(dtype, copy=False)
        return total


def _true_objects(matches: Matches, area: int, drawn: _Drawn) -> IntArray:
    """Count the true objects of each category that are not ignored on each resample, (K, B)."""
    counted = ~matches.truth_ignored[area]
    return drawn.sums(matches.truth_category[counted], matches.truth_image[counted], len(matches.category_ids))


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
        image = matches.image[found]
        changes = (np.diff(image) != 0) | (np.diff(matches.score[found]) != 0)
        tie = np.concatenate([np.zeros(min(len(found), 1), dtype=np.int64), np.cumsum(changes)])
        return cls(found, image, tie)

    def curve(
        self, matches: Matches, t: int, a: int, drawn: _Drawn, recalls: Recalls, false_weight: FloatArray | None
    ) -> tuple[IntArray, FloatArray]:
        """Compute the number of hits of each resample, (B,), and the mean precision over all recalls, (B,).

        Args:
            matches: matches of the detections of all images.
            t: index of the IoU threshold.
            a: index of the range of areas.
            drawn: draws of the images.
            recalls: recalls of the resamples.
            false_weight: (B,) weight of an unmatched detection; None for 1.
        """
        counted = np.flatnonzero(~matches.ignored(t, a, self.found))
        hit, image, tie = matches.truth(t, a, self.found[counted]) >= 0, self.image[counted], self.tie[counted]
        mixed = _mixed(hit, tie)
        kept = slice(int(np.flatnonzero(hit | mixed).max(initial=-1)) + 1)  # what follows the last hit has no effect
        rows = _Rows.of(hit[kept], image[kept], tie[kept], mixed[kept], drawn)
        size = max(1, _CELLS // max(drawn.times.shape[1], 1))
        tables = (Lanes.of(rows.counts(start, size, drawn)) for start in range(0, rows.number, size)[::-1])
        if 0 < rows.number <= size:
            only = next(tables)
            return only.ends[-1, 0], interpolated_ap([only], only.ends[-1], recalls, false_weight)
        total = drawn.sums(~hit[kept], image[kept], 2)
        return total[0], interpolated_ap(tables, total, recalls, false_weight)


def _mixed(hit: BoolArray, tie: IntArray) -> BoolArray:
    """Tell whether the group of each detection holds both hits and misses, (D,)."""
    number = np.cumsum(np.diff(tie, prepend=-1) != 0) - 1
    hits = np.bincount(number, weights=hit)
    mixed: BoolArray = (hits > 0) & (hits < np.bincount(number))
    of_detections: BoolArray = mixed[number]
    return of_detections


@dataclass(frozen=True)
class _Rows:
    """Ranking of detections on any resample, best first, divided into rows whose misses rank before their hits.

    Attributes:
        hit: (E,) true for entries that are hits.
        image: (E,) number of each entry's image.
        copy: (E,) copy of the image that an entry stands for: it counts where the image is drawn more often than that;
            -1 for entries that stand for all copies.
        row: (E,) number of each entry's row.
        number: number of rows.
    """

    hit: BoolArray
    image: IntArray
    copy: IntArray
    row: IntArray
    number: int

    @classmethod
    def of(cls, hit: BoolArray, image: IntArray, tie: IntArray, mixed: BoolArray, drawn: _Drawn) -> "_Rows":
        """Repeat groups of equal scores that hold hits and misses, whose order matters, once for each copy."""
        repeats = np.where(mixed, drawn.most[image], 1)
        place = np.repeat(np.arange(len(hit)), repeats)
        copy = np.arange(len(place)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        torn = np.flatnonzero(mixed[place])
        order = torn[np.lexsort((place[torn], copy[torn], tie[place[torn]]))]
        place[torn], copy[torn] = place[order], copy[order]
        hit = hit[place]
        # A row ends with the last of consecutive hits, or where it is as long as it may be.
        first = np.flatnonzero(hit[:-1] & ~hit[1:]) + 1
        first = np.concatenate([np.zeros(min(len(hit), 1), dtype=np.int64), first])
        position = np.arange(len(hit)) - np.repeat(first, np.diff(first, append=len(hit)))
        starts = position % drawn.longest == 0
        copy = np.where(mixed[place], copy, -1)
        return cls(hit, image[place], copy, np.cumsum(starts) - 1, int(starts.sum()))

    def counts(self, start: int, size: int, drawn: _Drawn) -> CountArray:
        """Count the hits and the misses of up to ``size`` rows from a first one on, (rows, 2, B)."""
        some = slice(*np.searchsorted(self.row, [start, start + size]))
        hit, image, copy = self.hit[some], self.image[some], self.copy[some]
        # One product of twice as many lines is faster than two.
        line, lines = 2 * (self.row[some] - start) + ~hit, 2 * min(size, self.number - start)
        whole = copy < 0
        counts = _sums(line[whole], image[whole], lines, drawn.times)
        torn = np.flatnonzero(~whole)
        for piece in (torn[first : first + size] for first in range(0, len(torn), size)):
            once = drawn.times[image[piece]]
            np.greater(once, copy[piece, None].astype(once.dtype), out=once)
            counts += _sums(line[piece], np.arange(len(piece)), lines, once)
        return counts.reshape(lines // 2, 2, -1)


def _sums(line: IntArray | BoolArray, row: IntArray, lines: int, table: CountArray) -> CountArray:
    """Add up the rows of a table that belong to each line, (lines, B), in the type of the table."""
    order = np.argsort(line, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(line, minlength=lines))])
    ones = np.ones(len(row), dtype=table.dtype)
    return csr_array((ones, row[order], starts), shape=(lines, len(table))) @ table  # type: ignore[no-any-return]
