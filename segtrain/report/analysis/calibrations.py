"""Which rows' scores claim to be probabilities, and how far they are."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from segtrain.benchmark.runner import MethodResult
from segtrain.evaluation import GroundTruthSet
from segtrain.metrics.calibration import calibration


def calibrations(rows: Mapping[str, MethodResult], ground_truth: GroundTruthSet) -> dict[str, dict[str, Any] | None]:
    """By row, class-agnostic: "bins", "ece" and "ece_iou" (see ``Calibration``).

    None for boxes without masks, where nothing was found, and for scores that are not learned or not in [0, 1]: those
    only rank.

    Args:
        rows: by name.
        ground_truth: the truth.
    """
    merged = ground_truth.class_agnostic()
    result: dict[str, dict[str, Any] | None] = dict.fromkeys(rows)
    for name, row in rows.items():
        found = row.detections.class_agnostic().masks
        if row.score is None and not row.oracle and found is not None:
            ids = [category.id for category in merged.categories]
            measured = calibration(merged.truths, found, image_ids=list(merged.sizes), category_ids=ids)
            result[name] = asdict(measured) if measured else None
    return result
