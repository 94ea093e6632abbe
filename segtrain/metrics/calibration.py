"""Calibration of scores: reliability, and the expected calibration error."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain.arrays import FloatArray
from segtrain.metrics.matching import ALL, IOU50
from segtrain.metrics.metric import MetricInput

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Detections of one range of scores; the range excludes its lower end, except for the first one.

    Attributes:
        low: lower end of the range.
        high: upper end of the range.
        count: number of detections.
        mean_score: mean score; nan without detections.
        precision: share of correct detections; nan without detections.
        mean_iou: mean IoU with the true object that each detection overlaps most; nan without detections.
    """

    low: float
    high: float
    count: int
    mean_score: float
    precision: float
    mean_iou: float


@dataclass(frozen=True)
class Calibration:
    """Reliability of scores.

    Attributes:
        bins: bins of equal width, by increasing score.
        ece: expected calibration error: mean distance of score and share of correct detections, weighted by the bins'
            counts; in [0, 1].
        ece_iou: the same, with the mean IoU in place of the share of correct detections.
    """

    bins: list[Bin]
    ece: float
    ece_iou: float


def calibration(inputs: MetricInput) -> Calibration | None:
    """Compare scores with precision and IoU; None without detections, or where scores are not probabilities.

    A detection is correct if COCO's matching at IoU .50 assigns it a true object, so a duplicate is not. Detections
    that are matched with crowds are left out; all others count, however low their score.

    Args:
        inputs: the ground truth and the detections, which have masks; scores outside [0, 1] are not probabilities.

    Sources: Guo et al., On Calibration of Modern Neural Networks (2017): equal bins and their weighted mean distance;
    Küppers et al., Multivariate Confidence Calibration for Object Detection (2020): precision in place of accuracy;
    Oksuz et al., Towards Building Self-Aware Object Detectors (2023): scores compared with IoU.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> pair = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": score} for score in (0.9, 0.4)]
    >>> inputs = MetricInput([truth], pair, None, [1], {1: (4, 4)}, max_dets=100, score_threshold=0.0)
    >>> round(calibration(inputs).ece, 3)  # the second is a duplicate: (|0.9 - 1| + |0.4 - 0|) / 2
    0.25
    """
    matches = inputs.matches("segm")
    counted = ~matches.ignored(IOU50, ALL)
    score = matches.score[counted]
    if not len(score) or score.min() < 0 or score.max() > 1:
        return None
    right = matches.truth(IOU50, ALL, counted) >= 0
    iou = inputs.candidates("segm").max_iou_per_detection()[counted]
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.searchsorted(edges, score, side="left") - 1, 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)

    def mean(values: npt.NDArray[np.generic]) -> FloatArray:
        sums = np.bincount(place, weights=values.astype(np.float64), minlength=BINS)
        result: FloatArray = np.divide(sums, count, out=np.full(BINS, np.nan), where=count > 0)
        return result

    columns = mean(score), mean(right), mean(iou)
    share = count / len(score)
    bins = [
        Bin(float(edges[n]), float(edges[n + 1]), int(count[n]), *(float(column[n]) for column in columns))
        for n in range(BINS)
    ]
    errors = (float(np.nansum(share * np.abs(columns[0] - column))) for column in columns[1:])
    return Calibration(bins, *errors)
