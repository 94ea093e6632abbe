"""Errors of detections by type, and the AP that each type costs (after Bolya et al., TIDE, ECCV 2020)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.metrics.candidates import Candidates
from segtrain.metrics.matching import Matches
from segtrain.metrics.metric import MetricInput
from segtrain.metrics.pairs import Pairs
from segtrain.metrics.resampled_ap import Lanes, Recalls, interpolated_ap

FOREGROUND, BACKGROUND = 0.5, 0.1  # least IoU of a match; largest IoU of a detection that lies on background
TYPES = ("category", "location", "both", "duplicates", "background")  # types of false detections
MISSES = "misses"
_CATEGORY, _LOCATION, _BOTH, _DUPLICATE, _BACKGROUND = range(len(TYPES))
CORRECTABLE = (_CATEGORY, _LOCATION)  # types that refer to a particular object
_NEEDS_CATEGORIES = ("category", "both")


@dataclass(frozen=True)
class ErrorTypes:
    """Errors among D detections and G true objects, in the order of their matches.

    Attributes:
        type: (D,) index into ``TYPES``; -1 for detections that are right, ignored or beyond ``max_dets``.
        meant: (D,) index of the true object, in 0..G - 1, that an error of category or location refers to; -1 for
            others.
        right: (D,) index of the true object that a detection is matched to; -1 for none.
        missed: (G,) true for objects without a match that no error of category or location refers to.
    """

    type: IntArray
    meant: IntArray
    right: IntArray
    missed: BoolArray


def error_types(matches: Matches, candidates: Candidates, *, max_dets: int) -> ErrorTypes:
    """Assign exactly one type of error to each false detection, at an IoU of .5.

    The type is the first that applies: location, if the detection overlaps an object of its category by an IoU from .1
    to .5; category, if it would match an object of another category; duplicate, if it would match an object of its own
    category that is matched already; background, if no IoU exceeds .1; else both category and location. Crowds and
    other ignored objects do not count as objects.

    Args:
        matches: matches of the masks; the first threshold is .5, the first range of areas holds all sizes.
        candidates: the masks that were matched.
        max_dets: detections kept per image and category, best first; others are neither right nor wrong.

    Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors (2020); the order, where
    several fit, is that of the authors' program, which counts an IoU of exactly .5 as too little.

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> pair = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": score} for score in (0.9, 0.4)]
    >>> inputs = MetricInput([truth], pair, None, [1], {1: (4, 4)}, max_dets=100, score_threshold=0.0)
    >>> errors = error_types(inputs.matches("segm"), inputs.candidates("segm"), max_dets=100)
    >>> [TYPES[n] if n >= 0 else None for n in errors.type]
    [None, 'duplicates']
    """
    counted = (matches.rank < max_dets) & ~matches.ignored(0, 0)
    # The last entry stands for no object.
    place = np.full(int(matches.truth_record.max(initial=-1)) + 2, -1, dtype=np.int64)
    place[matches.truth_record] = np.arange(len(matches.truth_record))
    right = np.where(counted, place[matches.truth(0, 0)], -1)
    real = ~matches.truth_ignored[0]
    false = counted & (right < 0)
    own, other = (
        pairs.where(false[pairs.detection] & real[pairs.truth]) for pairs in (candidates.pairs, candidates.others)
    )
    kind, meant = (np.where(false, column, -1) for column in _types(own, other, len(false)))
    missed = real.copy()
    missed[right[right >= 0]] = missed[meant[meant >= 0]] = False
    return ErrorTypes(kind, meant, right, missed)


def _types(own: Pairs, other: Pairs, detections: int) -> tuple[IntArray, IntArray]:
    """Find the type of each false detection, and the object that it refers to (-1 for none).

    Args:
        own: IoU with true objects of the detection's own category.
        other: IoU with true objects of other categories.
        detections: number of detections.
    """
    (most_own, best_own), (most_other, best_other) = (_best(pairs, detections) for pairs in (own, other))
    tests = {
        _LOCATION: (most_own >= BACKGROUND) & (most_own < FOREGROUND),
        _CATEGORY: most_other >= FOREGROUND,
        _DUPLICATE: most_own >= FOREGROUND,
        _BACKGROUND: np.maximum(most_own, most_other) <= BACKGROUND,
    }
    kind = np.select(list(tests.values()), list(tests), _BOTH)
    return kind, np.select([kind == _LOCATION, kind == _CATEGORY], [best_own, best_other], -1)


def _best(pairs: Pairs, detections: int) -> tuple[FloatArray, IntArray]:
    """Find the highest IoU of each detection, and the first true object that has it; 0 and -1 without any."""
    most, best = np.zeros(detections), np.full(detections, -1, dtype=np.int64)
    order = np.lexsort((-pairs.iou, pairs.detection))
    detection, truth, iou = pairs.where(order)
    first = np.flatnonzero(np.diff(detection, prepend=-1))
    most[detection[first]], best[detection[first]] = iou[first], truth[first]
    return most, best


@dataclass(frozen=True)
class ErrorCosts:
    """Errors of a method; "category" and "both" are left out where there is a single category.

    Attributes:
        ap50: average precision at IoU .5 with all errors; nan without true objects.
        lost: increase of ``ap50`` when the errors of one type alone are corrected, by type. The sum over the types is
            not the total loss.
        counts: number of false detections, or of missed objects, by type.
    """

    ap50: float
    lost: dict[str, float]
    counts: dict[str, int]


def error_costs(inputs: MetricInput) -> ErrorCosts:
    """Break down the errors of masks.

    Args:
        inputs: the ground truth and the detections, which have masks.

    Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors (2020).

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"image_id": 1, "category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> pair = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": score} for score in (0.9, 0.4)]
    >>> inputs = MetricInput([truth], pair, None, [1], {1: (4, 4)}, max_dets=100, score_threshold=0.0)
    >>> error_costs(inputs).counts
    {'location': 0, 'duplicates': 1, 'background': 0, 'misses': 0}
    """
    matches = inputs.matches("segm")
    errors = error_types(matches, inputs.candidates("segm"), max_dets=inputs.max_dets)
    names = [name for name in (*TYPES, MISSES) if len(matches.category_ids) > 1 or name not in _NEEDS_CATEGORIES]
    before, *after = fixed_precision(matches, errors, [(), *([name] for name in names)])
    number = [*np.bincount(errors.type + 1, minlength=len(TYPES) + 1)[1:].tolist(), int(errors.missed.sum())]
    counts = dict(zip((*TYPES, MISSES), number, strict=True))
    lost = {name: ap - before for name, ap in zip(names, after, strict=True)}
    return ErrorCosts(before, lost, {name: counts[name] for name in names})


def fixed_precision(matches: Matches, errors: ErrorTypes, fixes: Sequence[Collection[str]]) -> list[float]:
    """Compute average precision at IoU .5 after errors of some types are corrected; nan without true objects.

    A detection with an error of category or location becomes right, in the category of the object that it refers to;
    if that object is matched already, or by a corrected detection of higher score, the detection is removed. False
    detections of other types are removed, and missed objects are no longer counted. A category without any object left
    has a precision of 1 if no false detection is left either, else 0; the paper does not define this case.

    The paper corrects each type alone, so the detection of highest score is chosen among those of the type. The
    authors' program chooses it among all errors of category and location.

    Args:
        matches: matches of the masks; the first threshold is .5, the first range of areas holds all sizes.
        errors: types of the errors among these matches.
        fixes: sets of types to correct; one average precision is computed for each.

    Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors (2020).

    >>> from segtrain.masks import encode
    >>> mask = encode(np.ones((4, 4)))
    >>> truth = {"category_id": 1, "segmentation": mask, "area": 16.0, "iscrowd": 0}
    >>> truths = [truth | {"image_id": 1}, truth | {"image_id": 2}]
    >>> found = {"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9}
    >>> inputs = MetricInput(truths, [found], None, [1], {1: (4, 4), 2: (4, 4)}, max_dets=100, score_threshold=0.0)
    >>> matches = inputs.matches("segm")
    >>> errors = error_types(matches, inputs.candidates("segm"), max_dets=100)
    >>> [round(precision, 3) for precision in fixed_precision(matches, errors, [(), [MISSES]])]
    [0.505, 1.0]
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
    """Entries of the rankings of all categories after any of the corrections, best first.

    Attributes:
        category: (E,) number of each entry's category.
        hits: (E, B) true for entries that are right after each correction.
        misses: (E, B) true for entries that are wrong after each correction; an entry may be neither.
    """

    category: IntArray
    hits: BoolArray
    misses: BoolArray

    @classmethod
    def of(cls, matches: Matches, errors: ErrorTypes, fixes: Sequence[Collection[str]]) -> "_Entries":
        found = np.flatnonzero((errors.right >= 0) | (errors.type >= 0))
        # A detection whose category is corrected moves from one ranking to another, and has an entry in both.
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
    """Find the detections that become right: for each unmatched object the best one that refers to it."""
    taken = np.isin(errors.meant, errors.right[errors.right >= 0])
    candidates = np.flatnonzero(np.isin(errors.type, [t for t in types if t in CORRECTABLE]) & ~taken)
    candidates = candidates[np.lexsort((matches.record[candidates], -matches.score[candidates]))]
    _, first = np.unique(errors.meant[candidates], return_index=True)
    return candidates[first]


def _precision(hits: BoolArray, misses: BoolArray, truths: IntArray) -> FloatArray:
    """Compute the average precision of one category after each correction, (B,).

    Args:
        hits: (E, B) true for entries that are right, best first.
        misses: (E, B) true for entries that are wrong.
        truths: (B,) number of true objects.
    """
    precision: FloatArray = ((truths == 0) & ~misses.any(axis=0)).astype(np.float64)
    ends = np.flatnonzero(hits.any(axis=1))
    if not len(ends):
        return precision
    starts = np.concatenate([[0], ends[:-1] + 1])
    runs = [np.add.reduceat(counted[: ends[-1] + 1].astype(np.int32), starts) for counted in (hits, misses)]
    lanes = Lanes.of(np.stack(runs, axis=1))
    return np.maximum(precision, interpolated_ap([lanes], lanes.ends[-1], Recalls.of(truths)))
