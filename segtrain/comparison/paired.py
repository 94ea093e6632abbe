"""Numbers of methods in two evaluations of the same data, on the same resamples of the images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

import numpy as np

from segtrain.arrays import CountArray, FloatArray
from segtrain.benchmark.comparisons import MIN_IMAGES, draw_resamples, resample
from segtrain.comparison.changes import Key, paired_change
from segtrain.comparison.compared_results import Change
from segtrain.comparison.sides import Side, read_data, same_data
from segtrain.comparison.stored import BY_CATEGORY, metric_changes
from segtrain.data.coco.index import CocoIndex
from segtrain.errors import SegtrainError
from segtrain.evaluation import TRACKS, Detections, GroundTruthSet, metric_input
from segtrain.metrics.registry import METRICS, metric_values, resampled_categories
from segtrain.metrics.strata import Trait, resampled_by_stratum
from segtrain.metrics.touching import crowding_of_truths
from segtrain.report.sections.object_strata import find_traits

BOX_AP = "box_ap"
_TITLES = {metric.key: metric.title for metric in METRICS}
_MOVED = 0.0005  # difference to a stored number that is worth a note
_NONE: FloatArray = np.empty(0)
# Path of a number, see `paired_changes` -> its value, and its values on the resamples; none where it is not resampled.
_Numbers = Mapping[Key, tuple[float, FloatArray]]


@dataclass(frozen=True)
class Pair:
    """Two evaluations of the same data.

    Attributes:
        sides: the evaluations.
        index: their annotations.
        truths: true objects, with the categories of each evaluation.
        traits: traits of the true objects.
        draws: (B, I) resamples of the images; None with a single image.
    """

    sides: tuple[Side, Side]
    index: CocoIndex
    truths: tuple[GroundTruthSet, GroundTruthSet]
    traits: Mapping[str, Trait]
    draws: CountArray | None

    @classmethod
    def open(cls, first: Side, second: Side, annotations: Path | None, resamples: int) -> "Pair":
        """Read the data that two evaluations have in common.

        Args:
            first: an evaluation, whose seed draws the resamples.
            second: another one.
            annotations: annotation file in place of the one that the evaluations state; None for that.
            resamples: number of resamples of the images.

        Raises:
            SegtrainError: the evaluations are of different data, or the data are not found.
        """
        same = same_data(first, second)
        if same is None:
            raise SegtrainError("one of the evaluations does not state which data it is of; evaluate again")
        if not same:
            raise SegtrainError("the images or their true objects differ")
        split = read_data(first, second, annotations)
        truths = first.truth(split.index), second.truth(split.index)
        agnostic = truths[0].class_agnostic()
        traits = find_traits(agnostic, split, crowding_of_truths(agnostic.truths))
        draws = draw_resamples(truths[0], resamples, first.results.bootstrap.seed)
        return cls((first, second), split.index, truths, traits, draws)

    def changes(self, name: str) -> tuple[dict[Key, Change], list[str]]:
        """Compute the changes of a method.

        Args:
            name: name of a method of both evaluations.

        Returns:
            The changes by path: track and metric; "categories", name and metric; or "strata", trait, name and metric.
            Besides notes on stored numbers to which the detections do not lead.

        Raises:
            SegtrainError: detections are missing, or do not belong to these images.
        """
        first, second = (self._numbers(side, truth, name) for side, truth in zip(self.sides, self.truths, strict=True))
        both = list(zip(self.sides, (first, second), strict=True))
        notes = [note for side, own in both for note in _notes(side, name, own)]
        changes: dict[Key, Change] = {}
        for path in dict.fromkeys([*first, *second]):
            (before, drawn_before), (after, drawn_after) = first.get(path, (nan, _NONE)), second.get(path, (nan, _NONE))
            if isnan(before) and isnan(after):
                continue
            values = [None if isnan(value) else value for value in (before, after)]
            changes[path] = paired_change(values[0], values[1], drawn_before, drawn_after)
        if any(_has_other_boxes(side, name, own) for side, own in both):
            stored = metric_changes(self.sides[0].results, self.sides[1].results, name)
            changes = {path: own for path, own in changes.items() if path[-1] != BOX_AP}
            changes |= {path: own for path, own in stored.items() if path[-1] == BOX_AP}
        return changes, notes

    def _numbers(self, side: Side, truth: GroundTruthSet, name: str) -> _Numbers:
        """Compute the numbers of a method in one evaluation."""
        detections, row = side.detections(name, self.index), side.results.methods[name]
        max_dets = side.results.data.max_dets
        found: dict[Key, tuple[float, FloatArray]] = {}
        for track in TRACKS:
            if row.track(track) is None:
                continue
            values = metric_values(metric_input(detections, truth, max_dets, track)).values
            drawn = {} if self.draws is None else resample(detections, truth, max_dets, track, self.draws)
            found |= {(track, key): (value, np.asarray(drawn.get(key, _NONE))) for key, value in values.items()}
            if track == "class_aware" and len(truth.categories) > 1:
                found |= self._by_category(detections, truth, max_dets)
            if track == "class_agnostic" and detections.masks is not None:
                found |= self._by_stratum(detections, truth, max_dets)
            truth.forget(detections, track)
        truth.forget(detections)
        return found

    def _by_category(self, detections: Detections, truth: GroundTruthSet, max_dets: int) -> _Numbers:
        """Compute the metrics of single categories; those of objects in a single image are not resampled."""
        inputs = metric_input(detections, truth, max_dets, "class_aware")
        own = resampled_categories(inputs, _once(truth), BY_CATEGORY)
        drawn = {} if self.draws is None else resampled_categories(inputs, self.draws, BY_CATEGORY)
        images: dict[int, set[int]] = {category.id: set() for category in truth.categories}
        for true in truth.truths:
            if not true["iscrowd"]:
                images[true["category_id"]].add(true["image_id"])
        names = {category.id: category.name for category in truth.categories}
        return {
            ("categories", names[identifier], key): (
                float(own[key][0, place]),
                drawn[key][:, place] if key in drawn and len(images[identifier]) >= MIN_IMAGES else _NONE,
            )
            for key in own
            for place, identifier in enumerate(inputs.category_ids)
            if images[identifier]
        }

    def _by_stratum(self, detections: Detections, truth: GroundTruthSet, max_dets: int) -> _Numbers:
        """Compute the AP of each stratum; those of objects in a single image are not resampled."""
        inputs = metric_input(detections, truth, max_dets)
        every = _once(truth) if self.draws is None else np.append(_once(truth), self.draws, axis=0)
        image = np.array([true["image_id"] for true in truth.truths])
        found: dict[Key, tuple[float, FloatArray]] = {}
        for key, trait in self.traits.items():
            precision = resampled_by_stratum(inputs, trait, every)
            for number, (name, ap) in enumerate(zip(trait.names, precision, strict=True)):
                several = len(np.unique(image[trait.of == number])) >= MIN_IMAGES
                found["strata", key, name, "mask_ap"] = float(ap[0]), ap[1:] if several else _NONE
        return found


def _once(truth: GroundTruthSet) -> CountArray:
    """Return the draw of each image once, (1, I)."""
    return np.ones((1, len(truth.sizes)), dtype=np.int8)


def _moved(side: Side, name: str, numbers: _Numbers) -> dict[str, tuple[float, float]]:
    """Find the numbers of the results to which the detections beside them do not lead: both values by metric."""
    track = side.results.methods[name].class_agnostic
    stored = {} if track is None else track.metrics
    here = {key: numbers.get(("class_agnostic", key), (nan, _NONE))[0] for key in stored}
    return {
        key: (value, here[key])
        for key, value in stored.items()
        if value is not None and not abs(value - here[key]) <= _MOVED
    }


def _has_other_boxes(side: Side, name: str, numbers: _Numbers) -> bool:
    """Return True if the files hold the boxes of the masks and not those that the method predicts."""
    return _moved(side, name, numbers).keys() == {BOX_AP} and side.results.methods[name].has_masks


def _notes(side: Side, name: str, numbers: _Numbers) -> Iterator[str]:
    """Yield notes on the numbers to which the detections do not lead."""
    if _has_other_boxes(side, name, numbers):
        yield (
            f"{side.path}: the files beside it hold the boxes of the masks of {name}, not those that it predicts; its "
            "box AP is compared by the stored intervals"
        )
        return
    for key, (stored, here) in _moved(side, name, numbers).items():
        yield (
            f"{side.path}: the {_TITLES[key]} of {name} is {stored:.3f} there, and {here:.3f} by this version from the "
            "files beside it, which is compared"
        )
