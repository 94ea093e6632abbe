import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.morphology import disk

from segtrain.errors import SegtrainError
from segtrain.segmenters.classical.contrast import contrast
from segtrain.segmenters.classical.regions import (
    as_rgb,
    border_counts,
    components,
    drop_small,
    foreground,
    grey_of,
    luminance,
)
from segtrain.segmenters.classical.watershed import split_touching

SMALL_MAPS = arrays(np.int64, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 3))


def picture(text: str) -> np.ndarray:
    """A label map from lines of digits; a dot is 0."""
    return np.array([[int(c.replace(".", "0")) for c in line.strip()] for line in text.strip().splitlines()])


def flood(segments: np.ndarray) -> np.ndarray:
    """8-connected components of equal value, by hand, in scan order."""
    labels = np.zeros_like(segments)
    height, width = segments.shape
    for start in np.ndindex(segments.shape):
        if segments[start] == 0 or labels[start]:
            continue
        number, stack = labels.max() + 1, [start]
        while stack:
            y, x = stack.pop()
            if labels[y, x]:
                continue
            labels[y, x] = number
            for v in range(max(y - 1, 0), min(y + 2, height)):
                for u in range(max(x - 1, 0), min(x + 2, width)):
                    if segments[v, u] == segments[y, x] and not labels[v, u]:
                        stack.append((v, u))
    return labels


@given(SMALL_MAPS)
def test_components_are_flood_fills(segments: np.ndarray) -> None:
    assert np.array_equal(components(segments), flood(segments))


@given(SMALL_MAPS, st.integers(0, 5))
def test_drop_small_counts_pixels(labels: np.ndarray, min_area: int) -> None:
    kept = drop_small(labels, min_area)
    numbers = [n for n in range(1, labels.max() + 1) if (labels == n).sum() >= max(min_area, 1)]
    assert kept.max() == len(numbers)
    for position, number in enumerate(numbers):
        assert np.array_equal(kept == position + 1, labels == number)


@given(SMALL_MAPS)
def test_border_pixels_are_counted_once(segments: np.ndarray) -> None:
    height, width = segments.shape
    expected = np.zeros(segments.max() + 1, dtype=int)
    for y, x in np.ndindex(segments.shape):
        if y in (0, height - 1) or x in (0, width - 1):
            expected[segments[y, x]] += 1
    assert border_counts(segments).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        pytest.param("0000\n0110\n0110\n0000", {1}, id="one object inside"),
        pytest.param("1111\n1001\n1001\n1111", {0}, id="the other polarity"),
        pytest.param("0001\n0011\n0011\n0001", {1}, id="an object at the border"),
        pytest.param("0011\n0221\n0221\n0011", {2}, id="half of the border is not more than half"),
        pytest.param("0000\n2223\n1113\n1111", {2, 3}, id="the fewest segments that hold more than half"),
        pytest.param("2222\n2222", set(), id="one segment is background"),
        pytest.param("0", set(), id="one pixel"),
    ],
)
def test_border_rule(case: str, expected: set[int]) -> None:
    segments = picture(case)
    assert np.array_equal(foreground(segments), np.isin(segments, list(expected)))


def test_watershed_cuts_at_the_waist_and_only_there() -> None:
    y, x = np.ogrid[:40, :60]
    two = ((y - 20) ** 2 + (x - 20) ** 2 < 110) | ((y - 20) ** 2 + (x - 38) ** 2 < 110)
    labels = split_touching(two, smoothing=2.0, min_distance=7)
    assert labels.max() == 2
    assert np.array_equal(labels > 0, two)
    assert labels[20, 20] != labels[20, 38]
    # The cut runs down the middle column.
    assert (labels[:, :29][two[:, :29]] == labels[20, 20]).all()
    assert (labels[:, 30:][two[:, 30:]] == labels[20, 38]).all()


def test_watershed_keeps_every_component() -> None:
    objects = picture("1.1\n...\n111") > 0
    labels = split_touching(objects, smoothing=2.0, min_distance=7)
    assert labels[0, 0] != labels[0, 2]
    assert np.array_equal(labels > 0, objects)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_watershed_labels_exactly_the_objects(objects: np.ndarray) -> None:
    labels = split_touching(objects, smoothing=1.0, min_distance=2)
    assert np.array_equal(labels > 0, objects)
    for number in range(1, labels.max() + 1):
        assert flood((labels == number).astype(int)).max() == 1


