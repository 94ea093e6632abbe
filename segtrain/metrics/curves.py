"""The area under many precision-recall curves at once, as COCO takes it: ``pycocotools.cocoeval.accumulate``."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CountArray = npt.NDArray[np.int32]

RECALLS: FloatArray = np.linspace(0.0, 1.0, 101)


def area_under(hits: CountArray, misses: CountArray | FloatArray, truths: IntArray) -> tuple[IntArray, FloatArray]:
    """Hits in all, and the mean over all recalls of the largest precision at that recall or a higher one.

    Args:
        hits: (R, B) detections of each run that are right; changed.
        misses: (R, B) detections before them, since the last run, that are wrong, or what they count; changed.
        truths: (B,).
    """
    if not len(hits):
        return np.zeros(len(truths), dtype=np.int64), np.zeros(len(truths))
    for counts in (hits, misses):
        for before, row in pairwise(counts):
            row += before
    precision = hits / np.maximum(hits + misses, 1)
    for after, row in pairwise(precision[::-1]):
        np.maximum(after, row, out=row)
    reached = reached_recalls(hits / np.maximum(truths, 1))
    reached[1:] -= reached[:-1].copy()
    return hits[-1].astype(np.int64), np.einsum("rb,rb->b", reached, precision) / len(RECALLS)


def reached_recalls(recall: FloatArray) -> IntArray:
    """How many of the recalls 0, .01, ..., 1 do not lie above each of these, as floating point compares them."""
    # The hundredths are not exact, and a recall of one of them may fall on either side; all others are far from one.
    nearest = (recall * 100 + 1e-9).astype(np.int64)
    return nearest + (RECALLS[nearest] <= recall)
