"""Segmentation by grey thresholds: pure functions from RGB to a label map."""

import numpy as np
from scipy import ndimage
from skimage import filters

from segtrain.segmenters.regions import (
    FloatArray,
    LabelMap,
    above_mean,
    components,
    foreground,
    luminance,
    split_touching,
)


def mean(rgb: FloatArray) -> LabelMap:
    """Objects are the components of grey > the image's mean grey.

    Args:
        rgb: (H, W, 3) in [0, 1].
    """
    return components(above_mean(luminance(rgb)))


def multi(rgb: FloatArray, *, low: float, high: float) -> LabelMap:
    """Objects are the components of levels 1 to 3.

    Args:
        rgb: (H, W, 3) in [0, 1].
        low: see ``levels``.
        high: see ``levels``.
    """
    return components(levels(luminance(rgb), low=low, high=high))


def levels(grey: FloatArray, *, low: float, high: float) -> LabelMap:
    """Level 3 where grey > its mean, else 2 where > ``high``, else 1 where > ``low``, else 0.

    In this order, so that a level may be empty.

    Args:
        grey: (H, W) in [0, 1].
        low: grey in [0, 1].
        high: grey in [0, 1].
    """
    level: LabelMap = np.select([above_mean(grey), grey > high, grey > low], [3, 2, 1], 0)
    return level


def otsu(rgb: FloatArray, *, denoise: float, smoothing: float, min_distance: int) -> LabelMap:
    """Otsu's threshold (1979), the border rule for the polarity, watershed for touching objects.

    Args:
        rgb: (H, W, 3) in [0, 1].
        denoise: sigma in pixels of a Gaussian over the grey image; 0 for none.
        smoothing: see ``regions.split_touching``.
        min_distance: see ``regions.split_touching``.
    """
    grey = ndimage.gaussian_filter(luminance(rgb), denoise)
    objects = foreground((grey > filters.threshold_otsu(grey)).astype(np.int64))
    return split_touching(objects, smoothing=smoothing, min_distance=min_distance)


def local(
    rgb: FloatArray, *, denoise: float, window: float, offset: float, smoothing: float, min_distance: int
) -> LabelMap:
    """A threshold that follows uneven light: the Gaussian mean around each pixel, plus an offset.

    Otsu's threshold and the border rule say whether objects are bright or dark; dark ones are inverted first.

    Args:
        rgb: (H, W, 3) in [0, 1].
        denoise: sigma in pixels of a Gaussian over the grey image; 0 for none.
        window: sigma in pixels of the mean; objects should be smaller than it.
        offset: how far above the local mean an object is, in units of the grey image's range.
        smoothing: see ``regions.split_touching``.
        min_distance: see ``regions.split_touching``.
    """
    grey = ndimage.gaussian_filter(luminance(rgb), denoise)
    bright = grey > filters.threshold_otsu(grey)
    if (foreground(bright.astype(np.int64)) & ~bright).any():
        grey = -grey
    objects = grey > ndimage.gaussian_filter(grey, window) + offset * np.ptp(grey)
    return split_touching(ndimage.binary_fill_holes(objects), smoothing=smoothing, min_distance=min_distance)
