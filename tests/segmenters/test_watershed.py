"""Separation of touching objects in strips of rows, against SciPy and scikit-image on the whole plane."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import feature, measure, segmentation

from segtrain.segmenters.classical import regions, watershed
from segtrain.segmenters.classical.watershed import distance_to_background, split_touching

sizes = st.tuples(st.integers(1, 40), st.integers(1, 20))


def whole_plane(objects: np.ndarray, smoothing: float, min_distance: int) -> np.ndarray:
    height = ndimage.gaussian_filter(ndimage.distance_transform_edt(np.pad(objects, 1))[1:-1, 1:-1], smoothing)
    peaks = feature.peak_local_max(
        height,
        min_distance=min_distance,
        labels=measure.label(objects, connectivity=2),
        exclude_border=False,
        threshold_abs=0,
    )
    seeds = np.zeros(objects.shape, dtype=np.int64)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(segmentation.watershed(-height, seeds, connectivity=2, mask=objects))


@pytest.mark.parametrize("margin", [1, 3, 64])
@given(plane=sizes.flatmap(lambda size: hnp.arrays(bool, size, elements=st.booleans(), fill=st.booleans())))
def test_distances_in_strips_are_those_of_the_plane(margin: int, plane: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_STRIP", 60)
        patch.setattr(watershed, "_MARGIN", margin)
        found = distance_to_background(plane)
    np.testing.assert_array_equal(found, ndimage.distance_transform_edt(np.pad(plane, 1))[1:-1, 1:-1])


@given(sizes, st.integers(0, 2**32), st.sampled_from([0.5, 2.0]), st.sampled_from([2, 7]))
def test_objects_cut_in_strips_are_those_of_the_plane(
    size: tuple[int, int], seed: int, smoothing: float, min_distance: int
) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 1.5)
    objects = noise > np.median(noise)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_STRIP", 100)
        found = split_touching(objects, smoothing=smoothing, min_distance=min_distance)
    np.testing.assert_array_equal(found, whole_plane(objects, smoothing, min_distance))
