"""Peaks of components, against scikit-image."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage import feature, measure

from segtrain.segmenters.classical import peaks
from segtrain.segmenters.classical.peaks import component_peaks

sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))
planes = sizes.flatmap(lambda size: hnp.arrays(bool, size, elements=st.booleans(), fill=st.booleans()))


def reference(height: np.ndarray, components: np.ndarray, min_distance: int) -> np.ndarray:
    return np.asarray(
        feature.peak_local_max(
            height, min_distance=min_distance, labels=components, exclude_border=False, threshold_abs=0
        )
    )


@given(planes, st.integers(1, 8), st.sampled_from([0.0, 0.5, 2.0]), st.sampled_from([1, 50, peaks._BLOCK]))
def test_peaks_of_distances_are_scikit_images(plane: np.ndarray, least: int, sigma: float, block: int) -> None:
    components = measure.label(plane, connectivity=2)
    height = ndimage.gaussian_filter(ndimage.distance_transform_edt(np.pad(plane, 1))[1:-1, 1:-1], sigma)
    before, peaks._BLOCK = peaks._BLOCK, block
    try:
        found = component_peaks(lambda rows: height[rows], components, least)
    finally:
        peaks._BLOCK = before
    np.testing.assert_array_equal(found, reference(height, components, least))


@given(planes, st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**32))
def test_peaks_with_many_equal_heights_are_scikit_images(plane: np.ndarray, least: int, levels: int, seed: int) -> None:
    components = measure.label(plane, connectivity=2)
    height = np.random.default_rng(seed).integers(1, levels + 1, plane.shape).astype(float)
    np.testing.assert_array_equal(
        component_peaks(lambda rows: height[rows], components, least), reference(height, components, least)
    )
