"""Evaluation of a segmenter, from images to metrics; shared by validation in training and the benchmark."""

import time
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from itertools import chain
from math import nan
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from segtrain import distributed
from segtrain.data.coco.index import CocoIndex
from segtrain.errors import SegtrainError
from segtrain.mask_records import NO_THRESHOLDS, MaskRecords, column, select
from segtrain.metrics.average_precision import coco_summary
from segtrain.metrics.candidates import pairs_in_images
from segtrain.metrics.f1 import f1_curve
from segtrain.metrics.metric import Metric, MetricInput
from segtrain.metrics.pairs import Pairs
from segtrain.metrics.registry import metric_values
from segtrain.metrics.scores import TrackScores
from segtrain.records import OBJECT, BoxPrediction, Category, GroundTruth, Instances, Prediction, to_box_predictions
from segtrain.segmenters import Segmenter
from segtrain.segmenters.tiles import TiledSegmenter
from segtrain.segmenters.windows import Pixels
from segtrain.stopping import stop_if_asked

if TYPE_CHECKING:
    from torch import Tensor

TrackName = Literal["class_agnostic", "class_aware"]
TRACKS: tuple[TrackName, ...] = ("class_agnostic", "class_aware")
SCORE_THRESHOLD = 0.5  # operating point of learned scores where none was given or chosen
MATCHES_BYTES = 2**29  # memory for matches and counts of the methods of an evaluation


@dataclass(frozen=True)
class GroundTruthSet:
    """Ground truth of a set of images.

    Attributes:
        categories: categories by increasing id.
        sizes: image id -> (H, W), of every image, those without objects included.
        truths: all true objects, crowds included.
    """

    categories: Sequence[Category]
    sizes: Mapping[int, tuple[int, int]]
    truths: Sequence[GroundTruth]

    @classmethod
    def of(cls, index: CocoIndex) -> "GroundTruthSet":
        """Collect the ground truth of an annotation file."""
        truths = [truth for image in index.images for truth in index.truths(image.id)]
        return cls(index.categories, {image.id: image.size for image in index.images}, truths)

    def class_agnostic(self) -> "GroundTruthSet":
        """Return the ground truth with a single category."""
        return self._class_agnostic

    def forget(self, detections: "Detections", track: TrackName | None = None) -> None:
        """Free the memory of results computed from the detections of a method; they are computed again if needed.

        Args:
            detections: detections of the method.
            track: the track whose results are freed; None for all, and for what the tracks share.
        """
        self._inputs.drop(detections, track)

    @cached_property
    def _class_agnostic(self) -> "GroundTruthSet":
        return GroundTruthSet([OBJECT], self.sizes, [_merged(truth) for truth in self.truths])

    @cached_property
    def _inputs(self) -> "_InputCache":
        return _InputCache(MATCHES_BYTES)


