"""Intervals, p and their correction, against definitions spelled out, and the coverage of intervals in a simulation."""

from math import isnan, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.arrays import mean_of_defined
from segtrain.metrics.bootstrap import draw_images, holm, interval, paired_difference
from segtrain.metrics.f1 import count_matches, f1_of_sums
from segtrain.metrics.matching import AREAS, Matches, match
from segtrain.metrics.mean_iou import class_iou_of_sums
from segtrain.metrics.resampled_ap import resampled_precision
from segtrain.records import BoxPrediction


def test_draws_are_of_as_many_images_and_depend_on_the_seed() -> None:
    draws = draw_images(20, 4000, 3)
    assert draws.shape == (4000, 20)
    assert (draws.sum(axis=1) == 20).all()
    assert draws.mean(axis=0) == pytest.approx(np.ones(20), abs=0.08)
    assert draws.var() == pytest.approx(0.95, abs=0.03)  # binomial: 20 x 1/20 x 19/20
    assert np.array_equal(draws, draw_images(20, 4000, 3))
    assert not np.array_equal(draws, draw_images(20, 4000, 4))
    assert draw_images(0, 5, 0).shape == (5, 0)


def test_an_interval_is_the_middle_of_the_resamples() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1001.0))
    assert interval(400, values) == pytest.approx((25, 975))


@pytest.mark.parametrize(
    ("number", "undefined", "defined"), [(0.5, 0, True), (0.5, 50, True), (0.5, 51, False), (nan, 0, False)]
)
def test_undefined_resamples_are_left_out_up_to_half(number: float, undefined: int, defined: bool) -> None:
    values = np.concatenate([np.full(undefined, nan), np.full(100 - undefined, 0.25)])
    low, high = interval(number, values)
    assert (low, high) == (0.25, 0.25) if defined else isnan(low) and isnan(high)
    difference = paired_difference(number, 0.1, values, np.zeros(100))
    assert isnan(difference.p) != defined
    assert not defined or difference.least_p == 1 / (101 - undefined)


values = st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=1, max_size=30)


@given(st.integers(-8, 8).map(lambda n: n / 8), values)
def test_p_counts_the_resamples_that_are_as_far_away(observed: float, resampled: list[float]) -> None:
    further = sum(abs(value - observed) >= abs(observed) for value in resampled)
    second = np.linspace(0, 1, len(resampled))
    result = paired_difference(observed + 0.25, 0.25, np.array(resampled) + second, second)
    assert result.difference == observed
    assert result.p == (1 + further) / (len(resampled) + 1)
    assert result.least_p == 1 / (len(resampled) + 1)
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))


def test_a_method_does_not_differ_from_itself_and_a_clear_difference_has_the_least_p() -> None:
    resampled = np.random.default_rng(1).normal(0.5, 0.02, 999)
    same = paired_difference(0.5, 0.5, resampled, resampled)
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert paired_difference(0.8, 0.5, resampled + 0.3, resampled).p == 1 / 1000


def test_holm_by_hand() -> None:
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "e": nan})
    # 4 x .005, 3 x .01, 2 x .03, then no less than what comes before.
    assert [corrected[name] for name in "dacb"] == pytest.approx([0.02, 0.03, 0.06, 0.06])
    assert isnan(corrected["e"])
    assert list(corrected) == list("abcde")


@given(st.lists(st.floats(0.001, 1), max_size=12))
def test_holm_is_its_definition(p: list[float]) -> None:
    corrected = holm({str(n): value for n, value in enumerate(p)})
    for n, value in enumerate(p):
        expected = max(min(1, sum(other >= smaller for other in p) * smaller) for smaller in p if smaller <= value)
        assert corrected[str(n)] == pytest.approx(expected)


IMAGES, SETS, SIDE = 100, 500, 20


