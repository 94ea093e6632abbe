"""Why single categories have numbers that are 0, in groups of one reason each."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.metrics.matching import max_iou
from segtrain.report.analysis.cause import Note
from segtrain.report.analysis.mappings import CATEGORY_METRICS, is_zero

FloatArray = npt.NDArray[np.float64]

_PRECISIONS = ("mask_ap", "mask_ap50", "box_ap")
_DECIDED = tuple(  # they use the detections that reach the score threshold
    key for key in CATEGORY_METRICS if key not in _PRECISIONS
)


def lost_categories(
    entries: Sequence[Mapping[str, Any]], detections: Detections, ground_truth: GroundTruthSet
) -> dict[str, tuple[Note, ...]]:
    """Sentence -> the categories that it holds for, which may be those of several numbers that are 0.

    Args:
        entries: "per_category" of the class-aware track.
        detections: what the row found.
        ground_truth: the truth.
    """
    kind: Literal["segm", "bbox"] = "bbox" if detections.masks is None else "segm"
    given: Any = detections.boxes if detections.masks is None else detections.masks
    found, real = _by_category(given), _by_category(ground_truth.truths)
    groups: defaultdict[str, list[Note]] = defaultdict(list)
    for entry in entries:
        imprecise, undecided = (any(is_zero(entry.get(key)) for key in keys) for keys in (_PRECISIONS, _DECIDED))
        if entry["annotations"] and (imprecise or undecided):
            own = found[entry["id"]]
            overlaps = max_iou(real[entry["id"]], own, kind)
            scores = np.array([record["score"] for record in own], dtype=np.float64)
            why, more = _why(overlaps, scores, imprecise, detections.score_threshold)
            if not own:
                more = f"{entry['annotations']:,} true"
            groups[why].append(Note(entry["name"], f"{entry['name']} ({more})" if more else entry["name"]))
    return {why: tuple(notes) for why, notes in groups.items()}


def _why(overlaps: FloatArray, scores: FloatArray, imprecise: bool, threshold: float) -> tuple[str, str]:
    """The reason of one category, and what to say of it in brackets."""
    if not len(overlaps):
        return "nothing that was found is called so", ""
    at = ""
    if not imprecise:
        overlaps, at = overlaps[scores >= threshold], f" and reaches the score threshold {threshold:g}"
        if not len(overlaps):
            return f"no detection called so reaches the score threshold {threshold:g}", ""
    fitting = int((overlaps >= 0.5).sum())
    if not fitting:
        said = f"no detection that is called so{at} fits a true one by 0.50"
        return said, f"best IoU {overlaps.max():.2f} of {len(overlaps):,}"
    said = f"too little of what is called so{at} fits a true one by 0.50 or more"
    return said, f"{fitting:,} of {len(overlaps):,}"


def _by_category(records: Sequence[Any]) -> defaultdict[int, list[Any]]:
    found: defaultdict[int, list[Any]] = defaultdict(list)
    for record in records:
        found[record["category_id"]].append(record)
    return found
