"""What is wrong with each false detection, and which true objects were missed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.metrics.matching import Matches
from segtrain.records import GroundTruth, Prediction

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU: from the one on objects are the same, up to the other they have nothing to do
TYPES = ("category", "location", "both", "duplicates", "background")  # of a false detection
MISSES = "misses"
_CATEGORY, _LOCATION, _BOTH, _DUPLICATE, _BACKGROUND = range(len(TYPES))
CORRECTABLE = (_CATEGORY, _LOCATION)  # those that mean a particular object


@dataclass(frozen=True)
class ErrorTypes:
    """The errors among D detections and G true instances, in the order of their matches.

    Attributes:
        type: (D,) place in ``TYPES``; -1 for what is right, ignored or cut off.
        meant: (D,) the true instance, in 0..G - 1, that an error of category or location was about; -1 for others.
        right: (D,) the true instance that a detection was matched to and counts for; -1 for none.
        missed: (G,) instances that nothing was matched to and no error of category or location was about.
    """

    type: IntArray
    meant: IntArray
    right: IntArray
    missed: BoolArray


def error_types(
    matches: Matches, truths: Sequence[GroundTruth], predictions: Sequence[Prediction], *, max_dets: int
) -> ErrorTypes:
    """Give each false detection exactly one type, at an IoU of .5.

    The first that fits: location, if it overlaps an object of its category, but too little to match; category, if it
    would match an object of another; duplicate, if it would match one of its own that is taken; background, if it
    overlaps nothing by more than .1; else both category and location. Crowds and other instances to ignore are no
    objects here.

    Args:
        matches: of the masks; the first of its thresholds is .5, the first of its areas that of all sizes.
        truths: those that were matched.
        predictions: those that were matched.
        max_dets: detections kept per image and category, best first; others are neither right nor wrong.

    Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors (2020); the order, where
    several fit, is that of the authors' program, which counts an IoU of exactly .5 as too little.
    """
    counted = (matches.rank < max_dets) & ~matches.ignored[0, 0]
    place = np.full(len(truths) + 1, -1, dtype=np.int64)  # the last stands for no truth
    place[matches.truth_record] = np.arange(len(matches.truth_record))
    right = np.where(counted, place[matches.truth[0, 0]], -1)
    real = ~matches.truth_ignored[0]
    kind = np.full(len(matches.record), -1, dtype=np.int64)
    meant = np.full(len(matches.record), -1, dtype=np.int64)
    false = counted & (right < 0)
    for image in np.unique(matches.image[false]).tolist():
        here = np.flatnonzero(false & (matches.image == image))
        there = np.flatnonzero(real & (matches.truth_image == image))
        overlaps = masks.iou(
            [predictions[n]["segmentation"] for n in matches.record[here]],
            [truths[n]["segmentation"] for n in matches.truth_record[there]],
            [False] * len(there),
        )
        kind[here], best = _types(overlaps, matches.category[here][:, None] == matches.truth_category[there])
        meant[here] = np.where(best >= 0, np.append(there, -1)[best], -1)
    missed = real.copy()
    missed[right[right >= 0]] = missed[meant[meant >= 0]] = False
    return ErrorTypes(kind, meant, right, missed)


def _types(overlaps: FloatArray, same: BoolArray) -> tuple[IntArray, IntArray]:
    """The type of each false detection of an image, and the instance it was about (-1 for none).

    Args:
        overlaps: (D, G) IoU.
        same: (D, G) whether the categories are the same.
    """
    if not overlaps.shape[1]:
        return np.full(len(overlaps), _BACKGROUND), np.full(len(overlaps), -1)
    own, other = np.where(same, overlaps, 0.0), np.where(same, 0.0, overlaps)
    most_own, most_other = own.max(axis=1), other.max(axis=1)
    tests = {
        _LOCATION: (most_own >= BACKGROUND) & (most_own < FOREGROUND),
        _CATEGORY: most_other >= FOREGROUND,
        _DUPLICATE: most_own >= FOREGROUND,
        _BACKGROUND: np.maximum(most_own, most_other) <= BACKGROUND,
    }
    kind = np.select(list(tests.values()), list(tests), _BOTH)
    meant = np.select([kind == _LOCATION, kind == _CATEGORY], [own.argmax(axis=1), other.argmax(axis=1)], -1)
    return kind, meant
