"""NumPy array types, and a mean that leaves out undefined values."""

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
