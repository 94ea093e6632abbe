"""Peaks of a height map within labelled components, many components at a time."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.segmenters.classical.regions import LabelMap, areas, strips, with_halo

_BLOCK = 2**22  # pixels of windows that are compared at a time; bounds the memory
_CROSS = 5  # pixels of the cross by which an even component is opened


def component_peaks(heights: Callable[[slice], FloatArray], components: LabelMap, min_distance: int) -> IntArray:
    """Find the peaks of each component, as ``skimage.feature.peak_local_max`` does with ``labels``.

    A peak is the highest pixel of its own component in a square of 2 ``min_distance`` + 1 pixels around it. Of equally
    high ones that are nearer to each other than ``min_distance``, the first one stays. A component of one height has
    peaks only where it is too thin for a cross of five pixels.

    scikit-image takes one component after the other, at 100 microseconds each; noise has millions of them.

    Args:
        heights: function from a slice of rows to their heights (h, W), above 0 inside components.
        components: (H, W) 8-connected components 1..N, 0 elsewhere.
        min_distance: least distance in pixels between two peaks of a component, at least 1.

    Returns:
        (P, 2) row and column of each peak, sorted by component, the higher ones first, then by row and column.

    >>> height = np.array([[1.0, 3.0, 2.0, 0.0, 1.0]])
    >>> component_peaks(lambda rows: height[rows], np.array([[1, 1, 1, 0, 2]]), min_distance=2).tolist()
    [[0, 1], [0, 4]]
    """
    inside = components > 0
    peaks, height = _highest(heights, components, inside, min_distance)
    owner = components.reshape(-1)[peaks].astype(np.int64)
    even = _even(components, owner)
    if even.any():
        # All its pixels are peaks so far.
        thin = np.ones(len(peaks), dtype=np.bool_)
        thin[even[owner]] = (inside & ~ndimage.binary_opening(inside)).reshape(-1)[peaks[even[owner]]]
        peaks, height, owner = peaks[thin], height[thin], owner[thin]
    order = np.lexsort((peaks, -height, owner))
    peaks, owner = peaks[order], owner[order]
    places = np.stack(np.divmod(peaks, components.shape[1]), axis=1)
    return places[_spaced(places, owner, min_distance)]


def _highest(
    heights: Callable[[slice], FloatArray], components: LabelMap, inside: BoolArray, reach: int
) -> tuple[IntArray, FloatArray]:
    """Find the pixels that are the highest of their component within a square: positions row by row, and heights."""
    peaks, tops = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for rows in strips(components.shape):
        around, own = with_halo(rows, reach)
        masked = np.where(inside[around], heights(around), -np.inf)
        # Pixels that touch belong to one component: all others of a component are below one of their neighbours.
        candidates = (inside[around] & (masked == ndimage.maximum_filter(masked, 3, mode="nearest")))[own]
        highest = candidates & (masked == ndimage.maximum_filter(masked, 2 * reach + 1, mode="nearest"))[own]
        # Where a higher pixel is near, it may be another component's.
        y, x = np.nonzero(candidates & ~highest)
        block = max(1, _BLOCK // (2 * reach + 1) ** 2)
        for part in (slice(start, start + block) for start in range(0, len(y), block)):
            overtopped = _overtopped(masked, components[around], y[part] + own.start, x[part], reach)
            highest[y[part], x[part]] = ~overtopped
        peaks.append(np.flatnonzero(highest) + rows.start * components.shape[1])
        tops.append(masked[own][highest])
    return np.concatenate(peaks), np.concatenate(tops)


def _overtopped(masked: FloatArray, components: LabelMap, y: IntArray, x: IntArray, reach: int) -> BoolArray:
    """Tell whether a higher pixel of the same component is within a square around each pixel, (N,)."""
    across = np.arange(-reach, reach + 1)
    rows = (y[:, None] + across).clip(0, masked.shape[0] - 1)[:, :, None]
    columns = (x[:, None] + across).clip(0, masked.shape[1] - 1)[:, None]
    higher = masked[rows, columns] > masked[y, x][:, None, None]
    own = components[rows, columns] == components[y, x][:, None, None]
    overtopped: BoolArray = (higher & own).any(axis=(1, 2))
    return overtopped


def _even(components: LabelMap, owner: IntArray) -> BoolArray:
    """Tell which components are of one height and large enough for a cross: all their pixels are peaks, (N + 1,)."""
    pixels = areas(components)
    pixels[0] = 0
    even: BoolArray = (np.bincount(owner, minlength=len(pixels)) == pixels) & (pixels >= _CROSS)
    return even


def _spaced(places: IntArray, owner: IntArray, least: int) -> BoolArray:
    """Tell which peaks stay: each one, in their order, removes the later ones of its component that are too near."""
    kept = np.ones(len(places), dtype=np.bool_)
    shared = np.flatnonzero(np.bincount(owner)[owner] > 1)
    if least < 2 or not len(shared):
        return kept
    # Peaks of different components are far apart along a third axis.
    points = np.column_stack([places[shared], owner[shared] * (2 * least)])
    near = np.sort(cKDTree(points).query_pairs(least - 0.5, p=np.inf, output_type="ndarray"), axis=1)
    for first, second in shared[near[np.lexsort(near.T[::-1])]].tolist():
        if kept[first]:
            kept[second] = False
    return kept
