"""From a mask to objects: each step against its definition, and the order of the steps."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segtrain.segmenters.classical import edges, kmeans, threshold
from segtrain.segmenters.classical.postprocess import MaskPostprocessing
from segtrain.segmenters.classical.regions import components, foreground, luminance, objects_among
from segtrain.segmenters.classical.watershed import split_touching

NOTHING: dict[str, Any] = {
    "closing": 0, "fill": False, "opening": 0, "watershed": False, "smoothing": 2.0, "min_distance": 7, "grow": 0
}  # fmt: skip
MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def finish(**changes: Any) -> MaskPostprocessing:
    return MaskPostprocessing(**{**NOTHING, **changes})


def grown(mask: np.ndarray, radius: int) -> np.ndarray:
    """Every pixel with a true one at most ``radius`` away, one by one."""
    places = np.argwhere(mask)
    result = np.zeros(mask.shape, bool)
    for place in np.ndindex(mask.shape):
        result[place] = len(places) and ((places - place) ** 2).sum(axis=1).min() <= radius**2
    return result


def discs(*centres: tuple[int, int], radius: int = 8, size: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.any([(y - cy) ** 2 + (x - cx) ** 2 <= radius**2 for cy, cx in centres], axis=0)


@given(MASKS)
def test_without_steps_objects_are_the_components(mask: np.ndarray) -> None:
    assert np.array_equal(finish()(mask), components(mask))


@given(MASKS, st.integers(1, 3))
def test_closing_and_opening_are_growing_and_shrinking(mask: np.ndarray, radius: int) -> None:
    """Far from the border; at the border the mask goes on as it ends there."""
    wide = np.pad(mask, 2 * radius, mode="edge")
    inner = (slice(2 * radius, -2 * radius),) * 2
    closed = ~grown(~grown(wide, radius), radius)[inner]
    opened = grown(~grown(~wide, radius), radius)[inner]
    assert np.array_equal(finish(closing=radius)(mask) > 0, closed)
    assert np.array_equal(finish(opening=radius)(mask) > 0, opened)


def test_closing_comes_before_filling_and_filling_before_opening() -> None:
    ring = discs((32, 32), radius=12) & ~discs((32, 32), radius=9)
    ring[31:33] = False  # two gaps
    assert not finish(fill=True)(ring)[32, 32]
    full = finish(closing=2, fill=True, opening=3)(ring)
    assert full[32, 32]
    assert full.max() == 1


def test_the_watershed_can_be_switched_off() -> None:
    touching = discs((32, 22), (32, 37))
    assert finish()(touching).max() == 1
    cut = finish(watershed=True)(touching)
    assert cut.max() == 2
    assert np.array_equal(cut, split_touching(touching, smoothing=2.0, min_distance=7))


@pytest.mark.parametrize("radius", [1, 2])
def test_objects_grow_and_shrink(radius: int) -> None:
    apart = discs((20, 20), (44, 44))
    assert np.array_equal(finish(grow=radius)(apart) > 0, grown(apart, radius))
    shrunk = finish(grow=-radius)(apart)
    assert np.array_equal(shrunk > 0, ~grown(~apart, radius))
    assert shrunk.max() == 2


def test_growing_objects_do_not_run_into_each_other() -> None:
    labels = finish(grow=5)(discs((32, 20), (32, 40)))
    assert labels.max() == 2
    assert (labels[:, :29] != 2).all()
    assert (labels[:, 32:] != 1).all()


@given(arrays(np.int64, (6, 7), elements=st.integers(0, 3)), st.integers(0, 2**16))
def test_polarity(segments: np.ndarray, seed: int) -> None:
    grey = np.random.default_rng(seed).random((6, 7)).astype(np.float32)
    assert np.array_equal(objects_among(segments, grey, "border"), foreground(segments))
    for place in np.ndindex(segments.shape):
        own, mean = grey[segments == segments[place]].mean(dtype=float), grey.mean(dtype=float)
        if abs(own - mean) > 1e-6:
            assert objects_among(segments, grey, "bright")[place] == (own > mean)
            assert objects_among(segments, grey, "dark")[place] == (own < mean)


def test_a_constant_image_is_neither_bright_nor_dark() -> None:
    for value in range(256):
        grey = np.full((5, 9), value, np.float32) / np.float32(255)
        assert not objects_among(np.zeros((5, 9), np.int64), grey, "bright").any()
        assert not objects_among(np.zeros((5, 9), np.int64), grey, "dark").any()


@pytest.mark.parametrize("polarity", ["bright", "dark"])
def test_the_methods_follow_the_polarity(polarity: str) -> None:
    mask = discs((16, 16), (44, 44))
    mask |= np.pad(np.zeros((60, 60), bool), 2, constant_values=True)  # the border rule would take this for background
    mask[:2, :20] = mask[-2:, :20] = False
    grey = np.where(mask == (polarity == "bright"), 0.8, 0.2).astype(np.float32)
    rgb = grey[..., None].repeat(3, axis=2)
    shared: dict[str, Any] = {"polarity": polarity, "finish": finish()}
    clustering: dict[str, Any] = {"clusters": 2, "bits": 5, "restarts": 4, "seed": 0, "denoise": 0.0}
    assert np.array_equal(threshold.otsu(rgb, denoise=0.0, offset=0.0, **shared) > 0, mask)
    for space in ("rgb", "lab", "grey"):
        assert np.array_equal(kmeans.colour_clusters(rgb, space=space, **clustering, **shared) > 0, mask)
    found = edges.canny(rgb, sigma=1.0, low=0.2, high=0.4, close=1, **shared) > 0
    assert found[discs((16, 16), (44, 44), radius=6)].all()
    assert found.mean() < 0.5


@pytest.mark.parametrize("polarity", ["border", "bright", "dark"])
def test_an_offset_moves_otsu_s_threshold_away_from_the_background(polarity: str) -> None:
    y, x = np.mgrid[:64, :64]
    hill = np.exp(-((y - 32) ** 2 + (x - 32) ** 2) / 200).astype(np.float32)
    rgb = (1 - hill if polarity == "dark" else hill)[..., None].repeat(3, axis=2)
    areas = [
        int((threshold.otsu(rgb, denoise=0.0, offset=offset, polarity=polarity, finish=finish()) > 0).sum())
        for offset in (-0.2, 0.0, 0.2)
    ]
    grey = luminance(rgb)
    assert areas[0] > areas[1] > areas[2] > 0
    assert areas[1] < grey.size / 2
