"""Confidence intervals, and paired comparisons of every method with the reference, on the same resamples."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from math import isnan, nan
from typing import Any

import numpy as np
import numpy.typing as npt

from segtrain.benchmark.runner import MethodResult
from segtrain.console import track
from segtrain.evaluation import GroundTruthSet, Track, TrackName, metric_input
from segtrain.metrics.bootstrap import Difference, draw_images, holm, interval, paired_difference
from segtrain.metrics.registry import resampled_values
from segtrain.report.analysis.doubts import LEAST_IMAGES, images_behind

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Certainty:
    """What resampling the images says about the numbers.

    Attributes:
        intervals: row -> track -> key -> lower and upper end of the 95 % interval; undefined ones are left out.
        comparisons: row -> key -> "difference" (row minus the reference, class-agnostic), "low" and "high" of its 95 %
            interval, "p", and "least_p", the least that p can be with so many resamples, both corrected for the
            number of rows; undefined ones are left out.
        contests: key -> "first" and "second" row of that class-agnostic number, and the same of their difference,
            p and least p as they are; undefined ones are left out.
    """

    intervals: dict[str, dict[TrackName, dict[str, list[float]]]]
    comparisons: dict[str, dict[str, dict[str, float]]]
    contests: dict[str, dict[str, Any]]


def best_first(values: Mapping[str, float]) -> list[str]:
    """Names by falling value; undefined ones are left out, equal ones keep their order."""
    return sorted((name for name, value in values.items() if not isnan(value)), key=lambda name: -values[name])


def certainty(
    rows: Mapping[str, MethodResult],
    ground_truth: GroundTruthSet,
    max_dets: int,
    *,
    resamples: int,
    seed: int,
    reference: str | None,
    apart: Collection[str] = (),
) -> Certainty:
    """Draw the images again and again, the same ones for all rows, and compute every row's numbers on each draw.

    A number whose objects lie in a single image says nothing of other images, so nothing is said of it.

    Args:
        rows: by name.
        ground_truth: the truth.
        max_dets: detections per image and category that AP and AR use.
        resamples: how many; 0 leaves all out.
        seed: of the draws.
        reference: row that the others are compared with; None for no comparisons.
        apart: rows that are not compared: no method can be had that does what they do.
    """
    if not resamples or len(ground_truth.sizes) < 2:
        return Certainty({}, {}, {})
    logger.info(f"{resamples:,} resamples of the images, for intervals; bootstrap.resamples=0 leaves them out")
    draws = draw_images(len(ground_truth.sizes), resamples, seed)
    behind = images_behind(ground_truth)
    resampled = {
        name: {
            track: {key: values for key, values in drawn.items() if behind.get(key, behind["mask_ap"]) >= LEAST_IMAGES}
            for track, drawn in _resample(row, ground_truth, max_dets, draws).items()
        }
        for name, row in track("resampling", rows.items())
    }
    intervals = {
        name: {track: _intervals(row.tracks[track] or {}, drawn) for track, drawn in resampled[name].items()}
        for name, row in rows.items()
    }
    headline = {
        name: (row.tracks["class_agnostic"] or {}, resampled[name]["class_agnostic"])
        for name, row in rows.items()
        if row.tracks.get("class_agnostic") and name not in apart
    }
    return Certainty(intervals, _comparisons(headline, reference), _contests(headline))


def _resample(
    row: MethodResult, ground_truth: GroundTruthSet, max_dets: int, draws: IntArray
) -> dict[TrackName, dict[str, FloatArray]]:
    """The numbers of a row on each resample, in the tracks that it has."""

    def values(track: TrackName) -> dict[str, FloatArray]:
        return resampled_values(metric_input(row.detections, ground_truth, max_dets, track), draws)

    result: dict[TrackName, dict[str, FloatArray]] = {}
    if row.tracks.get("class_agnostic"):
        result["class_agnostic"] = values("class_agnostic")
    if row.tracks.get("class_aware"):
        # With a single category the two tracks are one.
        same = len(ground_truth.categories) == 1 and "class_agnostic" in result
        result["class_aware"] = result["class_agnostic"] if same else values("class_aware")
    return result


def _intervals(track: Track, drawn: Mapping[str, FloatArray]) -> dict[str, list[float]]:
    ends = {key: interval(float(track.get(key, nan)), values) for key, values in drawn.items()}
    return {key: [low, high] for key, (low, high) in ends.items() if not isnan(low)}


def _comparisons(
    rows: Mapping[str, tuple[Track, Mapping[str, FloatArray]]], reference: str | None
) -> dict[str, dict[str, dict[str, float]]]:
    """Every row minus the reference; each key's p are corrected for the number of rows."""
    if reference is None or reference not in rows:
        return {}
    standard, standard_drawn = rows[reference]
    found: dict[str, dict[str, Any]] = {name: {} for name in rows if name != reference}
    for key in standard_drawn:
        differences: dict[str, Difference] = {}
        for name in found:
            track, drawn = rows[name]
            if key in drawn:
                differences[name] = paired_difference(track[key], standard[key], drawn[key], standard_drawn[key])
        corrected = holm({name: difference.p for name, difference in differences.items()})
        tested = {name: difference for name, difference in differences.items() if not isnan(difference.p)}
        for name, difference in tested.items():
            least = min(1.0, len(tested) * difference.least_p)
            found[name][key] = {**asdict(difference), "p": corrected[name], "least_p": least}
    return found


def _contests(rows: Mapping[str, tuple[Track, Mapping[str, FloatArray]]]) -> dict[str, dict[str, Any]]:
    """The best row of every number against the next best."""
    found = {}
    for key in dict.fromkeys(key for _, drawn in rows.values() for key in drawn):
        known = best_first({name: float(track[key]) for name, (track, drawn) in rows.items() if key in drawn})
        if len(known) > 1:
            first, second = known[:2]
            (track, drawn), (other_track, other_drawn) = rows[first], rows[second]
            difference = paired_difference(track[key], other_track[key], drawn[key], other_drawn[key])
            if not isnan(difference.p):
                found[key] = {"first": first, "second": second, **asdict(difference)}
    return found
