"""How well each detection overlaps with true objects, whether or not it is matched with one."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.instances import BoxPrediction, GroundTruth, Prediction
from segtrain.metrics import boxes

FloatArray = npt.NDArray[np.float64]


def best_overlaps(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction] | Sequence[BoxPrediction],
    iou_type: Literal["segm", "bbox"] = "segm",
) -> FloatArray:
    """IoU of each detection with the true object of its image that it overlaps most, (D,); 0 where there is none.

    Args:
        truths: true instances; crowds are left out. Categories do not matter.
        predictions: the detections; several may overlap one object.
        iou_type: "segm" compares masks; "bbox" compares boxes: each prediction's ``bbox``, or the box of its mask.
    """
    real: defaultdict[int, list[Any]] = defaultdict(list)
    for truth in truths:
        if not truth["iscrowd"]:
            real[truth["image_id"]].append(truth["segmentation" if iou_type == "segm" else "bbox"])
    found: defaultdict[int, list[int]] = defaultdict(list)
    for number, prediction in enumerate(predictions):
        found[prediction["image_id"]].append(number)
    shapes = boxes.xywh(predictions) if iou_type == "bbox" else None
    best = np.zeros(len(predictions))
    for image_id in found.keys() & real.keys():
        here, there = found[image_id], real[image_id]
        crowd = np.zeros(len(there), dtype=np.bool_)
        if shapes is None:
            own: list[Any] = [predictions[number] for number in here]
            overlaps = masks.iou([record["segmentation"] for record in own], there, crowd.tolist())
        else:
            overlaps = boxes.iou(shapes[here], np.array(there, dtype=np.float64).reshape(-1, 4), crowd)
        best[here] = overlaps.max(axis=1)
    return best
