"""Bootstrap over images: resamples, confidence intervals, p of paired differences, Holm correction.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993); Davison and Hinkley, Bootstrap Methods and their
Application (1997), section 4.4, for p; Holm, A simple sequentially rejective multiple test procedure (1979).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan

import numpy as np

from segtrain.arrays import CountArray, FloatArray

LEVEL = 0.95
CLEAR = 0.05  # level of significance: a difference is clear if its p is below


@dataclass(frozen=True)
class Difference:
    """A paired difference of two methods; nan where undefined.

    Attributes:
        difference: difference on the original images.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        p: two-sided p value of the hypothesis that both methods are equal.
        least_p: smallest p value that this number of resamples can give.
    """

    difference: float
    low: float
    high: float
    p: float
    least_p: float


def draw_images(images: int, resamples: int, seed: int) -> CountArray:
    """Draw bootstrap resamples of the images: as many images as there are, with replacement.

    Args:
        images: number of images.
        resamples: number of resamples.
        seed: seed of the random numbers; the same for all methods of a comparison, so that their resamples are paired.

    Returns:
        (resamples, images) number of times that each image is drawn; every row sums to ``images``.

    >>> draw_images(5, 1000, seed=0).sum(axis=1).tolist() == [5] * 1000
    True
    """
    random = np.random.default_rng(seed)
    # A narrow type, as the table is large; an image can be drawn as often as there are images.
    draws = np.empty((resamples, images), dtype=np.result_type(np.int16, np.min_scalar_type(-1 - images)))
    if images:
        chances = np.full(images, 1 / images)
        for row in draws:
            row[:] = random.multinomial(images, chances)
    return draws


def interval(number: float, resampled: FloatArray) -> tuple[float, float]:
    """Compute the 95 % percentile interval of a statistic.

    Resamples in which the statistic is undefined, because none of their images has such an object, are left out. The
    interval is nan where the statistic itself is undefined, or is so in more than half of the resamples.

    Args:
        number: statistic on the original images; nan where undefined.
        resampled: (B,) statistic on each resample; nan where undefined.

    Source: Efron and Tibshirani (1993), section 13.3.

    >>> low, high = interval(0.5, np.linspace(0, 1, 1001))
    >>> round(low, 3), round(high, 3)
    (0.025, 0.975)
    """
    defined = resampled[~np.isnan(resampled)]
    if isnan(number) or 2 * len(defined) < max(len(resampled), 1):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def paired_difference(
    first: float, second: float, resampled_first: FloatArray, resampled_second: FloatArray
) -> Difference:
    """Compute the difference of two methods, first minus second, with its interval and p value.

    p is (1 + n) / (B + 1) with n the number of resamples whose difference lies at least as far from the observed one as
    that lies from zero; so it is never 0.

    Args:
        first: statistic of the first method on the original images.
        second: statistic of the second method on the original images.
        resampled_first: (B,) statistic of the first method on each resample; nan where undefined. Such resamples are
            left out.
        resampled_second: (B,) statistic of the second method on the same resamples.

    Source: Davison and Hinkley (1997), section 4.4.

    >>> noise = np.random.default_rng(0).normal(0, 0.1, 999)
    >>> paired_difference(0.9, 0.5, 0.9 + noise, np.full(999, 0.5)).p
    0.001
    """
    difference, resampled = first - second, resampled_first - resampled_second
    low, high = interval(difference, resampled)
    if isnan(low):
        return Difference(difference, low, high, float("nan"), float("nan"))
    defined = resampled[~np.isnan(resampled)]
    # The tolerance keeps rounding errors from deciding whether two equal distances differ.
    further = np.abs(defined - difference) >= abs(difference) - 1e-12
    least = 1 / (len(defined) + 1)
    return Difference(difference, low, high, float((1 + further.sum()) / (len(defined) + 1)), least)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Correct p values for their number by Holm's method, which controls the family-wise error rate.

    Args:
        p: p values by name; nan stays nan and does not count.

    Source: Holm (1979).

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    corrected = dict(p)
    largest = 0.0
    tested = sorted((value, name) for name, value in p.items() if not isnan(value))
    for left, (value, name) in zip(range(len(tested), 0, -1), tested, strict=True):
        largest = max(largest, min(1.0, left * value))
        corrected[name] = largest
    return corrected
