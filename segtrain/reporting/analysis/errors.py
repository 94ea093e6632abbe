"""What each method gets wrong, as ``results.json`` holds it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from segtrain.benchmark.runner import Row
from segtrain.evaluation import Findings, Reference
from segtrain.metrics.tide import error_costs
from segtrain.metrics.touching import merges_and_splits, touching_parts


def errors(rows: Mapping[str, Row], reference: Reference, max_dets: int) -> dict[str, dict[str, Any] | None]:
    """Break down the errors of every row.

    Args:
        rows: by name.
        reference: the truth.
        max_dets: detections per image and category that count for AP.

    Returns:
        Row -> "class_agnostic" and "class_aware" (None without categories): "ap50", "lost" and "counts" by type of
        error, see ``ErrorCosts``; and "touching": "objects", "found", "merged", "split". None for a row without masks.
    """
    merged = reference.class_agnostic()
    parts = touching_parts(reference.truths, sizes=reference.sizes)

    def costs(findings: Findings, truth: Reference) -> dict[str, Any]:
        ids = [category.id for category in truth.categories]
        return asdict(
            error_costs(
                truth.truths, findings.masks or (), image_ids=list(truth.sizes), category_ids=ids, max_dets=max_dets
            )
        )

    found: dict[str, dict[str, Any] | None] = {}
    for name, row in rows.items():
        findings = row.findings
        if findings.masks is None:
            found[name] = None
            continue
        operating = [p for p in findings.masks if p["score"] >= findings.score_threshold]
        found[name] = {
            "class_agnostic": costs(findings.class_agnostic(), merged),
            "class_aware": costs(findings, reference) if findings.class_aware else None,
            "touching": asdict(merges_and_splits(parts, operating)),
        }
    return found
