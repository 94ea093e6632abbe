"""Pairs of true objects and detections at the operating point, and the confusion matrix of their categories."""

from dataclasses import dataclass

import numpy as np

from segtrain.arrays import IntArray
from segtrain.metrics.matching import ALL, IOU50, Matches


@dataclass(frozen=True)
class ObjectPairs:
    """Detections and true objects, N pairs; each detection and each object is in one of them.

    Attributes:
        detection: (N,) index in the given detections; -1 for objects that were missed.
        truth: (N,) index in the given true objects; -1 for detections of nothing.
    """

    detection: IntArray
    truth: IntArray


def pair_objects(matches: Matches, score_threshold: float) -> ObjectPairs:
    """Pair detections with true objects at IoU .50, as they are matched; those that are matched to crowds are left out.

    Args:
        matches: class-agnostic matches.
        score_threshold: operating point; detections of a lower score are left out.

    >>> from segtrain.masks import encode
    >>> from segtrain.metrics.matching import match
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> twice = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": score} for score in (0.9, 0.8)]
    >>> pairs = pair_objects(match([truth], twice, image_ids=[1], category_ids=[1], iou_type="segm"), 0.5)
    >>> list(zip(pairs.detection.tolist(), pairs.truth.tolist()))
    [(0, 0), (1, -1)]
    """
    counted = (matches.score >= score_threshold) & ~matches.ignored(IOU50, ALL)
    found, truth = matches.record[counted], matches.truth(IOU50, ALL, counted).astype(np.int64)
    real = matches.truth_record[~matches.truth_ignored[ALL]]
    missed = np.setdiff1d(real, truth)
    none = np.full(len(missed), -1, dtype=np.int64)
    return ObjectPairs(np.concatenate([found, none]), np.concatenate([truth, missed]))


def confusion_cells(
    pairs: ObjectPairs, found: IntArray, true: IntArray, *, categories: int
) -> tuple[IntArray, IntArray]:
    """Find the row and the column of each pair in the confusion matrix, (N,) each.

    Args:
        pairs: pairs of detections and true objects.
        found: (D,) number of the category of each given detection, from 0 to ``categories`` - 1.
        true: (G,) number of the category of each given true object, likewise.
        categories: number of categories, K.

    Returns:
        Rows are the categories of the true objects, K for detections of nothing; columns are the categories of the
        detections, K for objects that were missed.

    Source: Stehman, Selecting and interpreting measures of thematic classification accuracy (1997), for the matrix;
    ``pycocotools.cocoeval.COCOeval.evaluateImg``, for the matches.

    >>> pairs = ObjectPairs(detection=np.array([0, 1, -1]), truth=np.array([0, -1, 1]))
    >>> [cell.tolist() for cell in confusion_cells(pairs, np.array([1, 0]), np.array([0, 0]), categories=2)]
    [[0, 2, 0], [1, 0, 2]]
    """
    # The last entry stands for no object.
    row: IntArray = np.append(true, categories)[pairs.truth]
    column: IntArray = np.append(found, categories)[pairs.detection]
    return row, column
