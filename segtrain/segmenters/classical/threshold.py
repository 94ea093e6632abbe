"""Thresholds: pure functions from RGB to a label map."""

import numpy as np
from scipy import ndimage
from skimage import filters

from segtrain.segmenters.classical.postprocess import MaskPostprocessing
from segtrain.segmenters.classical.regions import (
    FloatArray,
    LabelMap,
    Polarity,
    above_mean,
    components,
    luminance,
    objects_among,
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


def otsu(rgb: FloatArray, *, denoise: float, offset: float, polarity: Polarity, finish: MaskPostprocessing) -> LabelMap:
    """Otsu's threshold (1979), a rule for the polarity, watershed for touching objects.

    Args:
        rgb: (H, W, 3) in [0, 1].
        denoise: sigma in pixels of a Gaussian over the grey image; 0 for none.
        offset: how much further than the threshold from the background an object is, in units of the grey image's
            range.
        polarity: see ``regions.objects_among``.
        finish: what takes the objects apart.
    """
    grey = ndimage.gaussian_filter(luminance(rgb), denoise)
    level, shift = filters.threshold_otsu(grey), offset * np.ptp(grey)
    bright = grey > level
    objects = objects_among(bright.astype(np.int64), grey, polarity)
    if objects.any():
        objects = grey > level + shift if (objects & bright).any() else grey <= level - shift
    return finish(objects)


def local(
    rgb: FloatArray, *, denoise: float, window: float, offset: float, polarity: Polarity, finish: MaskPostprocessing
) -> LabelMap:
    """A threshold that follows uneven light: the Gaussian mean around each pixel, plus an offset.

    Otsu's threshold and the polarity rule say whether objects are bright or dark; dark ones are inverted first.

    Args:
        rgb: (H, W, 3) in [0, 1].
        denoise: sigma in pixels of a Gaussian over the grey image; 0 for none.
        window: sigma in pixels of the mean; objects should be smaller than it.
        offset: how far above the local mean an object is, in units of the grey image's range.
        polarity: see ``regions.objects_among``.
        finish: what takes the objects apart.
    """
    grey = ndimage.gaussian_filter(luminance(rgb), denoise)
    bright = grey > filters.threshold_otsu(grey)
    if (objects_among(bright.astype(np.int64), grey, polarity) & ~bright).any():
        grey = -grey
    return finish(grey > ndimage.gaussian_filter(grey, window) + offset * np.ptp(grey))
