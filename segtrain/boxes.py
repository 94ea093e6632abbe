"""Arithmetic of boxes in pixels: their formats, and their overlaps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from segtrain import masks
from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.mask_records import MaskRecords
from segtrain.masks import sweep


def xywh_to_xyxy(boxes: FloatArray) -> FloatArray:
    """Convert boxes (N, 4) from corner and size to two corners.

    >>> xywh_to_xyxy(np.array([[2.0, 3.0, 10.0, 20.0]]))
    array([[ 2.,  3., 12., 23.]])
    """
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xyxy_to_xywh(boxes: FloatArray) -> FloatArray:
    """Convert boxes (N, 4) from two corners to corner and size.

    >>> xyxy_to_xywh(np.array([[2.0, 3.0, 12.0, 23.0]]))
    array([[ 2.,  3., 10., 20.]])
    """
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def of_predictions(predictions: Sequence[Any]) -> FloatArray:
    """Return the box of each prediction, (N, 4) xywh in pixels: its own ``bbox``, or that of its mask.

    >>> of_predictions([{"bbox": [1, 2, 3, 4]}, {"segmentation": masks.encode(np.ones((2, 3)))}]).tolist()
    [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 3.0, 2.0]]
    """
    if isinstance(predictions, MaskRecords):
        return xyxy_to_xywh(masks.boxes(predictions.rles))
    boxes = np.zeros((len(predictions), 4))
    own = np.array(["bbox" in p for p in predictions], dtype=np.bool_)
    boxes[own] = np.array([p["bbox"] for p in predictions if "bbox" in p], dtype=np.float64).reshape(-1, 4)
    boxes[~own] = xyxy_to_xywh(masks.boxes([p["segmentation"] for p in predictions if "bbox" not in p]))
    return boxes


def iou(detections: FloatArray, truths: FloatArray, crowd: BoolArray) -> FloatArray:
    """Compute COCO's IoU of each detection with each true box, (D, G); a crowd's union is the detection alone.

    Args:
        detections: (D, 4) xywh.
        truths: (G, 4) xywh.
        crowd: (G,) true for boxes of crowds.

    >>> truths = np.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0]])
    >>> iou(np.array([[0.0, 0.0, 4.0, 2.0]]), truths, np.array([False, True])).tolist()
    [[0.5, 1.0]]
    """
    shared = shared_area(xywh_to_xyxy(detections)[:, None], xywh_to_xyxy(truths))
    own = (detections[:, 2] * detections[:, 3])[:, None]
    union = np.where(crowd, own, own + truths[:, 2] * truths[:, 3] - shared)
    result: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return result


def overlapping(
    first: FloatArray, second: FloatArray, first_group: IntArray, second_group: IntArray
) -> tuple[IntArray, IntArray]:
    """Find the pairs of boxes of two lists that share area, without a table of all pairs.

    The plane is divided into bands, about as high as the boxes are on average; in each band the boxes are swept from
    left to right.

    Args:
        first: (N, 4) xyxy.
        second: (M, 4) xyxy.
        first_group: (N,) group of each box, such as its image; only boxes of one group are compared.
        second_group: (M,) group of each box of the second list.

    Returns:
        The index in the first and in the second list of each pair, sorted by the first, then by the second.

    >>> boxes, group = np.array([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0], [2.0, 0.0, 4.0, 1.0]]), np.zeros(3, int)
    >>> [index.tolist() for index in overlapping(boxes[:1], boxes, group[:1], group)]
    [[0, 0], [0, 1]]
    """
    lists = np.concatenate([first, second])
    sides = lists[:, 2:] - lists[:, :2]
    filled = np.flatnonzero((sides > 0).all(axis=1) & np.isfinite(lists).all(axis=1))
    if not len(filled):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    top, foot = lists[filled, 1], lists[filled, 3]
    # Never more bands than twice the boxes, so that pieces and bands are few whatever the coordinates.
    band_height = max((foot - top).mean(), (foot.max() - top.min()) / (2 * len(filled)))
    band_of = np.zeros((2, len(lists)), dtype=np.int64)
    band_of[:, filled] = np.floor((np.stack([top, foot]) - top.min()) / band_height)
    box = np.repeat(filled, np.diff(band_of[:, filled], axis=0)[0] + 1)
    band = sweep.ranges(band_of[0, filled], band_of[1, filled] + 1)
    # Left and right edges as whole numbers in the same order, each band of each group beside the preceding one.
    _, edge = np.unique(lists[:, ::2], return_inverse=True)
    _, group = np.unique(np.concatenate([first_group, second_group]), return_inverse=True)
    _, strip = np.unique(group[box] * (band_of.max() + 1) + band, return_inverse=True)
    span = edge.reshape(-1, 2)[box] + strip[:, None] * (edge.max() + 1)
    is_first = box < len(first)
    runs = [(box[own], span[own, 0], span[own, 1]) for own in (is_first, ~is_first)]
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    for one, other in sweep.meetings(*runs):
        ends = np.stack([runs[0][0][one], runs[1][0][other]])
        # Boxes that meet in several bands count in the one where the lower top edge lies.
        counted = band[is_first][one] == band_of[0, ends].max(axis=0)
        pairs.append(ends[:, counted & (shared_area(lists[ends[0]], lists[ends[1]]) > 0)])
    found = np.concatenate(pairs, axis=1)
    found = found[:, np.lexsort(found[::-1])]
    return found[0], found[1] - len(first)


def paired_iou(first: FloatArray, second: FloatArray) -> FloatArray:
    """Compute the IoU of the n-th box of one list with the n-th of another, (N,); 0 for boxes without area.

    Args:
        first: (N, 4) xyxy.
        second: (N, 4) xyxy.

    >>> paired_iou(np.array([[0.0, 0.0, 4.0, 4.0]]), np.array([[0.0, 0.0, 4.0, 2.0]])).tolist()
    [0.5]
    """
    shared = shared_area(first, second)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, np.finfo(np.float64).tiny))


def shared_area(first: FloatArray, second: FloatArray) -> FloatArray:
    """Compute the area that boxes share.

    Args:
        first: (..., 4) xyxy.
        second: (..., 4) xyxy; both shapes are broadcast.

    >>> shared_area(np.array([0.0, 0.0, 4.0, 4.0]), np.array([[2.0, 2.0, 6.0, 6.0], [5.0, 5.0, 6.0, 6.0]])).tolist()
    [4.0, 0.0]
    """
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    area: FloatArray = sides.clip(min=0).prod(axis=-1)
    return area


AS_WRITTEN = "[x, y, width, height]"
LAYOUTS: Mapping[str, Callable[[FloatArray], FloatArray]] = {  # to xywh, from what tools write in its place
    AS_WRITTEN: lambda b: b,
    "[x1, y1, x2, y2]": xyxy_to_xywh,
    "[centre x, centre y, width, height]": lambda b: np.concatenate([b[:, :2] - b[:, 2:] / 2, b[:, 2:]], axis=1),
    "[y, x, height, width]": lambda b: b[:, [1, 0, 3, 2]],
    "[x1, x2, y1, y2]": lambda b: xyxy_to_xywh(b[:, [0, 2, 1, 3]]),
    "[y1, x1, y2, x2]": lambda b: xyxy_to_xywh(b[:, [1, 0, 3, 2]]),
}