@dataclass(frozen=True, repr=False)
class Detections:
    """Detections of one method in a set of images.

    Attributes:
        masks: COCO records; None if the method has boxes only.
        boxes: COCO records of the boxes that the method itself predicts; None to use the box of each mask.
        class_aware: True if the category ids are those of the ground truth.
        score_threshold: operating point of all mask metrics but AP and AR.
        seconds: seconds of images, by "data" (reading) and "segmentation"; empty if not measured.
        timed: ids of the images that were timed, in the order of the seconds; empty if all were.
        polygons: True if any mask was given as polygons.
        exported_boxes: COCO records of the boxes that result files hold; None to write `boxes`.
        complete_above: score by the id of each image in which a limit on the number of detections was reached;
            detections of lower scores may be missing.
        category_thresholds: operating point of the categories that have their own, by their ids; for class-aware
            numbers.
    """

    masks: Sequence[Prediction] | None
    boxes: Sequence[BoxPrediction] | None
    class_aware: bool
    score_threshold: float
    seconds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    polygons: bool = False
    exported_boxes: Sequence[BoxPrediction] | None = None
    timed: Sequence[int] = ()
    complete_above: Mapping[int, float] = field(default_factory=dict)
    category_thresholds: Mapping[int, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        counted = {"masks": self.masks, "boxes": self.boxes}
        counts = [f"{len(records)} {name}" for name, records in counted.items() if records is not None]
        return f"<Detections: {', '.join(counts)}, score threshold {self.score_threshold:.2f}>"

    def class_agnostic(self) -> "Detections":
        """Return the detections with a single category."""
        return replace(
            self,
            masks=None if self.masks is None else _all_merged(self.masks),
            boxes=None if self.boxes is None else _all_merged(self.boxes),
            class_aware=True,
            category_thresholds=NO_THRESHOLDS,
        )

    def by_column(self) -> "Detections":
        """Return the detections with masks that take less memory, see ``MaskRecords``."""
        return self if self.masks is None else replace(self, masks=MaskRecords.of(self.masks))


def predict(
    segmenter: Segmenter,
    images: Iterable[tuple[int, "Tensor | Pixels"]],
    categories: Sequence[Category],
    score_threshold: float,
    advance: Callable[[], None] = lambda: None,
    foreign: bool = False,
    category_thresholds: Mapping[int, float] = NO_THRESHOLDS,
) -> Detections:
    """Segment images one at a time.

    Args:
        segmenter: segmenter whose label k is the k-th category; label 0 is the only category, or none of several.
        images: ids and uint8 RGB tensors (3, H, W); or images that are too large to be read whole, which the segmenter
            has to cut into windows, see `reads_windows`.
        categories: categories by increasing id.
        score_threshold: operating point of a segmenter that learned its scores; others have 0, because their scores
            only rank.
        advance: called after each image.
        foreign: True if the segmenter's labels are other categories than these; each is then replaced by 0.
        category_thresholds: operating point of the categories that have their own, by their ids.

    Raises:
        SegtrainError: an image cannot be read, or is too large for a segmenter that needs it whole.
    """
    found: list[MaskRecords] = []
    boxes: list[BoxPrediction] = []
    exported: list[BoxPrediction] = []
    seconds: dict[str, list[float]] = {"data": [], "segmentation": []}
    complete_above: dict[int, float] = {}
    learned = segmenter.scores_are_learned
    before = time.perf_counter()
    for image_id, image in images:
        read = time.perf_counter()
        instances = _segment(segmenter, image)
        done = time.perf_counter()
        if foreign:
            instances = replace(instances, labels=np.zeros_like(instances.labels))
        seconds["data"].append(read - before)
        seconds["segmentation"].append(done - read)
        found.append(MaskRecords.of_image(instances, image_id, categories))
        if instances.complete_above > 0:
            complete_above[image_id] = instances.complete_above
        if learned:
            boxes += to_box_predictions(instances.with_predicted_boxes(), image_id, categories)
        if instances.predicted_boxes is not None:
            exported += to_box_predictions(instances, image_id, categories)
        advance()
        before = time.perf_counter()
    if not learned:
        return Detections(MaskRecords.joined(found), None, False, 0.0, seconds)
    records = MaskRecords.joined(found)
    return Detections(
        records, boxes, not foreign, score_threshold, seconds,
        exported_boxes=exported or None, complete_above=complete_above,
        category_thresholds=NO_THRESHOLDS if foreign else category_thresholds,
    )  # fmt: skip


def reads_windows(segmenter: object, size: tuple[int, int]) -> bool:
    """Return True if a segmenter cuts an image of this (H, W) into windows, so that it need not be read whole."""
    return isinstance(segmenter, TiledSegmenter) and segmenter.windows(size) > 1


def _segment(segmenter: Segmenter, image: "Tensor | Pixels") -> Instances:
    import torch  # here, since it takes seconds and 500 MB, and an evaluation of result files does not need it

    if isinstance(image, torch.Tensor):
        return segmenter.segment([image])[0]
    if isinstance(segmenter, TiledSegmenter) and reads_windows(segmenter, image.size):
        return segmenter.segment_pixels(image, stop_if_asked)
    height, width = image.size
    raise SegtrainError(
        f"an image of {height}x{width} pixels is too large to be read whole, and {type(segmenter).__name__} does not "
        "cut it into windows"
    )


def gathered(own: Detections, image_ids: Sequence[int]) -> Detections | None:
    """Join the detections that several processes have made in their shares of some images.

    Args:
        own: detections in this process's share; see `distributed.share`.
        image_ids: ids of all images, in their order.

    Returns:
        The detections as one process would have made them, in the order of the images; None in all processes but the
        first.
    """
    parts = distributed.collect(own)
    if parts is None or len(parts) == 1:
        return None if parts is None else own
    seconds = {
        name: [parts[n % len(parts)].seconds[name][n // len(parts)] for n in range(len(image_ids))]
        for name in own.seconds
    }
    return replace(joined(parts, image_ids), seconds=seconds)


def joined(parts: Sequence[Detections], image_ids: Sequence[int]) -> Detections:
    """Join the detections of a method in parts of some images, in the order of the images.

    Args:
        parts: detections in different images; the seconds of the first part are taken.
        image_ids: ids of all images, in their order.
    """
    place = {image_id: number for number, image_id in enumerate(image_ids)}

    def in_order(records: Sequence[Sequence[Any] | None]) -> Sequence[Any] | None:
        held = [part for part in records if part is not None]
        if not held:
            return None
        columns = [part for part in held if isinstance(part, MaskRecords)]
        every = MaskRecords.joined(columns) if len(columns) == len(held) else list(chain(*held))
        places = np.array([place[image_id] for image_id in column(every, "image_id").tolist()], dtype=np.int64)
        return select(every, np.argsort(places, kind="stable"))

    return replace(
        parts[0],
        masks=in_order([part.masks for part in parts]),
        boxes=in_order([part.boxes for part in parts]),
        exported_boxes=in_order([part.exported_boxes for part in parts]),
        complete_above={image_id: score for part in parts for image_id, score in part.complete_above.items()},
    )


class _InputCache:
    """Cache of inputs of metrics with their matches; beyond a limit of memory the least recently used are dropped.

    Args:
        max_bytes: limit of memory in bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._inputs: OrderedDict[tuple[int, int, TrackName], MetricInput] = OrderedDict()
        self._pairs: dict[int, Callable[[], Pairs]] = {}

    def get(
        self, detections: Detections, max_dets: int, track: TrackName, make: Callable[[], MetricInput]
    ) -> MetricInput:
        """Return the input of some detections, built at the first call and dropped when they are deleted."""
        key = id(detections), max_dets, track
        if key not in self._inputs:
            self._inputs[key] = make()
            weakref.finalize(detections, self._inputs.pop, key, None)
        self._inputs.move_to_end(key)
        while len(self._inputs) > 1 and sum(inputs.nbytes for inputs in self._inputs.values()) > self._max_bytes:
            self._inputs.popitem(last=False)[1].forget()
        return self._inputs[key]

    def pairs(self, detections: Detections, truths: Sequence[GroundTruth]) -> Callable[[], Pairs]:
        """Return a function that finds the pairs of detected and true masks of one image, once for all tracks."""
        key = id(detections)
        if key not in self._pairs:
            self._pairs[key] = cache(partial(pairs_in_images, truths, detections.masks or ()))
            weakref.finalize(detections, self._pairs.pop, key, None)
        return self._pairs[key]

    def drop(self, detections: Detections, track: TrackName | None) -> None:
        """Drop the inputs of some detections, in one track; or in all of them, and the pairs."""
        for key in [key for key in self._inputs if key[0] == id(detections) and track in (None, key[2])]:
            self._inputs.pop(key).forget()
        if track is None:
            self._pairs.pop(id(detections), None)


def _is_one_track(detections: Detections, ground_truth: GroundTruthSet) -> bool:
    """Return True if all true objects and detections already have the category of the class-agnostic track."""
    if len(ground_truth.categories) > 1 or ground_truth.categories[0].id != OBJECT.id:
        return False
    records = [detections.masks, detections.boxes]
    return all(own is None or bool((column(own, "category_id") == OBJECT.id).all()) for own in records)


def metric_input(
    detections: Detections, ground_truth: GroundTruthSet, max_dets: int, track: TrackName = "class_agnostic"
) -> MetricInput:
    """Prepare the detections of a method for metrics.

    Repeated calls return the same object, so that its cached results, such as matches, are computed once.

    Args:
        detections: detections of the method.
        ground_truth: ground truth of the same images.
        max_dets: detections per image and category that AP and AR use.
        track: "class_agnostic" to treat all categories as one, or "class_aware".
    """
    if track == "class_aware" and _is_one_track(detections, ground_truth):
        track = "class_agnostic"

    def make() -> MetricInput:
        agnostic = track == "class_agnostic"
        found, truth = (
            (detections.class_agnostic(), ground_truth.class_agnostic()) if agnostic else (detections, ground_truth)
        )
        return MetricInput(
            truths=truth.truths,
            masks=found.masks,
            boxes=found.boxes,
            category_ids=sorted(category.id for category in truth.categories),
            sizes=dict(sorted(truth.sizes.items())),
            max_dets=max_dets,
            score_threshold=found.score_threshold,
            all_pairs=ground_truth._inputs.pairs(detections, ground_truth.truths),
            category_thresholds=found.category_thresholds,
        )

    return ground_truth._inputs.get(detections, max_dets, track, make)


def score(
    detections: Detections,
    ground_truth: GroundTruthSet,
    max_dets: int,
    tracks: Sequence[TrackName] = TRACKS,
    begin: Callable[[Metric], None] = lambda metric: None,
) -> dict[TrackName, TrackScores | None]:
    """Compute the metrics of a method, by track; None where the track does not apply or was not requested.

    Args:
        detections: detections of the method.
        ground_truth: ground truth of the same images.
        max_dets: detections per image and category that AP and AR use.
        tracks: tracks to compute.
        begin: called with each metric before it is computed, in each track.
    """
    result: dict[TrackName, TrackScores | None] = dict.fromkeys(TRACKS)
    if "class_agnostic" in tracks:
        inputs = metric_input(detections, ground_truth, max_dets, "class_agnostic")
        result["class_agnostic"] = _track(inputs, [OBJECT], begin)
    if "class_aware" in tracks and detections.class_aware:
        inputs = metric_input(detections, ground_truth, max_dets, "class_aware")
        result["class_aware"] = _track(inputs, ground_truth.categories, begin)
    return result


def _track(inputs: MetricInput, categories: Sequence[Category], begin: Callable[[Metric], None]) -> TrackScores:
    found = metric_values(inputs, begin=begin)
    bbox = coco_summary(inputs, "bbox")
    segm = coco_summary(inputs, "segm") if inputs.masks is not None else None
    curve = f1_curve(inputs.matches("segm"), inputs.least_scores)
    if inputs.masks is None:
        curve["f1"] = [nan] * len(curve["f1"])
    objects = Counter(truth["category_id"] for truth in inputs.truths if not truth["iscrowd"])
    return TrackScores.of(
        {
            **found.values,
            "f1_curve": curve,
            "coco": {"segm": segm.stats if segm else None, "bbox": bbox.stats},
            "per_category": [
                {
                    "id": category.id,
                    "name": category.name,
                    **found.per_category[category.id],
                    "annotations": objects[category.id],
                }
                for category in categories
            ],
            "precision_recall": (segm or bbox).precision_recall,
        }
    )


def _all_merged(records: Sequence[Any]) -> Sequence[Any]:
    if isinstance(records, MaskRecords):
        return records.with_category(OBJECT.id)
    return [_merged(record) for record in records]


def _merged(record: Any) -> Any:
    """Return the record with the single category: itself where it has it, as copies of many records take memory."""
    return record if record["category_id"] == OBJECT.id else {**record, "category_id": OBJECT.id}
