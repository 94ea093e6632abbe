"""How much worse the best threshold is on objects of low contrast, and how sure that is."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from segtrain.benchmark.runner import MethodResult
from segtrain.evaluation import GroundTruthSet, metric_input
from segtrain.metrics.bootstrap import draw_images, paired_difference
from segtrain.metrics.strata import Trait, resampled_by_stratum


def contrast_gap(
    rows: Mapping[str, MethodResult],
    ground_truth: GroundTruthSet,
    trait: Trait | None,
    max_dets: int,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any] | None:
    """AP at the highest contrast minus AP at the lowest, of the threshold row of the highest mask AP.

    Args:
        rows: by name.
        ground_truth: the truth.
        trait: the contrast of its objects; None without images.
        max_dets: detections per image that AP uses.
        resamples: of the images, for the interval; 0 for none.
        seed: of the resamples.

    Returns:
        "row", and the fields of a ``Difference``; None without a threshold row or with a single contrast.
    """
    thresholds = [
        name
        for name, row in rows.items()
        if row.technique == "threshold" and not row.oracle and row.detections.masks is not None
    ]
    if trait is None or len(trait.names) < 2 or not thresholds:
        return None
    name = max(thresholds, key=lambda name: (rows[name].tracks.get("class_agnostic") or {}).get("mask_ap", 0.0))
    images = len(ground_truth.sizes)
    draws = np.append(np.ones((1, images), dtype=np.int64), draw_images(images, resamples, seed), axis=0)
    ap = resampled_by_stratum(metric_input(rows[name].detections, ground_truth, max_dets), trait, draws)
    return {"row": name, **asdict(paired_difference(ap[-1, 0], ap[0, 0], ap[-1, 1:], ap[0, 1:]))}
