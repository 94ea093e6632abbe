"""Small invented results in the form of ``evaluate.py``, for the tests of the report."""

from typing import Any

import numpy as np

from segtrain import masks
from segtrain.benchmark.results import Results
from segtrain.records import GroundTruth, Prediction
from segtrain.report.blocks import Terms
from segtrain.report.gallery.select import GalleryItem
from segtrain.report.sections import build_sections
from segtrain.report.verdict import verdict

METRICS = (
    "mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large", "mask_ar", "box_ap",
    "miou", "fg_iou", "f1_50", "pq", "sq", "rq", "boundary_iou",
)  # fmt: skip
COSTS = ("training_minutes", "training_images", "training_objects", "tuning_seconds", "peak_memory_gib")
HOSTILE = "<script>alert('x')</script> & \"|\" `$` *_~# \n</style> {{ 7 * 7 }}"


def track(quality: float, categories: list[str]) -> dict[str, Any]:
    """Build the scores of a track, all different, with AP large undefined."""
    values: dict[str, Any] = {key: quality * (1 - i / 50) for i, key in enumerate(METRICS)}
    values["mask_ap_large"] = float("nan")
    values["coco"] = {"segm": [quality] * 12, "bbox": [quality] * 12}
    values["per_category"] = [
        {"id": i, "name": name, "mask_ap": quality, "mask_ap50": quality, "box_ap": quality, "iou": quality,
         "f1_50": None, "pq": quality, "boundary_iou": quality, "annotations": 10 * i}
        for i, name in enumerate(categories, 1)
    ]  # fmt: skip
    curve = [max(0.0, 1 - i / 100 / quality) if quality else 0.0 for i in range(101)]
    values["precision_recall"] = {"iou50": curve, "mean": curve}
    return values


def method(quality: float, seconds: float | None, categories: list[str], *, aware: bool) -> dict[str, Any]:
    """Build a method of ``results.json``."""
    return {
        "class_agnostic": track(quality, ["object"]),
        "class_aware": track(0.9 * quality, categories) if aware else None,
        "timing": {
            "data": {"median": 0.004, "p95": 0.005},
            "segmentation": None if seconds is None else {"median": seconds, "p95": seconds},
            "scoring": {"total": 1.5},
        },
        "counts": {"images": 4, "detections": 40, "images_without_detections": 1, "found": 15},
        "score_threshold": 0.5 if aware else 0,
        "description": "A description",
        "score": None if aware else "contrast",
        "family": None,
        "costs": dict.fromkeys(COSTS),
        "calibration": None,
        "errors": None,
        "strata": None,
    }


def boxes_only(categories: list[str]) -> dict[str, Any]:
    """Build a method of a file of boxes: every number of masks is undefined."""
    row = method(0.3, None, categories, aware=True)
    for values in (row["class_agnostic"], row["class_aware"]):
        for key in METRICS:
            if key != "box_ap":
                values[key] = None
        values["coco"]["segm"] = None
        values["precision_recall"] = None
        for entry in values["per_category"]:
            entry.update(mask_ap=None, mask_ap50=None, iou=None, f1_50=None, pq=None, boundary_iou=None)
    return row


