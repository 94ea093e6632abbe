"""Layers of images: the true and the detected objects of each category, and crowds, many images at a time."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segtrain.arrays import IntArray, blocks
from segtrain.mask_records import column, rles_of
from segtrain.masks import PackedRles
from segtrain.masks.sweep import Runs, intersected, merged, ranges, subtracted
from segtrain.records import GroundTruth, Prediction

TRUE, FOUND, CROWD = range(3)  # kinds of masks
_BATCH = 2**19  # characters of run-length code of a batch, if no image has more; bounds the memory


@dataclass(frozen=True)
class LayeredMasks:
    """Masks of some images.

    Attributes:
        images: (M,) numbers of the images.
        image: (N,) index of each mask's image in ``images``, not decreasing; masks of an image in their given order.
        kind: (N,) ``TRUE`` objects, ``FOUND`` ones, or ``CROWD``.
        category: (N,) number of each mask's category; -1 for crowds of others.
        record: (N,) index of each mask in the given truths, or else in the given predictions.
        rles: N masks.
        categories: number of all categories, K.
    """

    images: IntArray
    image: IntArray
    kind: IntArray
    category: IntArray
    record: IntArray
    rles: PackedRles
    categories: int

    @property
    def pixels(self) -> int:
        """Number of pixels of the largest image with a mask."""
        return max((height * width for height, width in self.rles.sizes), default=0)


def batches(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    category_ids: Collection[int],
    image_ids: Collection[int],
) -> Iterator[LayeredMasks]:
    """Divide the masks of all images into batches of whole images, so that many small images cost as one large.

    Args:
        truths: all true objects; crowds of any category are kept.
        predictions: the detections.
        category_ids: the K categories; objects of other categories are left out, crowds are not.
        image_ids: ids of the images, in the order of their numbers; records of others are left out.

    Yields:
        The masks of some images; images without any are left out.

    >>> truth = {"image_id": 7, "category_id": 3, "segmentation": {"size": [2, 3], "counts": "222"}, "iscrowd": 0}
    >>> [batch.kind.tolist() for batch in batches([truth], [truth], [3], [5, 7])]
    [[0, 1]]
    """
    places = {category_id: place for place, category_id in enumerate(sorted(set(category_ids)))}
    numbers = {image_id: number for number, image_id in enumerate(image_ids)}
    kind = np.repeat([TRUE, FOUND], [len(truths), len(predictions)])
    kind[: len(truths)][[bool(truth["iscrowd"]) for truth in truths]] = CROWD
    image = _places(np.concatenate([column(truths, "image_id"), column(predictions, "image_id")]), numbers)
    category = _places(np.concatenate([column(truths, "category_id"), column(predictions, "category_id")]), places)
    record = np.concatenate([np.arange(len(truths)), np.arange(len(predictions))])
    rles = PackedRles.joined(PackedRles.of(rles_of(records)) for records in (truths, predictions))
    order = np.argsort(image, kind="stable")
    order = order[(image >= 0)[order] & ((category >= 0) | (kind == CROWD))[order]]
    lengths = np.diff(rles.ends, prepend=0)[order]
    there, starts = np.unique(image[order], return_index=True)
    stops = np.append(starts[1:], len(order))
    for part in blocks(np.add.reduceat(lengths, starts) if len(starts) else lengths, _BATCH):
        chosen = order[starts[part.start] : stops[part.stop - 1]]
        owners = np.repeat(np.arange(part.stop - part.start), (stops - starts)[part])
        yield LayeredMasks(
            images=there[part],
            image=owners,
            kind=kind[chosen],
            category=category[chosen],
            record=record[chosen],
            rles=rles.where(chosen),
            categories=len(places),
        )


def _places(ids: IntArray, known: Mapping[int, int]) -> IntArray:
    """Return the number of each id, (N,); -1 for ids that have none."""
    return np.array([known.get(own, -1) for own in ids.tolist()], dtype=np.int64)


@dataclass(frozen=True)
class VisibleLayers:
    """Pixels of the layers of some images that no crowd hides; M images of K categories.

    Attributes:
        true: runs of the true objects of each image and category, the k-th of image m being m K + k; united.
        found: runs of the detected objects, likewise.
        hidden_pixels: (M,) number of pixels of each image that crowds hide.
        categories: number of categories, K.
        pixels: number of pixels of the largest image.
    """

    true: Runs
    found: Runs
    hidden_pixels: IntArray
    categories: int
    pixels: int

    def united(self) -> "VisibleLayers":
        """Unite the objects of all categories."""
        true, found = (
            merged((group // self.categories, starts, stops), self.pixels)
            for group, starts, stops in (self.true, self.found)
        )
        return replace(self, true=true, found=found, categories=1)

    def counts(self) -> IntArray:
        """Count the pixels that are true, both true and found, and either, (M, K, 3)."""
        groups = len(self.hidden_pixels) * self.categories
        both = intersected(self.true, self.found, self.pixels)
        true, found, shared = (_lengths(runs, groups) for runs in (self.true, self.found, both))
        counts = np.stack([true, shared, true + found - shared], axis=1)
        return counts.reshape(len(self.hidden_pixels), self.categories, 3)


def visible_layers(batch: LayeredMasks, objects: Runs, crowds: Runs) -> VisibleLayers:
    """Unite the objects of each layer, and take away what crowds hide.

    Args:
        batch: masks of some images.
        objects: runs of all masks, or of parts of them; used of objects.
        crowds: runs of all masks; used of crowds.
    """
    images, categories, pixels = len(batch.images), batch.categories, batch.pixels
    hiding = batch.kind[crowds[0]] == CROWD
    image, starts, stops = (own[hiding] for own in (batch.image[crowds[0]], *crowds[1:]))
    hidden = merged((image, starts, stops), pixels)
    kind = batch.kind[objects[0]]
    group = (batch.image * categories + batch.category)[objects[0]]

    def visible(side: int) -> Runs:
        chosen = kind == side
        united = merged((group[chosen], objects[1][chosen], objects[2][chosen]), pixels)
        return _without(united, hidden, categories, pixels)

    return VisibleLayers(visible(TRUE), visible(FOUND), _lengths(hidden, images), categories, pixels)


def _without(runs: Runs, hidden: Runs, categories: int, pixels: int) -> Runs:
    """Take what is hidden in an image from the runs of each of its categories."""
    if not len(hidden[0]):
        return runs
    groups = np.unique(runs[0])
    first, last = (np.searchsorted(hidden[0], groups // categories, side=side) for side in ("left", "right"))
    own = ranges(first, last)
    return subtracted(runs, (np.repeat(groups, last - first), hidden[1][own], hidden[2][own]), pixels)


def _lengths(runs: Runs, groups: int) -> IntArray:
    """Count the pixels of the runs of each group, (groups,)."""
    return np.bincount(runs[0], runs[2] - runs[1], minlength=groups).astype(np.int64)
