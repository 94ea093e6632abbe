"""Objects found in an image, with the numbers that they have in all files of a prediction."""

from collections.abc import Sequence
from typing import NamedTuple

from segtrain.masks import Rle, area
from segtrain.records import Category, Instances


class FoundObject(NamedTuple):
    """Object found in an image.

    Attributes:
        number: number among the objects of all images, from 1.
        category: its category.
        score: its score.
        rle: its mask, of the image's size.
        pixels: number of pixels of the mask.
    """

    number: int
    category: Category
    score: float
    rle: Rle
    pixels: int


def found_objects(instances: Instances, categories: Sequence[Category], first: int) -> list[FoundObject]:
    """Number the instances of an image.

    Args:
        instances: instances of the image.
        categories: categories of labels 1..K; the first one is also that of label 0, of class-agnostic methods.
        first: number of the first object.

    >>> import numpy as np
    >>> box, score = np.array([[1, 0, 2, 2]], np.float32), np.array([0.5], np.float32)
    >>> instances = Instances((2, 3), box, np.array([0]), score, [{"size": [2, 3], "counts": "222"}])
    >>> [(one.number, one.category.name, one.pixels) for one in found_objects(instances, [Category(1, "cell")], 7)]
    [(7, 'cell', 2)]
    """
    labels, scores, pixels = instances.labels.tolist(), instances.scores.tolist(), area(instances.rles).tolist()
    return [
        FoundObject(first + place, categories[max(label - 1, 0)], score, rle, count)
        for place, (label, score, rle, count) in enumerate(zip(labels, scores, instances.rles, pixels, strict=True))
    ]
