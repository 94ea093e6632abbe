"""What each method gets wrong, as ``results.json`` holds it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from segtrain.benchmark.runner import MethodResult
from segtrain.evaluation import GroundTruthSet, metric_input
from segtrain.metrics.tide import error_costs
from segtrain.metrics.touching import merges_and_splits, touching_parts


def errors(
    rows: Mapping[str, MethodResult], ground_truth: GroundTruthSet, max_dets: int
) -> dict[str, dict[str, Any] | None]:
    """Break down the errors of every row.

    Args:
        rows: by name.
        ground_truth: the truth.
        max_dets: detections per image and category that count for AP.

    Returns:
        Row -> "class_agnostic" and "class_aware" (None without categories): "ap50", "lost" and "counts" by type of
        error, see ``ErrorCosts``; and "touching": "objects", "found", "merged", "split". None for a row without masks.
    """
    parts = touching_parts(ground_truth.truths, sizes=ground_truth.sizes)

    found: dict[str, dict[str, Any] | None] = {}
    for name, row in rows.items():
        detections = row.detections
        if detections.masks is None:
            found[name] = None
            continue
        operating = [p for p in detections.masks if p["score"] >= detections.score_threshold]
        found[name] = {
            "class_agnostic": asdict(error_costs(metric_input(detections, ground_truth, max_dets))),
            "class_aware": asdict(error_costs(metric_input(detections, ground_truth, max_dets, "class_aware")))
            if detections.class_aware
            else None,
            "touching": asdict(merges_and_splits(parts, operating)),
        }
    return found
