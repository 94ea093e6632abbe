"""Layers of images: crowds, and the true and the detected objects of each category, many images at a time."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segtrain.arrays import IntArray, blocks
from segtrain.mask_records import column, rles_of
from segtrain.masks import PackedRles
from segtrain.masks.sweep import Runs, intersected, merged, ranges, subtracted
from segtrain.records import GroundTruth, Prediction

CROWD = -1  # layers: crowds, then true and found objects of each category in turn
_NONE = -2  # objects of other categories or images
_BATCH = 2**19  # characters of run-length code of a batch, if no image has more; bounds the memory


@dataclass(frozen=True)
class LayeredMasks:
    """Masks of some images.

    Attributes:
        images: (M,) numbers of the images.
        image: (N,) index of each mask's image in ``images``.
        layer: (N,) layer of each mask: ``CROWD``, 2 k for true and 2 k + 1 for found objects of the k-th category.
        rles: N masks.
        categories: number of all categories, K.
    """

    images: IntArray
    image: IntArray
    layer: IntArray
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
    >>> [batch.layer.tolist() for batch in batches([truth], [truth], [3], [5, 7])]
    [[0, 1]]
    """
    places = {category_id: place for place, category_id in enumerate(sorted(set(category_ids)))}
    numbers = {image_id: number for number, image_id in enumerate(image_ids)}
    layers, images = [], []
    for side, records in enumerate((truths, predictions)):
        own = [places.get(category_id) for category_id in column(records, "category_id").tolist()]
        layer = np.array([_NONE if place is None else 2 * place + side for place in own], dtype=np.int64)
        if records is truths:
            layer[[bool(truth["iscrowd"]) for truth in truths]] = CROWD
        image = [numbers.get(image_id, -1) for image_id in column(records, "image_id").tolist()]
        images.append(np.array(image, dtype=np.int64))
        layers.append(layer)
    every_image, every_layer = np.concatenate(images), np.concatenate(layers)
    rles = PackedRles.joined(PackedRles.of(rles_of(records)) for records in (truths, predictions))
    order = np.argsort(every_image, kind="stable")
    order = order[(every_image[order] >= 0) & (every_layer[order] != _NONE)]
    lengths = np.diff(rles.ends, prepend=0)[order]
    there, starts = np.unique(every_image[order], return_index=True)
    stops = np.append(starts[1:], len(order))
    for part in blocks(np.add.reduceat(lengths, starts) if len(starts) else lengths, _BATCH):
        chosen = order[starts[part.start] : stops[part.stop - 1]]
        owners = np.repeat(np.arange(part.stop - part.start), (stops - starts)[part])
        yield LayeredMasks(there[part], owners, every_layer[chosen], rles.where(chosen), len(places))


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
    layer = batch.layer[crowds[0]]
    image, starts, stops = (own[layer == CROWD] for own in (batch.image[crowds[0]], *crowds[1:]))
    hidden = merged((image, starts, stops), pixels)
    layer = batch.layer[objects[0]]
    group = batch.image[objects[0]] * categories + layer // 2
    sides = []
    for side in (0, 1):
        chosen = (layer != CROWD) & (layer % 2 == side)
        united = merged((group[chosen], objects[1][chosen], objects[2][chosen]), pixels)
        sides.append(_without(united, hidden, categories, pixels))
    return VisibleLayers(sides[0], sides[1], _lengths(hidden, images), categories, pixels)


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
