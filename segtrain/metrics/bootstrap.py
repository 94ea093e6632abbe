"""Bootstrap over images: resamples, confidence intervals, p of paired differences, Holm correction.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993); Davison and Hinkley, Bootstrap Methods and their
Application (1997), section 4.4, for p; Holm, A simple sequentially rejective multiple test procedure (1979).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan

import numpy as np

from segtrain.arrays import FloatArray, IntArray

LEVEL = 0.95
CLEAR = 0.05  # a p below it: the data can tell


@dataclass(frozen=True)
class Difference:
    """A paired difference of two methods; nan where undefined.

    Attributes:
        difference: on the data themselves.
        low: lower end of its 95 % interval.
        high: upper end.
        p: two-sided, of the two being equal.
        least_p: the least that p can be with so many resamples.
    """

    difference: float
    low: float
    high: float
    p: float
    least_p: float


def draw_images(images: int, resamples: int, seed: int) -> IntArray:
    """Draw as many images as there are, with replacement, again and again.

    Returns:
        (resamples, images) how often each image was drawn; all methods are to be given the same.
    """
    if not images:
        return np.zeros((resamples, 0), dtype=np.int64)
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)


def interval(number: float, resampled: FloatArray) -> tuple[float, float]:
    """The 95 % percentile interval of a number.

    Resamples in which the number is undefined, because none of their images has such an object, are left out. There is
    no interval where the number itself is undefined or more than half of the resamples are.

    Args:
        number: on the data themselves.
        resampled: (B,) the same number on each resample; nan where undefined.
    """
    defined = resampled[~np.isnan(resampled)]
    if isnan(number) or 2 * len(defined) < max(len(resampled), 1):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def paired_difference(
    first: float, second: float, resampled_first: FloatArray, resampled_second: FloatArray
) -> Difference:
    """First minus second, on the same resamples of the same images.

    p is the share of resamples whose difference lies at least as far from the observed one as that lies from zero:
    (1 + #) / (B + 1), so it is never 0.

    Args:
        first: on the data themselves.
        second: likewise.
        resampled_first: (B,) on each resample; nan where undefined. Such resamples are left out.
        resampled_second: likewise, on the same resamples.
    """
    difference, resampled = first - second, resampled_first - resampled_second
    low, high = interval(difference, resampled)
    if isnan(low):
        return Difference(difference, low, high, float("nan"), float("nan"))
    defined = resampled[~np.isnan(resampled)]
    # Rounding must not decide between a difference of nothing and one of nothing at all.
    further = np.abs(defined - difference) >= abs(difference) - 1e-12
    least = 1 / (len(defined) + 1)
    return Difference(difference, low, high, float((1 + further.sum()) / (len(defined) + 1)), least)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Correct several p for their number, so that one wrong claim among all is no likelier than the level.

    Args:
        p: by name; nan stays nan and does not count.
    """
    corrected = dict(p)
    largest = 0.0
    tested = sorted((value, name) for name, value in p.items() if not isnan(value))
    for left, (value, name) in zip(range(len(tested), 0, -1), tested, strict=True):
        largest = max(largest, min(1.0, left * value))
        corrected[name] = largest
    return corrected
