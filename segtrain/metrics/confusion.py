"""Confusion matrix of categories, of the detections at the operating point."""

import numpy as np

from segtrain.arrays import IntArray
from segtrain.metrics.matching import ALL, IOU50, Matches


def confusion_matrix(
    matches: Matches, found: IntArray, true: IntArray, *, categories: int, score_threshold: float
) -> IntArray:
    """Count the categories of the true objects against those of their detections.

    Detections are matched to true objects at IoU .50 whatever their categories, the highest score first; those that are
    matched to crowds are left out.

    Args:
        matches: class-agnostic matches.
        found: (D,) number of the category of each given detection, from 0 to ``categories`` - 1.
        true: (G,) number of the category of each given true object, likewise.
        categories: number of categories, K.
        score_threshold: operating point; detections of a lower score are left out.

    Returns:
        (K + 1, K + 1) numbers: rows are the categories of the true objects, the last one for detections without a true
        object; columns are the categories of the detections, the last one for objects without a detection.

    Source: Stehman, Selecting and interpreting measures of thematic classification accuracy (1997), for the matrix;
    ``pycocotools.cocoeval.COCOeval.evaluateImg``, for the matches.

    >>> from segtrain.masks import encode
    >>> from segtrain.metrics.matching import match
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> twice = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": score} for score in (0.9, 0.8)]
    >>> matches = match([truth], twice, image_ids=[1], category_ids=[1], iou_type="segm")
    >>> right_then_wrong = np.array([0, 1])
    >>> confusion_matrix(matches, right_then_wrong, np.array([0]), categories=2, score_threshold=0.5).tolist()
    [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    """
    nothing = categories  # the last row, and the last column
    counted = (matches.score >= score_threshold) & ~matches.ignored(IOU50, ALL)
    truth = matches.truth(IOU50, ALL, counted)
    column = found[matches.record[counted]]
    row = np.where(truth >= 0, np.append(true, nothing)[truth], nothing)
    missed = np.ones(len(true), dtype=np.bool_)
    missed[truth[truth >= 0]] = False
    real = np.zeros(len(true), dtype=np.bool_)
    real[matches.truth_record[~matches.truth_ignored[ALL]]] = True
    rows = np.concatenate([row, true[missed & real]])
    columns = np.concatenate([column, np.full(int((missed & real).sum()), nothing)])
    size = categories + 1
    matrix: IntArray = np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)
    return matrix
