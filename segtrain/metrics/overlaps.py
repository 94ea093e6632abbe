"""How well detections and true objects overlap, whether or not they are matched."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.metrics import boxes
from segtrain.records import BoxPrediction, GroundTruth, Prediction

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
    best = np.zeros(len(predictions))
    for _, here, overlaps in _overlaps(truths, predictions, iou_type):
        best[here] = overlaps.max(axis=1)
    return best


def best_found(truths: Sequence[GroundTruth], predictions: Sequence[Prediction]) -> FloatArray:
    """IoU of each true object with the detection of its image that overlaps it most, (N,); 0 without any, or a crowd.

    Args:
        truths: true instances. Categories do not matter.
        predictions: the detections; one may overlap several objects.
    """
    best = np.zeros(len(truths))
    for there, _, overlaps in _overlaps(truths, predictions, "segm"):
        best[there] = overlaps.max(axis=0)
    return best


def _overlaps(
    truths: Sequence[GroundTruth], predictions: Sequence[Any], iou_type: Literal["segm", "bbox"]
) -> Iterator[tuple[list[int], list[int], FloatArray]]:
    """Of each image with both: which true objects and which detections it has, and their (D, G) IoU."""
    real, found = _by_image(truths), _by_image(predictions)
    shapes = boxes.xywh(predictions) if iou_type == "bbox" else None
    for image_id in found.keys() & real.keys():
        there, here = [n for n in real[image_id] if not truths[n]["iscrowd"]], found[image_id]
        if not there:
            continue
        crowd = np.zeros(len(there), dtype=np.bool_)
        if shapes is None:
            own = [predictions[n]["segmentation"] for n in here]
            yield there, here, masks.iou(own, [truths[n]["segmentation"] for n in there], crowd.tolist())
        else:
            yield there, here, boxes.iou(shapes[here], np.array([truths[n]["bbox"] for n in there], np.float64), crowd)


def _by_image(records: Sequence[Any]) -> dict[int, list[int]]:
    """The places of each image's records."""
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        places[record["image_id"]].append(place)
    return places
