"""What each method gets wrong, as ``results.json`` holds it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from segtrain.benchmark.runner import MethodResult
from segtrain.evaluation import Detections, GroundTruthSet
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
    merged = ground_truth.class_agnostic()
    parts = touching_parts(ground_truth.truths, sizes=ground_truth.sizes)

    def costs(detections: Detections, truth: GroundTruthSet) -> dict[str, Any]:
        ids = [category.id for category in truth.categories]
        return asdict(
            error_costs(
                truth.truths, detections.masks or (), image_ids=list(truth.sizes), category_ids=ids, max_dets=max_dets
            )
        )

    found: dict[str, dict[str, Any] | None] = {}
    for name, row in rows.items():
        detections = row.detections
        if detections.masks is None:
            found[name] = None
            continue
        operating = [p for p in detections.masks if p["score"] >= detections.score_threshold]
        found[name] = {
            "class_agnostic": costs(detections.class_agnostic(), merged),
            "class_aware": costs(detections, ground_truth) if detections.class_aware else None,
            "touching": asdict(merges_and_splits(parts, operating)),
        }
    return found
