"""Scores of settings: what is kept of each image, and the metric of any set of images from that."""

from collections.abc import Sequence
from math import nan
from typing import Any, NamedTuple, Protocol

import numpy as np

from segtrain.arrays import BoolArray, FloatArray, IntArray, mean_of_defined
from segtrain.metrics.matching import ALL, AREAS, match
from segtrain.metrics.mean_iou import FOREGROUND, class_iou_of_sums, pixel_counts
from segtrain.metrics.resampled_ap import hits_needed
from segtrain.records import OBJECT, GroundTruth, Prediction
from segtrain.values import TunedMetric


class ImageTruth(NamedTuple):
    """True objects of an image, or of a part of one.

    Attributes:
        image_id: id of the image.
        size: height and width.
        truths: true objects, of category ``OBJECT``.
    """

    image_id: int
    size: tuple[int, int]
    truths: Sequence[GroundTruth]


class Score(Protocol):
    """Interface of a metric that is computed image by image."""

    def of_image(self, truth: ImageTruth, found: Sequence[Prediction]) -> Any:
        """Reduce an image to what the metric needs of it; it can be pickled.

        Args:
            truth: true objects of the image.
            found: detections in the image, of category ``OBJECT``.
        """
        ...

    def of_images(self, parts: Sequence[Any]) -> float:
        """Compute the metric of several images together; nan without a true object.

        Args:
            parts: what `of_image` has returned for each of them, by increasing id of the image.
        """
        ...


def score_of(metric: TunedMetric, max_dets: int) -> Score:
    """Choose the score of a metric.

    Args:
        metric: class-agnostic metric; mIoU uses every detection.
        max_dets: detections per image that average precision uses.

    >>> truth = ImageTruth(1, (4, 4), [])
    >>> score = score_of("mask_ap", max_dets=100)
    >>> score.of_images([score.of_image(truth, [])])
    nan
    """
    return _MeanIou() if metric == "miou" else _MaskAp(max_dets)


class _Ranked(NamedTuple):
    """Detections of an image as average precision uses them, best first.

    Attributes:
        score: (D,) score of each detection.
        hit: (T, D) true if it is matched to a true object at the IoU threshold.
        counted: (T, D) false if it is matched to a crowd, and so neither right nor wrong.
        truths: number of true objects without crowds.
    """

    score: FloatArray
    hit: BoolArray
    counted: BoolArray
    truths: int


class _MaskAp:
    def __init__(self, max_dets: int) -> None:
        self._max_dets = max_dets

    def of_image(self, truth: ImageTruth, found: Sequence[Prediction]) -> _Ranked:
        matches = match(
            truth.truths, found, image_ids=[truth.image_id], category_ids=[OBJECT.id], iou_type="segm",
            areas=AREAS[ALL : ALL + 1],
        )  # fmt: skip
        best = np.flatnonzero(matches.rank < self._max_dets)
        thresholds = range(matches.thresholds)
        hit = np.array([matches.truth(t, ALL, best) >= 0 for t in thresholds])
        counted = np.array([~matches.ignored(t, ALL, best) for t in thresholds])
        return _Ranked(matches.score[best], hit, counted, int((~matches.truth_ignored[ALL]).sum()))

    def of_images(self, parts: Sequence[_Ranked]) -> float:
        truths = sum(part.truths for part in parts)
        if not truths:
            return nan
        order = np.argsort(-np.concatenate([part.score for part in parts]), kind="stable")
        hit = np.concatenate([part.hit for part in parts], axis=1)[:, order]
        counted = np.concatenate([part.counted for part in parts], axis=1)[:, order]
        needed = hits_needed(np.array([truths]))[:, 0]
        rows = zip(hit, counted, strict=True)
        return float(np.mean([_interpolated(own[used], needed) for own, used in rows]))


def _interpolated(hit: BoolArray, needed: IntArray) -> float:
    """Compute the mean over all recalls of the largest precision at each or a higher one.

    Args:
        hit: (D,) true for each right detection, best first.
        needed: (101,) number of hits that reaches each recall.
    """
    hits = np.cumsum(hit)
    precision = hits / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(hits, needed)
    return float(highest[first[first < len(hits)]].sum() / len(needed))


class _MeanIou:
    def of_image(self, truth: ImageTruth, found: Sequence[Prediction]) -> IntArray:
        sizes = {truth.image_id: truth.size}
        counts: IntArray = pixel_counts(truth.truths, found, category_ids=[OBJECT.id], sizes=sizes)[0]
        return counts

    def of_images(self, parts: Sequence[IntArray]) -> float:
        sums = np.sum(parts, axis=0).astype(np.float64)
        return float(mean_of_defined(class_iou_of_sums(np.delete(sums, FOREGROUND, axis=0))))
