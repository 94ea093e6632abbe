"""COCO's average precision and recall, computed by hotcoco.

``coco_summary`` computes them from matches that other metrics use as well. ``average_precision`` is for callers that
need no other metric, such as benchmarks: its backend takes a fifth of the time of this package's matching.
It compares each of the ``max_dets`` best detections with each true object of an image; ``coco_summary`` compares only
those that overlap, which suits images with thousands of both.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import hotcoco
import numpy as np

from segtrain import boxes, masks
from segtrain.arrays import FloatArray, IntArray, mean_of_defined
from segtrain.mask_records import MaskRecords, column
from segtrain.masks.sweep import ranges
from segtrain.metrics.candidates import IouType
from segtrain.metrics.matching import ALL, IOU50, IOU75, LARGE, MEDIUM, SMALL, Matches
from segtrain.metrics.metric import MetricInput
from segtrain.metrics.resampled_ap import precision_at_recalls
from segtrain.records import BoxPrediction, GroundTruth, Prediction

# Process in which the backend has started threads; a fork of it lacks them, and would wait for ever.
_started_in: int | None = None


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's average precision and recall in [0, 1]; nan without ground truth.

    Attributes:
        stats: COCO's twelve numbers in COCO's order: AP, AP50, AP75, AP small, medium, large, AR at 1, at 10 and at
            max_dets detections per image and category, AR small, medium, large at max_dets.
        per_category: "ap", "ap50", "ap75" and "ar" of each category, by its id.
        precision_recall: precision at recall 0, .01, ..., 1 (101 values), mean over categories: "iou50" at IoU .50,
            "mean" over IoU .50 to .95.
    """

    stats: list[float]
    per_category: dict[int, dict[str, float]]
    precision_recall: dict[str, list[float]]


def coco_summary(inputs: MetricInput, iou_type: IouType) -> AveragePrecision:
    """Summarise the matches of a method as COCO's evaluation program does.

    Args:
        inputs: the ground truth and the detections.
        iou_type: "segm" compares masks; "bbox" compares boxes.

    Source: ``pycocotools.cocoeval.COCOeval.summarize``.

    >>> mask = masks.encode(np.ones((4, 4)))
    >>> truth = {"category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> truths = [truth | {"image_id": 1}, truth | {"image_id": 2}]
    >>> found = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}
    >>> inputs = MetricInput(truths, [found], None, [1], {1: (4, 4), 2: (4, 4)}, max_dets=100, score_threshold=0.0)
    >>> round(coco_summary(inputs, "segm").stats[0], 3)  # one of two objects is found
    0.505
    """
    matches = inputs.matches(iou_type)
    tables = [inputs.all_images.precision(iou_type, area) for area in (ALL, SMALL, MEDIUM, LARGE)]
    precision, recall = (
        np.concatenate([getattr(table, f"category_{name}")[..., 0] for table in tables], axis=1)
        for name in ("precision", "recall")
    )  # (T, A, K)
    few = [_recall(matches, min(limit, inputs.max_dets)) for limit in (1, 10)]
    stats = [
        precision[:, ALL].mean(axis=0),
        precision[IOU50, ALL],
        precision[IOU75, ALL],
        *(precision[:, area].mean(axis=0) for area in (SMALL, MEDIUM, LARGE)),
        *(table.mean(axis=0) for table in few),
        *(recall[:, area].mean(axis=0) for area in (ALL, SMALL, MEDIUM, LARGE)),
    ]
    per_category = {
        category_id: {
            "ap": float(precision[:, ALL, k].mean()),
            "ap50": float(precision[IOU50, ALL, k]),
            "ap75": float(precision[IOU75, ALL, k]),
            "ar": float(recall[:, ALL, k].mean()),
        }
        for k, category_id in enumerate(matches.category_ids.tolist())
    }
    curves = inputs.once(_mask_precision if iou_type == "segm" else _box_precision)  # (T, K, 101)
    precision_recall = {
        "iou50": mean_of_defined(curves[IOU50].T).tolist(),
        "mean": mean_of_defined(np.moveaxis(curves, -1, 0).reshape(curves.shape[-1], -1)).tolist(),
    }
    return AveragePrecision(
        [float(mean_of_defined(categories)) for categories in stats], per_category, precision_recall
    )


