"""Files of images that are too large to be held whole, written tile by tile."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from segtrain.data.images.large_image import LargeImage
from segtrain.masks import boxes, decode_crops
from segtrain.records import Instances
from segtrain.segmenters.windows import Window

TILE = 512  # pixels of a side of the tiles that are written


def image_tiles(image: LargeImage) -> Iterator[npt.NDArray[np.generic]]:
    """Yield the samples of whole tiles of `TILE` pixels, row by row; beyond the image they are 0."""
    for window in _tiles(image.size):
        yield _whole(image.samples(window).array)


def label_tiles(found: Instances) -> Iterator[npt.NDArray[np.generic]]:
    """Yield a label map as whole tiles of `TILE` pixels, row by row; where masks overlap, the higher score lies on top.

    Args:
        found: instances of the image, best first; instance n has the label n + 1.
    """
    bounds = boxes(found.rles).astype(np.int64)
    for window in _tiles(found.size):
        drawn = np.zeros(window.size, dtype=np.int32)
        x0, y0, x1, y1 = bounds.T
        inside = np.flatnonzero((x0 < window.x1) & (x1 > window.x0) & (y0 < window.y1) & (y1 > window.y0))
        crops = list(decode_crops([found.rles[place] for place in inside.tolist()]))
        for place, (crop, x, y) in zip(inside[::-1].tolist(), reversed(crops), strict=True):
            left, top = x - window.x0, y - window.y0
            part = crop[max(-top, 0) : drawn.shape[0] - top, max(-left, 0) : drawn.shape[1] - left].astype(np.bool_)
            rows, columns = part.shape
            drawn[max(top, 0) :, max(left, 0) :][:rows, :columns][part] = place + 1
        yield _whole(drawn)


def write_tiles(
    path: Path, tiles: Iterator[npt.NDArray[np.generic]], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> int:
    """Write a TIFF tile by tile.

    Args:
        path: path of the file.
        tiles: whole tiles of `TILE` pixels, row by row.
        shape: (H, W) or (H, W, 3) of the image.
        dtype: type of its samples.

    Returns:
        The number of samples that are not 0.
    """
    nonzero = 0

    def counted() -> Iterator[npt.NDArray[np.generic]]:
        nonlocal nonzero
        for tile in tiles:
            nonzero += int(np.count_nonzero(tile))
            yield tile.astype(dtype)

    tifffile.imwrite(
        path, counted(), shape=shape, dtype=dtype, tile=(TILE, TILE), compression="zlib",
        photometric="rgb" if len(shape) == 3 else "minisblack", bigtiff=True,
    )  # fmt: skip
    return nonzero


def _tiles(size: tuple[int, int]) -> Iterator[Window]:
    height, width = size
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            yield Window(x, y, min(x + TILE, width), min(y + TILE, height))


def _whole(tile: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    height, width = tile.shape[:2]
    if (height, width) == (TILE, TILE):
        return tile
    return np.pad(tile, [(0, TILE - height), (0, TILE - width), *[(0, 0)] * (tile.ndim - 2)])
