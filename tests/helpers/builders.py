"""Builders of masks and COCO records, small enough to be counted by hand."""

import numpy as np

from segtrain import masks
from segtrain.records import GroundTruth, Prediction


def rectangle(x: int, y: int, width: int, height: int, size: tuple[int, int]) -> masks.Rle:
    """Encode a rectangle in an image of ``size`` (H, W)."""
    return masks.encode_crop(np.ones((height, width)), x, y, size)


def xywh(rle: masks.Rle) -> list[float]:
    """Compute the box of a mask as COCO files state it."""
    x0, y0, x1, y1 = masks.boxes([rle])[0].tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def truth_of(rle: masks.Rle, category_id: int = 1, image_id: int = 1, *, iscrowd: bool = False) -> GroundTruth:
    """Build a true instance with the box and the area of its mask."""
    return GroundTruth(
        id=1,
        image_id=image_id,
        category_id=category_id,
        segmentation=rle,
        bbox=xywh(rle),
        area=float(masks.area([rle])[0]),
        iscrowd=int(iscrowd),
    )


def prediction(rle: masks.Rle, category_id: int = 1, image_id: int = 1, *, score: float = 1.0) -> Prediction:
    """Build a detection."""
    return Prediction(image_id=image_id, category_id=category_id, segmentation=rle, score=score)
