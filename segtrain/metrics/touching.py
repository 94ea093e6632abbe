"""Touching objects, and the merges and splits of a method."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segtrain import masks
from segtrain.arrays import BoolArray, IntArray
from segtrain.masks import Rle
from segtrain.metrics.partition import Partition, ranges
from segtrain.records import GroundTruth, Prediction

ALONE, TOUCHING, OVERLAPPING = range(3)


@dataclass(frozen=True)
class MergesAndSplits:
    """How many of the objects that touch others are found, share a detection with another, and are in pieces."""

    objects: int
    found: int
    merged: int
    split: int


def crowding(rles: Sequence[Rle], size: tuple[int, int]) -> IntArray:
    """How close the objects of an image stand.

    Args:
        rles: the objects.
        size: (H, W) of the image.

    Returns:
        (N,) ``OVERLAPPING``: shares a pixel with another object; else ``TOUCHING``: a pixel of another object is among
        the eight neighbours of one of its own; else ``ALONE``.
    """
    close = np.where(_meet(grown(rles, size), rles), TOUCHING, ALONE)
    return np.where(_meet(rles, rles), OVERLAPPING, close)


def touching_parts(truths: Sequence[GroundTruth], *, sizes: Mapping[int, tuple[int, int]]) -> dict[int, list[Rle]]:
    """For each object that touches or overlaps another one, of whatever category, the pixels that it alone has.

    Crowds are no objects.

    Args:
        truths: all true instances.
        sizes: image id -> (H, W); records of other images are left out.

    Returns:
        Image id -> masks; images without such objects are left out.
    """
    by_image: defaultdict[int, list[Rle]] = defaultdict(list)
    for truth in truths:
        if not truth["iscrowd"] and truth["image_id"] in sizes:
            by_image[truth["image_id"]].append(truth["segmentation"])
    found = {}
    for image_id, rles in by_image.items():
        size = sizes[image_id]
        touching = [rles[n] for n in np.flatnonzero(crowding(rles, size) > ALONE)]
        if touching:
            found[image_id] = _own(touching, size)
    return found


def merges_and_splits(parts: Mapping[int, Sequence[Rle]], predictions: Sequence[Prediction]) -> MergesAndSplits:
    """Count the objects that touch others and were not kept apart, or not kept whole, whatever their category.

    A detection merges objects if it covers more than half of each of two or more. An object is split if two or more
    detections lie in it for more than half, and are pieces: of neither does more than half lie in the other, as it does
    with duplicates. Of an object count those pixels that no other true object has; else an exact detection of an
    object that lies over another would merge them. Found is what one detection covers for more than half, and what is
    split.

    Args:
        parts: what ``touching_parts`` found.
        predictions: the detections at the operating point: the caller has applied the score threshold.

    Source: Matula et al., Cell Tracking Accuracy Measurement Based on Comparison of Acyclic Oriented Graphs (2015):
    there a detection that covers more than half of an object stands for it, and one that stands for several must be
    split. Splits are the same the other way round. Coelho et al., Nuclear Segmentation in Microscope Cell Images
    (2009), and Caicedo et al., Evaluation of Deep Learning Strategies for Nucleus Segmentation in Fluorescence Images
    (2019), count both with other limits: most pixels, and an IoU above .1.
    """
    found: defaultdict[int, list[Rle]] = defaultdict(list)
    for prediction in predictions:
        if prediction["image_id"] in parts:
            found[prediction["image_id"]].append(prediction["segmentation"])
    covered = merged = split = 0
    for image_id, rles in found.items():
        objects = parts[image_id]
        area = masks.area(rles)
        shared = _shared(rles, objects, area)
        covers = 2 * shared > masks.area(objects)
        merged += int(covers[covers.sum(axis=1) > 1].any(axis=0).sum())
        seen = covers.any(axis=0)
        inside = 2 * shared > area[:, None]
        inside[:, inside.sum(axis=0) < 2] = False
        pieces = np.flatnonzero(inside.any(axis=1))
        if len(pieces):
            overlap = 2 * _shared(chosen := [rles[n] for n in pieces], chosen, area[pieces]) > area[pieces][:, None]
            apart = ~(overlap | overlap.T)
            within = inside[pieces].astype(np.float64)
            in_pieces = ((apart @ within) * within).any(axis=0)
            split += int(in_pieces.sum())
            seen |= in_pieces
        covered += int(seen.sum())
    return MergesAndSplits(sum(map(len, parts.values())), covered, merged, split)


def grown(rles: Sequence[Rle], size: tuple[int, int]) -> list[Rle]:
    """Each mask with the eight neighbours of all its pixels.

    Args:
        rles: masks of an image.
        size: its (H, W).
    """
    height, width = size
    mask, starts, stops = masks.runs(rles)
    if not len(starts):
        return list(rles)
    # Cut into columns, each of which reaches the ones left and right of it.
    first, last = starts // height, (stops - 1) // height + 1
    column, run = ranges(first, last), np.repeat(np.arange(len(first)), last - first)
    top = np.maximum(starts[run] - column * height - 1, 0)
    foot = np.minimum(stops[run] - column * height + 1, height)
    column = column[:, None] + np.arange(-1, 2)
    kept = (column >= 0) & (column < width)
    # All masks lie in one row of numbers, with a gap behind each.
    plane = height * width + 1
    begins = ((mask[run] * plane + top)[:, None] + column * height)[kept]
    ends = ((mask[run] * plane + foot)[:, None] + column * height)[kept]
    order = np.argsort(begins)
    begins, ends = begins[order], np.maximum.accumulate(ends[order])
    new = begins[1:] > ends[:-1]
    flips = np.stack([begins[np.append(True, new)], ends[np.append(new, True)]], axis=1)
    owner, position = np.divmod(flips.reshape(-1), plane)
    return masks.from_flips(position, owner, len(rles), size)


def _own(rles: Sequence[Rle], size: tuple[int, int]) -> list[Rle]:
    """Of each mask what belongs to no other."""
    mask, starts, stops = masks.runs(rles)
    partition = Partition(starts, stops)
    span = partition.span(starts, stops)
    part = np.flatnonzero(partition.total(*span) == 1)
    owner = partition.total(*span, mask)[part]
    flips = np.stack([partition.starts[part], partition.starts[part] + partition.lengths[part]], axis=1)
    order = np.argsort(owner, kind="stable")
    return masks.from_flips(flips[order].reshape(-1), np.repeat(owner[order], 2), len(rles), size)


def _shared(first: Sequence[Rle], second: Sequence[Rle], area: IntArray) -> IntArray:
    """(N, M) pixels that masks, of which the first have these areas, have in common."""
    # Against a crowd COCO's IoU is the share of the first mask that lies in it.
    share = masks.iou(first, second, [True] * len(second))
    return np.rint(share * area[:, None]).astype(np.int64)


def _meet(first: Sequence[Rle], second: Sequence[Rle]) -> BoolArray:
    """(N,) whether a mask has a pixel in common with another one of the second than that of its own place."""
    common: BoolArray = masks.iou(first, second, [False] * len(second)) > 0
    np.fill_diagonal(common, False)
    return np.any(common, axis=1)  # type: ignore[no-any-return]
