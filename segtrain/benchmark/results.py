"""Typed content of ``results.json``: the results of an evaluation, with None for undefined numbers."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import msgspec

from segtrain.benchmark.run_results import Runs
from segtrain.errors import SegtrainError
from segtrain.evaluation import TRACKS, TrackName
from segtrain.metrics.scores import Record, TrackScores, flat_track, nested_track, plain


class Spread(Record, frozen=True):
    """Median and 95th percentile over the images, in seconds."""

    median: float
    p95: float


class ScoringTime(Record, frozen=True):
    """Seconds that computing the metrics took."""

    total: float


class TimeBySize(Record, frozen=True):
    """Medians over the smallest and over the largest images, and the number of each."""

    pixels: tuple[float, float]
    seconds: tuple[float, float]
    images: tuple[int, int]


class Timing(Record, frozen=True):
    """Seconds per image, by part of the work; None where it was not timed."""

    data: Spread | None
    segmentation: Spread | None
    scoring: ScoringTime
    by_size: TimeBySize | None = None


class Counts(Record, frozen=True):
    """Numbers of images and objects.

    Attributes:
        images: images.
        detections: detections of any score.
        images_without_detections: images without a detection.
        found: true objects that a detection at the operating point matches at IoU .50; None without masks.
    """

    images: int
    detections: int
    images_without_detections: int
    found: int | None = None


class Costs(Record, frozen=True):
    """Resources beside the time on the images; None where unknown or not applicable.

    Attributes:
        training_minutes: duration of the training.
        training_images: images that were trained or tuned on, those without objects included.
        training_objects: labelled objects in them.
        tuning_seconds: duration of the search for settings.
        peak_memory_gib: peak memory above that at the method's start, in GiB.
    """

    training_minutes: float | None = None
    training_images: int | None = None
    training_objects: int | None = None
    tuning_seconds: float | None = None
    peak_memory_gib: float | None = None


class CalibrationBin(Record, frozen=True):
    """Detections in one range of scores; the means are None without detections."""

    low: float
    high: float
    count: int
    mean_score: float | None
    precision: float | None
    mean_iou: float | None


class Calibration(Record, frozen=True):
    """Reliability of learned scores, see ``segtrain.metrics.calibration``."""

    bins: Sequence[CalibrationBin]
    ece: float
    ece_iou: float


class ErrorCosts(Record, frozen=True):
    """AP50, the loss of AP50 by each type of error, and the number of errors of each type."""

    ap50: float | None
    lost: Mapping[str, float | None]
    counts: Mapping[str, int]


class MergesAndSplits(Record, frozen=True):
    """Objects that touch others: the number of all, and of found, merged and split ones."""

    objects: int
    found: int
    merged: int
    split: int


class Errors(Record, frozen=True):
    """Errors of a method: by type in each track, and among objects that touch."""

    class_agnostic: ErrorCosts
    class_aware: ErrorCosts | None
    touching: MergesAndSplits


class Confusion(Record, frozen=True):
    """Number of true objects of one category that were found as another one.

    Attributes:
        true: id of the true category; None for detections without a true object.
        found: id of the detections' category; None for true objects that were missed.
        count: their number.
        in_images: number of images with such objects.
        images: file names of these images, those with most of them first; the first 30 of many.
    """

    true: int | None
    found: int | None
    count: int
    in_images: int = 0
    images: Sequence[str] = ()


class CategoryCurve(Record, frozen=True):
    """Class-aware precision of a category at recall 0, .01, ..., 1, at IoU .50."""

    id: int
    precision: Sequence[float]


class StratumScores(Record, frozen=True):
    """Class-agnostic scores of a method on the objects of one stratum."""

    ap: float | None
    recall: float | None
    iou: float | None


class MethodScores(Record, frozen=True, omit_defaults=True):
    """Scores, costs and description of a method.

    Attributes:
        class_agnostic: scores with all categories treated as one; None if they were not computed.
        class_aware: scores with categories; None for a method without categories.
        timing: seconds per image.
        counts: images and detections.
        score_threshold: operating point; detections of a lower score count for AP and AR only.
        description: one sentence.
        ranked_by: meaning of the scores of a classical method; None where they are learned or come from a file.
        variant: "textbook", "robust" or "tuned" for classical methods that state it.
        costs: training, tuning and memory.
        calibration: reliability of the scores; None where they are not learned.
        errors: types of error; None without masks.
        strata: scores by trait ("size", "contrast", "crowding") and stratum; None without masks.
        technique: technique of the method, such as "threshold", "edges", "kmeans" or "mask_rcnn"; None where it is not
            known.
        oracle: True if settings were chosen with the ground truth: an upper bound, which is not ranked.
        confusion: entries of the confusion matrix that are not 0; None without categories.
        measured: date, time, processors and threads of the times of a row that an earlier evaluation has made; None for
            a row of this one.
        category_thresholds: operating point of the categories that have their own, by name, in class-aware numbers and
            in the confusion matrix.
        category_curves: curves of the most frequent categories; None without categories.
    """

    class_agnostic: TrackScores | None
    class_aware: TrackScores | None
    timing: Timing
    counts: Counts
    score_threshold: float
    description: str
    ranked_by: str | None = msgspec.field(name="score")
    variant: str | None = msgspec.field(name="family")
    costs: Costs
    calibration: Calibration | None
    errors: Errors | None
    strata: Mapping[str, Sequence[StratumScores]] | None
    technique: str | None = None
    oracle: bool = False
    confusion: Sequence[Confusion] | None = None
    measured: str | None = None
    category_thresholds: Mapping[str, float] = {}
    category_curves: Sequence[CategoryCurve] | None = None

    @property
    def is_classical(self) -> bool:
        """True for a method that states the meaning of its scores; learned ones and result files do not."""
        return self.ranked_by is not None

    @property
    def seconds(self) -> float | None:
        """Median seconds to segment an image."""
        return None if self.timing.segmentation is None else self.timing.segmentation.median

    @property
    def has_masks(self) -> bool:
        """True if the method has masks, not only boxes."""
        return self.class_agnostic is not None and self.class_agnostic.coco.segm is not None

    def track(self, name: TrackName) -> TrackScores | None:
        """Select the scores of a track."""
        return self.class_agnostic if name == "class_agnostic" else self.class_aware

    def metric(self, key: str, track: TrackName = "class_agnostic") -> float | None:
        """Look up a metric; None where it is undefined or not known.

        Args:
            key: ``Metric.key``.
            track: class-agnostic or class-aware.
        """
        scores = self.track(track)
        return None if scores is None else scores.metrics.get(key)


class Comparison(Record, frozen=True):
    """Paired bootstrap comparison of two methods on a class-agnostic metric.

    Attributes:
        difference: the first method's value minus the second's.
        low: lower end of its 95 % interval.
        high: upper end.
        p: two-sided p-value; against the reference it is Holm-corrected for the number of methods.
        least_p: smallest p-value that so many resamples allow; None if it is not known.
    """

    difference: float
    low: float
    high: float
    p: float
    least_p: float | None = None


class Contest(Comparison, frozen=True, kw_only=True):
    """Comparison of the two best methods on a metric."""

    first: str
    second: str


class ContrastGap(Record, frozen=True):
    """Difference of AP between the highest and the lowest contrast, of the best threshold.

    Attributes:
        row: name of the method.
        difference: AP on objects of the highest contrast minus that on objects of the lowest.
        low: lower end of its 95 % interval; None without resamples.
        high: upper end.
        p: two-sided p-value.
        least_p: smallest p-value that so many resamples allow.
    """

    row: str
    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    least_p: float | None = None


class Bootstrap(Record, frozen=True):
    """Number of resamples of the images, 0 for none, and the seed of the draws."""

    resamples: int
    seed: int


class MaskResolutionLimit(Record, frozen=True):
    """Class-agnostic scores of the true objects, drawn on the grid of a network's masks.

    Attributes:
        resolution: cells along a mask's side.
        input_of: method on whose grid the masks were drawn.
        mask_paste: conversion of cells to pixels, "exact" or "torchvision".
        aligned: True if the cells were sampled at pixel centres, False for torchvision's conventions.
        objects: number of true objects.
        most_objects: largest number of them in one image.
        mean_iou: mean IoU of the true objects with the masks so drawn.
    """

    resolution: int
    input_of: str
    mask_paste: str
    aligned: bool
    objects: int
    most_objects: int
    mask_ap: float | None
    mask_ap50: float | None
    mask_ap75: float | None
    mask_ap_small: float | None
    mask_ap_medium: float | None
    mask_ap_large: float | None
    mean_iou: float | None


class AffectedCategory(Record, frozen=True):
    """Category that a reason concerns: its name, and the name with further details."""

    name: str
    said: str


class Reason(Record, frozen=True, omit_defaults=True):
    """Reason why numbers are 0, almost 0 or undefined.

    Attributes:
        rows: names of the methods.
        tracks: tracks of the numbers.
        keys: keys of the numbers; "per_category" for those of single categories, "class_aware" for a whole track,
            "seconds" for the time.
        why: a sentence without capital and full stop, with its remedy.
        categories: categories concerned; none: all that have such a number.
    """

    rows: Sequence[str]
    tracks: Sequence[TrackName]
    keys: Sequence[str]
    why: str
    categories: Sequence[AffectedCategory] = []


class Stratum(Record, frozen=True):
    """Objects that are alike in a trait.

    Attributes:
        name: name of the stratum, such as "smallest".
        low: least value of the trait; None if there is no lower bound.
        high: greatest value of the trait; None if there is no upper bound.
        objects: number of true objects.
        images: number of images that hold some of them.
    """

    name: str
    low: float | None
    high: float | None
    objects: int
    images: int


class TrueBoxes(Record, frozen=True):
    """Mask AP of the true boxes, filled, and the mean share of its box that an object fills."""

    mask_ap: float | None
    filled: float | None


class SeedSpread(Record, frozen=True):
    """Mean, sample standard deviation, least and greatest value of a metric over runs."""

    mean: float
    deviation: float
    low: float
    high: float


class SeedGroup(Record, frozen=True):
    """Runs that differ by their seed alone.

    Attributes:
        rows: names of the methods.
        seeds: seed of each.
        class_agnostic: spread by ``Metric.key``, of the metrics that all runs have.
        class_aware: spread by ``Metric.key``, of the metrics that all runs have.
    """

    rows: Sequence[str]
    seeds: Sequence[int]
    class_agnostic: Mapping[str, SeedSpread]
    class_aware: Mapping[str, SeedSpread]


class DataCategory(Record, frozen=True):
    """Category of the data, with the number of its true objects."""

    id: int
    name: str
    annotations: int


class DataSource(Record, frozen=True):
    """Place of the evaluated data, by which their annotations are read again.

    Attributes:
        settings: the ``data`` node; its root is absolute.
        image_ids: ids of the evaluated images; None for all of the annotation file.
    """

    settings: Mapping[str, Any]
    image_ids: Sequence[int] | None


class DataSummary(Record, frozen=True):
    """Evaluated data.

    Attributes:
        images: number of images, those without objects included.
        annotations: number of annotations in the file: used, crowd and dropped ones.
        used: true objects.
        crowd: crowd regions, ignored in every number.
        repaired: number of repaired annotations, among the used and crowd ones.
        dropped: annotations that could not be used.
        unreadable_images: images that could not be read.
        categories: categories of the annotation file.
        max_dets: detections per image and category that AP and AR use: those of all windows of an image together.
        name: name of the annotation file.
        annotations_file: path of the annotation file.
        issues: lines about the annotations.
        windows: largest number of windows that a method has cut an image into; 1 for whole images.
        contents: fingerprint of images and annotations, see ``data.splits.same_contents``; None in earlier results.
        source: where the data were read; None in earlier results.
    """

    images: int
    annotations: int
    used: int
    crowd: int
    repaired: int
    dropped: int
    unreadable_images: int
    categories: Sequence[DataCategory]
    max_dets: int
    name: str
    annotations_file: str
    issues: Sequence[str] = msgspec.field(name="findings")
    windows: int = 1
    contents: str | None = None
    source: DataSource | None = None


class CheckpointSummary(Record, frozen=True):
    """Origin of a learned method; fields that a checkpoint does not state are None."""

    path: str
    epoch: int | None = None
    step: int | None = None
    minutes: float | None = None
    precision: str | None = None
    seed: int | None = None
    metrics: Mapping[str, float | None] | None = None
    score_threshold: float | None = None
    threshold_images: int | None = None
    validations: int | None = None
    category_thresholds: Mapping[str, float] = {}


class Results(Record, frozen=True, dict=True):
    """Content of ``results.json``.

    Attributes:
        methods: scores by method name, in the order of the evaluation.
        reference: method that the others are compared with; None without it.
        comparisons: method -> ``Metric.key`` -> its difference to the reference.
        contests: ``Metric.key`` -> the best method against the second best.
        bootstrap: resamples behind intervals and p-values.
        mask_resolution_limit: limit that the mask head's grid sets; None without true objects or Mask R-CNN.
        reasons: reasons of numbers that are 0 or undefined, the most severe first.
        strata: trait ("size", "contrast", "crowding") -> its strata, from low to high.
        contrast_gap: effect of contrast on the best threshold; None without one.
        true_boxes: true boxes taken as masks.
        seeds: groups of runs that differ by their seed alone.
        data: evaluated data.
        caveats: limits of the validity of the numbers.
        environment: versions and hardware.
        command: command that repeats the evaluation.
        directory: folder in which it was given.
        checkpoint: checkpoint that the data's settings came from; None without one.
        checkpoints: checkpoint of each learned method.
        verdict: sentences on the best method, its lead, and the costs.
        claims: sentences that test textbook claims on these data.
        runs: training runs that are compared; None for less than two.
    """

    methods: Mapping[str, MethodScores]
    reference: str | None
    comparisons: Mapping[str, Mapping[str, Comparison]]
    contests: Mapping[str, Contest]
    bootstrap: Bootstrap
    mask_resolution_limit: MaskResolutionLimit | None = msgspec.field(name="mask_ceiling")
    reasons: Sequence[Reason]
    strata: Mapping[str, Sequence[Stratum]]
    contrast_gap: ContrastGap | None
    true_boxes: TrueBoxes | None
    seeds: Sequence[SeedGroup]
    data: DataSummary
    caveats: Sequence[str] = msgspec.field(name="warnings")
    environment: Mapping[str, str | int | float]
    command: str
    directory: str
    checkpoint: CheckpointSummary | None
    checkpoints: Mapping[str, CheckpointSummary | None]
    verdict: Sequence[str] = ()
    claims: Sequence[str] = ()
    runs: Runs | None = None

    @classmethod
    def of(cls, values: object) -> Self:
        """Convert the content of ``results.json``."""
        content = plain(values)
        for method in content["methods"].values():
            for track in TRACKS:
                if method[track] is not None:
                    method[track] = nested_track(method[track])
        return msgspec.convert(content, cls)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read ``results.json``.

        Raises:
            SegtrainError: the file cannot be read, is damaged, or is no such file.
        """
        try:
            return cls.of(msgspec.json.decode(Path(path).read_bytes()))
        except OSError as error:
            raise SegtrainError(f"{path}: cannot be read ({error.strerror})") from error
        except (msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
            reasons = {KeyError: f"it lacks {error}", msgspec.ValidationError: str(error)}
            reason = reasons.get(type(error), "its structure is another one")
            raise SegtrainError(f"{path}: is no results.json of this version ({reason}); evaluate again") from error
        except msgspec.DecodeError as error:
            raise SegtrainError(f"{path}: is damaged ({error}); evaluate again") from error

    def to_json(self) -> str:
        """Format as ``results.json``."""
        text = msgspec.json.encode(self.to_builtins())
        return msgspec.json.format(text, indent=2).decode() + "\n"

    def to_builtins(self) -> dict[str, Any]:
        """Convert to dictionaries, lists and numbers, with the keys of ``results.json``."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        for method in content["methods"].values():
            for track in TRACKS:
                if method[track] is not None:
                    method[track] = flat_track(method[track])
        return content

    @cached_property
    def ranked(self) -> list[str]:
        """Names of the methods, best class-agnostic mask AP first (box AP without masks), oracles last."""

        def quality(name: str) -> tuple[bool, float, float]:
            method = self.methods[name]
            mask, box = method.metric("mask_ap"), method.metric("box_ap")
            return (not method.oracle, -1.0 if mask is None else mask, -1.0 if box is None else box)

        return sorted(self.methods, key=quality, reverse=True)

    @cached_property
    def contenders(self) -> list[str]:
        """Ranking without the oracles."""
        return [name for name in self.ranked if not self.methods[name].oracle]

    @cached_property
    def oracles(self) -> list[str]:
        """Oracles, best first."""
        return [name for name in self.ranked if self.methods[name].oracle]

    def comparison(self, name: str, key: str) -> Comparison | None:
        """Look up the difference of a method to the reference; None where it was not computed."""
        return self.comparisons.get(name, {}).get(key)
