"""Arithmetic of boxes in pixels: their formats, and their overlaps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segtrain import masks
from segtrain.arrays import BoolArray, FloatArray


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
    """Return the box of each prediction, (N, 4) xywh: its own ``bbox``, or that of its mask."""
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
        crowd: (G,) true boxes of crowds.
    """
    shared = shared_area(xywh_to_xyxy(detections)[:, None], xywh_to_xyxy(truths))
    own = (detections[:, 2] * detections[:, 3])[:, None]
    union = np.where(crowd, own, own + truths[:, 2] * truths[:, 3] - shared)
    result: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return result


def paired_iou(first: FloatArray, second: FloatArray) -> FloatArray:
    """Compute the IoU of the n-th box of one list with the n-th of another, (N,); 0 for boxes without area.

    Args:
        first: (N, 4) xyxy.
        second: (N, 4) xyxy.
    """
    shared = shared_area(first, second)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, np.finfo(np.float64).tiny))


def shared_area(first: FloatArray, second: FloatArray) -> FloatArray:
    """Compute the area that boxes (..., 4) xyxy share; shapes are broadcast."""
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    area: FloatArray = sides.clip(min=0).prod(axis=-1)
    return area
