"""Panoptic quality of instances (Kirillov et al., CVPR 2019)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from segtrain import masks
from segtrain.arrays import FloatArray, IntArray, blocks, mean_of_defined, rank_in_group
from segtrain.mask_records import column, rles_of
from segtrain.masks import PackedRles
from segtrain.masks.sweep import Runs, ranges
from segtrain.metrics.partition import Partition
from segtrain.records import GroundTruth, Prediction

OVERLAP, TP, FP, FN = range(4)  # columns of the sums
_BATCH = 2**19  # characters of run-length code of the images that are counted at a time, if no image has more
LEAST_SHARE = 0.5  # a detection that keeps no more of its pixels is dropped


@dataclass(frozen=True)
class PanopticQuality:
    """Panoptic, segmentation and recognition quality in [0, 1]; nan where undefined.

    Attributes:
        pq: mean of the categories' PQ = SQ x RQ.
        sq: mean of the categories' SQ, the mean IoU of matched segments; nan without a match.
        rq: mean of the categories' RQ = TP / (TP + FP / 2 + FN / 2).
        per_category: category id -> (PQ, SQ, RQ); nan without a true segment.
    """

    pq: float
    sq: float
    rq: float
    per_category: dict[int, tuple[float, float, float]]


def panoptic_quality(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> PanopticQuality:
    """Compute panoptic quality of instances, as segments of a map in which a pixel belongs to one segment at most.

    Detections take the pixels that are still free, in order of decreasing score, equal ones in their given order. A
    detection that loses half of its pixels or more is dropped. True objects take pixels in order of increasing size,
    as small objects are assumed to lie on top of large ones; equal ones in their given order.

    A true and a predicted segment of the same category match if their IoU exceeds .5, so each has one match at most.
    Crowds are not matched: an unmatched detection that lies by more than half on crowds of its category is not false.
    Pixels without a label are background, where detections are false; in COCO's panoptic data they are void.

    Args:
        truths: all true objects.
        predictions: the detections at the operating point: the caller has applied the score threshold.
        category_ids: the categories to average over; records of others are left out.
        sizes: image id -> (H, W) of every image, those without objects included; records of others are left out.

    Source: Kirillov et al., Panoptic Segmentation (2019), for the quality and for making detections disjoint; COCO's
    panoptic evaluation program, for crowds.

    >>> true, found = np.zeros((2, 4, 5))
    >>> true[:, :4] = found[:, :3] = 1
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(true), "iscrowd": 0}
    >>> prediction = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(found), "score": 0.9}
    >>> quality = panoptic_quality([truth], [prediction], category_ids=[1], sizes={1: (4, 5)})
    >>> quality.pq, quality.sq, quality.rq
    (0.75, 0.75, 1.0)
    """
    counts = panoptic_counts(truths, predictions, category_ids=category_ids, sizes=sizes)
    per_category = qualities(counts.sum(axis=0))
    pq, sq, rq = mean_of_defined(per_category.T).tolist()
    triples = ((pq, sq, rq) for pq, sq, rq in per_category.tolist())
    return PanopticQuality(pq, sq, rq, dict(zip(sorted(set(category_ids)), triples, strict=True)))


def panoptic_counts(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> FloatArray:
    """Count the matched segments of each image that ``panoptic_quality`` sums.

    Args:
        truths: all true objects.
        predictions: the detections at the operating point.
        category_ids: the K categories.
        sizes: image id -> (H, W) of each of the I images.

    Returns:
        (I, K, 4) sum of the IoUs of matched segments, TP, FP and FN; categories by increasing id.

    >>> true, found = np.zeros((2, 4, 5))
    >>> true[:, :4] = found[:, :3] = 1
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(true), "iscrowd": 0}
    >>> prediction = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(found), "score": 0.9}
    >>> panoptic_counts([truth], [prediction], category_ids=[1], sizes={1: (4, 5)}).tolist()
    [[[0.75, 1.0, 0.0, 0.0]]]
    """
    places = {category_id: place for place, category_id in enumerate(sorted(set(category_ids)))}
    numbers = {image_id: number for number, image_id in enumerate(sizes)}
    objects, ignored = ([t for t in truths if bool(t["iscrowd"]) == crowd] for crowd in (False, True))
    real, crowds = (_segments(group, masks.area(rles_of(group)), places, numbers) for group in (objects, ignored))
    found = _segments(predictions, -column(predictions, "score"), places, numbers)
    sums = np.zeros((len(sizes), len(places), 4))
    pixels = max((height * width for height, width in sizes.values()), default=0)
    lengths = sum((own.code_lengths(len(sizes)) for own in (real, found, crowds)), np.zeros(len(sizes), np.int64))
    for part in blocks(lengths, _BATCH):
        _count(real.of_images(part), found.of_images(part), crowds.of_images(part), pixels, sums[part])
    return sums


def qualities(sums: FloatArray) -> FloatArray:
    """Compute PQ, SQ and RQ from counts that are summed over images, (..., 4) to (..., 3); nan without truth.

    Source: Kirillov et al. (2019), equations 1 and 2.

    >>> qualities(np.array([1.5, 2.0, 1.0, 1.0])).tolist()  # IoUs .7 and .8, one false, one missed
    [0.5, 0.75, 0.6666666666666666]
    """
    overlap, hits, false, missed = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore"):
        weight = hits + false / 2 + missed / 2
        values = np.stack([overlap / weight, overlap / hits, hits / weight], axis=-1)
    values[hits + missed == 0] = np.nan
    return values


class _Segments(NamedTuple):
    """Masks of images in the order of the images and of precedence.

    Attributes:
        image: number of each mask's image.
        place: number of each mask's category.
        rles: the masks.
    """

    image: IntArray
    place: IntArray
    rles: PackedRles

    def of_images(self, images: slice) -> "_Segments":
        """Select the masks of successive images, which are numbered from 0 then."""
        first, last = np.searchsorted(self.image, [images.start, images.stop]).tolist()
        return _Segments(self.image[first:last] - images.start, self.place[first:last], self.rles[first:last])

    def code_lengths(self, images: int) -> IntArray:
        """Count the characters of the run-length codes of each image, (images,)."""
        lengths = np.diff(self.rles.ends, prepend=0)
        return np.bincount(self.image, lengths, minlength=images).astype(np.int64)


def _segments(
    records: Sequence[Any], rank: FloatArray | IntArray, places: Mapping[int, int], numbers: Mapping[int, int]
) -> _Segments:
    """Sort the masks of these categories and images by image, then by rising rank."""
    place = np.array([places.get(own, -1) for own in column(records, "category_id").tolist()], dtype=np.int64)
    image = np.array([numbers.get(own, -1) for own in column(records, "image_id").tolist()], dtype=np.int64)
    order = np.lexsort((rank, image))
    order = order[(place[order] >= 0) & (image[order] >= 0)]
    return _Segments(image[order], place[order], PackedRles.of(rles_of(records)).where(order))


def _count(truths: _Segments, predictions: _Segments, crowds: _Segments, pixels: int, sums: FloatArray) -> None:
    """Add the matches of some images to their sums.

    Args:
        truths: true objects.
        predictions: detections.
        crowds: crowds.
        pixels: number of pixels of the largest image; the planes of the images are placed one after the other.
        sums: (images, categories, 4) sums.
    """
    groups = [_in_line(group, pixels) for group in (truths, predictions, crowds)]
    partition = Partition(*(np.concatenate([runs[ends] for runs in groups]) for ends in (1, 2)))
    owners = [mask for mask, _, _ in groups]
    del groups  # ragged masks have millions of runs
    ends = np.cumsum([len(mask) for mask in owners])[:-1]
    spans = zip(np.split(partition.first, ends), np.split(partition.last, ends), strict=True)
    real, found, ignored = ((mask, *span) for mask, span in zip(owners, spans, strict=True))
    real_owner = _painted(partition, real, truths.image, 0)
    found_owner = _painted(partition, found, predictions.image, LEAST_SHARE)
    real_area = partition.areas(real_owner, len(truths.rles))
    found_area = partition.areas(found_owner, len(predictions.rles))
    real_place, found_place = truths.place, predictions.place
    real_cell, found_cell = (own.image * sums.shape[1] + own.place for own in (truths, predictions))
    cells = sums.reshape(-1, 4)

    pairs = np.where((real_owner >= 0) & (found_owner >= 0), real_owner * len(predictions.rles) + found_owner, -1)
    meeting = np.unique(pairs[pairs >= 0])
    t, p = np.divmod(meeting, max(len(predictions.rles), 1))
    shared = partition.areas(np.where(pairs < 0, -1, np.searchsorted(meeting, pairs)), len(meeting))
    either = real_area[t] + found_area[p] - shared
    matched = (real_place[t] == found_place[p]) & (2 * shared > either)
    t, p = t[matched], p[matched]
    cells[:, OVERLAP] += np.bincount(real_cell[t], (shared / either)[matched], minlength=len(cells))
    cells[:, TP] += np.bincount(real_cell[t], minlength=len(cells))

    missed, false = real_area > 0, found_area > 0
    missed[t] = false[p] = False
    for place in np.unique(crowds.place).tolist():
        mask, first, last = ignored
        chosen = crowds.place[mask] == place
        inside = (partition.total(first[chosen], last[chosen]) > 0) & (real_owner < 0)
        hidden = partition.areas(np.where(inside, found_owner, -1), len(predictions.rles))
        false &= (found_place != place) | (2 * hidden <= found_area)
    cells[:, FN] += np.bincount(real_cell[missed], minlength=len(cells))
    cells[:, FP] += np.bincount(found_cell[false], minlength=len(cells))


def _in_line(segments: _Segments, pixels: int) -> Runs:
    """Return the runs of masks, the planes of their images placed one after the other."""
    mask, starts, stops = segments.rles.runs()
    offset = segments.image[mask] * pixels
    return mask, starts + offset, stops + offset


def _painted(partition: Partition, runs: Runs, image: IntArray, least_share: float) -> IntArray:
    """Assign each part of the partition to one mask, (P,); -1 for none.

    Args:
        partition: partition of the images.
        runs: mask, first part and index after the last part of each run; masks in order of precedence.
        image: (N,) image of each mask.
        least_share: masks that keep no more than this share of their pixels are dropped.
    """
    mask, first, last = runs
    depth = partition.total(first, last)
    owner = np.where(depth == 1, partition.total(first, last, mask), -1)
    # Only masks that overlap others need the loop: one of each image at a time, since images do not share parts.
    crossings = np.concatenate([[0], np.cumsum(depth > 1)])
    numbers = np.unique(mask[crossings[last] > crossings[first]])
    turn = rank_in_group(image[numbers])
    for masks_of_turn in (numbers[turn == n] for n in range(int(turn.max(initial=-1)) + 1)):
        run = ranges(*np.searchsorted(mask, [masks_of_turn, masks_of_turn + 1]))
        own = ranges(first[run], last[run])
        painter = np.repeat(mask[run], last[run] - first[run])
        free = (owner[own] < 0) | (depth[own] == 1)
        number = np.searchsorted(masks_of_turn, painter)
        whole, kept = (np.bincount(number, partition.lengths[own] * share) for share in (1, free))
        enough = (kept > least_share * whole)[number]
        owner[own[free]] = np.where(enough, painter, -1)[free]
    return owner
