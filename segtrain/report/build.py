"""Assembly of an evaluation's results from its scored methods."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np

from segtrain.benchmark.comparisons import caveats, compute_uncertainty, images_behind, seed_groups
from segtrain.benchmark.results import (
    Bootstrap,
    CheckpointSummary,
    Costs,
    Counts,
    DataCategory,
    DataSource,
    DataSummary,
    MethodScores,
    Results,
    ScoringTime,
    Spread,
    Timing,
)
from segtrain.benchmark.run_ranking import rank_runs
from segtrain.benchmark.run_results import Run
from segtrain.benchmark.runner import MethodResult
from segtrain.data.open_data import data_root
from segtrain.data.splits import Split, fingerprint_of
from segtrain.data.storage.address import shown
from segtrain.data.storage.local_copies import origin
from segtrain.evaluation import GroundTruthSet, TrackName
from segtrain.mask_records import column
from segtrain.metrics.scores import Interval, TrackScores, plain
from segtrain.report.claims import textbook_claims
from segtrain.report.diagnostics import diagnose
from segtrain.report.doubts import box_doubts, data_doubts
from segtrain.report.row_analysis import Analyst, RowAnalysis
from segtrain.report.sections.limits import compute_mask_resolution_limit
from segtrain.report.sections.object_strata import contrast_gap, make_strata, score_true_boxes, time_by_size
from segtrain.report.verdict import verdict


def build_results(
    rows: Mapping[str, MethodResult],
    analyses: Mapping[str, RowAnalysis],
    analyst: Analyst,
    *,
    reference: str | None,
    environment: Mapping[str, str | int | float],
    command: str,
    directory: str,
    checkpoint: Mapping[str, Any] | None,
    checkpoints: Mapping[str, Mapping[str, Any] | None],
    seeds: Mapping[tuple[str, ...], Sequence[int]],
    runs: Sequence[Run] = (),
    greys: Mapping[int, tuple[int, int]] = MappingProxyType({}),
    windows: int = 1,
    data_settings: Mapping[str, Any] | None = None,
    measured: Mapping[str, str] = MappingProxyType({}),
    notes: Sequence[str] = (),
) -> Results:
    """Compare the methods of an evaluation, and assemble its results.

    Args:
        rows: methods by name.
        analyses: analysis of each.
        analyst: source of the analyses, with the evaluated data.
        reference: method that the others are compared with; None without one.
        environment: versions and hardware of this run.
        command: command that repeats it.
        directory: folder in which it was given.
        checkpoint: checkpoint that the data's settings came from.
        checkpoints: checkpoint of each learned method.
        seeds: methods whose training differs by its seed alone, and those seeds.
        runs: training runs of the methods.
        greys: least and greatest value of each image that a method has read, by image id.
        windows: largest number of windows that a method has cut an image into.
        data_settings: the ``data`` node with all of its values; None where the data cannot be read again.
        measured: date, time, processors and threads of the times of rows that come from earlier evaluations, by name.
        notes: further sentences for the reader.
    """
    split, ground_truth, max_dets = analyst.split, analyst.ground_truth, analyst.max_dets
    doubts, about_boxes = data_doubts(split.index, greys), box_doubts(split.index)
    rows = {name: replace(row, tracks=analyses[name].tracks) for name, row in rows.items()}
    resampled = {name: analyses[name].resampled for name in rows}
    uncertainty = compute_uncertainty(rows, resampled, reference)
    methods = {
        name: MethodScores(
            class_agnostic=_track(row, "class_agnostic", uncertainty.intervals.get(name, {})),
            class_aware=_track(row, "class_aware", uncertainty.intervals.get(name, {})),
            timing=_timing(row, analyses[name].scoring_seconds, ground_truth),
            counts=_counts(row, len(ground_truth.sizes), analyses[name].found),
            score_threshold=row.detections.score_threshold,
            category_thresholds=_named(row.detections.category_thresholds, ground_truth),
            description=row.description,
            ranked_by=row.ranked_by,
            variant=row.variant,
            costs=Costs.of(dict(row.costs)),
            calibration=analyses[name].calibration,
            errors=analyses[name].errors,
            strata=analyses[name].strata,
            technique=row.technique,
            oracle=row.oracle,
            confusion=analyses[name].confusion,
            category_curves=analyses[name].category_curves,
            measured=measured.get(name),
        )
        for name, row in rows.items()
    }
    results = Results(
        methods=methods,
        reference=reference,
        comparisons=uncertainty.comparisons,
        contests=uncertainty.contests,
        bootstrap=Bootstrap(analyst.resamples, analyst.seed),
        mask_resolution_limit=compute_mask_resolution_limit(rows, ground_truth),
        reasons=diagnose(
            {name: analyses[name].diagnoses for name in rows},
            {name: row.tracks for name, row in rows.items()},
            doubts,
            about_boxes,
        ),
        strata={key: make_strata(trait, ground_truth) for key, trait in analyst.traits.items()},
        contrast_gap=contrast_gap(rows, {name: analyses[name].contrast for name in rows}),
        true_boxes=score_true_boxes(ground_truth),
        seeds=seed_groups(methods, seeds),
        runs=rank_runs(runs, list(seeds), rows, resampled),
        data=_data(split, ground_truth, max_dets, windows, data_settings),
        caveats=[
            *(doubt[0].upper() + doubt[1:] for doubt in (*doubts, *about_boxes)),
            *_too_many(ground_truth, max_dets),
            *_not_compared(rows, reference),
            *caveats(
                len(ground_truth.sizes),
                images_behind(ground_truth),
                len(uncertainty.comparisons),
                analyst.resamples,
            ),
            *notes,
        ],
        environment=environment,
        command=command,
        directory=directory,
        checkpoint=CheckpointSummary.of(checkpoint) if checkpoint else None,
        checkpoints={name: CheckpointSummary.of(own) if own else None for name, own in checkpoints.items()},
    )
    return msgspec.structs.replace(results, verdict=verdict(results), claims=textbook_claims(results))


def _track(
    row: MethodResult, track: TrackName, intervals: Mapping[TrackName, Mapping[str, Interval]]
) -> TrackScores | None:
    scores = row.tracks[track]
    return None if scores is None else msgspec.structs.replace(scores, intervals=intervals.get(track, {}))


def _timing(row: MethodResult, scoring_seconds: float, ground_truth: GroundTruthSet) -> Timing:
    seconds = row.detections.seconds
    return Timing(
        data=_spread(seconds.get("data", ())),
        segmentation=_spread(seconds.get("segmentation", ())),
        scoring=ScoringTime(scoring_seconds),
        by_size=time_by_size(row.detections, ground_truth),
    )


def _named(thresholds: Mapping[int, float], ground_truth: GroundTruthSet) -> dict[str, float]:
    """Replace ids of categories by names."""
    return {c.name: thresholds[c.id] for c in ground_truth.categories if c.id in thresholds}


def _spread(seconds: Sequence[float]) -> Spread | None:
    """Compute median and 95th percentile; the first image, which warms caches up, is left out."""
    warm = seconds[1:] if len(seconds) > 1 else seconds
    return Spread(float(np.median(warm)), float(np.percentile(warm, 95))) if warm else None


def _counts(row: MethodResult, images: int, found: int | None) -> Counts:
    detections = row.detections.masks if row.detections.masks is not None else row.detections.boxes
    assert detections is not None
    with_detections = np.unique(column(detections, "image_id"))
    return Counts(images, len(detections), images - len(with_detections), found)


def _data(
    split: Split, ground_truth: GroundTruthSet, max_dets: int, windows: int, settings: Mapping[str, Any] | None
) -> DataSummary:
    index, counts = split.index, split.index.counts
    labelled = Counter(truth["category_id"] for truth in ground_truth.truths if not truth["iscrowd"])
    return DataSummary.of(
        {
            **asdict(counts),
            # Annotations of images that could not be read are dropped as well.
            "annotations": counts.annotations + split.unreadable_annotations,
            "dropped": counts.dropped + split.unreadable_annotations,
            "unreadable_images": split.unreadable_images,
            "categories": [DataCategory(c.id, c.name, labelled[c.id]) for c in index.categories],
            "max_dets": max_dets,
            "windows": windows,
            "name": origin(index.path).name,
            "annotations_file": str(origin(index.path)),
            "findings": index.issues.lines(("error", "warning")),
            "contents": fingerprint_of(split),
            "source": None if settings is None else _source(split, settings),
        }
    )


def _source(split: Split, settings: Mapping[str, Any]) -> DataSource:
    """Say how the annotations are read again; drawn data lie in their files by now."""
    some = split.entries is not None or split.unreadable_images > 0
    stated = {**settings, "root": shown(data_root(settings)), "generator": None}
    return DataSource(plain(stated), [image.id for image in split.index.images] if some else None)


def _too_many(ground_truth: GroundTruthSet, max_dets: int) -> list[str]:
    objects = Counter(truth["image_id"] for truth in ground_truth.truths if not truth["iscrowd"])
    above = sum(count > max_dets for count in objects.values())
    have = "1 image has" if above == 1 else f"{above:,} images have"
    return [f"{have} more objects than data.max_dets={max_dets}; AP and AR cannot count all"] * (above > 0)


def _not_compared(rows: Mapping[str, MethodResult], reference: str | None) -> list[str]:
    """Return a note if several rows are not compared because none of them is the reference."""
    contenders = sum(not row.oracle for row in rows.values())
    said = "The rows are not compared with a reference, as none is trained; reference=NAME chooses one"
    return [said] if reference is None and contenders > 1 else []
