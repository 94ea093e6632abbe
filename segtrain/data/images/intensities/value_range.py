"""Ranges of the values of images, and the range by which a set of images is read."""

from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt

from segtrain.arrays import BoolArray
from segtrain.data.images.intensities.intensity import UNIT, Range, any_channel, blank_pixels, fill_values
from segtrain.data.images.samples import Samples
from segtrain.values import IntensityRule

_DEPTHS = (8, 10, 12, 14, 16)  # bits per sample of cameras and file formats
# Samples of an image beyond these shares of either end do not widen the range: hot and dead pixels, dust, padding.
# Those of the objects are cut as nnU-Net cuts them (Isensee et al., Nature Methods 2021): an object may be small.
_CUT, _CUT_OF_OBJECTS = 0.001, 0.005
_CUT_OF_IMAGES = 0.05  # images whose ends lie farther out than those of all others
_FAR = 10  # times the range of all other samples, beyond which one frequent value is no measurement
_SEVERAL = 16  # least number of different values of an image that is measured rather than drawn
_MEASURED = 2**20  # samples of an image from which its ends are estimated
_MIXED = 0.1  # share of the images with another scale, from which it is an error
_OTHER_SCALE = 100  # ratio of scales that exposure cannot explain, unlike 255 or 65535 in place of 1

_NO_SPAN = 1e-300  # 255 divided by less is no number
_SIGNED_UNIT = Range(-1.0, 1.0)
_EVERYWHERE = Range(-np.inf, np.inf)


def measure(samples: Samples, objects: BoolArray | None = None) -> Range | None:
    """Measure the range of the values of an image.

    The lowest and the highest 0.1 % of its samples are left out, at least one of each. The range is then widened to
    the samples of the objects, without 0.5 % at either end. Pixels without data are left out. So is a usual fill value
    that is farther from all other samples than their range, and any other value of many pixels, most of them outside of
    objects, that is ten times as far away.

    Args:
        samples: samples of an image.
        objects: (H, W), true for pixels of labelled objects; None if there are none.

    Returns:
        The two ends, which may be equal; None if no pixel holds data.

    >>> grey = np.full((10, 10), 200, np.uint16)
    >>> grey[3:6, 3:6], grey[0, 0] = 368, 65535  # an object, and a hot pixel
    >>> measure(Samples(grey, (0, 65535)))
    Range(low=200.0, high=368.0)
    """
    blank = blank_pixels(samples, _EVERYWHERE)
    known = np.ones(samples.array.shape[:2], np.bool_) if blank is None else ~blank
    for value in fill_values(samples.array.dtype):
        known = _without_fill(samples.array, known, value, 1)
    known = _without_unknown_fill(samples.array, known, objects)
    parts = [_ends(samples.array[known], _CUT)]
    if objects is not None:
        parts.append(_ends(samples.array[known & objects], _CUT_OF_OBJECTS))
    found = [part for part in parts if part is not None]
    return Range(min(part.low for part in found), max(part.high for part in found)) if found else None


def _without_unknown_fill(array: npt.NDArray[np.generic], known: BoolArray, objects: BoolArray | None) -> BoolArray:
    """Leave out a frequent value far above or below all others, unless it is that of objects."""
    if not known.any():
        return known
    for value in (array[known].min(), array[known].max()):
        pixels = any_channel(array == value) & known
        count = int(pixels.sum())
        of_objects = 0 if objects is None else int((pixels & objects).sum())
        if count >= max(2, _CUT * known.sum()) and 2 * of_objects < count:
            rest = _without_fill(array, known, float(value), _FAR)
            known = rest if len(np.unique(array[rest])) >= _SEVERAL else known  # drawings have few values
    return known


def _without_fill(array: npt.NDArray[np.generic], known: BoolArray, value: float, times: float) -> BoolArray:
    """Leave out the pixels of a value that lies farther from all others than some times their range."""
    filled = known & any_channel(array == value)
    if not filled.any() or not (rest := known & ~filled).any():
        return known
    others = array[rest]
    low, high = float(others.min()), float(others.max())
    return rest if max(low - value, value - high) > times * (high - low) else known


