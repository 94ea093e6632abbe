"""Boundary IoU (Cheng et al., CVPR 2021)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np

from segtrain import masks
from segtrain.arrays import BoolArray, FloatArray, IntArray, mean_of_defined
from segtrain.masks.sweep import Runs, column_pieces
from segtrain.metrics.layers import CROWD, LayeredMasks, layered_masks, true_both_either
from segtrain.metrics.mean_iou import iou_of_sums
from segtrain.metrics.partition import Partition
from segtrain.records import GroundTruth, Prediction

WIDTH = 0.02  # width of a boundary, in image diagonals


@dataclass(frozen=True)
class BoundaryIou:
    """Boundary IoU in [0, 1]; nan where undefined.

    Attributes:
        boundary_iou: mean over the categories with at least one true boundary pixel.
        per_category: category id -> boundary IoU; nan without a true boundary pixel.
    """

    boundary_iou: float
    per_category: dict[int, float]


def boundary_iou(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> BoundaryIou:
    """Compute the IoU of the boundaries of objects from pixel counts that are summed over all images.

    The boundary of an object is the part of it within d pixels of its outline, d being 2 % of the image diagonal,
    rounded, and at least 1, in the Chebyshev distance; the image's border counts as outline. For each category G and P
    are the unions of the boundaries of its true and of its predicted objects, minus all crowds of any category. The
    boundary IoU is the sum over images of |P n G| over the sum of |P u G|. For one true and one predicted object it
    equals the definition of the source. Since each object has a boundary of its own, one mask over two touching objects
    lacks the boundary between them.

    Args:
        truths: all true objects.
        predictions: the detections at the operating point: the caller has applied the score threshold.
        category_ids: the categories to average over; records of others are left out, except that their crowds are
            ignored all the same.
        sizes: image id -> (H, W) of every image, those without objects included; records of others are left out.

    Source: Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation (2021), for a pair of
    masks; distance and border as in the authors' program (erosions with a 3 x 3 square, zeros around the image).

    >>> true, found = np.zeros((2, 20, 20))
    >>> true[4:12, 4:12] = found[4:12, 4:13] = 1
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(true), "iscrowd": 0}
    >>> prediction = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(found), "score": 0.9}
    >>> boundary_iou([truth], [prediction], category_ids=[1], sizes={1: (20, 20)}).boundary_iou  # 22 of 36 pixels
    0.6111111111111112
    """
    counts = boundary_counts(truths, predictions, category_ids=category_ids, sizes=sizes)
    per_category = iou_of_sums(counts.sum(axis=0))
    values = dict(zip(sorted(set(category_ids)), per_category.tolist(), strict=True))
    return BoundaryIou(float(mean_of_defined(per_category)), values)


def boundary_counts(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> FloatArray:
    """Count the boundary pixels of each image that ``boundary_iou`` sums.

    Args:
        truths: all true objects.
        predictions: the detections at the operating point.
        category_ids: the K categories.
        sizes: image id -> (H, W) of each of the I images.

    Returns:
        (I, K, 3) number of pixels in true boundaries, in both true and predicted ones, and in either; categories by
        increasing id.

    >>> true, found = np.zeros((2, 20, 20))
    >>> true[4:12, 4:12] = found[4:12, 4:13] = 1
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(true), "iscrowd": 0}
    >>> prediction = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(found), "score": 0.9}
    >>> boundary_counts([truth], [prediction], category_ids=[1], sizes={1: (20, 20)}).tolist()
    [[[28.0, 22.0, 36.0]]]
    """
    places = {category_id: place for place, category_id in enumerate(sorted(set(category_ids)))}
    layered = layered_masks(truths, predictions, places)
    sums = np.zeros((len(sizes), len(places), 3))
    for image, (image_id, size) in enumerate(sizes.items()):
        if image_id in layered:
            _count(layered[image_id], size, sums[image])
    return sums


def _count(image: LayeredMasks, size: tuple[int, int], sums: FloatArray) -> None:
    """Add an image's boundaries to its (categories, 3) sums."""
    outer = masks.runs(image.rles)
    distance = max(1, round(WIDTH * hypot(*size)))
    inner = eroded(*outer, size, distance)
    partition = Partition(np.concatenate([outer[1], inner[1]]), np.concatenate([outer[2], inner[2]]))
    layers = image.layers[np.concatenate([outer[0], inner[0]])]
    sign = np.repeat([1, -1], [len(outer[0]), len(inner[0])])

    def total(chosen: BoolArray) -> IntArray:
        return partition.total(partition.first[chosen], partition.last[chosen], sign[chosen])

    visible = total((layers == CROWD) & (sign > 0)) == 0
    for place in image.categories:
        # The boundary of an object consists of the pixels that erosion removes.
        true, found = (visible & (total(layers == layer) > 0) for layer in (2 * place, 2 * place + 1))
        sums[place] += true_both_either(partition, true, found)


def eroded(mask: IntArray, starts: IntArray, stops: IntArray, size: tuple[int, int], distance: int) -> Runs:
    """Erode all masks of an image by a square, on their runs; the time does not depend on the areas of the masks.

    Args:
        mask: (R,) index of each run's mask, not decreasing.
        starts: (R,) first column-major position of each run in the plane.
        stops: (R,) position after the last one of each run; the runs of a mask neither overlap nor touch.
        size: (H, W) of the image; pixels outside it count as background.
        distance: radius of the square in pixels, at least 1; its side is 2 * distance + 1.

    Returns:
        The runs of the eroded masks: mask, start and stop of each.

    >>> [runs.tolist() for runs in eroded(*masks.runs([masks.encode(np.ones((5, 5)))]), (5, 5), 2)]
    [[0], [12], [13]]
    """
    height, width = size
    # Cut into columns. A row of zeros below each column and a column of zeros after each mask separate them, so that
    # the runs of all masks form one sequence.
    run, column = column_pieces((mask, starts, stops), height)
    step = height + 1
    offset = (mask[run] * (width + 1) + column) * step - column * height
    starts = offset + np.maximum(starts[run], column * height) + distance
    stops = offset + np.minimum(stops[run], (column + 1) * height) - distance
    kept = starts < stops
    starts, stops = starts[kept], stops[kept]
    # The intersection of each column with the ones right of it; each round doubles their number.
    columns = 1
    while columns < 2 * distance + 1:
        shift = min(columns, 2 * distance + 1 - columns)
        starts, stops = _both(starts, stops, starts - shift * step, stops - shift * step)
        columns += shift
    lengths = stops - starts
    mask, starts = np.divmod(starts + distance * step, (width + 1) * step)
    starts -= starts // step
    return mask, starts, starts + lengths


def _both(
    starts: IntArray, stops: IntArray, other_starts: IntArray, other_stops: IntArray
) -> tuple[IntArray, IntArray]:
    """Intersect two sets of runs, neither of which overlap among themselves.

    No more than two runs are open at a time, so the second opens with the next start and one of them closes with the
    stop in turn.
    """
    opened = np.sort(np.concatenate([starts, other_starts]), kind="stable")[1:]
    closed = np.sort(np.concatenate([stops, other_stops]), kind="stable")[:-1]
    kept = opened < closed
    return opened[kept], closed[kept]