def precision_at_half(inputs: MetricInput, iou_type: IouType) -> FloatArray:
    """Return the precision of each category at recall 0, .01, ..., 1, at IoU .50, (K, 101); nan without true objects.

    Args:
        inputs: the ground truth and the detections.
        iou_type: "segm" compares masks; "bbox" compares boxes.

    Source: ``pycocotools.cocoeval.COCOeval.accumulate``.

    >>> mask = masks.encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> found = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}
    >>> inputs = MetricInput([truth], [found], None, [1], {1: (4, 4)}, max_dets=100, score_threshold=0.0)
    >>> precision_at_half(inputs, "segm").mean(axis=1).round(6).tolist()
    [1.0]
    """
    curves: FloatArray = inputs.once(_mask_precision if iou_type == "segm" else _box_precision)[IOU50]
    return curves


def _mask_precision(inputs: MetricInput) -> FloatArray:
    return precision_at_recalls(inputs.matches("segm"), max_dets=inputs.max_dets)


def _box_precision(inputs: MetricInput) -> FloatArray:
    return precision_at_recalls(inputs.matches("bbox"), max_dets=inputs.max_dets)


def _recall(matches: Matches, max_dets: int) -> FloatArray:
    """Compute the recall of the best ``max_dets`` detections per image and category, (T, K); nan without truths."""
    categories = len(matches.category_ids)
    truths = np.bincount(matches.truth_category[~matches.truth_ignored[ALL]], minlength=categories)
    best = np.flatnonzero(matches.rank < max_dets)
    hits: list[IntArray] = []
    for t in range(matches.thresholds):
        hit = ~matches.ignored(t, ALL, best) & (matches.truth(t, ALL, best) >= 0)
        hits.append(np.bincount(matches.category[best[hit]], minlength=categories))
    recall: FloatArray = np.divide(hits, truths, out=np.full((len(hits), categories), np.nan), where=truths > 0)
    return recall


