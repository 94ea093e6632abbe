"""Learning curves: a power law of the score over the number of training images, with its uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segtrain.arrays import FloatArray

# Exponents of learning curves lie within (Hestness et al., Deep Learning Scaling is Predictable, Empirically, 2017: .07
# to .35 for the error; small data sets have steeper ones).
_EXPONENTS = np.geomspace(0.05, 2.0, 40)
_DRAWS = 1000  # curves of each exponent
_MOST_DEVIATION = 0.04  # root mean square, of the scores from the curve; beyond it they do not follow the law
# Standard deviation of the score of runs with other seeds, which counts as so many runs: few may agree by chance.
_USUAL_NOISE, _USUAL_WEIGHT = 0.01, 3.0
MARGIN = 0.95  # probability of an interval


class Estimate(NamedTuple):
    """Median and ends of the 95 % interval of a quantity."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Power laws ceiling - (ceiling - start) * (n / smallest) ** -exponent that agree with the scores of runs.

    Attributes:
        smallest: smallest number of images n of the runs.
        largest: largest one.
        ceiling: (S,) score that is approached with ever more images, at most 1.
        start: (S,) score at `smallest`, from 0 to `ceiling`.
        exponent: (S,) rate of the approach.
        weights: (S,) probability of each law, with the sum 1.
    """

    smallest: float
    largest: float
    ceiling: FloatArray
    start: FloatArray
    exponent: FloatArray
    weights: FloatArray

    def at(self, images: float) -> FloatArray:
        """Return the score of each law at a number of images, (S,)."""
        return self.ceiling - (self.ceiling - self.start) * (images / self.smallest) ** -self.exponent

    def estimate(self, values: FloatArray) -> Estimate:
        """Summarise a quantity of each law, (S,), which may be infinite."""
        order = np.argsort(values)
        reached = np.cumsum(self.weights[order])
        tail = (1 - MARGIN) / 2
        places = np.searchsorted(reached, [0.5, tail, 1 - tail]).clip(max=len(values) - 1)
        return Estimate(*values[order][places].tolist())

    def gain(self, factor: float) -> Estimate:
        """Estimate by how much the score rises from the largest number of images to a multiple of it."""
        return self.estimate(self.at(factor * self.largest) - self.at(self.largest))

    def images_for(self, score: float) -> FloatArray:
        """Return the number of images from which each law reaches a score, (S,); infinite if it never does."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            left = (self.ceiling - score) / (self.ceiling - self.start)
            images: FloatArray = self.smallest * left ** (-1 / self.exponent)
        return np.where(self.start >= score, self.smallest, np.where(self.ceiling > score, images, np.inf))

    def probability(self, holds: npt.NDArray[np.bool_]) -> float:
        """Return the probability that something holds, given the laws of which it does, (S,)."""
        return float(self.weights[holds].sum())


def fit_learning_curve(images: Sequence[float], scores: Sequence[float]) -> LearningCurve | None:
    """Fit a power law to the scores of training runs on different numbers of images.

    For each of 40 exponents from 0.05 to 2 the law is linear in its other two parameters, whose posterior under flat
    priors is a bivariate t distribution (Gelman et al., Bayesian Data Analysis, chapter 14), cut off where the curve
    would fall, or leave [0, 1]. The noise of a run is estimated from the runs, together with a usual deviation of 0.01
    that counts as much as three of them.

    Args:
        images: number of training images of each run; at least three different ones.
        scores: score of each run, in [0, 1].

    Returns:
        None if there are fewer than three numbers of images, or the scores do not follow such a law.

    >>> curve = fit_learning_curve([50, 100, 200, 400], [0.4, 0.5, 0.57, 0.62])
    >>> [round(value, 2) for value in curve.gain(2)]
    [0.04, 0.02, 0.05]
    """
    size, score = np.asarray(images, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if len(np.unique(size)) < 3:
        return None
    degrees = len(size) + _USUAL_WEIGHT - 2
    random = np.random.default_rng(0)
    drawn = random.standard_normal((_DRAWS, 2)) / np.sqrt(random.chisquare(degrees, _DRAWS) / degrees)[:, None]
    found, weights = [], []
    for exponent in _EXPONENTS:
        left = (size / size.min()) ** -exponent
        design = np.stack([1 - left, left], axis=1)  # factors of ceiling and start
        best, *_ = np.linalg.lstsq(design, score, rcond=None)
        residual = float(((score - design @ best) ** 2).sum()) + _USUAL_WEIGHT * _USUAL_NOISE**2
        precision = design.T @ design
        root = np.linalg.cholesky(np.linalg.inv(precision) * residual / degrees)
        found.append(best + drawn @ root.T)
        weights.append(-0.5 * np.linalg.slogdet(precision)[1] - 0.5 * degrees * np.log(residual))
    ceiling, start = np.concatenate(found).T
    exponent = np.repeat(_EXPONENTS, _DRAWS)
    weight = np.repeat(np.exp(np.array(weights) - max(weights)), _DRAWS)
    rises = (start >= 0) & (start <= ceiling) & (ceiling <= 1)
    if not rises.any():
        return None
    likely = weight[rises] / weight[rises].sum()
    curve = LearningCurve(float(size.min()), float(size.max()), ceiling[rises], start[rises], exponent[rises], likely)
    fitted = np.array([curve.weights @ curve.at(number) for number in size])
    return curve if np.sqrt(np.mean((score - fitted) ** 2)) <= _MOST_DEVIATION else None
