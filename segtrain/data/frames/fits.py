"""Estimates of scales and shifts between masks and their boxes, for a whole file, each size of image, or each image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.boxes import paired_iou
from segtrain.data.frames.evidence import Evidence, Shapes
from segtrain.data.frames.geometry import Geometry, turn_back

Group = Literal["file", "size", "image"]
Parameters = tuple[float, float, float, float]  # scale of x and y, shift of x and y
_WIDEST = 1e-3  # pixels; sides of boxes below it tell no ratio
_NEARLY = 0.25  # pixels; error of estimates from boxes of whole pixels


@dataclass(frozen=True)
class Fit:
    """Way of estimating scale and shift.

    Attributes:
        estimate: estimates them from extents and boxes, (N, 4) xyxy each.
        fewest: annotations that a group needs, so that the estimate can fail.
        freedom: number of estimated values.
    """

    estimate: Callable[[FloatArray, FloatArray], Parameters]
    fewest: int
    freedom: int


def _scale(extents: FloatArray, boxes: FloatArray) -> Parameters:
    ratio = _ratio(extents.ravel(), boxes.ravel())
    return ratio, ratio, 0.0, 0.0


def _scale_each(extents: FloatArray, boxes: FloatArray) -> Parameters:
    x, y = (_ratio(extents[:, axis::2].ravel(), boxes[:, axis::2].ravel()) for axis in (0, 1))
    return x, y, 0.0, 0.0


def _shift(extents: FloatArray, boxes: FloatArray) -> Parameters:
    x, y = np.median((boxes[:, :2] - extents[:, :2] + boxes[:, 2:] - extents[:, 2:]) / 2, axis=0).tolist()
    return 1.0, 1.0, x, y


def _scale_and_shift(extents: FloatArray, boxes: FloatArray) -> Parameters:
    """Estimate a common scale, and a shift along each axis: a letterbox."""
    sides, stated = (part[:, 2:] - part[:, :2] for part in (extents, boxes))
    scale = _ratio(sides.ravel(), stated.ravel())
    for _ in range(3):
        x, y = np.median((boxes - scale * extents).reshape(-1, 2, 2), axis=(0, 1)).tolist()
        chosen = _overlapping(scale * extents + [x, y, x, y], boxes)
        centred, target = (part[chosen] - part[chosen].mean(axis=0) for part in (_corners(extents), _corners(boxes)))
        if (spread := float((centred**2).sum())) > _WIDEST:
            scale = float((centred * target).sum()) / spread
    x, y = np.median((boxes - scale * extents).reshape(-1, 2, 2), axis=(0, 1)).tolist()
    return scale, scale, x, y


FITS: dict[str, Fit] = {
    "scale": Fit(_scale, 1, 1),
    "shift": Fit(_shift, 2, 2),
    "scale of each axis": Fit(_scale_each, 1, 2),
    "scale and shift": Fit(_scale_and_shift, 2, 3),
}


def _corners(boxes: FloatArray) -> FloatArray:
    return boxes.reshape(-1, 2, 2).swapaxes(0, 1).reshape(-1, 2)


def _overlapping(extents: FloatArray, boxes: FloatArray) -> BoolArray:
    """Find the corners of the boxes that overlap well, so that a few false ones do not disturb."""
    iou = paired_iou(extents, boxes)
    return np.tile(iou >= np.median(iou) / 2, 2)


def _ratio(values: FloatArray, targets: FloatArray) -> float:
    """Estimate the ratio of two lists of numbers; large numbers, whose ratios are more exact, count for more."""
    known = np.abs(values) > _WIDEST
    values, targets = values[known], targets[known]
    if not len(values):
        return 1.0
    ratios = targets / values
    order = np.argsort(ratios)
    weights = np.cumsum(np.abs(values)[order])
    middle = float(ratios[order][np.searchsorted(weights, weights[-1] / 2)])
    near = np.abs(ratios - middle) <= 0.1 * abs(middle)
    return float((targets[near] @ values[near]) / (values[near] @ values[near])) if near.any() else middle


def groups(evidence: Evidence, by: Group) -> Iterator[tuple[IntArray, BoolArray]]:
    """Yield, for each group of annotations, the positions of its images, and the annotations that belong to it."""
    if by == "file":
        yield np.unique(evidence.images), np.ones(len(evidence.rows), dtype=np.bool_)
        return
    keys = evidence.images[:, None] if by == "image" else evidence.sizes
    _, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.reshape(-1)
    for number in range(int(group.max(initial=-1)) + 1):
        own = group == number
        yield np.unique(evidence.images[own]), own


def fit(evidence: Evidence, shapes: Shapes, orientation: str, way: Fit, by: Group) -> dict[int, Geometry]:
    """Estimate the geometry of each image; images in groups with too few annotations get none.

    Args:
        evidence: annotations with their boxes.
        shapes: their masks, in one reading.
        orientation: orientation of the masks, a key of ``ORIENTATIONS``.
        way: way of estimating.
        by: annotations that share scale and shift.
    """
    stated = evidence.boxes
    known = ~np.isnan(stated).any(axis=1) & ~np.isnan(shapes.extents).any(axis=1)
    known &= (shapes.extents[:, 2:] > shapes.extents[:, :2]).all(axis=1)
    targets = turn_back(stated, orientation, evidence.sizes)
    found: dict[int, Geometry] = {}
    for images, own in groups(evidence, by):
        if (chosen := own & known).sum() >= way.fewest:
            scale_x, scale_y, x, y = way.estimate(shapes.extents[chosen], targets[chosen])
            if min(scale_x, scale_y) > 0:
                reach = np.abs(shapes.extents[chosen]).reshape(-1, 2).max(axis=0)
                scale = rounded(scale_x, float(reach[0])), rounded(scale_y, float(reach[1]))
                shift = _whole(x), _whole(y)
                found.update(dict.fromkeys(images.tolist(), Geometry(orientation, scale=scale, shift=shift)))
    return found


def rounded(scale: float, reach: float) -> float:
    """Round a scale, or its reciprocal, to two digits after the point if no coordinate moves by more than the noise.

    Args:
        scale: estimated factor, positive.
        reach: largest coordinate that is multiplied by it.

    >>> rounded(0.4996, reach=300), rounded(0.4996, reach=3000)
    (0.5, 0.4996)
    """
    for value in (round(scale, 2), 1 / max(round(1 / scale, 2), 0.01)):
        if abs(value - scale) * reach < _NEARLY:
            return value
    return scale


def _whole(shift: float) -> float:
    """Round a shift to whole pixels if it nearly is."""
    return float(round(shift)) if abs(shift - round(shift)) < _NEARLY else shift
