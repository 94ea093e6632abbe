"""Crowding and contrast of objects against whole planes, SciPy's dilation and its statistic."""

import numpy as np
import pytest
from scipy import ndimage, stats
from skimage.morphology import disk

from segtrain import masks
from segtrain.metrics.strata import ks_contrast
from segtrain.metrics.touching import ALONE, OVERLAPPING, TOUCHING, crowding


def planes(seed: int, count: int = 12, size: tuple[int, int] = (50, 60)) -> np.ndarray:
    """Ragged rectangles, some of them at the border, one of them empty."""
    rng = np.random.default_rng(seed)
    found = np.zeros((count, *size), dtype=bool)
    for plane in found[1:]:
        y, x = rng.integers(0, size[0]), rng.integers(0, size[1])
        part = plane[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)]
        part[:] = rng.random(part.shape) < 0.8
    return found


@pytest.mark.parametrize("seed", range(6))
def test_crowding_of_whole_planes(seed: int) -> None:
    drawn = planes(seed, count=25)
    expected = []
    for number, plane in enumerate(drawn):
        others = np.delete(drawn, number, axis=0).any(axis=0)
        near = ndimage.binary_dilation(plane, np.ones((3, 3)))
        expected.append(OVERLAPPING if (plane & others).any() else TOUCHING if (near & others).any() else ALONE)
    found = crowding([masks.encode(plane) for plane in drawn])
    assert found.tolist() == expected
    assert set(expected) == {ALONE, TOUCHING, OVERLAPPING}


@pytest.mark.parametrize(
    ("gap", "expected"),
    [((-1, 0), OVERLAPPING), ((0, 0), TOUCHING), ((1, 0), ALONE), ((0, 3), TOUCHING), ((0, 4), ALONE)],
)
def test_a_pixel_decides(gap: tuple[int, int], expected: int) -> None:
    """Squares of 3 beside each other: overlapping in a column, side by side, a pixel apart, by their corners, past."""
    first = masks.encode_crop(np.ones((3, 3)), 2, 2, (20, 20))
    second = masks.encode_crop(np.ones((3, 3)), 5 + gap[0], 2 + gap[1], (20, 20))
    assert crowding([first, second]).tolist() == [expected, expected]


@pytest.mark.parametrize("seed", range(6))
def test_separation_is_kolmogorovs_and_smirnovs(seed: int) -> None:
    drawn = planes(seed)
    crowd = planes(seed + 100, count=3)
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 200, drawn.shape[1:]).astype(np.uint8)
    grey[drawn.any(axis=0)] += rng.integers(0, 56, drawn.any(axis=0).sum()).astype(np.uint8)
    found = ks_contrast(grey, [masks.encode(p) for p in drawn], [masks.encode(p) for p in crowd])
    covered = drawn.any(axis=0) | crowd.any(axis=0)
    for plane, separation in zip(drawn, found, strict=True):
        ring = ndimage.binary_dilation(plane, disk(3)) & ~plane
        ring = ring & ~covered if (ring & ~covered).any() else ring
        if not plane.any():
            assert np.isnan(separation)
            continue
        assert separation == pytest.approx(stats.ks_2samp(grey[plane], grey[ring]).statistic)
        # What the best threshold does, in either direction.
        rates = [(grey[plane] > t).mean() - (grey[ring] > t).mean() for t in range(-1, 256)]
        assert separation == pytest.approx(np.abs(rates).max())


def test_what_belongs_to_others_is_no_surroundings() -> None:
    grey = np.full((20, 20), 100, dtype=np.uint8)
    grey[5:10, 5:10], grey[5:10, 10:15] = 200, 200
    first, second = (masks.encode_crop(np.ones((5, 5)), x, 5, (20, 20)) for x in (5, 10))
    assert ks_contrast(grey, [first, second]).tolist() == [1, 1]
    assert ks_contrast(grey, [first], [second]).tolist() == [1]
    assert ks_contrast(grey, [first])[0] < 1
    assert ks_contrast(np.full((20, 20), 7, np.uint8), [first]).tolist() == [0]


def test_an_object_between_others_is_compared_with_them_and_one_without_surroundings_with_nothing() -> None:
    grey = np.full((9, 9), 10, dtype=np.uint8)
    grey[3:6, 3:6] = 90
    inner, whole = masks.encode_crop(np.ones((3, 3)), 3, 3, (9, 9)), masks.encode(np.ones((9, 9)))
    frame = masks.difference(whole, inner)
    assert ks_contrast(grey, [inner, frame]).tolist() == [1, 1]
    assert np.isnan(ks_contrast(grey, [whole, masks.empty((9, 9))])).all()
    assert ks_contrast(grey, []).tolist() == []