def results(methods: dict[str, dict[str, Any]] | None = None, categories: tuple[str, ...] = ("round", "lobed")) -> Any:
    """Build the content of ``results.json``; by default two classical methods, Mask R-CNN and a file of boxes."""
    names = list(categories)
    default = {
        "kmeans": method(0.11, 0.02, names, aware=False) | {"family": "textbook", "technique": "kmeans"},
        "threshold_otsu": method(0.3, 0.001, names, aware=False) | {"family": "robust", "technique": "threshold"},
        "mask_rcnn": method(0.5, 0.2, names, aware=True) | {"technique": "mask_rcnn"},
        "boxes": boxes_only(names),
    }
    content: dict[str, Any] = {
        "methods": default if methods is None else methods,
        "data": {
            "name": "cells", "images": 4, "annotations": 23, "used": 20, "crowd": 2, "dropped": 1, "repaired": 3,
            "categories": [{"id": i, "name": n, "annotations": 10 * i} for i, n in enumerate(names, 1)],
            "max_dets": 100, "findings": ["annotation 7: the segmentation is empty"], "unreadable_images": 0,
            "annotations_file": "",
            "windows": 1,
            "contents": "5f-3a",
            "source": {"settings": {"root": "/data", "val_annotations": "val.json"}, "image_ids": [1, 2, 3, 4]},
        },
        "environment": {"python": "3.11", "threads": 2},
        "command": "python evaluate.py seed=1",
        "checkpoint": {"path": "best.pt", "step": 12},
        "reference": "mask_rcnn" if "mask_rcnn" in (default if methods is None else methods) else None,
        "comparisons": {}, "contests": {}, "bootstrap": {"resamples": 0, "seed": 0}, "mask_ceiling": None,
        "reasons": [], "strata": {}, "contrast_gap": None, "true_boxes": None, "seeds": [], "warnings": [],
        "directory": "", "checkpoints": {}, "claims": [],
    }  # fmt: skip
    return {**content, "verdict": verdict(typed(content))}


def typed(content: Any) -> Results:
    """Convert results to the types of an evaluation."""
    return Results.of(content)


def complete(categories: tuple[str, ...] = ("round", "lobed")) -> Any:
    """Build results with all that a report can show: intervals, differences, verdict, costs, oracle, F1 over IoU."""
    content = results(categories=categories)
    content["methods"]["kmeans_oracle"] = method(0.9, 0.02, list(categories), aware=False) | {"oracle": True}
    for row in content["methods"].values():
        for values in filter(None, (row["class_agnostic"], row["class_aware"])):
            known = [key for key in METRICS if values[key] is not None and values[key] == values[key]]
            values["intervals"] = {key: [0.8 * values[key], 1.1 * values[key]] for key in known}
            steps = range(10)
            values["f1_curve"] = {"thresholds": [0.5 + i / 20 for i in steps], "f1": [0.9 - i / 12 for i in steps]}
    content["methods"]["mask_rcnn"]["costs"] |= {"training_minutes": 9.75, "training_objects": 2311}
    content["methods"]["boxes"]["class_agnostic"]["f1_curve"] = None
    content["comparisons"] = {
        "kmeans": {"mask_ap": {"difference": -0.39, "low": -0.45, "high": -0.33, "p": 0.0002}},
        "threshold_otsu": {"mask_ap": {"difference": -0.2, "low": -0.22, "high": -0.17, "p": 0.61}},
        "kmeans_oracle": {"mask_ap": {"difference": 0.4, "low": 0.31, "high": 0.48, "p": 0.034}},
    }
    content["verdict"] = ["mask_rcnn wins by a lot.", "On mIoU the data cannot tell."]
    return content


def with_limits(content: Any) -> Any:
    """Add Mask R-CNN's ceiling, the calibration of its scores (0.2 too high), and reasons of missing numbers."""
    content["mask_ceiling"] = {
        "resolution": 28, "input_of": "mask_rcnn", "mask_paste": "exact", "aligned": False,
        "objects": 3814, "most_objects": 100, "mean_iou": 0.908,
        "mask_ap": 0.787, "mask_ap50": 0.99, "mask_ap75": 0.896, "mask_ap_small": 0.772, "mask_ap_medium": 0.968,
        "mask_ap_large": float("nan"),
    }  # fmt: skip
    bins = [
        {"low": low, "high": low + 0.1, "count": count, "mean_score": score, "precision": score - 0.2, "mean_iou": 0.4}
        for low, count, score in ((0.7, 60, 0.75), (0.8, 0, float("nan")), (0.9, 40, 0.95))
    ]
    for row in content["methods"].values():
        row["calibration"] = None
    content["methods"]["mask_rcnn"]["calibration"] = {"bins": bins, "ece": 0.2, "ece_iou": 0.31}
    content["reasons"] = [
        {"rows": [name], "tracks": ["class_agnostic"], "keys": ["mask_ap_large"], "why": f"{name} says why"}
        for name in content["methods"]
    ]
    return content