class Simulated:
    """Images that differ in how hard they are; of their objects a method finds some, a little aside, and false ones."""

    def __init__(self, images: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.images = images
        self.ease = self.rng.beta(4, 2, images)
        counts = 1 + self.rng.poisson(4, images)
        self.image = np.repeat(np.arange(images), counts)
        self.top = 40.0 * (np.arange(len(self.image)) - np.repeat(np.cumsum(counts) - counts, counts))
        self.truths: list[Any] = [
            {"image_id": image, "category_id": 1, "bbox": [0, top, SIDE, SIDE], "area": SIDE**2, "iscrowd": 0}
            | {"segmentation": None}
            for image, top in zip(self.image.tolist(), self.top.tolist(), strict=True)
        ]

    def method(self, skill: float) -> tuple[Matches, np.ndarray]:
        """Its matches, and its pixels in each image: of background, foreground and the only category."""
        chance = skill * self.ease[self.image]
        hit = self.rng.random(len(chance)) < chance + 0.2
        shift = np.minimum(self.rng.exponential(2 / (chance + 0.2)), SIDE)[hit]
        false = np.repeat(np.arange(self.images), self.rng.poisson(1.5, self.images))
        columns = [
            np.concatenate([self.image[hit], false]).tolist(),
            np.concatenate([shift, np.full(len(false), 500.0)]).tolist(),
            np.concatenate([self.top[hit], 40.0 * np.arange(len(false))]).tolist(),
            self.rng.normal(np.concatenate([0.8 - shift / SIDE, np.full(len(false), 0.5)]), 0.15).tolist(),
        ]
        records: list[BoxPrediction] = [
            {"image_id": image, "category_id": 1, "bbox": [left, top, SIDE, SIDE], "score": score}
            for image, left, top, score in zip(*columns, strict=True)
        ]
        matches = match(
            self.truths, records, image_ids=range(self.images), category_ids=[1], iou_type="bbox", areas=AREAS[:1]
        )
        true, found, both = (
            SIDE**2 * np.bincount(self.image, minlength=self.images),
            SIDE**2 * np.bincount(columns[0], minlength=self.images),
            SIDE * np.bincount(self.image[hit], weights=SIDE - shift, minlength=self.images),
        )
        either, whole = true + found - both, 10**5
        objects = np.stack([true, both, either], axis=1)
        background = np.stack([whole - true, whole - either, whole - both], axis=1)
        return matches, np.stack([background, objects], axis=1)


@pytest.mark.parametrize(("images", "dtype"), [(0, np.int16), (2**15 - 1, np.int16), (2**15, np.int32)])
def test_draws_are_narrow_and_those_that_numpy_makes_at_once(images: int, dtype: type) -> None:
    draws = draw_images(images, 3, 7)
    assert draws.dtype == dtype
    chances = np.full(images, 1 / max(images, 1))
    expected = np.random.default_rng(7).multinomial(images, chances, size=3) if images else np.empty((3, 0))
    np.testing.assert_array_equal(draws, expected)


def numbers(images: int, seed: int, draws: np.ndarray) -> dict[str, np.ndarray]:
    """AP, F1 and mIoU of a method, and how far its AP is above another's, on each resample of one simulated set."""
    simulated = Simulated(images, seed)
    (first, pixels), (second, _) = simulated.method(1.0), simulated.method(0.85)
    ap, other = (resampled_precision(m, draws, max_dets=100).precision[:, 0].mean(axis=0) for m in (first, second))
    miou = mean_of_defined(class_iou_of_sums(np.tensordot(draws, pixels, axes=1).astype(np.float64)))
    counts = count_matches(first, 0.5, 0)[:, 0].astype(np.float64)
    return {"ap": ap, "difference": ap - other, "f1": f1_of_sums(draws @ counts), "miou": miou}


@pytest.mark.slow
def test_intervals_cover_the_true_number_as_often_as_they_say() -> None:
    """500 sets of 100 images; the true number is that of very many images."""
    many = 20_000
    truth = {key: value[0] for key, value in numbers(many, 10**6, np.ones((1, many), dtype=np.int64)).items()}
    covered = dict.fromkeys(truth, 0)
    for seed in range(SETS):
        draws = np.concatenate([np.ones((1, IMAGES), dtype=np.int64), draw_images(IMAGES, 1000, seed)])
        for key, drawn in numbers(IMAGES, seed, draws).items():
            low, high = interval(float(drawn[0]), drawn[1:])
            covered[key] += low <= truth[key] <= high
    shares = {key: count / SETS for key, count in covered.items()}
    assert all(0.92 <= share <= 0.98 for share in shares.values()), shares
