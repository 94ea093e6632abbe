"""Images that are too large to be held whole: read by windows, shown reduced, and written tile by tile."""

from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from torch import Tensor

from segtrain.data.images.image_reader import as_tensor, range_of_image
from segtrain.data.images.intensities.intensity import Intensity, to_rgb
from segtrain.data.images.pages.tiff_windows import TiffWindows
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import Samples
from segtrain.masks import Rle, boxes, decode_crops, encode_crop
from segtrain.records import Instances
from segtrain.segmenters.windows import Window

TILE = 512  # pixels of a side of the tiles that are written
_OVERVIEW = 2048  # pixels of the longer side of an overview, at most
_ROWS = 512  # of the image that are read at a time for it


class LargeImage:
    """Image that is read window by window, with an overview of it.

    Args:
        path: path of a TIFF.
        frame: number of its frame, from 0.
        reading: settings of reading; its limit of pixels does not apply.
        intensity: ranges by which samples become 8-bit RGB.

    Attributes:
        size: (H, W) in pixels.
        frames: number of frames of the file.
        step: pixels of the image per pixel of the overview.
        overview: every ``step``-th sample of every ``step``-th row.

    Raises:
        ImageError: the file cannot be read by windows; see `TiffWindows`.
    """

    def __init__(self, path: Path, frame: int, reading: Reading, intensity: Intensity) -> None:
        self._windows = TiffWindows(path, frame, reading)
        self.size, self.frames = self._windows.size, self._windows.frames
        self.step = ceil(max(self.size) / _OVERVIEW)
        self.overview = self._reduced()
        self._bounds = range_of_image(self.overview, intensity, path)

    def read(self, window: Window) -> Tensor:
        """Read a window: uint8 RGB (3, H, W)."""
        return as_tensor(to_rgb(self.samples(window), self._bounds))

    def samples(self, window: Window) -> Samples:
        """Read the samples of a window as the file stores them."""
        return self._windows.read(window)

    def reduced(self, rles: Sequence[Rle]) -> list[Rle]:
        """Reduce masks of the image to the size of the overview."""
        height, width = self.overview.array.shape[:2]
        step = self.step
        return [
            encode_crop(crop[-y % step :: step, -x % step :: step], -(-x // step), -(-y // step), (height, width))
            for crop, x, y in decode_crops(rles)
        ]

    def tiles(self) -> Iterator[npt.NDArray[np.generic]]:
        """Yield the samples of whole tiles of `TILE` pixels, row by row; beyond the image they are 0."""
        for window in _tiles(self.size):
            yield _whole(self.samples(window).array)

    def _reduced(self) -> Samples:
        height, width = self.size
        rows = max(_ROWS // self.step, 1) * self.step
        parts = [self.samples(Window(0, y, width, min(y + rows, height))) for y in range(0, height, rows)]
        arrays = [part.array[:: self.step, :: self.step].copy() for part in parts]
        return Samples(np.concatenate(arrays), parts[0].limits)


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
