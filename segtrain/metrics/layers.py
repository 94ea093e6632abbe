"""Layers of an image's masks: crowds, and the true and the detected objects of each category."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from segtrain.arrays import BoolArray, IntArray
from segtrain.mask_records import column, rles_of
from segtrain.masks import Rle
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
    rles: Sequence[Rle]

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
        truths: all true instances; crowds of any category are kept.
        predictions: the detections.
        places: number of each category by its id; other objects of other categories are left out.

    Returns:
        Masks by image id; images without any are left out.

    >>> truth = {"image_id": 7, "category_id": 3, "segmentation": {"size": [2, 3], "counts": "222"}, "iscrowd": 0}
    >>> layered_masks([truth], [truth], {3: 0})[7].layers.tolist()
    [0, 1]
    """
    found: defaultdict[int, tuple[list[int], list[Rle]]] = defaultdict(lambda: ([], []))
    for records, layer_of in (
        (truths, {category_id: 2 * place for category_id, place in places.items()}),
        (predictions, {category_id: 2 * place + 1 for category_id, place in places.items()}),
    ):
        own = [layer_of.get(category_id, _NONE) for category_id in column(records, "category_id").tolist()]
        if records is truths:
            own = [CROWD if truth["iscrowd"] else layer for truth, layer in zip(truths, own, strict=True)]
        for image_id, layer, rle in zip(column(records, "image_id").tolist(), own, rles_of(records), strict=True):
            if layer != _NONE:
                layers, rles = found[image_id]
                layers.append(layer)
                rles.append(rle)
    return {image_id: LayeredMasks(np.array(layers), rles) for image_id, (layers, rles) in found.items()}


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
