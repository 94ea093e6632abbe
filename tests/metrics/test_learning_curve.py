"""Learning curves: the law is found again, intervals cover the truth, and what is no such law is refused."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from segtrain.metrics.learning_curve import fit_learning_curve

SIZES = np.array([44.0, 110, 220, 441])


def law(images: np.ndarray, ceiling: float, start: float, exponent: float) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(ceiling - (ceiling - start) * (images / 44) ** -exponent)


def test_runs_that_agree_give_the_curve_of_least_squares() -> None:
    truth = (0.65, 0.35, 0.6)
    random = np.random.default_rng(0)
    sizes = np.repeat(SIZES, 6)
    scores = law(sizes, *truth) + random.normal(0, 0.004, len(sizes))
    curve = fit_learning_curve(sizes, scores)
    assert curve is not None
    fitted, _ = curve_fit(law, sizes, scores, p0=truth)
    for images in (44, 150, 441, 882):
        expected = law(np.array(images), *fitted)
        assert curve.estimate(curve.at(images)).median == pytest.approx(expected, abs=0.003)
    needed = curve.estimate(curve.images_for(0.5))
    assert needed.median == pytest.approx(
        44 * ((fitted[0] - 0.5) / (fitted[0] - fitted[1])) ** (-1 / fitted[2]), rel=0.03
    )
    assert curve.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize(("seeds", "noise"), [(1, 0.01), (2, 0.01), (2, 0.02)])
def test_intervals_cover_the_truth(seeds: int, noise: float) -> None:
    random = np.random.default_rng(1)
    sizes, held = np.repeat(SIZES, seeds), []
    for _ in range(60):
        ceiling, exponent = random.uniform(0.4, 0.9), np.exp(random.uniform(np.log(0.1), np.log(1.5)))
        truth = ceiling, random.uniform(0.1, 0.8) * ceiling, exponent
        curve = fit_learning_curve(sizes, law(sizes, *truth) + random.normal(0, noise, len(sizes)))
        assert curve is not None
        gain = float(law(np.array(882), *truth) - law(np.array(441), *truth))
        estimate = curve.gain(2)
        held.append(estimate.low <= gain <= estimate.high)
    assert np.mean(held) >= 0.88


def test_a_score_beyond_the_ceiling_is_never_reached() -> None:
    curve = fit_learning_curve(SIZES, [0.4, 0.45, 0.46, 0.46])
    assert curve is not None
    images = curve.images_for(0.99)
    assert curve.estimate(images).median == np.inf
    assert curve.probability(images < 4410) < 0.05
    assert curve.estimate(curve.images_for(0.2)).high == 44


@pytest.mark.parametrize("scores", [[0.5, 0.45, 0.4, 0.3], [0.0, 0.0, 0.02, 0.3]])
def test_what_does_not_rise_as_a_power_law_has_no_curve(scores: list[float]) -> None:
    assert fit_learning_curve(SIZES, scores) is None


def test_two_numbers_of_images_have_no_curve() -> None:
    assert fit_learning_curve([44, 110, 110], [0.4, 0.5, 0.51]) is None
