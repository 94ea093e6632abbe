"""Conversion of samples of any type to 8-bit RGB: the meaning of an intensity."""

import numpy as np
import numpy.typing as npt

from segtrain.arrays import RgbArray
from segtrain.data.images.samples import Samples


def to_rgb(samples: Samples) -> RgbArray:
    """Convert samples to 8-bit RGB.

    Grey becomes three equal channels. Integers of more than 8 bits are divided by 257 (65535 becomes 255), whatever
    range the image uses. The range of floating-point samples is assumed to be from 0 to the smallest of 1, 255 and
    65535 that is not below their maximum.

    Args:
        samples: samples of an image.

    Returns:
        (H, W, 3) uint8, writable.

    >>> import numpy as np
    >>> to_rgb(Samples(np.array([[0, 257, 65535]], dtype=np.uint16), (0, 65535)))[0].tolist()
    [[0, 0, 0], [1, 1, 1], [255, 255, 255]]
    """
    array = samples.array
    scaled = array.astype(np.uint8) if array.dtype == np.uint8 else _scale(array)
    if scaled.ndim == 3:
        return scaled
    rgb = np.empty((*scaled.shape, 3), dtype=np.uint8)
    for channel in range(3):  # several times faster than to broadcast into an axis of three
        rgb[:, :, channel] = scaled
    return rgb


def _scale(array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Scale samples of more than 8 bits to 0..255."""
    values = np.nan_to_num(array.astype(np.float64))
    full = 65535.0
    if np.issubdtype(array.dtype, np.floating):
        full = next((limit for limit in (1.0, 255.0) if values.max(initial=0) <= limit), full)
    return np.clip(np.rint(values * (255.0 / full)), 0, 255).astype(np.uint8)
