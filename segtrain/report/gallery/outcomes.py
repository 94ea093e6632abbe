"""Outcomes of the detections and true objects of one image: hits, errors by their type, and missed objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segtrain.metrics.candidates import find_candidates
from segtrain.metrics.matching import AREAS, IOU_THRESHOLDS, match_candidates
from segtrain.metrics.tide import TYPES, error_types
from segtrain.records import OBJECT, GroundTruth, Prediction

# Kinds of outcomes, with their names for a reader, in the order of the page.
KINDS: Mapping[str, str] = {
    "hit": "hit",
    "category": "wrong category",
    "location": "badly outlined",
    "duplicates": "duplicate",
    "background": "nothing there",
    "crowd": "in a crowd",
    "missed": "missed",
}


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of the detections of a method in one image.

    Attributes:
        kinds: kind of each detection, of ``KINDS``.
        partners: index of the true object that each detection is matched to, whatever its category; -1 for none.
        missed: indices of the true objects that no detection is matched to, without crowds.
    """

    kinds: Sequence[str]
    partners: Sequence[int]
    missed: Sequence[int]


def judge(truths: Sequence[GroundTruth], found: Sequence[Prediction], *, aware: bool) -> Outcomes:
    """Find the outcome of each detection and of each true object of one image.

    As in class-agnostic numbers and in the confusion matrix, detections are matched to true objects at IoU .50 whatever
    their categories, the highest score first. Those without a match have TIDE's types of error, and those with a match
    of another category are errors of category.

    Args:
        truths: true objects, crowds included.
        found: detections at the operating point.
        aware: True if the categories of the detections have a meaning.

    >>> import numpy as np
    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> pair = [{"image_id": 1, "category_id": 2, "segmentation": mask, "score": score} for score in (0.9, 0.4)]
    >>> judge([truth], pair, aware=True).kinds, judge([truth], pair, aware=False).kinds
    (['category', 'duplicates'], ['hit', 'duplicates'])
    """
    merged_truths = [GroundTruth(**{**truth, "image_id": 0, "category_id": OBJECT.id}) for truth in truths]
    merged = [Prediction(**{**one, "image_id": 0, "category_id": OBJECT.id}) for one in found]
    candidates = find_candidates(merged_truths, merged, image_ids=[0], category_ids=[OBJECT.id], iou_type="segm")
    matches = match_candidates(candidates, thresholds=IOU_THRESHOLDS[:1], areas=AREAS[:1])
    types = error_types(matches, candidates, max_dets=len(found) + 1)
    partner, ignored = matches.truth(0, 0), matches.ignored(0, 0)
    kinds: list[str] = ["hit"] * len(found)
    partners = [-1] * len(found)
    for number, record in enumerate(matches.record.tolist()):
        if ignored[number]:
            kinds[record] = "crowd"
        elif types.right[number] < 0:
            kinds[record] = TYPES[types.type[number]]
        else:
            partners[record] = int(partner[number])
            if aware and truths[partners[record]]["category_id"] != found[record]["category_id"]:
                kinds[record] = "category"
    real = matches.truth_record[~matches.truth_ignored[0]].tolist()
    return Outcomes(kinds, partners, sorted(set(real) - set(partners)))
