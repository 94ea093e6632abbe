"""Analysis of one row of an evaluation: its numbers in the report that do not depend on other rows."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec

from segtrain.arrays import CountArray, IntArray
from segtrain.benchmark.comparisons import draw_resamples, resample
from segtrain.benchmark.results import (
    Calibration,
    CategoryCurve,
    Confusion,
    ErrorCosts,
    Errors,
    MergesAndSplits,
    StratumScores,
)
from segtrain.benchmark.runner import MethodResult
from segtrain.console import progress
from segtrain.data.splits import Split
from segtrain.evaluation import TRACKS, Detections, GroundTruthSet, TrackName, metric_input, score
from segtrain.masks import Rle
from segtrain.metrics.f1 import TP
from segtrain.metrics.metric import Metric
from segtrain.metrics.registry import METRICS, f1_50_counts
from segtrain.metrics.scores import TrackScores
from segtrain.metrics.strata import Trait
from segtrain.metrics.touching import crowding_of_truths, touching_parts
from segtrain.pool import Advance, in_processes
from segtrain.report.diagnostics import Diagnosis, diagnose_row
from segtrain.report.gallery.select import Scores, per_image_f1
from segtrain.report.sections.category_curves import find_category_curves
from segtrain.report.sections.confusions import find_confusions
from segtrain.report.sections.error_types import find_errors, find_merges
from segtrain.report.sections.limits import measure_calibration
from segtrain.report.sections.object_strata import find_traits, resample_contrast, score_strata

# Shares of the time that the parts of a track take, for the progress.
_SCORING, _RESAMPLING, _REST = 0.4, 0.4, 0.2


class RowAnalysis(msgspec.Struct, frozen=True):
    """Numbers of a method that do not depend on other methods.

    Attributes:
        tracks: scores by track; None where the track does not apply or was not requested.
        scoring_seconds: seconds of processor time that computing the scores took.
        resampled: track -> metric -> its value on each resample of the images; empty without resamples.
        errors: types of error; None without masks.
        calibration: reliability of the scores; None where they are not learned.
        strata: scores by trait and stratum; None without masks.
        contrast: AP at the lowest and at the highest contrast, see ``resample_contrast``.
        image_f1: F1 at IoU .50 by image id, nan where there is nothing to find and nothing was found; None without
            masks.
        confusion: entries of the confusion matrix that are not 0; None without categories.
        category_curves: precision over recall of the most frequent categories; None without categories.
        found: true objects that a detection at the operating point matches at IoU .50; None without masks.
        diagnoses: reasons of numbers that are 0 or undefined.
    """

    tracks: dict[TrackName, TrackScores | None]
    scoring_seconds: float
    resampled: dict[TrackName, dict[str, list[float]]]
    errors: Errors | None
    calibration: Calibration | None
    strata: dict[str, list[StratumScores]] | None
    contrast: list[list[float]] | None
    image_f1: Scores | None
    confusion: list[Confusion] | None
    category_curves: list[CategoryCurve] | None
    found: int | None
    diagnoses: list[Diagnosis]


@dataclass(frozen=True)
class Analyst:
    """Analysis of the rows of an evaluation, with the data that all analyses share.

    Attributes:
        split: evaluated data.
        ground_truth: true objects.
        max_dets: detections per image and category that AP and AR use.
        tracks: tracks to compute.
        resamples: number of resamples of the images behind the intervals; 0 for none.
        seed: seed of the resamples.
    """

    split: Split
    ground_truth: GroundTruthSet
    max_dets: int
    tracks: Sequence[TrackName]
    resamples: int
    seed: int

    @cached_property
    def traits(self) -> Mapping[str, Trait]:
        """Traits of the true objects."""
        return find_traits(self.ground_truth.class_agnostic(), self.split, self.crowding)

    @cached_property
    def crowding(self) -> IntArray:
        """Crowding of the true objects."""
        return crowding_of_truths(self.ground_truth.truths)

    @cached_property
    def touching(self) -> Mapping[int, Sequence[Rle]]:
        """True objects that touch others, by image id."""
        return touching_parts(self.ground_truth.truths, self.crowding, sizes=self.ground_truth.sizes)

    @cached_property
    def draws(self) -> CountArray | None:
        """Resamples of the images, (resamples, images); None without."""
        return draw_resamples(self.ground_truth, self.resamples, self.seed)

    def analyse(self, rows: Mapping[str, MethodResult], processes: int) -> Iterator[tuple[str, RowAnalysis]]:
        """Analyse rows, each in one of several processes, and yield their names and analyses when they are complete.

        Args:
            rows: methods by name.
            processes: number of processes.
        """
        names = list(rows)
        # Before the processes are made, so that they share it.
        _ = self.traits, self.touching, self.draws
        with progress("analysis") as stage:

            def advance(number: int, share: float) -> None:
                stage.update(stage.done + share / len(names), names[number])

            def analyse(name: str, advance: Advance) -> RowAnalysis:
                return self.analyse_row(rows[name], advance)

            for number, analysis in in_processes(analyse, names, processes, advance):
                yield names[number], analysis

    def analyse_row(self, row: MethodResult, advance: Advance = lambda share: None) -> RowAnalysis:
        """Analyse a row, one track after the other, since what a track needs may take much memory.

        Args:
            row: the method.
            advance: called with the share of the work that was done.
        """
        spent = 0.0
        detections = row.detections
        tracks: dict[TrackName, TrackScores | None] = dict.fromkeys(TRACKS)
        resampled: dict[TrackName, dict[str, list[float]]] = {}
        errors: dict[TrackName, ErrorCosts | None] = {}
        applying = [track for track in self.tracks if track == "class_agnostic" or detections.class_aware]
        shares = _Shares(advance, len(applying))
        curves: list[CategoryCurve] | None = None
        names = {image.id: image.file_name for image in self.split.index.images}
        for track in applying:
            started = time.process_time()
            found = score(detections, self.ground_truth, self.max_dets, [track], shares.begin_metric)
            tracks[track] = found[track]
            spent += time.process_time() - started
            if self.draws is not None:
                resampled[track] = self._resample(detections, track, resampled)
            shares.done(_RESAMPLING)
            errors[track] = find_errors(detections, self.ground_truth, self.max_dets, track)
            if track == "class_aware":
                curves = find_category_curves(detections, self.ground_truth, self.max_dets)
            if track == "class_agnostic":
                calibration = measure_calibration(row, self.ground_truth, self.max_dets)
                strata = score_strata(detections, self.ground_truth, self.traits, self.max_dets)
                contrast = resample_contrast(row, self.ground_truth, self.traits, self.max_dets, self.draws)
                inputs = metric_input(detections, self.ground_truth, self.max_dets)
                image_f1 = None if detections.masks is None else per_image_f1(inputs)
                confusion = find_confusions(detections, self.ground_truth, self.max_dets, names)
                found_objects = None if detections.masks is None else int(inputs.once(f1_50_counts)[..., TP].sum())
            shares.done(_REST)
            self.ground_truth.forget(detections, track)
        analysis = RowAnalysis(
            tracks=tracks,
            scoring_seconds=spent,
            resampled=resampled,
            errors=_joined(errors, find_merges(self.touching, detections)),
            calibration=calibration,
            strata=strata,
            contrast=contrast,
            image_f1=image_f1,
            confusion=confusion,
            category_curves=curves,
            found=found_objects,
            diagnoses=list(diagnose_row(row, tracks, self.ground_truth, self.max_dets)),
        )
        self.ground_truth.forget(detections)
        return analysis

    def _resample(
        self, detections: Detections, track: TrackName, known: Mapping[TrackName, dict[str, list[float]]]
    ) -> dict[str, list[float]]:
        assert self.draws is not None
        # With a single category the two tracks are one.
        if len(self.ground_truth.categories) == 1 and known:
            return known["class_agnostic"]
        return resample(detections, self.ground_truth, self.max_dets, track, self.draws)


class _Shares:
    """Shares of a row's work that are done.

    Args:
        advance: called with each share.
        tracks: number of tracks.
    """

    def __init__(self, advance: Callable[[float], None], tracks: int) -> None:
        self._advance, self._tracks = advance, tracks

    def begin_metric(self, metric: Metric) -> None:
        """Count a metric that begins."""
        self.done(_SCORING / len(METRICS))

    def done(self, share: float) -> None:
        """Count a share of a track's work."""
        self._advance(share / self._tracks)


def _joined(errors: Mapping[TrackName, ErrorCosts | None], touching: MergesAndSplits | None) -> Errors | None:
    agnostic = errors.get("class_agnostic")
    if agnostic is None or touching is None:
        return None
    return Errors(class_agnostic=agnostic, class_aware=errors.get("class_aware"), touching=touching)
