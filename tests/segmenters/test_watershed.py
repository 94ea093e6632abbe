"""Separation of touching objects in strips of rows, against SciPy and scikit-image on the whole plane."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import segmentation

from segtrain.segmenters.classical import regions, watershed
from segtrain.segmenters.classical.watershed import split_touching

sizes = st.tuples(st.integers(1, 40), st.integers(1, 20))


@pytest.mark.parametrize("margin", [1, 3, 64])
@given(plane=sizes.flatmap(lambda size: hnp.arrays(bool, size, elements=st.booleans(), fill=st.booleans())))
def test_distances_in_strips_are_those_of_the_plane(margin: int, plane: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_STRIP", 60)
        patch.setattr(watershed, "_MARGIN", margin)
        heights = watershed._Heights(plane, 0.0)
        found = np.concatenate([heights.of_rows(rows) for rows in regions.strips(plane.shape)])
        depth = heights.depths(slice(0, len(plane)))
    np.testing.assert_array_equal(found, ndimage.distance_transform_edt(np.pad(plane, 1))[1:-1, 1:-1])
    np.testing.assert_array_equal(depth, -found)


@given(sizes, st.integers(0, 2**32), st.integers(1, 30))
def test_objects_flooded_in_strips_are_those_of_the_plane(size: tuple[int, int], seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=size), 1.5)
    objects = noise > np.median(noise)
    depth = random.normal(size=size)  # no two alike: scikit-image decides between equal ones by chance
    seeds = random.permutation(np.argwhere(objects)[:: max(objects.sum() // count, 1)])
    markers = np.zeros(size, dtype=np.int32)
    markers[tuple(seeds.T)] = np.arange(1, len(seeds) + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_STRIP", 100)
        found = watershed._flooded(lambda rows: depth[rows], seeds, regions.components(objects))
    expected = segmentation.watershed(depth, markers, connectivity=2, mask=objects)
    np.testing.assert_array_equal(found, expected)


@given(sizes, st.integers(0, 2**32), st.sampled_from([0.5, 2.0]), st.sampled_from([2, 7]))
def test_there_are_as_many_objects_in_strips_as_in_the_plane(
    size: tuple[int, int], seed: int, smoothing: float, min_distance: int
) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 1.5)
    objects = noise > np.median(noise)
    whole = split_touching(objects, smoothing=smoothing, min_distance=min_distance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_STRIP", 100)
        found = split_touching(objects, smoothing=smoothing, min_distance=min_distance)
    np.testing.assert_array_equal(found > 0, whole > 0)
    assert found.max(initial=0) == whole.max(initial=0)