def average_precision(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction] | Sequence[BoxPrediction],
    *,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    max_dets: int,
    iou_type: Literal["segm", "bbox"],
    sizes: Mapping[int, tuple[int, int]],
) -> AveragePrecision:
    """Compute average precision and recall of masks or boxes, as COCO defines them.

    AP is defined at any ``max_dets``; COCO's own program returns -1 unless it is 100.

    Args:
        truths: all true objects; their own ``area`` decides small, medium and large, for boxes too.
        predictions: all detections, in any order; of equal scores in an image the first counts as the better one.
        image_ids: every image that was segmented, those without objects or detections included. Records of other
            images are left out.
        category_ids: the categories to average over. Records of other categories are left out.
        max_dets: detections kept per image and category, best first; at least 1.
        iou_type: "segm" compares masks; "bbox" compares boxes: each prediction's ``bbox``, or the box of its mask.
        sizes: image id -> (H, W).

    Source: Lin et al., Microsoft COCO (2014), and its evaluation program, ``pycocotools.cocoeval``.

    >>> truth = {"image_id": 7, "category_id": 1, "segmentation": masks.encode(np.ones((4, 4)))}
    >>> truths = [truth | {"bbox": [0.0, 0.0, 4.0, 4.0], "area": 16.0, "iscrowd": 0}]
    >>> wrong, right = (truth | {"bbox": box, "score": 0.5} for box in ([9.0, 9.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0]))
    >>> average_precision(
    ...     truths,
    ...     [wrong, right],
    ...     image_ids=[7],
    ...     category_ids=[1],
    ...     max_dets=100,
    ...     iou_type="bbox",
    ...     sizes={7: (20, 20)},
    ... ).stats[0]  # of equal scores, the wrong one comes first
    0.5
    """
    global _started_in
    if _started_in not in (None, os.getpid()):
        predicted: Any = list(predictions)
        masked, boxed = (predicted, None) if iou_type == "segm" else (None, predicted)
        every = {image_id: sizes[image_id] for image_id in sorted(set(image_ids))}
        inputs = MetricInput(truths, masked, boxed, sorted(set(category_ids)), every, max_dets, score_threshold=0.0)
        return coco_summary(inputs, iou_type)
    _started_in = os.getpid()
    # The backend takes only ids >= 0, and annotation id 0 means "unmatched", so ids are replaced by numbers from 1.
    images = {image_id: number for number, image_id in enumerate(sorted(set(image_ids)), start=1)}
    categories = {category_id: number for number, category_id in enumerate(sorted(set(category_ids)), start=1)}
    truths = [t for t in truths if t["image_id"] in images and t["category_id"] in categories]
    segmentations: list[Any] = [t["segmentation"] for t in truths]
    dataset = hotcoco.COCO.from_arrays(
        [{"id": images[i], "height": sizes[i][0], "width": sizes[i][1]} for i in images],
        [{"id": number, "name": str(category_id)} for category_id, number in categories.items()],
        [images[t["image_id"]] for t in truths],
        [categories[t["category_id"]] for t in truths],
        np.array([t["bbox"] for t in truths], dtype=np.float64).reshape(-1, 4),
        area=[float(t["area"]) for t in truths],
        iscrowd=[int(t["iscrowd"]) for t in truths],
        segmentation=segmentations,
    )
    found = [p for p in predictions if p["image_id"] in images and p["category_id"] in categories]
    results = _results(dataset, found, images, categories, iou_type)
    backend = hotcoco.COCOeval(dataset, results, iou_type)
    backend.params.max_dets = sorted({1, min(10, max_dets), max_dets})
    backend.evaluate()
    backend.accumulate()
    # summarize() prints, and warns about max_dets other than 100, so its input tables are averaged here instead.
    tables: Any = backend.eval
    return _summary(tables["precision"], tables["recall"], categories)


def _results(
    dataset: Any, predictions: Sequence[Any], images: Mapping[int, int], categories: Mapping[int, int], iou_type: str
) -> Any:
    """Convert detections for the backend, which reads columns several times faster than records."""
    columns = np.zeros((len(predictions), 7))  # image, x, y, w, h, score, category
    columns[:, 0] = [images[p["image_id"]] for p in predictions]
    columns[:, 5] = [p["score"] for p in predictions]
    columns[:, 6] = [categories[p["category_id"]] for p in predictions]
    if iou_type == "bbox":
        columns[:, 1:5] = boxes.of_predictions(predictions)
        return dataset.load_res(columns)
    rles = [p["segmentation"] for p in predictions]
    results = dataset.load_res(columns, segmentation=rles)
    # By default the area of the box would decide whether an unmatched mask is small, medium or large.
    results.update_anns(ids=np.arange(1, len(rles) + 1), area=masks.area(rles))
    return results


