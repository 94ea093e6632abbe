"""Contrast of regions with their surroundings: the score that ranks regions of methods without learned scores."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.morphology import disk

from segtrain.arrays import Float32Array, IntArray
from segtrain.segmenters.classical.regions import ImageArray, LabelMap, as_unit, strips, with_halo

RING = 3  # width in pixels; part of the score's definition
_SMALL = 64  # pixels of a window's side, up to which many windows are compared at a time
_BLOCK = 2**18  # pixels of such windows; their intermediate results stay in a core's cache


class _Windows(NamedTuple):
    """Windows of one size around some regions.

    Attributes:
        numbers: (n,) number of the region of each window.
        places: (n, h, w) position of each pixel in the image, row by row; of some pixel where the window leaves it.
        inside: (n, h, w) or (n, 1, 1), true within the image.
        own: rows of the window whose pixels are counted; the other rows are needed for the dilation.
    """

    numbers: IntArray
    places: IntArray
    inside: npt.NDArray[np.bool_]
    own: slice


class _Colours:
    """Sums of the colours of many sets of pixels.

    Args:
        channels: pixels of each channel, row by row.
        count: number of sets.
    """

    def __init__(self, channels: Sequence[npt.NDArray[Any]], count: int) -> None:
        self._channels = channels
        self.totals = np.zeros((len(channels), count), dtype=np.float32)
        self.counts = np.zeros(count, dtype=np.int64)

    def add(self, windows: _Windows, chosen: npt.NDArray[np.bool_]) -> None:
        """Add the chosen pixels (n, h, w) of windows to the sets of their regions."""
        pixels = np.flatnonzero(chosen[:, windows.own])
        height, width = windows.places[0, windows.own].shape
        owners = windows.numbers[pixels // (height * width)] - 1
        places = windows.places[:, windows.own].reshape(-1)[pixels]
        np.add.at(self.counts, owners, 1)
        for total, channel in zip(self.totals, self._channels, strict=True):
            np.add.at(total, owners, as_unit(channel[places]))

    def means(self) -> Float32Array:
        """Average the colours of each set, (C, count); 0 for an empty one."""
        return np.divide(self.totals, np.maximum(self.counts, 1), dtype=np.float32)


def contrast(image: ImageArray, labels: LabelMap) -> Float32Array:
    """Score regions by the distance of their colour from that of their surroundings.

    The score is the Euclidean distance between the mean RGB of the region and of its ring, divided by the norm of the
    image's per-channel range. The ring is a 3-pixel dilation by a disc, minus all regions; minus this region alone if
    that leaves nothing.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].
        labels: (H, W), regions 1..N.

    Returns:
        (N,) in [0, 1]; 0 for a constant image, and for a region that fills the image.

    >>> image = np.zeros((5, 10, 3), np.float32)
    >>> image[2, 2], image[2, 7] = 1.0, 0.5
    >>> labels = np.zeros((5, 10), np.int64)
    >>> labels[2, 2], labels[2, 7] = 1, 2
    >>> contrast(image, labels).tolist()
    [1.0, 0.5]
    """
    count = int(labels.max(initial=0))
    # Channel by channel: NumPy is slow along axes that are followed by a short one.
    channels = [channel.reshape(-1) for channel in np.moveaxis(image, -1, 0)]
    ranges = [np.ptp(as_unit(np.array([channel.min(), channel.max()]))) for channel in channels if count]
    spread = float(np.linalg.norm(ranges))
    if spread == 0:
        return np.zeros(count, dtype=np.float32)
    regions, free, taken = (_Colours(channels, count) for _ in range(3))
    disc, numbers = disk(RING), labels.reshape(-1)
    for windows in _windows(labels):
        near = numbers[windows.places]
        region = (near == windows.numbers.astype(labels.dtype)[:, None, None]) & windows.inside
        # The windows are stacked to one image: their margins keep the dilation of a region within its own window.
        stack = region.view(np.uint8).reshape(-1, region.shape[2])
        grown = cv2.dilate(stack, disc, borderType=cv2.BORDER_CONSTANT, borderValue=0).view(np.bool_)
        ring = grown.reshape(region.shape) & windows.inside & ~region
        regions.add(windows, region)
        free.add(windows, ring & (near == 0))
        taken.add(windows, ring & (near != 0))
    surroundings = np.where(free.counts > 0, free.means(), taken.means())
    # The squares are added in float64, as the BLAS behind ``np.linalg.norm`` does.
    squares = np.square(regions.means() - surroundings).sum(axis=0, dtype=np.float64)
    distance = np.sqrt(squares.astype(np.float32)) / np.float32(spread)
    surrounded = (regions.counts > 0) & (free.counts + taken.counts > 0)
    return np.where(surrounded, np.clip(distance, 0, 1), np.float32(0))


def _windows(labels: LabelMap) -> Iterator[_Windows]:
    """Yield windows around all regions: many small ones of one size at a time, large ones in strips of rows."""
    found = ndimage.find_objects(labels)
    numbers = np.array([number for number, window in enumerate(found, 1) if window is not None], dtype=np.int64)
    bounds = [(*(side.start for side in window), *(side.stop for side in window)) for window in found if window]
    boxes = np.array(bounds, dtype=np.int64).reshape(-1, 4)
    boxes[:, :2] -= RING
    boxes[:, 2:] += RING
    del found, bounds  # hundreds of bytes for each region
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    side, least = 8, 0
    while side <= _SMALL:
        chosen = np.flatnonzero((longest > least) & (longest <= side))
        step = max(1, _BLOCK // side**2)
        for part in (chosen[start : start + step] for start in range(0, len(chosen), step)):
            yield _small_windows(numbers[part], boxes[part, :2], side, labels.shape)
        side, least = 2 * side, side
    for large in np.flatnonzero(longest > _SMALL):
        yield from _strips_of_window(numbers[large : large + 1], boxes[large], labels.shape)


def _small_windows(numbers: IntArray, corners: IntArray, side: int, size: tuple[int, ...]) -> _Windows:
    """Place square windows, given the row and column (n, 2) of their top left corners."""
    steps = np.arange(side)
    rows, columns = corners[:, :1] + steps, corners[:, 1:] + steps
    within_rows, within_columns = (rows >= 0) & (rows < size[0]), (columns >= 0) & (columns < size[1])
    places = (rows.clip(0, size[0] - 1) * size[1])[:, :, None] + columns.clip(0, size[1] - 1)[:, None]
    return _Windows(numbers, places, within_rows[:, :, None] & within_columns[:, None], slice(None))


def _strips_of_window(number: IntArray, box: IntArray, size: tuple[int, ...]) -> Iterator[_Windows]:
    """Divide a window into strips of rows, each with the rows around it that a dilation reads."""
    top, left = np.maximum(box[:2], 0).tolist()
    foot, right = np.minimum(box[2:], size).tolist()
    columns = np.arange(left, right)
    for rows in strips((foot - top, right - left)):
        around, own = with_halo(rows, RING)
        places = np.arange(top, foot)[around][:, None] * size[1] + columns
        yield _Windows(number, places[None], np.ones((1, 1, 1), dtype=np.bool_), own)
