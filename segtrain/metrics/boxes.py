"""Boxes of detections as COCO compares them: xywh in pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segtrain import masks
from segtrain.arrays import BoolArray, FloatArray


def xywh(predictions: Sequence[Any]) -> FloatArray:
    """The boxes of all predictions, (N, 4): each one's own ``bbox``, or that of its mask."""
    boxes = np.zeros((len(predictions), 4))
    own = np.array(["bbox" in p for p in predictions], dtype=np.bool_)
    boxes[own] = np.array([p["bbox"] for p in predictions if "bbox" in p], dtype=np.float64).reshape(-1, 4)
    xyxy = masks.boxes([p["segmentation"] for p in predictions if "bbox" not in p])
    boxes[~own] = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
    return boxes


def iou(detections: FloatArray, truths: FloatArray, crowd: BoolArray) -> FloatArray:
    """COCO's IoU of boxes, (D, G): against a crowd the union is the detection alone.

    Args:
        detections: (D, 4) xywh.
        truths: (G, 4) xywh.
        crowd: (G,).
    """
    low = np.maximum(detections[:, None, :2], truths[:, :2])
    high = np.minimum(detections[:, None, :2] + detections[:, None, 2:], truths[:, :2] + truths[:, 2:])
    sides = (high - low).clip(min=0)
    shared = sides[..., 0] * sides[..., 1]
    own = (detections[:, 2] * detections[:, 3])[:, None]
    union = np.where(crowd, own, own + truths[:, 2] * truths[:, 3] - shared)
    result: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return result
