"""NumPy array types, and operations on arrays that NumPy lacks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
CountArray = npt.NDArray[np.signedinteger[Any]]  # of a type as narrow as the counts allow
RgbArray = npt.NDArray[np.uint8]  # (H, W, 3)


def mean_of_defined(values: FloatArray) -> FloatArray:
    """Average the values that are not nan over the last axis; nan without any.

    >>> mean_of_defined(np.array([[0.5, np.nan, 1.0], [np.nan, np.nan, np.nan]]))
    array([0.75,  nan])
    """
    number = (~np.isnan(values)).sum(axis=-1)
    total = np.nansum(values, axis=-1)
    mean: FloatArray = np.divide(total, number, out=np.full(number.shape, np.nan), where=number > 0)
    return mean


def rank_in_group(group: IntArray) -> IntArray:
    """Count the preceding entries of the same group, (N,).

    Args:
        group: (N,) group of each entry, a number from 0 on.

    >>> rank_in_group(np.array([7, 2, 7, 7])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    rank = np.zeros(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))
    return rank


def blocks(counts: IntArray, most: int) -> Iterator[slice]:
    """Divide counts into slices of about equal sums.

    Args:
        counts: (N,) counts, at least 0.
        most: about the sum of each slice, if no count is higher.

    >>> list(blocks(np.array([2, 2, 1, 9, 1]), 4))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    total = np.cumsum(counts)
    limits = np.arange(most, counts.sum() + most, most)
    start = 0
    for stop in np.minimum(np.searchsorted(total, limits) + 1, len(counts)).tolist():
        if stop > start:
            yield slice(start, stop)
        start = max(start, stop)
    if start < len(counts):
        yield slice(start, len(counts))
