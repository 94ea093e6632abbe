"""Layers of an image's masks: crowds, and the true and the detected objects of each category."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from segtrain.arrays import BoolArray, IntArray
from segtrain.mask_records import by_image, column, rles_of
from segtrain.masks import PackedRles
from segtrain.metrics.partition import Partition
from segtrain.records import GroundTruth, Prediction

CROWD = -1  # layers: crowds, then true and found objects of each category in turn
_NONE = -2  # objects of other categories


class LayeredMasks(NamedTuple):
    """Masks of an image.

    Attributes:
        layers: (N,) layer of each mask: ``CROWD``, 2 k for true and 2 k + 1 for found objects of the k-th category.
        rles: the masks.
    """

    layers: IntArray
    rles: PackedRles

    @property
    def categories(self) -> list[int]:
        """Numbers of the categories of these masks, increasing."""
        places: list[int] = np.unique(self.layers[self.layers != CROWD] // 2).tolist()
        return places


def layered_masks(
    truths: Sequence[GroundTruth], predictions: Sequence[Prediction], places: Mapping[int, int]
) -> dict[int, LayeredMasks]:
    """Group the masks of each image by layer.

    Args:
        truths: all true objects; crowds of any category are kept.
        predictions: the detections.
        places: number of each category by its id; objects of other categories are left out, crowds are not.

    Returns:
        Masks by image id; images without any are left out.

    >>> truth = {"image_id": 7, "category_id": 3, "segmentation": {"size": [2, 3], "counts": "222"}, "iscrowd": 0}
    >>> layered_masks([truth], [truth], {3: 0})[7].layers.tolist()
    [0, 1]
    """
    sides = []
    for records, layer_of in (
        (truths, {category_id: 2 * place for category_id, place in places.items()}),
        (predictions, {category_id: 2 * place + 1 for category_id, place in places.items()}),
    ):
        layers = np.array([layer_of.get(own, _NONE) for own in column(records, "category_id").tolist()], dtype=np.int64)
        if records is truths:
            layers[[bool(truth["iscrowd"]) for truth in truths]] = CROWD
        rles = PackedRles.of(rles_of(records))
        known = ((image_id, own[layers[own] != _NONE]) for image_id, own in by_image(records).items())
        sides.append({image_id: (layers[own], rles.where(own)) for image_id, own in known if len(own)})
    masked = {}
    for image_id in dict.fromkeys(image_id for side in sides for image_id in side):
        own = [side[image_id] for side in sides if image_id in side]
        layers = np.concatenate([layers for layers, _ in own])
        masked[image_id] = LayeredMasks(layers, PackedRles.joined(rles for _, rles in own))
    return masked


def true_both_either(partition: Partition, true: BoolArray, found: BoolArray) -> tuple[int, int, int]:
    """Count the pixels that are true, both true and found, and either.

    Args:
        partition: partition of the image.
        true: (P,) true for parts that are true.
        found: (P,) true for parts that are found.

    >>> partition = Partition(np.array([2, 4]), np.array([6, 9]))  # pixels 2-5 and 4-8
    >>> true_both_either(partition, np.array([True, True, False]), np.array([False, True, True]))
    (4, 2, 7)
    """
    return partition.pixels(true), partition.pixels(true & found), partition.pixels(true | found)
