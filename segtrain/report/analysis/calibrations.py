"""Which rows' scores claim to be probabilities, and how far they are."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from segtrain.benchmark.runner import MethodResult
from segtrain.evaluation import GroundTruthSet, metric_input
from segtrain.metrics.calibration import calibration


def calibrations(
    rows: Mapping[str, MethodResult], ground_truth: GroundTruthSet, max_dets: int
) -> dict[str, dict[str, Any] | None]:
    """By row, class-agnostic: "bins", "ece" and "ece_iou" (see ``Calibration``).

    None for boxes without masks, where nothing was found, and for scores that are not learned or not in [0, 1]: those
    only rank.

    Args:
        rows: by name.
        ground_truth: the truth.
        max_dets: detections per image and category that AP and AR use.
    """
    result: dict[str, dict[str, Any] | None] = dict.fromkeys(rows)
    for name, row in rows.items():
        if row.score is None and not row.oracle and row.detections.masks is not None:
            measured = calibration(metric_input(row.detections, ground_truth, max_dets))
            result[name] = asdict(measured) if measured else None
    return result
