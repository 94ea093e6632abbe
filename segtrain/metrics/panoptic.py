"""Panoptic quality of instances (Kirillov et al., CVPR 2019)."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from segtrain import masks
from segtrain.arrays import FloatArray, IntArray, rank_in_group
from segtrain.mask_records import column
from segtrain.masks import PackedRles
from segtrain.masks.sweep import Runs, ranges
from segtrain.metrics.layers import CROWD, FOUND, TRUE, LayeredMasks, batches
from segtrain.metrics.partition import Partition
from segtrain.records import GroundTruth, Prediction

OVERLAP, TP, FP, FN = range(4)  # columns of the sums
LEAST_SHARE = 0.5  # a detection that keeps no more of its pixels is dropped


def panoptic_counts(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> FloatArray:
    """Count the matched segments of each image for panoptic quality, see `qualities`.

    Instances are taken as segments of a map in which a pixel belongs to one segment at most. Detections take the pixels
    that are still free, in order of decreasing score, equal ones in their given order. A detection that loses half of
    its pixels or more is dropped. True objects take pixels in order of increasing size, as small objects are assumed to
    lie on top of large ones; equal ones in their given order.

    A true and a predicted segment of the same category match if their IoU exceeds .5, so each has one match at most.
    Crowds are not matched: an unmatched detection that lies by more than half on crowds of its category is not false.
    Pixels without a label are background, where detections are false; in COCO's panoptic data they are void.

    Args:
        truths: all true objects.
        predictions: the detections at the operating point: the caller has applied the score threshold.
        category_ids: the K categories; records of others are left out.
        sizes: image id -> (H, W) of each of the I images, those without objects included; records of others are left
            out.

    Returns:
        (I, K, 4) sum of the IoUs of matched segments, TP, FP and FN; categories by increasing id.

    Source: Kirillov et al., Panoptic Segmentation (2019), for making detections disjoint; COCO's panoptic evaluation
    program, for crowds.

    >>> true, found = np.zeros((2, 4, 5))
    >>> true[:, :4] = found[:, :3] = 1
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(true), "iscrowd": 0}
    >>> prediction = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(found), "score": 0.9}
    >>> panoptic_counts([truth], [prediction], category_ids=[1], sizes={1: (4, 5)}).tolist()
    [[[0.75, 1.0, 0.0, 0.0]]]
    """
    sums = np.zeros((len(sizes), len(set(category_ids)), 4))
    score = column(predictions, "score")
    for batch in batches(truths, predictions, category_ids, sizes):
        sums[batch.images] = _count(*_segments(batch, score), batch)
    return sums


def qualities(sums: FloatArray) -> FloatArray:
    """Compute PQ, SQ and RQ from counts that are summed over images, (..., 4) to (..., 3); nan without truth.

    PQ = SQ x RQ; SQ is the mean IoU of matched segments, nan without a match; RQ = TP / (TP + FP / 2 + FN / 2).

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
    """Masks of some images in the order of the images and of precedence.

    Attributes:
        image: number of each mask's image.
        category: number of each mask's category.
        rles: the masks.
    """

    image: IntArray
    category: IntArray
    rles: PackedRles


def _segments(batch: LayeredMasks, score: FloatArray) -> tuple[_Segments, _Segments, _Segments]:
    """Select the true objects, the smallest first, the detections, the best first, and the crowds of a batch.

    Args:
        batch: masks of some images.
        score: score of each given prediction.
    """
    true, found, crowd = (np.flatnonzero((batch.kind == kind) & (batch.category >= 0)) for kind in (TRUE, FOUND, CROWD))
    true = true[np.lexsort((masks.area(batch.rles.where(true)), batch.image[true]))]
    found = found[np.lexsort((-score[batch.record[found]], batch.image[found]))]
    truths, predictions, crowds = (
        _Segments(batch.image[own], batch.category[own], batch.rles.where(own)) for own in (true, found, crowd)
    )
    return truths, predictions, crowds


def _count(truths: _Segments, predictions: _Segments, crowds: _Segments, batch: LayeredMasks) -> FloatArray:
    """Count the matches in the images of a batch, (M, K, 4); see `panoptic_counts`.

    Args:
        truths: true objects of the batch.
        predictions: its detections.
        crowds: its crowds.
        batch: the batch; the planes of its images are placed one after the other.
    """
    groups = [_in_line(group, batch.pixels) for group in (truths, predictions, crowds)]
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
    real_cell, found_cell = (own.image * batch.categories + own.category for own in (truths, predictions))
    cells = np.zeros((len(batch.images) * batch.categories, 4))

    pairs = np.where((real_owner >= 0) & (found_owner >= 0), real_owner * len(predictions.rles) + found_owner, -1)
    meeting = np.unique(pairs[pairs >= 0])
    t, p = np.divmod(meeting, max(len(predictions.rles), 1))
    shared = partition.areas(np.where(pairs < 0, -1, np.searchsorted(meeting, pairs)), len(meeting))
    either = real_area[t] + found_area[p] - shared
    matched = (truths.category[t] == predictions.category[p]) & (2 * shared > either)
    t, p = t[matched], p[matched]
    cells[:, OVERLAP] += np.bincount(real_cell[t], (shared / either)[matched], minlength=len(cells))
    cells[:, TP] += np.bincount(real_cell[t], minlength=len(cells))

    missed, false = real_area > 0, found_area > 0
    missed[t] = false[p] = False
    for category in np.unique(crowds.category).tolist():
        mask, first, last = ignored
        chosen = crowds.category[mask] == category
        inside = (partition.total(first[chosen], last[chosen]) > 0) & (real_owner < 0)
        hidden = partition.areas(np.where(inside, found_owner, -1), len(predictions.rles))
        false &= (predictions.category != category) | (2 * hidden <= found_area)
    cells[:, FN] += np.bincount(real_cell[missed], minlength=len(cells))
    cells[:, FP] += np.bincount(found_cell[false], minlength=len(cells))
    return cells.reshape(len(batch.images), batch.categories, 4)


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
