"""Touching objects, and the merges and splits of a method."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segtrain import masks
from segtrain.arrays import BoolArray, IntArray
from segtrain.mask_records import column, rles_of
from segtrain.masks import Overlaps, PackedRles, Rle, sweep
from segtrain.metrics.partition import Partition
from segtrain.records import GroundTruth, Prediction

ALONE, TOUCHING, OVERLAPPING = range(3)


@dataclass(frozen=True)
class MergesAndSplits:
    """Numbers of objects that touch others: all, detected ones, merged ones and split ones."""

    objects: int
    found: int
    merged: int
    split: int


def crowding(rles: Sequence[Rle], image: IntArray | None = None) -> IntArray:
    """Find the objects that touch or overlap another one of their image.

    Args:
        rles: the objects.
        image: (N,) number of each object's image; None for a single image.

    Returns:
        (N,) ``OVERLAPPING``: the object shares a pixel with another one; else ``TOUCHING``: a pixel of another object
        is among the eight neighbours of one of its own; else ``ALONE``.

    >>> labels = np.array([[1, 0, 2, 3], [1, 0, 2, 3]])
    >>> crowding(masks.encode_labels(labels)).tolist()
    [0, 1, 1]
    """
    packed = PackedRles.of(rles)
    group = np.zeros(len(packed), dtype=np.int64) if image is None else image
    close = np.where(_meet(_all_grown(packed), packed, group), TOUCHING, ALONE)
    return np.where(_meet(packed, packed, group), OVERLAPPING, close)


def crowding_of_truths(truths: Sequence[GroundTruth]) -> IntArray:
    """Find the true objects that touch or overlap another one of any category, see ``crowding``; -1 for crowds.

    >>> rles = masks.encode_labels(np.array([[1, 0, 2, 3], [1, 0, 2, 3]]))
    >>> crowding_of_truths([{"image_id": 7, "segmentation": rle, "iscrowd": 0} for rle in rles]).tolist()
    [0, 1, 1]
    """
    found = np.full(len(truths), -1, dtype=np.int64)
    real = [number for number, truth in enumerate(truths) if not truth["iscrowd"]]
    own = [truths[number] for number in real]
    found[real] = crowding([truth["segmentation"] for truth in own], column(own, "image_id"))
    return found


def touching_parts(
    truths: Sequence[GroundTruth], crowded: IntArray, *, sizes: Mapping[int, tuple[int, int]]
) -> dict[int, list[Rle]]:
    """Find the objects that touch or overlap another one of any category, and the pixels that belong to them alone.

    Args:
        truths: all true objects; crowds do not count.
        crowded: (N,) what ``crowding_of_truths`` returns of them.
        sizes: image id -> (H, W); records of other images are left out.

    Returns:
        Image id -> masks of the exclusive pixels; images without such objects are left out.

    >>> rles = masks.encode_labels(np.array([[1, 0, 2, 3], [1, 0, 2, 3]]))
    >>> truths = [{"image_id": 7, "segmentation": rle, "iscrowd": 0} for rle in rles]
    >>> len(touching_parts(truths, crowding_of_truths(truths), sizes={7: (2, 4)})[7])
    2
    """
    by_image: defaultdict[int, list[Rle]] = defaultdict(list)
    for number in np.flatnonzero(crowded > ALONE).tolist():
        if truths[number]["image_id"] in sizes:
            by_image[truths[number]["image_id"]].append(truths[number]["segmentation"])
    return {image_id: _own(rles, sizes[image_id]) for image_id, rles in by_image.items()}


def merges_and_splits(parts: Mapping[int, Sequence[Rle]], predictions: Sequence[Prediction]) -> MergesAndSplits:
    """Count, among the objects that touch others, those that detections merge or split; categories do not matter.

    A detection merges objects if it covers more than half of each of two or more. An object is split if it contains
    more than half of each of two or more detections that are no duplicates: neither lies by more than half in the
    other. Only those pixels of an object count that no other true object has; otherwise an exact detection of an object
    that lies over another would merge them. An object is found if one detection covers more than half of it, or if it
    is split.

    Args:
        parts: masks by image id, as ``touching_parts`` returns them.
        predictions: the detections at the operating point: the caller has applied the score threshold.

    Source: Matula et al., Cell Tracking Accuracy Measurement Based on Comparison of Acyclic Oriented Graphs (2015):
    there a detection that covers more than half of an object stands for it, and one that stands for several must be
    split. Splits are defined here with the roles exchanged. Coelho et al., Nuclear Segmentation in Microscope Cell
    Images (2009), and Caicedo et al., Evaluation of Deep Learning Strategies for Nucleus Segmentation in Fluorescence
    Images (2019), count both with other limits: most pixels, and an IoU above .1.

    >>> first, second = masks.encode_labels(np.array([[1, 1, 2, 2]]))
    >>> one_for_both = {"image_id": 1, "segmentation": masks.encode(np.ones((1, 4)))}
    >>> merges_and_splits({1: [first, second]}, [one_for_both])
    MergesAndSplits(objects=2, found=2, merged=2, split=0)
    """
    objects = PackedRles.of([rle for own in parts.values() for rle in own])
    object_image = np.repeat(np.array(list(parts), dtype=np.int64), [len(own) for own in parts.values()])
    image = column(predictions, "image_id")
    there = np.flatnonzero(np.isin(image, object_image))
    rles = PackedRles.of(rles_of(predictions)).where(there)
    pairs = masks.overlaps(rles, objects, image[there], object_image)
    covers, inside = _mostly(pairs, masks.area(rles), masks.area(objects))
    several = np.bincount(covers.first, minlength=len(rles)) > 1
    merged = np.unique(covers.second[several[covers.first]])
    in_pieces = _in_pieces(rles, inside, len(objects))
    found = in_pieces.copy()
    found[covers.second] = True
    return MergesAndSplits(len(objects), int(found.sum()), len(merged), int(in_pieces.sum()))


def _all_grown(rles: PackedRles) -> PackedRles:
    """Dilate masks of any size, see ``grown``."""
    places, parts = [np.zeros(0, dtype=np.int64)], list[PackedRles]()
    for number in np.unique(rles.size_numbers).tolist():
        height, width = rles.sizes[number]
        chosen = np.flatnonzero(rles.size_numbers == number)
        places.append(chosen)
        parts += [PackedRles.of(grown(part, (height, width))) for part in rles.where(chosen).parts()]
    return PackedRles.joined(parts).where(np.argsort(np.concatenate(places)))


def grown(rles: Sequence[Rle], size: tuple[int, int]) -> list[Rle]:
    """Dilate masks of an image by a 3 x 3 square, on their runs.

    Args:
        rles: masks of an image.
        size: (H, W) of the image.

    >>> dot = np.zeros((5, 5))
    >>> dot[0, 2] = 1
    >>> masks.area(grown([masks.encode(dot)], (5, 5))).tolist()
    [6]
    """
    mask, starts, stops = sweep.dilated(masks.runs(rles), size, np.ones(3, dtype=np.int64))
    return masks.from_flips(np.stack([starts, stops], axis=1).reshape(-1), np.repeat(mask, 2), len(rles), size)


def _own(rles: Sequence[Rle], size: tuple[int, int]) -> list[Rle]:
    """Keep the pixels of each mask that belong to no other."""
    mask, starts, stops = masks.runs(rles)
    partition = Partition(starts, stops)
    span = partition.first, partition.last
    part = np.flatnonzero(partition.total(*span) == 1)
    owner = partition.total(*span, mask)[part]
    flips = np.stack([partition.starts[part], partition.starts[part] + partition.lengths[part]], axis=1)
    order = np.argsort(owner, kind="stable")
    return masks.from_flips(flips[order].reshape(-1), np.repeat(owner[order], 2), len(rles), size)


def _mostly(pairs: Overlaps, first: IntArray, second: IntArray) -> tuple[Overlaps, Overlaps]:
    """Select the pairs in which one mask covers more than half of the other.

    Args:
        pairs: pairs of masks of two lists.
        first: areas of the first list.
        second: areas of the second list.

    Returns:
        Pairs whose second mask is covered by the first one, and pairs whose first mask lies in the second one.
    """
    covered, inside = 2 * pairs.pixels > second[pairs.second], 2 * pairs.pixels > first[pairs.first]
    return Overlaps(*(column[covered] for column in pairs)), Overlaps(*(column[inside] for column in pairs))


def _in_pieces(rles: PackedRles, inside: Overlaps, objects: int) -> BoolArray:
    """Find the objects that contain two detections that are no duplicates, (objects,).

    Args:
        rles: the detections.
        inside: detections that lie by more than half in an object, which each does in one at most: objects do not
            overlap.
        objects: number of objects.
    """
    count = np.bincount(inside.second, minlength=objects)
    candidate = count[inside.second] > 1
    pieces, owner = inside.first[candidate], inside.second[candidate]
    chosen = rles.where(pieces)
    area = masks.area(chosen)
    one, other, shared = masks.overlaps(chosen, chosen, owner, owner)
    duplicates = np.bincount(owner[one[2 * shared > np.minimum(area[one], area[other])]], minlength=objects)
    # All pairs of pieces, each with itself included, are duplicates where none is apart.
    in_pieces: BoolArray = (count > 1) & (duplicates < count**2)
    return in_pieces


def _meet(first: Sequence[Rle], second: Sequence[Rle], group: IntArray) -> BoolArray:
    """Find each i for which ``first[i]`` overlaps any ``second[j]`` of its group with j != i, (N,) bool."""
    one, other, _ = masks.overlaps(first, second, group, group)
    met = np.zeros(len(first), dtype=np.bool_)
    met[one[one != other]] = True
    return met
