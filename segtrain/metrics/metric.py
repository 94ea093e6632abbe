"""Base classes of metrics, and their input: ground truth and detections, and resamples of the images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np

from segtrain.arrays import CountArray, FloatArray, IntArray
from segtrain.mask_records import reaching
from segtrain.metrics.candidates import Candidates, IouType, find_candidates
from segtrain.metrics.matching import ALL, Matches, match_candidates
from segtrain.metrics.pairs import Pairs
from segtrain.metrics.resampled_ap import ResampledPrecision, resampled_precision
from segtrain.records import BoxPrediction, GroundTruth, Prediction

_Value = TypeVar("_Value")
_CELLS = 2**20  # numbers that are converted at a time; bounds the memory


@dataclass(frozen=True, eq=False)
class MetricInput:
    """Ground truth and detections of one method in one track, and a cache of costly results.

    Attributes:
        truths: all true objects, crowds included.
        masks: all detections; None if the method has boxes only.
        boxes: boxes that the method itself predicts; None to use the box of each mask.
        category_ids: the K categories, increasing; records of other categories are left out.
        sizes: image id -> (H, W) of each of the I images, by increasing id; records of other images are left out.
        max_dets: detections kept per image and category for AP and AR, best first; at least 1.
        score_threshold: operating point, a score.
        all_pairs: function that returns what ``pairs_in_images`` finds, which several tracks share; None to find it.
        category_thresholds: operating point of the categories that have their own, by their ids.
    """

    truths: Sequence[GroundTruth]
    masks: Sequence[Prediction] | None
    boxes: Sequence[BoxPrediction] | None
    category_ids: Sequence[int]
    sizes: Mapping[int, tuple[int, int]]
    max_dets: int
    score_threshold: float
    all_pairs: Callable[[], Pairs] | None = None
    category_thresholds: Mapping[int, float] = field(default_factory=dict)
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def operating_point(self) -> Sequence[Prediction]:
        """Masks whose score reaches the threshold, in their order."""
        return reaching(self.masks or (), self.score_threshold, self.category_thresholds)

    @property
    def least_scores(self) -> float | FloatArray:
        """Operating point of all categories; or (K,), that of each, where some have their own."""
        if not self.category_thresholds:
            return self.score_threshold
        own = [self.category_thresholds.get(number, self.score_threshold) for number in self.category_ids]
        return np.array(own)

    @cached_property
    def all_images(self) -> "Resamples":
        """Each image once."""
        return Resamples(self, np.ones((1, len(self.sizes)), dtype=np.int64))

    def once(self, function: Callable[["MetricInput"], _Value]) -> _Value:
        """Call a function of this input, and return the same result in later calls without computing it again."""
        if function not in self._kept:
            self._kept[function] = function(self)
        return self._kept[function]  # type: ignore[no-any-return]

    def has(self, iou_type: IouType) -> bool:
        """Return True if the method can be compared by this type of IoU: by boxes always, by masks if it has any."""
        return iou_type == "bbox" or self.masks is not None

    def candidates(self, iou_type: IouType) -> Candidates:
        """Find the pairs of detections and true objects that overlap, by their masks or by their boxes."""
        return self.once(box_candidates if iou_type == "bbox" else mask_candidates)

    def matches(self, iou_type: IouType) -> Matches:
        """Match all detections to the true objects, by their masks or by their boxes."""
        return self.once(_match_boxes if iou_type == "bbox" else _match_masks)

    def forget(self) -> None:
        """Free the memory of the cached results, some of which refer to this object."""
        self._kept.clear()
        vars(self).pop("all_images", None)

    @property
    def nbytes(self) -> int:
        """Memory of the cached results in bytes."""
        return sum(value.nbytes for value in self._kept.values())


def _match_masks(inputs: MetricInput) -> Matches:
    return match_candidates(inputs.once(mask_candidates))


def _match_boxes(inputs: MetricInput) -> Matches:
    return match_candidates(inputs.once(box_candidates))


def mask_candidates(inputs: MetricInput) -> Candidates:
    """Find the pairs of detected and true masks that overlap."""
    return _candidates(inputs, inputs.masks or (), "segm")


def box_candidates(inputs: MetricInput) -> Candidates:
    """Find the pairs of detected and true boxes that overlap."""
    if inputs.boxes is not None:
        return _candidates(inputs, inputs.boxes, "bbox")
    return inputs.once(mask_candidates).by_boxes(inputs.truths, inputs.masks or ())


def _candidates(
    inputs: MetricInput, predictions: Sequence[Prediction] | Sequence[BoxPrediction], iou_type: IouType
) -> Candidates:
    return find_candidates(
        inputs.truths,
        predictions,
        image_ids=list(inputs.sizes),
        category_ids=inputs.category_ids,
        iou_type=iou_type,
        all_pairs=inputs.all_pairs() if inputs.all_pairs is not None and iou_type == "segm" else None,
    )


def _pieces(lines: int, cells: int) -> list[slice]:
    """Divide the lines of a table, each of so many cells, so that copies of a piece take little memory."""
    step = max(1, _CELLS // max(cells, 1))
    return [slice(start, start + step) for start in range(0, max(lines, 1), step)]


class Resamples:
    """Resamples of the images of an input, and sums over the images of each.

    Args:
        inputs: the ground truth and the detections.
        draws: (B, I) number of times that each image is drawn.
    """

    def __init__(self, inputs: MetricInput, draws: CountArray) -> None:
        self._inputs, self._draws = inputs, draws
        self._sums: dict[Any, FloatArray] = {}
        self._precision: dict[tuple[IouType, int], ResampledPrecision] = {}

    def sums(self, counts: "CountFunction") -> FloatArray:
        """Add counts up over the images of each draw, (B, C, S)."""
        if counts not in self._sums:
            of_images = self._inputs.once(counts)
            table = of_images.reshape(len(of_images), int(np.prod(of_images.shape[1:])))
            sums = np.empty((len(self._draws), table.shape[1]))
            for columns in _pieces(table.shape[1], len(table)):
                # Whole numbers are exact in float64, and their products are much faster than those of integers.
                own = table[:, columns].astype(np.float64)
                for rows in _pieces(len(sums), len(table)):
                    sums[rows, columns] = self._draws[rows].astype(np.float64) @ own
            self._sums[counts] = sums.reshape(len(sums), *of_images.shape[1:])
        return self._sums[counts]

    def precision(self, iou_type: IouType, area: int) -> ResampledPrecision:
        """Compute COCO's precision and recall on each draw, for true objects of one range of areas.

        Of many draws, only the last result is kept: it has a number for each draw, category and threshold.
        """
        key = iou_type, area
        if key not in self._precision:
            if len(self._draws) > 1:
                self._precision.clear()
            self._precision[key] = resampled_precision(
                self._inputs.matches(iou_type), self._draws, max_dets=self._inputs.max_dets, areas=[area]
            )
        return self._precision[key]


CountFunction = Callable[[MetricInput], FloatArray | IntArray]
"""(I, C, S): S numbers of each image and class that may be added up over images. The K categories are the last classes;
others, such as the background, may come before them."""

RatioFunction = Callable[[FloatArray], FloatArray]
"""(..., C, S) sums over images to the (..., C) values of the classes; nan where a value is undefined."""


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """A metric of a method, in [0, 1], higher is better.

    Its value is the mean of the values of all classes in which it is defined; nan without any.

    Attributes:
        key: name in ``results.json``.
        title: header of its column.
        hint: one line that explains the header.
        definition: one sentence with the formula.
        source: paper or program that defines it.
        uses: "all" if it is computed from all detections, "operating_point" if from those whose score reaches the
            method's threshold.
        kind: entities that are compared: objects or disjoint segments, matched one to one; or all pixels, or those of
            outlines.
        iou_type: "segm" if it needs masks, "bbox" if boxes suffice.
        min_iou: least IoU of a match, one of ``matching.IOU_THRESHOLDS``; unused by metrics of pixels.
        area: true objects that count, as an index into ``matching.AREAS``.
        headline: True if the first table of a report shows it.
        charted: True if a chart at the head of a report shows it with its intervals.
        in_terminal: True if the table in the terminal shows it; there is room for five.
        validated: True if validation in training logs it.
        category_key: name in the rows of single categories; None if it has no value for one category.
        category_title: header in the table of categories; None for the title.
        category_hint: explanation of that header; None for the hint.
    """

    key: str
    title: str
    hint: str
    definition: str
    source: str
    uses: Literal["all", "operating_point"]
    kind: Literal["objects", "segments", "pixels", "outlines"]
    iou_type: IouType = "segm"
    min_iou: float = 0.5
    area: int = ALL
    headline: bool = False
    charted: bool = False
    in_terminal: bool = False
    validated: bool = False
    category_key: str | None = None
    category_title: str | None = None
    category_hint: str | None = None

    @abstractmethod
    def values(self, resamples: Resamples) -> FloatArray:
        """Compute the value of each class on each resample, (B, C); nan where it is undefined."""


@dataclass(frozen=True, kw_only=True)
class RatioMetric(Metric):
    """A metric that is a ratio of sums over images.

    Attributes:
        counts: function that computes the numbers to sum. Metrics with the same function share its result.
        ratio: function that computes the value of a class from its sums.
    """

    counts: CountFunction
    ratio: RatioFunction

    def values(self, resamples: Resamples) -> FloatArray:
        """Compute the ratio of each class from its sums over the images of each resample."""
        return self.ratio(resamples.sums(self.counts))


@dataclass(frozen=True, kw_only=True)
class PrecisionMetric(Metric):
    """COCO's average precision or average recall.

    Attributes:
        statistic: "precision" or "recall".
        threshold: index into ``matching.IOU_THRESHOLDS``; None for the mean over all of them.
    """

    statistic: Literal["precision", "recall"] = "precision"
    threshold: int | None = None

    def values(self, resamples: Resamples) -> FloatArray:
        """Compute COCO's average precision or recall of each category on each resample."""
        resampled = resamples.precision(self.iou_type, self.area)
        table = (resampled.category_precision if self.statistic == "precision" else resampled.category_recall)[:, 0]
        chosen: FloatArray = table.mean(axis=0) if self.threshold is None else table[self.threshold]
        return chosen.T
