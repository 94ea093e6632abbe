"""NumPy array types, and operations on arrays that NumPy lacks."""

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
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
