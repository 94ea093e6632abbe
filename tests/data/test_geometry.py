"""Our own geometric transforms."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.data.augmentation import Augmentation, BoxSafeCrop, ScaleJitter, ShorterSide
from tests.helpers.random_instances import Planes, layers_of, left, scenes


def alone(transform: Any) -> Augmentation:
    return Augmentation({"a": transform}, mix=None)


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(scenes(1, 40), st.integers(1, 50), st.integers(0, 2**31))
def test_a_safe_crop_cuts_no_object(drawn: tuple[tuple[int, int], Planes], least: int, seed: int) -> None:
    size, planes = drawn
    layers = layers_of(planes, size)
    result, moved, _ = alone(BoxSafeCrop(min_side=least, p=1))(image(*size), layers.planes, seed)
    for side, before in zip(result.shape[:2], size, strict=True):
        assert min(least, before) <= side <= before
    before, after = left(layers), left(layers, moved)
    assert after.instances.tolist() == list(range(len(planes)))
    assert all(np.array_equal(a, b) for a, b in zip(before.masks, after.masks, strict=True))
    # All have moved together.
    assert len(np.unique(before.boxes - after.boxes, axis=0)) <= 1


def test_a_safe_crop_reaches_every_place() -> None:
    plane = np.zeros((20, 30), dtype=bool)
    plane[8:12, 10:13] = True
    layers = layers_of([plane], (20, 30))
    crop = alone(BoxSafeCrop(min_side=1, p=1))
    shapes, corners = set(), set()
    for seed in range(3000):
        result, moved, _ = crop(image(20, 30), layers.planes, seed)
        x0, y0, _, _ = left(layers, moved).boxes[0].tolist()
        shapes.add(result.shape[:2])
        corners.add((10 - x0, 8 - y0))
    assert corners == {(x, y) for x in range(11) for y in range(9)}
    assert (4, 3) in shapes or (5, 3) in shapes or (4, 4) in shapes
    assert (20, 30) in shapes or (19, 30) in shapes or (20, 29) in shapes


def test_jitter_spreads_over_its_interval() -> None:
    jitter = alone(ScaleJitter(scale=(0.1, 2), p=1))
    factors = [jitter(image(100, 200), [], seed)[0].shape[0] / 100 for seed in range(300)]
    assert 0.1 <= min(factors) < 0.15
    assert 1.95 < max(factors) <= 2
    assert np.mean(factors) == pytest.approx(1.05, abs=0.1)


def test_nothing_shrinks_to_nothing() -> None:
    jitter = alone(ScaleJitter(scale=(0.01, 0.01), p=1))
    assert jitter(image(3, 400), [], 0)[0].shape == (1, 4, 3)


def test_shorter_side_takes_each_length_and_keeps_the_longer_one_short() -> None:
    resize = alone(ShorterSide(sizes=[20, 30, 40], max_size=100, p=1))
    assert {resize(image(50, 60), [], seed)[0].shape[0] for seed in range(50)} == {20, 30, 40}
    assert {resize(image(10, 40), [], seed)[0].shape[:2] for seed in range(50)} == {(20, 80), (25, 100)}


@pytest.mark.parametrize("factor", [0.25, 0.5, 2, 4])
def test_masks_stay_where_the_image_is(factor: float) -> None:
    """A bright square and its mask have the same centre, to a tenth of a pixel."""
    picture, plane = np.zeros((64, 64, 3), dtype=np.uint8), np.zeros((64, 64), dtype=bool)
    picture[16:32, 24:48] = 255
    plane[16:32, 24:48] = True
    layers = layers_of([plane], (64, 64))
    result, (moved,), _ = alone(ScaleJitter(scale=(factor, factor), p=1))(picture, layers.planes, 0)
    centres = [
        np.argwhere(values > threshold).mean(axis=0) for values, threshold in ((result[..., 0], 127), (moved, 0))
    ]
    assert centres[0] == pytest.approx(centres[1], abs=0.1)


@pytest.mark.parametrize(
    "build",
    [
        lambda: ScaleJitter(scale=(0, 1), p=1),
        lambda: ScaleJitter(scale=(2, 1), p=1),
        lambda: ShorterSide(sizes=[], max_size=5, p=1),
        lambda: ShorterSide(sizes=[0], max_size=5, p=1),
        lambda: BoxSafeCrop(min_side=0, p=1),
        lambda: BoxSafeCrop(min_side="x", p=1),
        lambda: ScaleJitter(scale=(1, 2), p=2),
    ],
)
def test_impossible_settings_are_refused(build: object) -> None:
    with pytest.raises(ValueError, match=r"scale=|sizes=|min_side|\bp\b"):
        build()  # type: ignore[operator]
