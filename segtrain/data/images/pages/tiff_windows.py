"""Large TIFFs, of which only the strips or tiles of a window are decoded."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np

from segtrain.data.images.image_files import ImageError
from segtrain.data.images.opening import unreadable
from segtrain.data.images.pages.page_files import tiff_frames, tiff_stack
from segtrain.data.images.pages.stacks import choose_page, read_choice
from segtrain.data.images.pages.tiff_pages import (
    BLACK_IS_ZERO,
    RGB,
    YCBCR,
    TiffError,
    TiffPage,
    decode_compressed_tile,
)
from segtrain.data.images.pages.tiff_segments import decode_page, is_decoded_by_pillow
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import Samples

Box = tuple[int, int, int, int]  # xyxy in whole pixels
_COLOURS = (BLACK_IS_ZERO, RGB, YCBCR)  # of tiles that are compressed as images
_CACHE = 2**28  # bytes of decoded strips and tiles that are kept, since windows overlap


class TiffWindows:
    """Frame of a TIFF that is read window by window, whatever its number of pixels.

    Args:
        path: path of the file.
        frame: number of the frame, from 0.
        reading: settings of reading; its limit of pixels and its ``pages`` are ignored.

    Attributes:
        size: (H, W) in pixels.
        frames: number of frames of the file.

    Raises:
        ImageError: the file is missing, damaged, or no TIFF; or its strips or tiles cannot be decoded one by one, or do
            not stand upright.
    """

    def __init__(self, path: Path, frame: int, reading: Reading) -> None:
        self._path, self._frame, self._reading = path, frame, reading
        self._lock = Lock()
        self._cache: OrderedDict[tuple[int, int], Samples] = OrderedDict()
        self._cached = 0  # bytes
        try:
            with path.open("rb") as stream:
                self._found = tiff_frames(stream, None)
        except (OSError, TiffError) as error:
            raise unreadable(path, str(error)) from error
        main = self._found.main
        self.size, self.frames = main.size, len(self._found.frames)
        self._is_compressed = is_decoded_by_pillow(main)
        if self._is_compressed and (main.bits != 8 or main.kind != "u" or main.photometric not in _COLOURS):
            raise unreadable(path, f"a large TIFF of colour model {main.photometric}", "save it as RGB or grey")
        if main.orientation != 1 and reading.exif != "ignore":
            raise unreadable(path, "a large TIFF that does not stand upright", "turn it")
        self._choice = choose_page(tiff_stack(path, self._found, self._decode), frame, reading)

    def read(self, box: Box) -> Samples:
        """Read a window.

        Args:
            box: xyxy of the window, inside of the image.

        Returns:
            Samples as stored, (h, w) grey or (h, w, 3) colour.

        Raises:
            ImageError: a strip or tile is damaged.
        """
        x0, y0, x1, y1 = box
        parts = list(self._segments(box))
        first = parts[0][2]
        array = np.empty((y1 - y0, x1 - x0, *first.array.shape[2:]), dtype=first.array.dtype)
        valid = None if first.valid is None else np.empty(array.shape[:2], dtype=np.bool_)
        for top, left, samples in parts:
            height, width = samples.array.shape[:2]
            inside = (
                slice(max(y0 - top, 0), min(y1 - top, height)),
                slice(max(x0 - left, 0), min(x1 - left, width)),
            )
            rows, columns = (slice(max(top - y0, 0), top + height - y0), slice(max(left - x0, 0), left + width - x0))
            array[rows, columns] = samples.array[inside]
            if valid is not None and samples.valid is not None:
                valid[rows, columns] = samples.valid[inside]
        return Samples(array, first.limits, valid)

    def _segments(self, box: Box) -> Iterator[tuple[int, int, Samples]]:
        """Yield the strips or tiles of a window, with the row and column at which each begins."""
        x0, y0, x1, y1 = box
        rows, columns = self._found.main.segment
        for row in range(y0 // rows, (y1 - 1) // rows + 1):
            for column in range(x0 // columns, (x1 - 1) // columns + 1):
                yield row * rows, column * columns, self._segment(row, column)

    def _segment(self, row: int, column: int) -> Samples:
        """Decode a strip or tile, or take it from the cache."""
        with self._lock:
            key = row, column
            if key not in self._cache:
                self._cache[key] = self._decoded(row, column)
                self._cached += self._cache[key].array.nbytes
                while len(self._cache) > 1 and self._cached > _CACHE:
                    self._cached -= self._cache.popitem(last=False)[1].array.nbytes
            self._cache.move_to_end(key)
            return self._cache[key]

    def _decoded(self, row: int, column: int) -> Samples:
        def decode(plane: TiffPage) -> Samples:
            if not self._is_compressed:
                return self._decode(_part(plane, row, column))
            with self._path.open("rb") as stream:
                array = decode_compressed_tile(stream, plane, row * -(-plane.size[1] // plane.segment[1]) + column)
            return Samples(array[:, :, 0] if array.shape[2] == 1 else array, (0, 255))

        try:
            return read_choice(tiff_stack(self._path, self._found, decode), self._choice)
        except ImageError:
            raise
        except TiffError as error:
            raise unreadable(self._path, error.what, error.remedy) from error
        except Exception as error:  # as in `open_image`
            raise unreadable(self._path, str(error) or type(error).__name__) from error

    def _decode(self, plane: TiffPage) -> Samples:
        with self._path.open("rb") as stream:
            return decode_page(stream, plane)


def _part(plane: TiffPage, row: int, column: int) -> TiffPage:
    """Describe a strip or tile as a page of its own."""
    (height, width), (rows, columns) = plane.size, plane.segment
    across = -(-width // columns)
    count = -(-height // rows) * across
    places = [layer * count + row * across + column for layer in range(plane.samples if plane.planar else 1)]
    if places[-1] >= min(len(plane.offsets), len(plane.counts)):
        raise TiffError(f"a damaged TIFF: {len(plane.offsets)} of its {count} strips or tiles are there")
    return replace(
        plane,
        size=(min(rows, height - row * rows), min(columns, width - column * columns)),
        offsets=[plane.offsets[place] for place in places],
        counts=[plane.counts[place] for place in places],
    )