def with_kinds(content: Any) -> Any:
    """Add scores by kind of object, lower for objects that are smaller, of less contrast, or closer together."""
    content["strata"] = {
        "size": [
            {"name": "smallest", "low": None, "high": 147.5, "objects": 7, "images": 4},
            {"name": "middle", "low": 147.5, "high": 1514.5, "objects": 7, "images": 4},
            {"name": "largest", "low": 1514.5, "high": None, "objects": 6, "images": 4},
        ],
        "contrast": [
            {"name": "lowest", "low": None, "high": 0.5, "objects": 10, "images": 3},
            {"name": "highest", "low": 0.5, "high": None, "objects": 10, "images": 4},
        ],
        "crowding": [
            {"name": "alone", "low": None, "high": None, "objects": 19, "images": 4},
            {"name": "touching", "low": None, "high": None, "objects": 1, "images": 1},
        ],
    }
    for name, row in content["methods"].items():
        quality = row["class_agnostic"]["mask_ap"]
        row["strata"] = None if name == "boxes" else {
            trait: [
                {"ap": quality * (i + 1) / len(strata), "recall": quality, "iou": quality / (i + 1)}
                for i in (range(len(strata)) if trait != "crowding" else range(len(strata))[::-1])
            ]
            for trait, strata in content["strata"].items()
        }  # fmt: skip
        timed = {"pixels": [1000, 4000], "seconds": [0.01, 0.03], "images": [8, 9]}
        row["timing"]["by_size"] = None if name == "boxes" else timed
    content["contrast_gap"] = {"row": "threshold_otsu", "difference": 0.15, "low": 0.1, "high": 0.2, "p": 0.001}
    content["true_boxes"] = {"mask_ap": 0.45, "filled": 0.74}
    content["claims"] = ["Thresholds do well.", "Boxes say nothing."]
    return content


def square(x: int, y: int, side: int, size: tuple[int, int] = (48, 64)) -> masks.Rle:
    """Encode a square."""
    return masks.encode_crop(np.ones((side, side)), x, y, size)


def truth(image_id: int, mask: masks.Rle, number: int = 1, iscrowd: int = 0) -> GroundTruth:
    """Build a true instance of category 1."""
    area = float(masks.area([mask])[0])
    return GroundTruth(
        id=number, image_id=image_id, category_id=1, segmentation=mask, bbox=[0, 0, 1, 1], area=area, iscrowd=iscrowd
    )


def prediction(image_id: int, mask: masks.Rle, score: float = 0.9, category_id: int = 1) -> Prediction:
    """Build a detection."""
    return Prediction(image_id=image_id, category_id=category_id, segmentation=mask, score=score)


def gallery(count: int = 2, file_name: str = "a.png", size: tuple[int, int] = (48, 64)) -> list[GalleryItem]:
    """Build items of noise, which hardly can be compressed."""
    rng = np.random.default_rng(0)
    return [
        GalleryItem(
            image_id=i,
            file_name=file_name,
            reason="Best of mask_rcnn",
            size=size,
            image=rng.integers(0, 256, (*size, 3), dtype=np.uint8),
            truths=[truth(i, square(5, 5, 9, size)), truth(i, square(20, 5, 9, size), 2, iscrowd=1)],
            predictions={"mask_rcnn": [prediction(i, square(6, 6, 9, size))], "kmeans": []},
            scores={"mask_rcnn": 1.0, "kmeans": float("nan")},
            best={"mask_rcnn": 1 + i},
            worst={"mask_rcnn": count - i},
            apart=None,
        )
        for i in range(count)
    ]


def glossary(content: Any) -> dict[str, str]:
    """Collect the definitions of a report, by term."""
    (section,) = (part for part in build_sections(Results.of(content)) if part.key == "definitions")
    (terms,) = section.blocks
    assert isinstance(terms, Terms)
    return {term.name: term.text for term in terms.entries}
