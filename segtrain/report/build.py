"""``results.json``: what an evaluation found, as plain values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from segtrain.benchmark.runner import MethodResult
from segtrain.data.splits import Split
from segtrain.evaluation import TRACKS, GroundTruthSet
from segtrain.report.analysis.calibrations import calibrations
from segtrain.report.analysis.claims import claims
from segtrain.report.analysis.comparisons import certainty
from segtrain.report.analysis.doubts import doubts, images_behind
from segtrain.report.analysis.errors import errors
from segtrain.report.analysis.kinds import by_kind
from segtrain.report.analysis.mappings import is_oracle
from segtrain.report.analysis.mask_ceiling import mask_ceiling
from segtrain.report.analysis.reasons import reasons
from segtrain.report.analysis.seeds import seed_groups
from segtrain.report.analysis.verdict import verdict

NO_COSTS: Mapping[str, float | None] = dict.fromkeys(
    ("training_minutes", "training_images", "training_objects", "tuning_seconds", "peak_memory_gib")
)


def assemble(
    rows: Mapping[str, MethodResult],
    split: Split,
    ground_truth: GroundTruthSet,
    max_dets: int,
    *,
    environment: Mapping[str, Any],
    command: str,
    directory: str,
    checkpoint: Mapping[str, Any] | None,
    checkpoints: Mapping[str, Mapping[str, Any] | None],
    seeds: Mapping[tuple[str, ...], Sequence[int]],
    reference: str | None,
    bootstrap: Mapping[str, int],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of ``results.json``; undefined numbers are nan until it is written.

    Args:
        rows: by name.
        split: what was evaluated on.
        ground_truth: its truth.
        max_dets: detections per image and category that AP and AR use.
        environment: of this run.
        command: that repeats it.
        directory: in which it was typed.
        checkpoint: what the data's settings, and Mask R-CNN, came from.
        checkpoints: what each learned row came from.
        seeds: rows whose training differs by its seed alone, and those seeds.
        reference: row that the others are compared with; None for no comparisons.
        bootstrap: "resamples" of the images behind the intervals, 0 for none, and their "seed".
        notes: what else a reader must know.
    """
    methods = {name: _method(row, len(ground_truth.sizes)) for name, row in rows.items()}
    apart = {name for name, method in methods.items() if is_oracle(method)}
    sure = certainty(rows, ground_truth, max_dets, **bootstrap, reference=reference, apart=apart)
    for name, method in methods.items():
        for track in TRACKS:
            if method[track] is not None:
                method[track]["intervals"] = sure.intervals.get(name, {}).get(track, {})
    for name, measured in calibrations(rows, ground_truth, max_dets).items():
        methods[name]["calibration"] = measured
    for name, found in errors(rows, ground_truth, max_dets).items():
        methods[name]["errors"] = found
    kinds = by_kind(rows, split, ground_truth, max_dets, **bootstrap)
    for name, method in methods.items():
        method["strata"], method["timing"]["by_size"] = kinds.methods[name], kinds.times[name]
    results = {
        "methods": methods,
        "reference": reference,
        "comparisons": sure.comparisons,
        "contests": sure.contests,
        "bootstrap": dict(bootstrap),
        "mask_ceiling": mask_ceiling(rows, ground_truth, reference),
        "reasons": reasons(rows, methods, ground_truth, max_dets),
        "strata": kinds.strata,
        "contrast_gap": kinds.contrast_gap,
        "true_boxes": kinds.true_boxes,
        "seeds": [asdict(group) for group in seed_groups(methods, seeds)],
        "data": _data(split, ground_truth, max_dets),
        "warnings": [
            *_too_many(ground_truth, max_dets),
            *doubts(
                len(ground_truth.sizes), images_behind(ground_truth), len(sure.comparisons), bootstrap["resamples"]
            ),
            *notes,
        ],
        "environment": dict(environment),
        "command": command,
        "directory": directory,
        "checkpoint": checkpoint,
        "checkpoints": dict(checkpoints),
    }
    return {**results, "verdict": verdict(results), "claims": claims(results)}


def _data(split: Split, ground_truth: GroundTruthSet, max_dets: int) -> dict[str, Any]:
    index, counts = split.index, split.index.counts
    labelled = Counter(truth["category_id"] for truth in ground_truth.truths if not truth["iscrowd"])
    return {
        **asdict(counts),
        # Annotations of images that could not be read are dropped as well.
        "annotations": counts.annotations + split.unreadable_annotations,
        "dropped": counts.dropped + split.unreadable_annotations,
        "unreadable_images": split.unreadable_images,
        "categories": [{"id": c.id, "name": c.name, "annotations": labelled[c.id]} for c in index.categories],
        "max_dets": max_dets,
        "name": index.path.name,
        "annotations_file": str(index.path),
        "findings": index.issues.lines(("error", "warning")),
    }


def _too_many(ground_truth: GroundTruthSet, max_dets: int) -> list[str]:
    objects = Counter(truth["image_id"] for truth in ground_truth.truths if not truth["iscrowd"])
    above = sum(count > max_dets for count in objects.values())
    have = "1 image has" if above == 1 else f"{above:,} images have"
    return [f"{have} more objects than data.max_dets={max_dets}; AP and AR cannot count all"] * (above > 0)


def _method(row: MethodResult, images: int) -> dict[str, Any]:
    found = row.detections.masks if row.detections.masks is not None else row.detections.boxes
    assert found is not None
    return {
        **{str(name): track and dict(track) for name, track in row.tracks.items()},
        "timing": {
            **{part: _spread(row.detections.seconds.get(part, ())) for part in ("data", "segmentation")},
            "scoring": {"total": row.scoring_seconds},
        },
        "counts": {
            "images": images,
            "detections": len(found),
            "images_without_detections": images - len({record["image_id"] for record in found}),
        },
        "score_threshold": row.detections.score_threshold,
        "description": row.description,
        "score": row.score,
        "family": row.variant,
        "costs": {**NO_COSTS, **row.costs},
        **({"technique": row.technique} if row.technique else {}),
        **({"oracle": True} if row.oracle else {}),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    """Median and 95th percentile; the first image, which warms caches up, is left out."""
    kept = seconds[1:] if len(seconds) > 1 else seconds
    if not kept:
        return None
    return {"median": float(np.median(kept)), "p95": float(np.percentile(kept, 95))}
