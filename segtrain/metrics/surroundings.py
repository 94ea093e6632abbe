"""What is around each true object of an image: grey values that may be its own.

Source of the separation: the largest distance of two cumulative distributions (Kolmogorov, 1933; Smirnov, 1948). For
grey values it is what the best single threshold can do: 1 minus the share of the object that it misses minus the share
of the surroundings that it takes for object.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.masks import Rle

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
GreyArray = npt.NDArray[np.uint8]
DepthArray = npt.NDArray[np.uint16]

RING = 3  # width in pixels of the surroundings; those of the classical methods' contrast score

_ACROSS = np.arange(-RING, RING + 1)
_DISC = (_ACROSS**2 + _ACROSS[:, None] ** 2 <= RING**2).astype(np.uint8)


def grey_separation(grey: GreyArray, rles: Sequence[Rle], others: Sequence[Rle] = ()) -> FloatArray:
    """How far the grey values of each object lie from those of its surroundings.

    The surroundings are the pixels within 3 of the object that belong to no object; where there are none, to any other.

    Args:
        grey: (H, W) of the image.
        rles: the objects.
        others: what is not to count as surroundings either.

    Returns:
        (N,) from 0, both have the same grey values in the same shares, to 1, a threshold takes them apart without a
        mistake; nan for an object without a pixel or without surroundings.
    """
    depth = _depth([*rles, *others], grey.shape)
    found = np.full(len(rles), np.nan)
    for number, rle in enumerate(rles):
        inside, near, window = _neighbourhood(rle, grey.shape)
        free = near & (depth[window] == 0)
        around = free if free.any() else near
        if inside.any() and around.any():
            found[number] = _distance(grey[window][inside], grey[window][around])
    return found


def _depth(rles: Sequence[Rle], size: tuple[int, ...]) -> DepthArray:
    """(H, W) how many of the masks cover each pixel."""
    depth = np.zeros(size, dtype=np.uint16)
    for rle in rles:
        crop, x, y = masks.decode_crop(rle)
        depth[y : y + crop.shape[0], x : x + crop.shape[1]] += crop
    return depth


def _neighbourhood(rle: Rle, size: tuple[int, ...]) -> tuple[BoolArray, BoolArray, tuple[slice, slice]]:
    """A window around an object; in it, the object, and what lies around it."""
    crop, x, y = masks.decode_crop(rle)
    top, left = max(y - RING, 0), max(x - RING, 0)
    window = (slice(top, y + crop.shape[0] + RING), slice(left, x + crop.shape[1] + RING))
    inside = np.zeros((min(window[0].stop, size[0]) - top, min(window[1].stop, size[1]) - left), dtype=np.uint8)
    inside[y - top : y - top + crop.shape[0], x - left : x - left + crop.shape[1]] = crop
    near = cv2.dilate(inside, _DISC) if crop.size else inside
    return inside > 0, (near > 0) & (inside == 0), window


def _distance(first: GreyArray, second: GreyArray) -> float:
    shares = [np.cumsum(np.bincount(values, minlength=256)) / len(values) for values in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())
