"""From a segmenter to numbers: the one path that validation in training and the benchmark share."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from typing import Any, Literal

import numpy as np
from torch import Tensor

from segtrain.data.coco.index import CocoIndex
from segtrain.metrics.average_precision import AveragePrecision, average_precision
from segtrain.metrics.decisions import decision_metrics
from segtrain.records import BoxPrediction, Category, GroundTruth, Prediction, to_box_predictions, to_predictions
from segtrain.segmenters import Segmenter

TrackName = Literal["class_agnostic", "class_aware"]
TRACKS: tuple[TrackName, ...] = ("class_agnostic", "class_aware")
Track = dict[str, Any]  # one track of results.json; undefined numbers are nan here
OBJECT = Category(1, "object")  # what all categories become in the class-agnostic track
_SEGM_KEYS = ("mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large")


@dataclass(frozen=True)
class GroundTruthSet:
    """The truth about a set of images.

    Attributes:
        categories: by increasing id.
        sizes: image id -> (H, W), of every image, those without objects included.
        truths: all true instances, crowds included.
    """

    categories: Sequence[Category]
    sizes: Mapping[int, tuple[int, int]]
    truths: Sequence[GroundTruth]

    @classmethod
    def of(cls, index: CocoIndex) -> "GroundTruthSet":
        """The truth that an annotation file states."""
        truths = [truth for image in index.images for truth in index.truths(image.id)]
        return cls(index.categories, {image.id: image.size for image in index.images}, truths)

    def class_agnostic(self) -> "GroundTruthSet":
        """The same with all categories made one."""
        return GroundTruthSet([OBJECT], self.sizes, [_merged(truth) for truth in self.truths])


@dataclass(frozen=True)
class Detections:
    """What one method found in a set of images.

    Attributes:
        masks: COCO records; None if the method has boxes only.
        boxes: COCO records of the boxes that the method itself predicts; None: a mask's box is its box.
        class_aware: whether the category ids mean anything.
        score_threshold: operating point of all mask metrics but AP and AR.
        seconds: for each image, by "data" (reading) and "segmentation"; empty if not measured.
        polygons: whether any mask was given as polygons.
    """

    masks: Sequence[Prediction] | None
    boxes: Sequence[BoxPrediction] | None
    class_aware: bool
    score_threshold: float
    seconds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    polygons: bool = False

    def class_agnostic(self) -> "Detections":
        """The same with all categories made one."""
        return replace(
            self,
            masks=None if self.masks is None else [_merged(p) for p in self.masks],
            boxes=None if self.boxes is None else [_merged(p) for p in self.boxes],
            class_aware=True,
        )


def predict(
    segmenter: Segmenter,
    images: Iterable[tuple[int, Tensor]],
    categories: Sequence[Category],
    score_threshold: float,
    advance: Callable[[], None] = lambda: None,
    foreign: bool = False,
) -> Detections:
    """Segment images one at a time.

    Args:
        segmenter: its label k is the k-th category; label 0 stands for the only category, or for none of several.
        images: ids and uint8 RGB tensors (3, H, W).
        categories: by increasing id.
        score_threshold: operating point, for a segmenter that learned its scores; others are taken at 0, because their
            scores only rank.
        advance: called after each image.
        foreign: its labels mean other categories than these; each is taken as 0.
    """
    found: list[Prediction] = []
    boxes: list[BoxPrediction] = []
    seconds: dict[str, list[float]] = {"data": [], "segmentation": []}
    learned = segmenter.scores_are_learned
    before = time.perf_counter()
    for image_id, image in images:
        read = time.perf_counter()
        instances = segmenter.segment([image])[0]
        done = time.perf_counter()
        if foreign:
            instances = replace(instances, labels=np.zeros_like(instances.labels))
        seconds["data"].append(read - before)
        seconds["segmentation"].append(done - read)
        found += to_predictions(instances, image_id, categories)
        if learned:
            boxes += to_box_predictions(instances, image_id, categories)
        advance()
        before = time.perf_counter()
    threshold = score_threshold if learned else 0.0
    return Detections(found, boxes if learned else None, learned and not foreign, threshold, seconds)


def score(
    detections: Detections, ground_truth: GroundTruthSet, max_dets: int, tracks: Sequence[TrackName] = TRACKS
) -> dict[TrackName, Track | None]:
    """The numbers of a method, by track; None where the track does not apply or was not asked for.

    Args:
        detections: what the method found.
        ground_truth: the truth.
        max_dets: detections per image and category that AP and AR use.
        tracks: which tracks to compute.
    """
    result: dict[TrackName, Track | None] = dict.fromkeys(TRACKS)
    if "class_agnostic" in tracks:
        result["class_agnostic"] = _track(detections.class_agnostic(), ground_truth.class_agnostic(), max_dets)
    if "class_aware" in tracks and detections.class_aware:
        result["class_aware"] = _track(detections, ground_truth, max_dets)
    return result


def _track(detections: Detections, ground_truth: GroundTruthSet, max_dets: int) -> Track:
    ids = [category.id for category in ground_truth.categories]
    images = list(ground_truth.sizes)

    def precision(
        found: Sequence[Prediction] | Sequence[BoxPrediction], kind: Literal["segm", "bbox"]
    ) -> AveragePrecision:
        return average_precision(
            ground_truth.truths, found, image_ids=images, category_ids=ids, max_dets=max_dets, iou_type=kind,
            sizes=ground_truth.sizes,
        )  # fmt: skip

    boxed = detections.boxes if detections.boxes is not None else detections.masks
    assert boxed is not None
    bbox = precision(boxed, "bbox")
    segm = precision(detections.masks, "segm") if detections.masks is not None else None
    stats = segm.stats if segm else [nan] * 12
    counts = {c: sum(t["category_id"] == c and not t["iscrowd"] for t in ground_truth.truths) for c in ids}
    decided = decision_metrics(
        ground_truth.truths, detections.masks, score_threshold=detections.score_threshold, category_ids=ids,
        sizes=ground_truth.sizes,
    )  # fmt: skip
    return {
        **dict(zip(_SEGM_KEYS, stats, strict=False)),
        "mask_ar": stats[8],
        "box_ap": bbox.stats[0],
        **decided.numbers,
        "coco": {"segm": segm.stats if segm else None, "bbox": bbox.stats},
        "per_category": [
            {
                "id": category.id,
                "name": category.name,
                "mask_ap": segm.per_category[category.id]["ap"] if segm else nan,
                "mask_ap50": segm.per_category[category.id]["ap50"] if segm else nan,
                "box_ap": bbox.per_category[category.id]["ap"],
                **decided.per_category[category.id],
                "annotations": counts[category.id],
            }
            for category in ground_truth.categories
        ],
        "precision_recall": (segm or bbox).precision_recall,
    }


def _merged(record: Any) -> Any:
    return {**record, "category_id": OBJECT.id}
