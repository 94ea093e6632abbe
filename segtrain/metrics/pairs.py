"""Pairs of detections and true objects that overlap, with their IoU: the nonzero entries of COCO's tables of IoU."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from segtrain import boxes, masks
from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.masks import Rle


class Pairs(NamedTuple):
    """Pairs with an IoU above 0, sorted by detection, then by true object.

    Attributes:
        detection: (P,) index of each pair's detection.
        truth: (P,) index of each pair's true object.
        iou: (P,) IoU in (0, 1]; against a crowd the union is the area of the detection.
    """

    detection: IntArray
    truth: IntArray
    iou: FloatArray

    def where(self, chosen: BoolArray | IntArray) -> "Pairs":
        """Select pairs.

        Args:
            chosen: (P,) true for those that are kept, or their indices in a new order.

        >>> pairs = Pairs(np.array([0, 1]), np.array([0, 0]), np.array([0.5, 0.9]))
        >>> pairs.where(pairs.iou > 0.6).detection.tolist()
        [1]
        """
        return Pairs(self.detection[chosen], self.truth[chosen], self.iou[chosen])

    def renumbered(self, detections: IntArray, all_detections: int, truths: IntArray, all_truths: int) -> "Pairs":
        """Select the pairs of some detections and true objects, with their places among these as indices.

        Args:
            detections: indices of the selected detections, in their new order.
            all_detections: number of all detections.
            truths: indices of the selected true objects, in their new order.
            all_truths: number of all true objects.

        >>> pairs = Pairs(np.array([0, 1]), np.array([0, 0]), np.array([0.5, 0.9]))
        >>> pairs.renumbered(np.array([1]), 2, np.array([0]), 1)
        Pairs(detection=array([0]), truth=array([0]), iou=array([0.9]))
        """
        places = []
        for chosen, count in ((detections, all_detections), (truths, all_truths)):
            place = np.full(count, -1, dtype=np.int64)
            place[chosen] = np.arange(len(chosen))
            places.append(place)
        found = Pairs(places[0][self.detection], places[1][self.truth], self.iou)
        order = np.lexsort((found.truth, found.detection))
        return found.where(order[(found.detection >= 0)[order] & (found.truth >= 0)[order]])


NO_PAIRS = Pairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))


def mask_pairs(
    detections: Sequence[Rle],
    truths: Sequence[Rle],
    detection_group: IntArray,
    truth_group: IntArray,
    crowd: BoolArray | None = None,
) -> Pairs:
    """Find the pairs of masks that overlap.

    Args:
        detections: D masks.
        truths: G masks.
        detection_group: (D,) group of each detection, such as its image; only masks of one group are compared.
        truth_group: (G,) group of each true object.
        crowd: (G,) true for crowds; None for no crowd.

    Source: ``rleIou`` of pycocotools' ``maskApi.c``.

    >>> half, whole = masks.encode(np.array([[1, 0]])), masks.encode(np.array([[1, 1]]))
    >>> one = np.array([7])
    >>> mask_pairs([half], [whole], one, one).iou.tolist()
    [0.5]
    """
    detection, truth, shared = masks.overlaps(detections, truths, detection_group, truth_group)
    own, other = masks.area(detections)[detection], masks.area(truths)[truth]
    union = own + other - shared
    return Pairs(detection, truth, shared / (union if crowd is None else np.where(crowd[truth], own, union)))


def box_pairs(
    detections: FloatArray,
    truths: FloatArray,
    detection_group: IntArray,
    truth_group: IntArray,
    crowd: BoolArray | None = None,
) -> Pairs:
    """Find the pairs of boxes that overlap.

    Args:
        detections: (D, 4) xywh.
        truths: (G, 4) xywh.
        detection_group: (D,) group of each detection, such as its image; only boxes of one group are compared.
        truth_group: (G,) group of each true object.
        crowd: (G,) true for crowds; None for no crowd.

    Source: ``bbIou`` of pycocotools' ``maskApi.c``.

    >>> one = np.array([7])
    >>> box_pairs(np.array([[0.0, 0.0, 4.0, 2.0]]), np.array([[0.0, 0.0, 4.0, 4.0]]), one, one).iou.tolist()
    [0.5]
    """
    detection, truth = boxes.overlapping(
        boxes.xywh_to_xyxy(detections), boxes.xywh_to_xyxy(truths), detection_group, truth_group
    )
    own, other = detections[detection], truths[truth]
    shared = boxes.shared_area(boxes.xywh_to_xyxy(own), boxes.xywh_to_xyxy(other))
    own_area = own[:, 2] * own[:, 3]
    union = own_area + other[:, 2] * other[:, 3] - shared
    return Pairs(detection, truth, shared / (union if crowd is None else np.where(crowd[truth], own_area, union)))
