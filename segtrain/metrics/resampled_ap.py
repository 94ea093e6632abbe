"""Average precision on many resamples of the images, from one matching."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from segtrain.arrays import BoolArray, FloatArray, IntArray, mean_of_defined
from segtrain.metrics.matching import Matches

CountArray = npt.NDArray[np.int32]
RECALLS: FloatArray = np.linspace(0.0, 1.0, 101)
_CELLS = 2**18  # largest size of a table of runs by resamples; it stays in a core's cache
_TABLE = 2**18  # size up to which a table of reached recalls is worth making, as a cell takes a byte
_DRAWS = 2**24  # largest size of the table of draws
_NARROW = 64  # columns up to which one call that adds up along them is faster than a call for each row


def interpolated_ap(
    tables: Iterable[tuple[CountArray, CountArray | FloatArray]],
    hits: IntArray,
    misses: IntArray | FloatArray,
    recalls: "Recalls",
) -> FloatArray:
    """Compute COCO's interpolated average precision from runs of detections that end with a hit.

    Args:
        tables: number of correct detections, and number or weight of false ones, in each run, both (R, B); all false
            detections of a run rank before its correct ones. The worst runs come in the first table, the best run is
            the first of a table; overwritten.
        hits: (B,) number of correct detections in all runs.
        misses: (B,) number, or weight, of false detections in all runs.
        recalls: recalls of the resamples.

    Returns:
        (B,) mean over the recalls 0, .01, ..., 1 of the largest precision at that recall or a higher one.

    Source: Lin et al., Microsoft COCO (2014), and ``pycocotools.cocoeval.COCOeval.accumulate``.

    >>> right, wrong = np.array([[1], [1]], np.int32), np.array([[0], [2]], np.int32)  # right, wrong, wrong, right
    >>> interpolated_ap([(right, wrong)], np.array([2]), np.array([2]), Recalls.of(np.array([2]))).round(4).tolist()
    [0.7525]
    """
    best, total = np.zeros(len(hits)), np.zeros(len(hits))
    for right, wrong in tables:
        hits, misses = hits - right.sum(axis=0), misses - wrong.sum(axis=0)
        for counts, before in ((right, hits), (wrong, misses)):
            counts[0] += before.astype(counts.dtype)
            _accumulate(np.add, counts)
        found = right + wrong
        precision = right / np.maximum(found, 1, out=found)
        np.maximum(precision[-1], best, out=precision[-1])
        _accumulate(np.maximum, precision[::-1])
        best = precision[0].copy()
        total += recalls.sum_of(precision, right, hits)
    return total / len(RECALLS)


def _accumulate(function: np.ufunc, table: npt.NDArray[Any]) -> None:
    """Replace each row by the function of all rows up to it."""
    if table.shape[1] <= _NARROW:
        function.accumulate(table, axis=0, out=table)
        return
    for before, row in pairwise(table):
        function(before, row, out=row)


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

    def sum_of(self, precision: FloatArray, hits: CountArray, before: IntArray) -> FloatArray | float:
        """Add up the precision at the first row that reaches each recall, over the recalls that rows reach, (B,).

        Args:
            precision: (R, B) largest precision of each row and those after it.
            hits: (R, B) number of hits up to each row.
            before: (B,) number of hits before the first row.
        """
        low, high = int(before.min()), int(hits[-1].max())
        reached = slice(np.searchsorted(self.most, low, side="right"), np.searchsorted(self.least, high, side="right"))
        needed, width = self.needed[reached], high - low + 1
        if not len(needed):
            return 0.0
        if needed.shape[1] * width <= max(_TABLE, precision.size):
            # Few numbers of hits and of true objects: it is faster to look all of them up.
            place = np.empty((len(hits) + 1, len(before)), dtype=np.intp)
            place[0], place[1:] = before, hits
            place += self.number * width - low
            number = _reached(np.clip(needed - low, 0, width), width).take(place)
            total: FloatArray = np.einsum("rb,rb->b", number[1:] - number[:-1], precision)
            return total
        needed = needed[:, self.number]
        _, column = places = np.nonzero((needed > before) & (needed <= hits[-1]))
        row = _first_row(hits, column, needed[places])
        return np.bincount(column, precision[row, column], minlength=len(before)).astype(np.float64)


def _reached(needed: IntArray, width: int) -> npt.NDArray[np.uint8]:
    """Count the recalls that 0, 1, ..., ``width`` - 1 hits reach, for each number of true objects, (N * width,).

    Args:
        needed: (R, N) number of hits that reaches each of at most 101 recalls, up to ``width``.
        width: numbers of hits.
    """
    numbers = needed.shape[1]
    cells = np.arange(numbers) * (width + 1) + needed
    counts = np.bincount(cells.reshape(-1), minlength=numbers * (width + 1)).reshape(numbers, width + 1)
    return np.cumsum(counts[:, :width], axis=1, dtype=np.uint8).reshape(-1)


def _first_row(table: CountArray, column: IntArray, least: IntArray) -> IntArray:
    """Find the first row of each given column that holds the given value or a larger one; columns do not decrease."""
    row = np.zeros(len(column), dtype=np.int64)
    step = 1 << (len(table) - 1).bit_length()
    while step := step // 2:
        last = row + step - 1
        less = table[np.minimum(last, len(table) - 1), column] < least
        row += step * (less & (last < len(table)))
    return row


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
    draws: IntArray,
    max_dets: int,
    areas: Sequence[int],
    false_weight: FloatArray | None,
) -> tuple[FloatArray, FloatArray]:
    """Compute precision and recall of some resamples, (T, A, K, B) each."""
    categories = len(matches.category_ids)
    times = np.ascontiguousarray(draws.T, dtype=np.int32)
    precision, recall = np.full((2, matches.thresholds, len(areas), categories, len(draws)), np.nan)
    truths = [_true_objects(matches, area, times) for area in areas]
    for category in range(categories):
        if not any(counts[category].any() for counts in truths):
            continue
        ranked = _Ranking.of(matches, category, max_dets)
        drawn = _Drawn.of(ranked, times)
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


def _true_objects(matches: Matches, area: int, times: CountArray) -> IntArray:
    """Count the true objects of each category that are not ignored on each resample, (K, B)."""
    counted = ~matches.truth_ignored[area]
    places = matches.truth_category[counted], matches.truth_image[counted]
    shape = len(matches.category_ids), len(matches.image_ids)
    table = csr_array((np.ones(len(places[0]), dtype=np.int32), places), shape=shape)
    return (table @ times).astype(np.int64)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Ranking:
    """Detections of a category, best first.

    Attributes:
        found: (D,) index of each detection in the matches.
        image_ids: (J,) numbers of the images that have detections of the category.
        image: (D,) index of each detection's image among these.
        tie: (D,) group of each detection; detections of one image with equal scores form a group.
    """

    found: IntArray
    image_ids: IntArray
    image: IntArray
    tie: IntArray

    @classmethod
    def of(cls, matches: Matches, category: int, max_dets: int) -> "_Ranking":
        found = np.flatnonzero((matches.category == category) & (matches.rank < max_dets))
        image_ids, image = np.unique(matches.image[found], return_inverse=True)
        changes = (np.diff(image) != 0) | (np.diff(matches.score[found]) != 0)
        tie = np.concatenate([np.zeros(min(len(found), 1), dtype=np.int64), np.cumsum(changes)])
        return cls(found, image_ids, image, tie)

    def curve(
        self, matches: Matches, t: int, a: int, drawn: "_Drawn", recalls: Recalls, false_weight: FloatArray | None
    ) -> tuple[IntArray, FloatArray]:
        """Compute the number of hits of each resample, (B,), and the mean precision over all recalls, (B,).

        Args:
            matches: matches of the detections of all images.
            t: index of the IoU threshold.
            a: index of the range of areas.
            drawn: draws of the images with detections.
            recalls: recalls of the resamples.
            false_weight: (B,) weight of an unmatched detection; None for 1.
        """
        counted = np.flatnonzero(~matches.ignored(t, a, self.found))
        hit, row = matches.truth(t, a, self.found[counted]) >= 0, self.image[counted]
        mixed = _mixed(hit, self.tie[counted])
        times = drawn.times
        if mixed.any():
            hit, row, times = drawn.unroll(hit, row, self.tie[counted], mixed)
        ends = hit & ~np.append(hit[1:], False)
        run = np.cumsum(ends) - ends
        count = int(ends.sum())
        # Rows 2 r and 2 r + 1 count the hits and the misses of run r: one product is faster than two.
        kept = run < count
        table = _table((2 * run + ~hit)[kept], row[kept], 2 * count, len(times))
        parts = _parts(count, times.shape[1])
        if len(parts) == 1:
            counts = table @ times
            total, false = counts[::2].sum(axis=0, dtype=np.int32), counts[1::2].sum(axis=0, dtype=np.int32)
            products = iter([counts])
        else:
            in_all = np.bincount(2 * row[kept] + ~hit[kept], minlength=2 * len(times)).reshape(-1, 2)
            total, false = csr_array(in_all.T.astype(np.int32)) @ times
            products = (table[2 * part.start : 2 * part.stop] @ times for part in parts)
        hits, misses = total.astype(np.int64), false if false_weight is None else false * false_weight
        tables = (
            (counts[::2], counts[1::2] if false_weight is None else counts[1::2] * false_weight) for counts in products
        )
        return hits, interpolated_ap(tables, hits, misses, recalls)


def _mixed(hit: BoolArray, tie: IntArray) -> BoolArray:
    """Tell whether the group of each detection holds both hits and misses, (D,)."""
    number = np.cumsum(np.diff(tie, prepend=-1) != 0) - 1
    hits = np.bincount(number, weights=hit)
    mixed: BoolArray = (hits > 0) & (hits < np.bincount(number))
    of_detections: BoolArray = mixed[number]
    return of_detections


@dataclass(frozen=True)
class _Drawn:
    """Draws of the J images that have detections of a category.

    Attributes:
        times: (J, B) number of times that each image is drawn.
        most: largest number of times that an image with detections of equal scores is drawn.
        rows: (J + more, B) ``times``, and room for a row of each copy of each image with detections of equal scores.
    """

    times: CountArray
    most: int
    rows: CountArray

    @classmethod
    def of(cls, ranked: "_Ranking", times: CountArray) -> "_Drawn":
        tied = np.unique(ranked.image[np.flatnonzero(np.diff(ranked.tie) == 0)])
        most = int(times[ranked.image_ids[tied]].max(initial=1))
        images = len(ranked.image_ids)
        rows = np.empty((images + len(tied) * most, times.shape[1]), dtype=np.int32)
        own = np.take(times, ranked.image_ids, axis=0, out=rows[:images])
        return cls(own, most, rows)

    def unroll(
        self, hit: BoolArray, image: IntArray, tie: IntArray, mixed: BoolArray
    ) -> tuple[BoolArray, IntArray, CountArray]:
        """Repeat the groups of equal scores that hold both hits and misses, where the order matters, once per copy.

        Returns:
            For each entry, true if it is a hit, and its row in the table that follows: ``times``, then a row of 1 or 0
            for each copy of each image with such a group, by whether it is drawn more than 0 times, 1 time, and so on.
            The table holds until the next call.
        """
        torn, number = np.unique(image[mixed], return_inverse=True)
        own = np.zeros(len(hit), dtype=np.int64)
        own[mixed] = number
        repeats = np.where(mixed, self.most, 1)
        place = np.repeat(np.arange(len(hit)), repeats)
        copy = np.arange(len(place)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        torn_entries = np.flatnonzero(mixed[place])
        chosen = place[torn_entries]
        order = torn_entries[np.lexsort((chosen, copy[torn_entries], tie[chosen]))]
        place[torn_entries], copy[torn_entries] = place[order], copy[order]
        row = np.where(mixed[place], len(self.times) + copy * len(torn) + own[place], image[place])
        table = self.rows[: len(self.times) + self.most * len(torn)]
        more = table[len(self.times) :].reshape(self.most, len(torn), -1)
        np.greater(self.times[torn], np.arange(self.most, dtype=np.int32)[:, None, None], out=more)
        return hit[place], row, table


def _table(entry: IntArray | BoolArray, row: IntArray, entries: int, rows: int) -> csr_array:
    """Count how often each entry and row of draws come together, (entries, rows)."""
    order = np.argsort(entry, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(entry, minlength=entries))]).astype(np.int32)
    return csr_array((np.ones(len(row), dtype=np.int32), row[order].astype(np.int32), starts), shape=(entries, rows))


def _parts(runs: int, resamples: int) -> list[slice]:
    """Divide runs into parts, the last part first."""
    size = max(1, _CELLS // max(resamples, 1))
    return [slice(start, start + size) for start in range(0, runs, size)][::-1]
