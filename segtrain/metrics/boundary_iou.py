"""Boundary IoU (Cheng et al., CVPR 2021)."""

from collections.abc import Collection, Mapping, Sequence
from math import hypot

import numpy as np

from segtrain.arrays import FloatArray, IntArray
from segtrain.masks.sweep import Runs, column_pieces, shared, subtracted
from segtrain.metrics.layers import LayeredMasks, batches, visible_layers
from segtrain.records import GroundTruth, Prediction

WIDTH = 0.02  # width of a boundary, in image diagonals


def boundary_counts(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> FloatArray:
    """Count the boundary pixels of each image for boundary IoU, which is the IoU of their sums over all images.

    The boundary of an object is the part of it within d pixels of its outline, d being 2 % of the image diagonal,
    rounded, and at least 1, in the Chebyshev distance; the image's border counts as outline. For each category G and P
    are the unions of the boundaries of its true and of its predicted objects, minus all crowds of any category. The
    boundary IoU is the sum over images of |P n G| over the sum of |P u G|. For one true and one predicted object it
    equals the definition of the source. Since each object has a boundary of its own, one mask over two touching objects
    lacks the boundary between them.

    Args:
        truths: all true objects.
        predictions: the detections at the operating point: the caller has applied the score threshold.
        category_ids: the K categories; records of others are left out, except that their crowds are ignored all the
            same.
        sizes: image id -> (H, W) of each of the I images, those without objects included; records of others are left
            out.

    Returns:
        (I, K, 3) number of pixels in true boundaries, in both true and predicted ones, and in either; categories by
        increasing id.

    Source: Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation (2021), for a pair of
    masks; distance and border as in the authors' program (erosions with a 3 x 3 square, zeros around the image).

    >>> from segtrain import masks
    >>> true, found = np.zeros((2, 20, 20))
    >>> true[4:12, 4:12] = found[4:12, 4:13] = 1
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(true), "iscrowd": 0}
    >>> prediction = {"image_id": 1, "category_id": 1, "segmentation": masks.encode(found), "score": 0.9}
    >>> boundary_counts([truth], [prediction], category_ids=[1], sizes={1: (20, 20)}).tolist()
    [[[28.0, 22.0, 36.0]]]
    """
    counts = np.zeros((len(sizes), len(set(category_ids)), 3))
    for batch in batches(truths, predictions, category_ids, sizes):
        runs = batch.rles.runs()
        counts[batch.images] = visible_layers(batch, _boundaries(batch, runs), runs).counts()
    return counts


def _boundaries(batch: LayeredMasks, runs: Runs) -> Runs:
    """Find the boundary of each mask: the pixels that erosion removes."""
    size_of, inner = batch.rles.size_numbers[runs[0]], [np.zeros((3, 0), dtype=np.int64)]
    for number in np.unique(size_of).tolist():
        chosen, (height, width) = size_of == number, batch.rles.sizes[number]
        distance = max(1, round(WIDTH * hypot(height, width)))
        mask, starts, stops = (column[chosen] for column in runs)
        inner.append(np.stack(eroded(mask, starts, stops, (height, width), distance)))
    mask, starts, stops = np.concatenate(inner, axis=1)
    return subtracted(runs, (mask, starts, stops), batch.pixels)


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

    >>> from segtrain import masks
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
        starts, stops = shared(starts, stops, starts - shift * step, stops - shift * step)
        columns += shift
    lengths = stops - starts
    mask, starts = np.divmod(starts + distance * step, (width + 1) * step)
    starts -= starts // step
    return mask, starts, starts + lengths
