"""Statistical comparison of methods: intervals, paired differences, caveats, and the spread over seeds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from statistics import fmean, stdev
from typing import Protocol

import numpy as np

from segtrain.arrays import CountArray, FloatArray
from segtrain.benchmark.results import Comparison, Contest, MethodScores, SeedGroup, SeedSpread
from segtrain.evaluation import Detections, GroundTruthSet, TrackName, metric_input
from segtrain.metrics.bootstrap import CLEAR, Difference, draw_images, holm, interval, paired_difference
from segtrain.metrics.matching import ALL, AREAS
from segtrain.metrics.registry import METRICS, resampled_values
from segtrain.metrics.scores import Interval, TrackScores

MIN_IMAGES = 2  # a metric whose objects lie in fewer images has no interval
FEW_IMAGES = 20  # intervals from fewer are too narrow


def rank_defined(values: Mapping[str, float]) -> list[str]:
    """Sort names by falling value; undefined ones are left out, equal ones keep their order."""
    return sorted((name for name, value in values.items() if not isnan(value)), key=lambda name: -values[name])


class ScoredRow(Protocol):
    """Protocol of methods that have scores."""

    @property
    def tracks(self) -> Mapping[TrackName, TrackScores | None]:
        """Scores by track."""
        ...

    @property
    def oracle(self) -> bool:
        """True for an upper bound, which is not compared."""
        ...


@dataclass(frozen=True)
class Uncertainty:
    """Results of resampling the images.

    Attributes:
        intervals: method -> track -> metric -> its 95 % interval; undefined ones are left out.
        comparisons: method -> metric -> its class-agnostic difference to the reference; p-values are corrected for the
            number of methods; undefined ones are left out.
        contests: metric -> the best method against the second best; undefined ones are left out.
    """

    intervals: dict[str, dict[TrackName, dict[str, Interval]]]
    comparisons: dict[str, dict[str, Comparison]]
    contests: dict[str, Contest]


Resampled = Mapping[TrackName, Mapping[str, Sequence[float]]]  # track -> metric -> its value on each resample


def compute_uncertainty(
    rows: Mapping[str, ScoredRow], resampled: Mapping[str, Resampled], reference: str | None
) -> Uncertainty:
    """Compute intervals and comparisons from the metrics of every method on the same resamples of the images.

    Oracles have intervals but are not compared.

    Args:
        rows: methods by name.
        resampled: metrics on resamples by method, see ``resample``.
        reference: method that the others are compared with; None without one.
    """
    drawn = {
        name: {track: {key: np.asarray(values) for key, values in own.items()} for track, own in tracks.items()}
        for name, tracks in resampled.items()
    }
    intervals = {
        name: {track: _intervals(scores, drawn[name][track]) for track, scores in row.tracks.items() if scores}
        for name, row in rows.items()
        if drawn[name]
    }
    compared = {
        name: (scores, drawn[name]["class_agnostic"])
        for name, row in rows.items()
        if (scores := row.tracks.get("class_agnostic")) is not None and not row.oracle and drawn[name]
    }
    return Uncertainty(intervals, _compare(compared, reference), _contests(compared))


def draw_resamples(ground_truth: GroundTruthSet, resamples: int, seed: int) -> CountArray | None:
    """Draw resamples of the images, the same for all methods.

    Args:
        ground_truth: true objects.
        resamples: number of resamples.
        seed: seed of the draws.

    Returns:
        (resamples, images) number of times that each image is drawn; None without resamples, or with a single image.
    """
    if not resamples or len(ground_truth.sizes) < MIN_IMAGES:
        return None
    return draw_images(len(ground_truth.sizes), resamples, seed)


def resample(
    detections: Detections, ground_truth: GroundTruthSet, max_dets: int, track: TrackName, draws: CountArray
) -> dict[str, list[float]]:
    """Compute the metrics of a method on each resample; nan where undefined.

    A metric whose objects lie in a single image has no spread between images and is left out.

    Args:
        detections: detections of the method.
        ground_truth: true objects.
        max_dets: detections per image and category that AP and AR use.
        track: track of the metrics.
        draws: (resamples, images) number of times that each image is drawn, images by increasing id.
    """
    behind = images_behind(ground_truth)
    drawn = resampled_values(metric_input(detections, ground_truth, max_dets, track), draws)
    return {key: values.tolist() for key, values in drawn.items() if behind.get(key, behind["mask_ap"]) >= MIN_IMAGES}


def _intervals(track: TrackScores, drawn: Mapping[str, FloatArray]) -> dict[str, Interval]:
    ends = {key: interval(track.value(key), values) for key, values in drawn.items()}
    return {key: Interval(low, high) for key, (low, high) in ends.items() if not isnan(low)}


# Method -> its metrics, and those on each resample.
_Resampled = Mapping[str, tuple[TrackScores, Mapping[str, FloatArray]]]


def _compare(rows: _Resampled, reference: str | None) -> dict[str, dict[str, Comparison]]:
    """Subtract the reference from every method; each metric's p-values are corrected for the number of methods."""
    if reference is None or reference not in rows:
        return {}
    track, drawn = rows[reference]
    found: dict[str, dict[str, Comparison]] = {name: {} for name in rows if name != reference}
    for key in drawn:
        differences: dict[str, Difference] = {}
        for name in found:
            other, other_drawn = rows[name]
            if key in other_drawn:
                differences[name] = paired_difference(other.value(key), track.value(key), other_drawn[key], drawn[key])
        corrected = holm({name: difference.p for name, difference in differences.items()})
        tested = {name: difference for name, difference in differences.items() if not isnan(difference.p)}
        for name, difference in tested.items():
            least = min(1.0, len(tested) * difference.least_p)
            found[name][key] = Comparison.of({**asdict(difference), "p": corrected[name], "least_p": least})
    return found


