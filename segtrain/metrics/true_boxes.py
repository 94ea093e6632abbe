"""What a perfect detector of boxes knows of shapes: the true boxes, filled, in the place of masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segtrain import masks
from segtrain.metrics.average_precision import average_precision
from segtrain.records import GroundTruth, Prediction


@dataclass(frozen=True)
class TrueBoxes:
    """Numbers in [0, 1]; nan without objects.

    Attributes:
        mask_ap: of the boxes as masks, all of equal score.
        filled: share of its box that an object fills, mean over the objects.
    """

    mask_ap: float
    filled: float


def true_boxes(truths: Sequence[GroundTruth], *, sizes: Mapping[int, tuple[int, int]], category_id: int) -> TrueBoxes:
    """Score the box of every true object as if it were a mask; all of an image count, however many.

    Args:
        truths: all true instances, of one category.
        sizes: image id -> (H, W) of every image.
        category_id: that of the truths.
    """
    objects = [truth for truth in truths if not truth["iscrowd"]]
    boxes = [_box(truth["segmentation"]) for truth in objects]
    found = [
        Prediction(image_id=truth["image_id"], category_id=category_id, segmentation=box, score=1.0)
        for truth, box in zip(objects, boxes, strict=True)
    ]
    precision = average_precision(
        truths, found, image_ids=list(sizes), category_ids=[category_id], max_dets=max(len(found), 1),
        iou_type="segm", sizes=sizes,
    )  # fmt: skip
    own, whole = masks.area([truth["segmentation"] for truth in objects]), masks.area(boxes)
    filled = (own / np.maximum(whole, 1))[whole > 0]
    return TrueBoxes(precision.stats[0], float(filled.mean()) if len(filled) else float("nan"))


def _box(rle: masks.Rle) -> masks.Rle:
    """All pixels of the box of a mask."""
    height, width = rle["size"]
    x0, y0, x1, y1 = (int(edge) for edge in masks.boxes([rle])[0])
    return masks.encode_crop(np.ones((y1 - y0, x1 - x0), dtype=np.uint8), x0, y0, (height, width))