def test_luminance_is_rec_709() -> None:
    rgb = np.random.default_rng(0).random((5, 4, 3), dtype=np.float32)
    expected = rgb @ np.array([0.2125, 0.7154, 0.0721])
    assert luminance(rgb) == pytest.approx(expected, abs=1e-6)


def test_grey_of_bytes_is_that_of_floats() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    assert grey_of(image).tolist() == luminance(as_rgb(image)).tolist()
    with pytest.raises(SegtrainError, match="is not RGB"):
        grey_of(image[..., 0])


def brute_force_contrast(rgb: np.ndarray, labels: np.ndarray) -> list[float]:
    height, width = labels.shape
    spread = np.linalg.norm(rgb.reshape(-1, 3).max(axis=0) - rgb.reshape(-1, 3).min(axis=0))
    scores = []
    for number in range(1, labels.max() + 1):
        inside = np.argwhere(labels == number)
        around = [
            (y, x)
            for y in range(height)
            for x in range(width)
            if labels[y, x] != number and ((inside - (y, x)) ** 2).sum(axis=1).min() <= 9
        ]
        ring = [place for place in around if labels[place] == 0] or around
        if not ring or spread == 0:
            scores.append(0.0)
            continue
        mean = np.mean([rgb[y, x] for y, x in inside], axis=0) - np.mean([rgb[place] for place in ring], axis=0)
        scores.append(min(np.linalg.norm(mean) / spread, 1))
    return scores


@pytest.mark.parametrize("seed", range(5))
def test_contrast_is_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.random((14, 17, 3), dtype=np.float32)
    labels = components(rng.random((14, 17)) > 0.7)
    assert contrast(rgb, labels) == pytest.approx(brute_force_contrast(rgb, labels), abs=1e-5)


def test_contrast_of_bytes_is_that_of_floats() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    labels = components(rng.random((40, 50)) > 0.7)
    assert contrast(image, labels).tolist() == contrast(as_rgb(image), labels).tolist()
    planes = np.moveaxis(np.ascontiguousarray(np.moveaxis(image, -1, 0)), 0, -1)  # as tensors lie in memory
    assert contrast(planes, labels).tolist() == contrast(image, labels).tolist()


def test_contrast_in_windows_of_all_sizes_is_that_of_each_region(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.random((170, 190, 3), dtype=np.float32)
    labels = components(ndimage.gaussian_filter(rng.random((170, 190)), 2) > 0.51)
    heights = [window[0].stop - window[0].start for window in ndimage.find_objects(labels)]
    assert min(heights) < 8
    assert max(heights) > 58  # with the rings above 64
    monkeypatch.setattr("segtrain.segmenters.classical.regions._STRIP", 1_000)  # a few rows of a large window
    found = contrast(rgb, labels)
    spread = np.linalg.norm(np.ptp(rgb, axis=(0, 1)))
    for number in range(1, int(labels.max()) + 1):
        region = labels == number
        ring = ndimage.binary_dilation(region, disk(3)) & (labels == 0)
        distance = np.linalg.norm(rgb[region].mean(axis=0) - rgb[ring].mean(axis=0))
        assert found[number - 1] == pytest.approx(distance / spread, abs=1e-5)


def test_contrast_of_a_region_among_regions_uses_them() -> None:
    labels = picture("111111\n122221\n122221\n111111")
    rgb = np.where(labels == 1, 0.25, 1).astype(np.float32)[..., None].repeat(3, axis=2)
    assert contrast(rgb, labels) == pytest.approx([1, 1])


def test_contrast_without_surroundings_or_range_is_zero() -> None:
    rgb = np.random.default_rng(0).random((4, 4, 3), dtype=np.float32)
    assert contrast(rgb, np.ones((4, 4), dtype=int)).tolist() == [0]
    assert contrast(np.full((4, 4, 3), 0.3, np.float32), picture("1...\n....\n....\n..22")).tolist() == [0, 0]
    assert contrast(rgb, np.zeros((4, 4), dtype=int)).shape == (0,)


def test_contrast_of_many_regions_is_fast() -> None:
    y, x = np.ogrid[:520, :696]
    labels = components((y % 26 < 16) & (x % 30 < 18))
    assert labels.max() > 400
    rgb = np.random.default_rng(0).random((520, 696, 3), dtype=np.float32)
    start = time.process_time()
    contrast(rgb, labels)
    # A full plane per region would take several seconds.
    assert time.process_time() - start < 0.5