def _contests(rows: _Resampled) -> dict[str, Contest]:
    """Compare the best two methods of every metric."""
    found = {}
    for key in dict.fromkeys(key for _, drawn in rows.values() for key in drawn):
        ranked = rank_defined({name: track.value(key) for name, (track, drawn) in rows.items() if key in drawn})
        if len(ranked) > 1:
            first, second = ranked[:2]
            (track, drawn), (other, other_drawn) = rows[first], rows[second]
            difference = paired_difference(track.value(key), other.value(key), drawn[key], other_drawn[key])
            if not isnan(difference.p):
                found[key] = Contest.of({"first": first, "second": second, **asdict(difference)})
    return found


def images_behind(ground_truth: GroundTruthSet) -> dict[str, int]:
    """Count the images that hold true objects of any size ("mask_ap"), and of each of COCO's sizes, by metric."""
    real = [truth for truth in ground_truth.truths if not truth["iscrowd"]]
    counts = {"mask_ap": len({truth["image_id"] for truth in real})}
    for metric in METRICS:
        low, high = AREAS[metric.area]
        if metric.area != ALL:
            counts[metric.key] = len({truth["image_id"] for truth in real if low <= truth["area"] <= high})
    return counts


def caveats(images: int, behind: Mapping[str, int], compared: int, resamples: int) -> list[str]:
    """List the limits of intervals and p-values, one line for each.

    Args:
        images: number of images that are resampled.
        behind: number of images with true objects for each metric, see ``images_behind``.
        compared: number of methods that are compared with the reference.
        resamples: number of resamples; 0 for none.
    """
    if not resamples:
        return []
    lines, holding = [], behind["mask_ap"]
    if images == 1:
        lines.append("There is only one image, so there are no intervals")
    elif holding == 1:
        lines.append(f"Only 1 of {images:,} images holds true objects, so there are no intervals")
    elif images < FEW_IMAGES:
        lines.append(f"Only {images} images: intervals from resampling so few are too narrow")
    elif 0 < holding < FEW_IMAGES:
        lines.append(
            f"Only {holding} of {images:,} images hold true objects: intervals from resampling so few are too narrow"
        )
    fewer = {key: count for key, count in behind.items() if 0 < count < min(holding, FEW_IMAGES)}
    if fewer:
        concerned = [
            f"{metric.title} ({fewer[metric.key]} images, interval too narrow)"
            if fewer[metric.key] >= MIN_IMAGES
            else f"{metric.title} (1 image, so no interval)"
            for metric in METRICS
            if metric.key in fewer
        ]
        these = "these sizes" if len(concerned) > 1 else "this size"
        lines.append(f"Few images hold objects of {these}: {', '.join(concerned)}")
    if compared / (resamples + 1) >= CLEAR:
        lines.append(
            f"bootstrap.resamples={resamples} are too few for {compared} comparisons: no p is below "
            f"{compared / (resamples + 1):.3f}; take {20 * compared:,} or more"
        )
    return lines


def seed_groups(methods: Mapping[str, MethodScores], seeds: Mapping[tuple[str, ...], Sequence[int]]) -> list[SeedGroup]:
    """Summarise runs that differ by their seed alone.

    Args:
        methods: scores by method name.
        seeds: methods of each configuration, two or more, and their seeds.
    """
    return [
        SeedGroup(
            rows=names,
            seeds=own,
            class_agnostic=_spreads([methods[name] for name in names], "class_agnostic"),
            class_aware=_spreads([methods[name] for name in names], "class_aware"),
        )
        for names, own in seeds.items()
    ]


def _spreads(methods: Collection[MethodScores], track: TrackName) -> dict[str, SeedSpread]:
    spreads = {}
    for metric in METRICS:
        values = [value for method in methods if (value := method.metric(metric.key, track)) is not None]
        if len(values) == len(methods):
            spreads[metric.key] = SeedSpread(fmean(values), stdev(values), min(values), max(values))
    return spreads