def _ends(values: npt.NDArray[np.generic], cut: float) -> Range | None:
    """Return the ends of values without a share at either end, rounded up to whole values."""
    flat = values.ravel()
    flat = flat[:: max(1, flat.size // _MEASURED)]
    if not flat.size:
        return None
    last = flat.size - 1
    left_out = min(ceil(cut * last), last // 2)
    ordered = np.partition(flat, (left_out, last - left_out))
    return Range(float(ordered[left_out]), float(ordered[last - left_out]))


def choose_range(measured: Sequence[Range], limits: tuple[int, int] | None, rule: IntensityRule) -> Range:
    """Choose the range of a type of samples from images of it.

    The range from the lowest to the highest value is taken, without the 5 % of the images that reach farthest at either
    end. The rule "auto" replaces it by the narrowest standard range that contains it, if it covers more than half of
    that.

    Args:
        measured: ends of each image; see `measure`.
        limits: least and greatest value that the bits of a sample can hold; None for floating-point samples.
        rule: "auto" or "percentile".

    >>> choose_range([Range(200, 368)], (0, 65535), "auto"), choose_range([Range(90, 3900)], (0, 65535), "auto")
    (Range(low=200.0, high=368.0), Range(low=0.0, high=4095.0))
    """
    low = float(np.quantile([one.low for one in measured], _CUT_OF_IMAGES, method="lower"))
    high = float(np.quantile([one.high for one in measured], 1 - _CUT_OF_IMAGES, method="higher"))
    ends = Range(low, high)
    standard = standard_range(ends, limits) if rule == "auto" else None
    if standard is not None:
        return standard
    return ends if ends.span > _NO_SPAN else Range(low, low + max(1.0, abs(low) * 1e-9))


def standard_range(ends: Range, limits: tuple[int, int] | None) -> Range | None:
    """Find the narrowest standard range that contains some values, if they cover more than half of it; else None.

    Standard ranges are 0 to the greatest value of 8, 10, 12, 14 or 16 bits, the full range of the type, and for
    floating-point samples 0 to 1 and -1 to 1. Of a range with negative values, both halves must be covered by more than
    a half.

    Args:
        ends: least and greatest value.
        limits: least and greatest value that the bits of a sample can hold; None for floating-point samples.

    >>> standard_range(Range(0, 0.8), None), standard_range(Range(-1000, 1600), (-32768, 32767))
    (Range(low=0.0, high=1.0), None)
    """
    ranges = [Range(0.0, float(2**bits - 1)) for bits in _DEPTHS]
    if limits is None:
        ranges = [UNIT, _SIGNED_UNIT, *ranges]
    else:
        own = Range(float(limits[0]), float(limits[1]))
        ranges = [*(one for one in ranges if one.high < own.high), own]
    for one in ranges:
        if one.low <= ends.low and ends.high <= one.high:
            halves = ends.high > one.high / 2 and (one.low == 0 or ends.low < one.low / 2)
            return one if halves and 2 * ends.span > one.span else None
    return None


def mixed_scales(measured: Sequence[Range]) -> list[tuple[Range, int]]:
    """Find floating-point images of different scales, such as some from 0 to 1 and some from 0 to 255.

    Args:
        measured: ends of each image.

    Returns:
        The standard ranges that a tenth of the images or more use, with their numbers; none if all use the same.
    """
    counts: dict[Range, int] = {}
    for ends in measured:
        if (own := standard_range(ends, None)) is not None:
            counts[own] = counts.get(own, 0) + 1
    frequent = [(own, count) for own, count in sorted(counts.items()) if count >= _MIXED * len(measured)]
    highs = [own.high for own, _ in frequent]
    return frequent if frequent and max(highs) > _OTHER_SCALE * min(highs) else []
