"""How much average precision each type of error costs: what would be gained if it alone were put right."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain.metrics.curves import area_under
from segtrain.metrics.error_types import CORRECTABLE, FOREGROUND, MISSES, TYPES, ErrorTypes, error_types
from segtrain.metrics.matching import AREAS, Matches, match
from segtrain.records import GroundTruth, Prediction

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_NEEDS_CATEGORIES = ("category", "both")


@dataclass(frozen=True)
class ErrorCosts:
    """The errors of a method; "category" and "both" are left out where there is a single category.

    Attributes:
        ap50: average precision at IoU .5 as it is; nan without true objects.
        lost: type -> what is added to it when errors of this type alone are put right. They need not add up.
        counts: type -> number of false detections, or of missed objects.
    """

    ap50: float
    lost: dict[str, float]
    counts: dict[str, int]


def error_costs(
    truths: Sequence[GroundTruth],
    predictions: Sequence[Prediction],
    *,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    max_dets: int,
) -> ErrorCosts:
    """Break down the errors of masks.

    Args:
        truths: all true instances.
        predictions: all detections; of equal scores in an image the first counts as the better one.
        image_ids: every image that was segmented; records of others are left out.
        category_ids: the categories to average over; records of others are left out.
        max_dets: detections kept per image and category, best first; at least 1.

    Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors (2020).
    """
    matches = match(
        truths, predictions, image_ids=image_ids, category_ids=category_ids, iou_type="segm",
        thresholds=np.array([FOREGROUND]), areas=AREAS[:1],
    )  # fmt: skip
    errors = error_types(matches, truths, predictions, max_dets=max_dets)
    names = [name for name in (*TYPES, MISSES) if len(matches.category_ids) > 1 or name not in _NEEDS_CATEGORIES]
    before, *after = fixed_precision(matches, errors, [(), *([name] for name in names)])
    number = [*np.bincount(errors.type + 1, minlength=len(TYPES) + 1)[1:].tolist(), int(errors.missed.sum())]
    counts = dict(zip((*TYPES, MISSES), number, strict=True))
    lost = {name: ap - before for name, ap in zip(names, after, strict=True)}
    return ErrorCosts(before, lost, {name: counts[name] for name in names})


def fixed_precision(matches: Matches, errors: ErrorTypes, fixes: Sequence[Collection[str]]) -> list[float]:
    """Average precision at IoU .5 after errors were put right; nan without true objects.

    An error of category or location is made right, in the category of the object that it was about; if that is matched
    already, or was put right by a better-scored error, the detection is removed. Those of other types are removed, and
    missed objects are no longer counted. A category of which no object is left to count has a precision of 1 if
    nothing false is left either, else 0 (of this the paper says nothing).

    The paper puts each type right alone, so the best-scored error is sought among those of the type. The authors'
    program seeks it among all of category and location, and puts an object right with that one only.

    Args:
        matches: of masks, at an IoU of .5 and all sizes first.
        errors: among them.
        fixes: the types to put right, for each answer.
    """
    entries = _Entries.of(matches, errors, fixes)
    real = ~matches.truth_ignored[0]
    truths = np.bincount(matches.truth_category[real], minlength=len(matches.category_ids))
    missed = np.bincount(matches.truth_category[errors.missed], minlength=len(matches.category_ids))
    left_out = np.array([MISSES in fix for fix in fixes])
    there = np.flatnonzero(truths).tolist()
    if not there:
        return [float("nan")] * len(fixes)
    values = [
        _precision(entries.hits[part], entries.misses[part], truths[category] - left_out * missed[category])
        for category in there
        for part in [entries.category == category]
    ]
    return np.mean(values, axis=0).tolist()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Entries:
    """All that stands in the ranking of a category after any of the fixes, best first.

    Attributes:
        category: (E,).
        hits: (E, B) whether it is right, after each fix.
        misses: (E, B) whether it is wrong; an entry may be neither.
    """

    category: IntArray
    hits: BoolArray
    misses: BoolArray

    @classmethod
    def of(cls, matches: Matches, errors: ErrorTypes, fixes: Sequence[Collection[str]]) -> "_Entries":
        found = np.flatnonzero((errors.right >= 0) | (errors.type >= 0))
        # A detection whose category is put right changes from one ranking to another, and has an entry in both.
        moved = np.flatnonzero(errors.type == TYPES.index("category"))
        detection = np.concatenate([found, moved])
        category = np.concatenate([matches.category[found], matches.truth_category[errors.meant[moved]]])
        hits, misses = np.zeros((2, len(detection), len(fixes)), dtype=np.bool_)
        stays = np.arange(len(detection)) < len(found)
        for column, fix in enumerate(fixes):
            types = [TYPES.index(name) for name in fix if name != MISSES]
            corrected = np.zeros(len(errors.type), dtype=np.bool_)
            corrected[_corrected(matches, errors, types)] = True
            here = np.where(corrected, errors.type != TYPES.index("category"), True)[detection] == stays
            hits[:, column] = here & (corrected | (errors.right >= 0))[detection]
            misses[:, column] = stays & ((errors.type >= 0) & ~np.isin(errors.type, types))[detection]
        order = np.lexsort((matches.record[detection], matches.image[detection], -matches.score[detection], category))
        return cls(category[order], hits[order], misses[order])


def _corrected(matches: Matches, errors: ErrorTypes, types: Sequence[int]) -> IntArray:
    """The detections that become right: for each object that nothing was matched to, the best-scored about it."""
    taken = np.isin(errors.meant, errors.right[errors.right >= 0])
    candidates = np.flatnonzero(np.isin(errors.type, [t for t in types if t in CORRECTABLE]) & ~taken)
    candidates = candidates[np.lexsort((matches.record[candidates], -matches.score[candidates]))]
    _, first = np.unique(errors.meant[candidates], return_index=True)
    return candidates[first]


def _precision(hits: BoolArray, misses: BoolArray, truths: IntArray) -> FloatArray:
    """The precision of one category after each fix, (B,), over all recalls.

    Args:
        hits: (E, B), best first.
        misses: (E, B).
        truths: (B,).
    """
    precision: FloatArray = ((truths == 0) & ~misses.any(axis=0)).astype(np.float64)
    ends = np.flatnonzero(hits.any(axis=1))
    if not len(ends):
        return precision
    starts = np.concatenate([[0], ends[:-1] + 1])
    runs = [np.add.reduceat(counted[: ends[-1] + 1].astype(np.int32), starts) for counted in (hits, misses)]
    _, mean = area_under(runs[0], runs[1], truths)
    return np.maximum(precision, mean)
