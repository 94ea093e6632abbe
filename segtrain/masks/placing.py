"""Masks of a window in the plane of the whole image, and the part of masks inside a rectangle."""

import numpy as np

from segtrain.arrays import IntArray
from segtrain.masks import codec
from segtrain.masks.rles import PackedRles
from segtrain.masks.sweep import Runs, column_pieces


def placed(rles: PackedRles, corner: tuple[int, int], size: tuple[int, int]) -> PackedRles:
    """Move masks of a window to their places in the image.

    Args:
        rles: masks of the window, all of its size.
        corner: column and row of the window's top left pixel in the image; the window lies inside of the image.
        size: (H, W) of the image.

    >>> window = PackedRles.of([{"size": [1, 2], "counts": "02"}])
    >>> placed(window, (1, 1), (2, 3))[0]  # pixels (1, 1) and (2, 1)
    {'size': [2, 3], 'counts': '3110'}
    """
    if not len(rles):
        return PackedRles.of_one_size(b"", rles.ends, size)
    x, y = corner
    runs = rles.runs()
    piece, column, first, last = _pieces(runs, int(rles.heights[0]))
    starts = (column + x) * size[0] + y
    flips = np.stack([starts + first, starts + last], axis=1).reshape(-1)
    owners = np.repeat(runs[0][piece], 2)
    return PackedRles.of_one_size(*codec.text_of(flips, owners, len(rles), size[0] * size[1]), size)


def pixels_inside(rles: PackedRles, box: tuple[int, int, int, int]) -> IntArray:
    """Count the pixels of each mask inside a rectangle.

    Args:
        rles: masks of one size.
        box: xyxy of the rectangle in whole pixels.

    Returns:
        (N,) numbers of pixels.

    >>> pixels_inside(PackedRles.of([{"size": [2, 3], "counts": "06"}]), (1, 0, 3, 1)).tolist()
    [2]
    """
    if not len(rles):
        return np.zeros(0, dtype=np.int64)
    x0, y0, x1, y1 = box
    runs = rles.runs()
    piece, column, first, last = _pieces(runs, int(rles.heights[0]))
    rows = (np.minimum(last, y1) - np.maximum(first, y0)).clip(0) * ((column >= x0) & (column < x1))
    return np.bincount(runs[0][piece], weights=rows, minlength=len(rles)).astype(np.int64)


def _pieces(runs: Runs, height: int) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Cut runs at the ends of columns: index of each piece's run, its column, its first row, the row after its last."""
    piece, column = column_pieces(runs, height)
    tops = column * height
    return piece, column, np.maximum(runs[1][piece] - tops, 0), np.minimum(runs[2][piece] - tops, height)
