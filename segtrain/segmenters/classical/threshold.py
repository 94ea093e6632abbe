"""Threshold segmentation: functions from RGB to a label map."""

import numpy as np
from skimage import filters

from segtrain.arrays import BoolArray, Float32Array
from segtrain.segmenters.classical.postprocess import FILLED_WATERSHED, WATERSHED, MaskPostprocessing
from segtrain.segmenters.classical.regions import (
    ImageArray,
    LabelMap,
    Polarity,
    above_mean,
    components,
    grey_of,
    objects_among,
    smoothed,
)
from segtrain.segmenters.classical.shared_steps import shared_step
from segtrain.values import Fraction, NonNegativeFloat


def mean(image: ImageArray) -> LabelMap:
    """Label the components whose grey is above the mean grey of the image.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].

    >>> image = np.zeros((4, 8, 3), np.float32)
    >>> image[1:3, 1:3] = image[1:3, 5:7] = 1.0
    >>> int(mean(image).max())
    2
    """
    return components(above_mean(grey_of(image)))


def multi(image: ImageArray, *, low: Fraction = 0.25, high: Fraction = 0.5) -> LabelMap:
    """Label the components of equal level, for levels 1 to 3.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].
        low: lower threshold; see ``levels``.
        high: upper threshold; see ``levels``.

    >>> image = np.full((1, 5, 3), 0.2, np.float32) * np.arange(5, dtype=np.float32)[:, None]
    >>> multi(image, low=0.1, high=0.3).tolist()  # grey 0, .2, .4, .6, .8
    [[0, 1, 2, 3, 3]]
    """
    return components(levels(grey_of(image), low=low, high=high))


def levels(grey: Float32Array, *, low: float, high: float) -> LabelMap:
    """Divide grey into levels: 3 above the mean, else 2 above ``high``, else 1 above ``low``, else 0.

    The rules apply in this order, so a level may be empty.

    Args:
        grey: (H, W) in [0, 1].
        low: threshold of level 1, in [0, 1].
        high: threshold of level 2, in [0, 1].

    >>> levels(np.array([[0.0, 0.2, 0.4, 0.9]], np.float32), low=0.1, high=0.3).tolist()
    [[0, 1, 3, 3]]
    """
    level = np.zeros(grey.shape, dtype=np.uint8)
    for number, above in enumerate((grey > low, grey > high, above_mean(grey)), start=1):
        level[above] = number
    return level


def otsu(
    image: ImageArray,
    *,
    denoise: NonNegativeFloat = 0.5,
    offset: float = 0.0,
    polarity: Polarity = "border",
    finish: MaskPostprocessing = WATERSHED,
) -> LabelMap:
    """Segment by Otsu's threshold, with a rule for the polarity of objects.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].
        denoise: sigma in pixels of a Gaussian over the grey image; 0 for none.
        offset: distance by which objects must exceed the threshold, away from the background, as a share of the grey
            image's range.
        polarity: rule that finds the objects; see ``regions.objects_among``.
        finish: postprocessing of the mask, such as the separation of touching objects.

    Source: Otsu, A Threshold Selection Method from Gray-Level Histograms (1979).

    >>> image = np.ones((4, 8, 3), np.float32)
    >>> image[1:3, 1:3] = image[1:3, 5:7] = 0.0  # dark objects
    >>> int(otsu(image).max())
    2
    """
    return finish(_otsu_objects(smoothed(grey_of(image), denoise), offset, polarity))


@shared_step
def _otsu_objects(grey: Float32Array, offset: float, polarity: Polarity) -> BoolArray:
    level, shift = filters.threshold_otsu(grey), offset * np.ptp(grey)
    bright = grey > level
    objects = objects_among(bright.astype(np.uint8), grey, polarity)
    if objects.any():
        objects = grey > level + shift if (objects & bright).any() else grey <= level - shift
    return objects


def local(
    image: ImageArray,
    *,
    denoise: NonNegativeFloat = 0.5,
    window: NonNegativeFloat = 20.0,
    offset: float = 0.04,
    polarity: Polarity = "border",
    finish: MaskPostprocessing = FILLED_WATERSHED,
) -> LabelMap:
    """Segment by a local threshold: the Gaussian mean around each pixel, plus an offset.

    The threshold adapts to uneven illumination. Otsu's threshold and the polarity rule decide if objects are dark; the
    grey image is then inverted.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].
        denoise: sigma in pixels of a Gaussian over the grey image; 0 for none.
        window: sigma in pixels of the Gaussian mean; objects should be smaller.
        offset: distance by which objects must exceed the local mean, as a share of the grey image's range.
        polarity: rule that finds the objects; see ``regions.objects_among``.
        finish: postprocessing of the mask, such as the separation of touching objects.

    >>> image = np.zeros((20, 40, 3), np.float32) + np.linspace(0, 0.5, 40, dtype=np.float32)[:, None]
    >>> image[8:12, 8:12] += 0.2  # darker than the background on the right
    >>> image[8:12, 28:32] += 0.2
    >>> int(local(image, window=8, offset=0.2).max())
    2
    """
    grey = _with_bright_objects(smoothed(grey_of(image), denoise), polarity)
    return finish(_above_surroundings(grey, window, offset))


@shared_step
def _above_surroundings(grey: Float32Array, window: float, offset: float) -> BoolArray:
    """Find the pixels that exceed their surroundings by a share of the range of grey."""
    above: BoolArray = grey > smoothed(grey, window) + offset * np.ptp(grey)
    return above


@shared_step
def _with_bright_objects(grey: Float32Array, polarity: Polarity) -> Float32Array:
    """Invert a grey image whose objects are dark."""
    bright = grey > filters.threshold_otsu(grey)
    dark = (objects_among(bright.astype(np.uint8), grey, polarity) & ~bright).any()
    return -grey if dark else grey