def _summary(precision: FloatArray, recall: FloatArray, categories: Mapping[int, int]) -> AveragePrecision:
    """Average the backend's tables.

    Args:
        precision: (10 IoU thresholds, 101 recalls, K categories, 4 areas, maxima of detections) precision; -1 without
            ground truth.
        recall: (10, K, 4, maxima) recall; -1 without ground truth.
        categories: number of each of the K category ids, in the order of the tables.
    """
    ar_columns = [0, min(1, recall.shape[-1] - 1), -1]
    best = precision[..., -1]
    stats = [
        _mean(best[:, :, :, ALL]),
        _mean(best[IOU50, :, :, ALL]),
        _mean(best[IOU75, :, :, ALL]),
        *(_mean(best[:, :, :, area]) for area in (SMALL, MEDIUM, LARGE)),
        *(_mean(recall[:, :, ALL, column]) for column in ar_columns),
        *(_mean(recall[:, :, area, -1]) for area in (SMALL, MEDIUM, LARGE)),
    ]
    per_category = {
        category_id: {
            "ap": _mean(best[:, :, k, ALL]),
            "ap50": _mean(best[IOU50, :, k, ALL]),
            "ap75": _mean(best[IOU75, :, k, ALL]),
            "ar": _mean(recall[:, k, ALL, -1]),
        }
        for k, category_id in enumerate(categories)
    }
    precision_recall = {
        "iou50": [_mean(best[IOU50, r, :, ALL]) for r in range(best.shape[1])],
        "mean": [_mean(best[:, r, :, ALL]) for r in range(best.shape[1])],
    }
    return AveragePrecision(stats, per_category, precision_recall)


def _mean(values: FloatArray) -> float:
    """Average the defined values; the backend writes -1 where there is no ground truth."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")


@dataclass(frozen=True)
class TrueBoxes:
    """Scores of the boxes of true objects, in [0, 1]; nan without objects.

    Attributes:
        mask_ap: mask AP of the boxes as masks, all of equal score.
        filled: mean over the objects of the share of its box that an object fills.
    """

    mask_ap: float
    filled: float


def true_boxes(truths: Sequence[GroundTruth], *, sizes: Mapping[int, tuple[int, int]], category_id: int) -> TrueBoxes:
    """Score the box of every true object as if it were a predicted mask, without a limit on their number.

    Args:
        truths: all true objects, of one category.
        sizes: image id -> (H, W) of every image.
        category_id: category of the truths.

    >>> rle = masks.encode(np.eye(4))
    >>> truth = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": rle, "area": 4.0, "iscrowd": 0}
    >>> true_boxes([truth | {"bbox": [0.0, 0.0, 4.0, 4.0]}], sizes={1: (4, 4)}, category_id=1)
    TrueBoxes(mask_ap=0.0, filled=0.25)
    """
    objects = [truth for truth in truths if not truth["iscrowd"]]
    boxes = _filled_boxes([truth["segmentation"] for truth in objects])
    image_ids = column(objects, "image_id")
    found = MaskRecords(image_ids, np.full_like(image_ids, category_id), np.ones(len(objects)), boxes)
    images, most = dict(sorted(sizes.items())), max(len(found), 1)
    inputs = MetricInput(truths, found, None, [category_id], images, max_dets=most, score_threshold=0.0)
    precision = coco_summary(inputs, "segm")
    own, whole = masks.area([truth["segmentation"] for truth in objects]), masks.area(boxes)
    filled = (own / np.maximum(whole, 1))[whole > 0]
    return TrueBoxes(precision.stats[0], float(filled.mean()) if len(filled) else float("nan"))


def _filled_boxes(rles: Sequence[masks.Rle]) -> masks.PackedRles:
    """Fill the bounding box of each mask, those of one size together."""
    packed = masks.PackedRles.of(rles)
    corners = masks.boxes(rles).astype(np.int64)
    parts, places = [], [np.zeros(0, dtype=np.int64)]
    for number, (height, width) in enumerate(packed.sizes):
        own = np.flatnonzero(packed.size_numbers == number)
        x0, y0, x1, y1 = corners[own].T
        owner, top = np.repeat(np.arange(len(own)), x1 - x0), ranges(x0, x1) * height
        flips = np.stack([top + y0[owner], top + y1[owner]], axis=1).reshape(-1)
        parts.append(masks.pack_flips(flips, np.repeat(owner, 2), len(own), (height, width)))
        places.append(own)
    return masks.PackedRles.joined(parts).where(np.argsort(np.concatenate(places)))
