"""Separation of touching objects: a watershed of the distance to the background."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage
from skimage import segmentation

from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.segmenters.classical.peaks import component_peaks
from segtrain.segmenters.classical.regions import LabelMap, components, strips, with_halo
from segtrain.segmenters.classical.shared_steps import shared_step

_MARGIN = 64  # rows around a strip at first; where objects are thicker, it grows


@shared_step
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
    heights = _Heights(objects, smoothing)
    connected = components(objects)
    seeds = component_peaks(heights.of_rows, connected, min_distance)
    return _flooded(heights.depths, seeds, connected)


class _Heights:
    """Distance of each pixel to the background, smoothed by a Gaussian; computed strip by strip where it is asked for.

    Args:
        objects: (H, W), true inside objects.
        sigma: sigma of the Gaussian in pixels.
    """

    def __init__(self, objects: BoolArray, sigma: float) -> None:
        self._objects, self._sigma = objects, sigma
        # The heights of a small image are kept; those of a large one take eight times the memory of its mask.
        self._kept = self._compute(slice(0, len(objects))) if len(list(strips(objects.shape))) <= 1 else None

    def of_rows(self, rows: slice) -> FloatArray:
        """Return the heights of some rows."""
        return self._compute(rows) if self._kept is None else self._kept[rows]

    def depths(self, window: slice) -> FloatArray:
        """Return minus the heights of many rows."""
        depth = np.empty((window.stop - window.start, self._objects.shape[1]))
        for rows in strips(depth.shape):
            np.negative(self.of_rows(slice(window.start + rows.start, window.start + rows.stop)), out=depth[rows])
        return depth

    def _compute(self, rows: slice) -> FloatArray:
        return _smooth_distance_in_strip(self._objects, self._sigma, rows.start, min(rows.stop, len(self._objects)))


def _flooded(depths: Callable[[slice], FloatArray], seeds: IntArray, connected: LabelMap) -> LabelMap:
    """Flood each component from its seeds, the highest pixels first, some components at a time.

    Components do not meet, and scikit-image's watershed takes several copies of what it is given. A component with a
    single seed belongs to it as a whole, so only strips with other components are flooded.

    Args:
        depths: function from a slice of rows to minus their heights.
        seeds: (N, 2) row and column of each seed.
        connected: (H, W) components 1..C, 0 elsewhere; overwritten.

    Returns:
        (H, W) number of the seed that each pixel belongs to, from 1; 0 for none.
    """
    owner, count = connected[tuple(seeds.T)], int(connected.max(initial=0)) + 1
    several = np.bincount(owner, minlength=count) > 1
    # Numbers beyond those of the components are labels already: a plane of their own would double the memory.
    number = np.zeros(count + len(seeds) + 1, dtype=np.int32)
    number[owner] = np.arange(1, len(seeds) + 1)
    number[count:] = np.arange(len(seeds) + 1)
    first, last = _row_ranges(connected) if several.any() else np.full((2, count), -1, dtype=np.int64)
    for rows in strips(connected.shape):
        chosen = np.flatnonzero((first >= rows.start) & (first < rows.stop))
        if not several[chosen].any():
            continue
        is_chosen = np.zeros(len(number), dtype=np.bool_)
        is_chosen[chosen] = True
        window = slice(rows.start, int(last[chosen].max()) + 1)
        inside, own = is_chosen[connected[window]], np.flatnonzero(is_chosen[owner])
        places = seeds[own, 0] - rows.start, seeds[own, 1]
        # No name holds these two arrays: scikit-image can free them once it has copied them.
        flooded = segmentation.watershed(
            depths(window), _markers(places, own + 1, inside.shape), connectivity=2, mask=inside
        )
        flooded += count
        np.copyto(connected[window], flooded, where=inside)
    for rows in strips(connected.shape):
        connected[rows] = number[connected[rows]]
    return connected


def _markers(places: tuple[IntArray, IntArray], numbers: IntArray, size: tuple[int, ...]) -> LabelMap:
    """Draw single pixels into a plane of zeros."""
    markers = np.zeros(size, dtype=np.int32)
    markers[places] = numbers
    return markers


def _row_ranges(connected: LabelMap) -> tuple[IntArray, IntArray]:
    """Find the first and the last row of each component, (N + 1,) each; -1 for the background."""
    first, last = np.full((2, int(connected.max(initial=0)) + 1), -1, dtype=np.int64)
    for row in range(len(connected)):
        last[connected[row]] = row
    for row in range(len(connected) - 1, -1, -1):
        first[connected[row]] = row
    first[0] = last[0] = -1
    return first, last


@shared_step
def _smooth_distance_in_strip(objects: BoolArray, sigma: float, start: int, stop: int) -> FloatArray:
    """Compute the distances of some rows, smoothed by a Gaussian."""
    around, own = with_halo(slice(start, stop), int(4 * sigma + 0.5))  # SciPy's Gaussian ends at 4 sigma
    distance = _distance_in_strip(objects, around.start, min(around.stop, len(objects)))
    smooth: FloatArray = ndimage.gaussian_filter(distance, sigma)[own]
    return smooth


@shared_step
def _distance_in_strip(objects: BoolArray, start: int, stop: int) -> FloatArray:
    """Compute the distances of some rows, from them and as many around them as it takes.

    SciPy takes five times the memory of the result for the distances of a plane.
    """
    margin = _MARGIN
    while True:
        top, foot = max(start - margin, 0), min(stop + margin, len(objects))
        # The frame keeps the distance finite where objects fill the image; elsewhere rows go on beyond the strip.
        ends = (int(top == 0), int(foot == len(objects)))
        framed = np.pad(objects[top:foot], (ends, (1, 1)))
        distance: FloatArray = ndimage.distance_transform_edt(framed)[:, 1:-1]
        own = distance[ends[0] + start - top :][: stop - start]
        # A nearer pixel of the background cannot lie beyond the margin if the margin is wider than the distance.
        if all(ends) or own.max(initial=0) <= margin:
            return own
        margin *= 2
