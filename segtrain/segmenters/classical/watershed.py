"""Separation of touching objects: a watershed of the distance to the background."""

import numpy as np
from scipy import ndimage
from skimage import segmentation

from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.segmenters.classical.peaks import component_peaks
from segtrain.segmenters.classical.regions import LabelMap, components, strips, with_halo

_MARGIN = 64  # rows around a strip at first; where objects are thicker, it grows


def split_touching(objects: BoolArray, *, smoothing: float, min_distance: int) -> LabelMap:
    """Split touching objects by a watershed of the distance to the background.

    Args:
        objects: (H, W), true inside objects.
        smoothing: sigma in pixels of the Gaussian over the distances; larger values give fewer cuts.
        min_distance: least distance in pixels between the seeds of two objects.

    Source: Beucher and Lantuejoul, Use of Watersheds in Contour Detection (1979).

    >>> from skimage.morphology import disk
    >>> pair = np.zeros((13, 24), np.bool_)
    >>> pair[:, :13] |= disk(6) > 0
    >>> pair[:, 11:] |= disk(6) > 0
    >>> int(split_touching(pair, smoothing=1.0, min_distance=3).max())
    2
    """
    height = _smooth_distance(objects, smoothing)
    connected = components(objects)
    peaks = component_peaks(height, connected, min_distance)
    np.negative(height, out=height)
    return _flooded(height, peaks, connected)


def _smooth_distance(objects: BoolArray, sigma: float) -> FloatArray:
    """Compute the distance of each pixel to the background, smoothed by a Gaussian, in strips of rows."""
    height = np.empty(objects.shape)
    for rows in strips(objects.shape):
        around, own = with_halo(rows, int(4 * sigma + 0.5))  # SciPy's Gaussian ends at 4 sigma
        distance = _distance_in_strip(objects, slice(around.start, min(around.stop, len(objects))))
        height[rows] = ndimage.gaussian_filter(distance, sigma)[own]
    return height


def _flooded(depth: FloatArray, seeds: IntArray, connected: LabelMap) -> LabelMap:
    """Flood each component from its seeds, the lowest pixels first, some components at a time.

    Components do not meet, and scikit-image's watershed takes several copies of what it is given.

    Args:
        depth: (H, W) minus the height.
        seeds: (N, 2) row and column of each seed.
        connected: (H, W) components 1..C, 0 elsewhere; overwritten.

    Returns:
        (H, W) number of the seed that each pixel belongs to, from 1; 0 for none.
    """
    first, last = _row_ranges(connected)
    owner, count = connected[tuple(seeds.T)], len(first)
    for rows in strips(connected.shape):
        chosen = np.flatnonzero((first >= rows.start) & (first < rows.stop))
        if not len(chosen):
            continue
        # Numbers beyond those of the components are labels already: a plane of their own would double the memory.
        is_chosen = np.zeros(count + len(seeds) + 1, dtype=np.bool_)
        is_chosen[chosen] = True
        window = slice(rows.start, int(last[chosen].max()) + 1)
        inside, own = is_chosen[connected[window]], np.flatnonzero(is_chosen[owner])
        markers = np.zeros(inside.shape, dtype=np.int32)
        markers[seeds[own, 0] - rows.start, seeds[own, 1]] = own + 1
        flooded = segmentation.watershed(depth[window], markers, connectivity=2, mask=inside)
        np.copyto(connected[window], flooded + count, where=inside)
    np.maximum(connected - count, 0, out=connected)
    return connected


def _row_ranges(connected: LabelMap) -> tuple[IntArray, IntArray]:
    """Find the first and the last row of each component, (N + 1,) each; -1 for the background."""
    first, last = np.full((2, int(connected.max(initial=0)) + 1), -1, dtype=np.int64)
    for row in range(len(connected)):
        last[connected[row]] = row
    for row in range(len(connected) - 1, -1, -1):
        first[connected[row]] = row
    first[0] = last[0] = -1
    return first, last


def _distance_in_strip(objects: BoolArray, rows: slice) -> FloatArray:
    """Compute the distances of some rows, from them and as many around them as it takes.

    SciPy takes five times the memory of the result for the distances of a plane.
    """
    margin = _MARGIN
    while True:
        top, foot = max(rows.start - margin, 0), min(rows.stop + margin, len(objects))
        # The frame keeps the distance finite where objects fill the image; elsewhere rows go on beyond the strip.
        ends = (int(top == 0), int(foot == len(objects)))
        framed = np.pad(objects[top:foot], (ends, (1, 1)))
        distance: FloatArray = ndimage.distance_transform_edt(framed)[:, 1:-1]
        own = distance[ends[0] + rows.start - top :][: rows.stop - rows.start]
        # A nearer pixel of the background cannot lie beyond the margin if the margin is wider than the distance.
        if all(ends) or own.max(initial=0) <= margin:
            return own
        margin *= 2
