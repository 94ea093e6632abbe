"""Images of more pixels than may be decoded at once: read by windows, and shown reduced."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from segtrain.arrays import RgbArray
from segtrain.data.coco.record_tables import ImageInfo, ImageTable
from segtrain.data.images.image_reader import ImageEntry, ImageReader, as_tensor, range_of_image
from segtrain.data.images.intensities.intensity import Intensity, to_rgb
from segtrain.data.images.opening import too_large
from segtrain.data.images.pages.tiff_windows import Box, TiffWindows
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import Samples
from segtrain.masks import Rle, decode_crops, encode_crop

if TYPE_CHECKING:
    from torch import Tensor

_OVERVIEW = 2048  # pixels of the longer side of an overview, at most
_ROWS = 512  # of the image that are read at a time for it


class LargeImage:
    """Image that is read window by window, with an overview of it.

    Args:
        path: path of a TIFF.
        frame: number of its frame, from 0; None for the one that ``reading.pages`` makes of all.
        reading: settings of reading; its limit of pixels does not apply.
        intensity: ranges by which samples become 8-bit RGB; None to read samples alone.
        size: (H, W) that the annotations state; None for any size.

    Attributes:
        size: (H, W) in pixels.
        frames: number of frames of the file.
        step: pixels of the image per pixel of the overview.
        overview: every ``step``-th sample of every ``step``-th row; all strips or tiles were decoded for it.

    Raises:
        ImageError: the file cannot be read by windows; see `TiffWindows`.
    """

    def __init__(
        self,
        path: Path,
        frame: int | None,
        reading: Reading,
        intensity: Intensity | None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self._windows = TiffWindows(path, frame, reading, size)
        self.size, self.frames = self._windows.size, self._windows.frames
        self.step = ceil(max(self.size) / _OVERVIEW)
        self.overview = self._reduced()
        self._bounds = None if intensity is None else range_of_image(self.overview, intensity, path)

    def read(self, window: Box) -> "Tensor":
        """Read a window: uint8 RGB (3, H, W)."""
        return as_tensor(self.rgb(window))

    def rgb(self, window: Box) -> RgbArray:
        """Read a window as 8-bit RGB, (H, W, 3)."""
        assert self._bounds is not None
        return to_rgb(self.samples(window), self._bounds)

    def samples(self, window: Box) -> Samples:
        """Read the samples of a window as the file stores them."""
        return self._windows.read(window)

    @property
    def picture(self) -> RgbArray:
        """The overview as 8-bit RGB."""
        assert self._bounds is not None
        return to_rgb(self.overview, self._bounds)

    def reduced(self, rles: Sequence[Rle]) -> list[Rle]:
        """Reduce masks of the image to the size of the overview."""
        height, width = self.overview.array.shape[:2]
        step = self.step
        return [
            encode_crop(crop[-y % step :: step, -x % step :: step], -(-x // step), -(-y // step), (height, width))
            for crop, x, y in decode_crops(rles)
        ]

    def _reduced(self) -> Samples:
        height, _ = self.size
        rows = max(_ROWS // self.step, 1) * self.step
        parts = [self._reduced_rows(y, min(y + rows, height)) for y in range(0, height, rows)]
        marks = [part.valid for part in parts if part.valid is not None]
        array = np.concatenate([part.array for part in parts])
        return Samples(array, parts[0].limits, np.concatenate(marks) if marks else None)

    def _reduced_rows(self, first: int, last: int) -> Samples:
        """Read some rows of the whole image, and keep no more than is shown of them."""
        samples, step = self.samples((0, first, self.size[1], last)), self.step
        valid = None if samples.valid is None else samples.valid[::step, ::step].copy()
        return Samples(samples.array[::step, ::step].copy(), samples.limits, valid)


class Picture(NamedTuple):
    """Image as it is shown, with the masks of its objects: both reduced where the image is large.

    Attributes:
        pixels: (H, W, 3) uint8.
        masks: masks of that size.
    """

    pixels: RgbArray
    masks: list[Rle]


def is_large(reader: ImageReader, image: ImageEntry) -> bool:
    """Return True if an image has more pixels than may be decoded at once, so that only windows of it are read."""
    return image.size[0] * image.size[1] > reader.max_pixels


def large_images(reader: ImageReader, images: ImageTable) -> list[ImageInfo]:
    """List the images of which only windows are read; see `is_large`."""
    rows = images.rows
    pixels = rows["height"].astype(np.int64) * rows["width"]
    return [images[place] for place in np.flatnonzero(pixels > reader.max_pixels).tolist()]


def read_or_open(reader: ImageReader, image: ImageEntry) -> RgbArray | LargeImage:
    """Read the pixels of an image as 8-bit RGB, or open one that is large to be read by windows.

    Args:
        reader: reader of the image's folder.
        image: the image.

    Raises:
        ImageError: the image cannot be read.
    """
    return open_large(reader, image, reader.intensity) if is_large(reader, image) else reader.read(image)


def read_samples(reader: ImageReader, image: ImageEntry) -> tuple[Samples, LargeImage | None]:
    """Decode an image, or each part of one that is large.

    Args:
        reader: reader of the image's folder.
        image: the image.

    Returns:
        The samples as stored; of a large image those of its overview, with the image.

    Raises:
        ImageError: the image cannot be read.
    """
    if not is_large(reader, image):
        return reader.samples(image), None
    large = open_large(reader, image, None)
    return large.overview, large


def read_picture(reader: ImageReader, image: ImageEntry, masks: Sequence[Rle] = ()) -> Picture:
    """Read an image to show it.

    Args:
        reader: reader of the image's folder.
        image: the image.
        masks: masks of the image's size.

    Raises:
        ImageError: the image cannot be read.
    """
    found = read_or_open(reader, image)
    return Picture(found.picture, found.reduced(masks)) if isinstance(found, LargeImage) else Picture(found, [*masks])


def open_large(reader: ImageReader, image: ImageEntry, intensity: Intensity | None) -> LargeImage:
    """Open an image to be read by windows.

    Args:
        reader: reader of the image's folder.
        image: the image.
        intensity: ranges by which samples become 8-bit RGB; None to read samples alone.

    Raises:
        ImageError: the file cannot be read by windows, or is remote.
    """
    path = reader.path(image.file_name)
    if not isinstance(path, Path):
        raise too_large(path, f"{image.size[0] * image.size[1]} pixels", reader.max_pixels)
    return LargeImage(path, None, reader.reading, intensity, image.size)
