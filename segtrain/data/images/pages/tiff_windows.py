"""Large TIFFs, of which only the strips or tiles of a window are decoded."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np

from segtrain.data.images.image_files import ImageError
from segtrain.data.images.opening import TIFF, unreadable
from segtrain.data.images.orientation import stands_upright
from segtrain.data.images.pages.page_files import TiffFrames, tiff_frames, tiff_stack
from segtrain.data.images.pages.stacks import choose, choose_page, read_choice
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
_STRIP = 2**20  # bytes of the strips that are made of a longer one without compression, and of a page in one piece
_UNCOMPRESSED = 1
_IN_TILES = "save it in tiles"


class TiffWindows:
    """Frame of a TIFF that is read window by window, whatever its number of pixels.

    Args:
        path: path of the file.
        frame: number of the frame, from 0; None for the one that ``reading.pages`` makes of all.
        reading: settings of reading; its limit of pixels is ignored.
        size: (H, W) that the annotations state, which chooses among pages of several sizes; None for any size.

    Attributes:
        size: (H, W) in pixels.
        frames: number of frames of the file.
        stack: the frames, and their channels.

    Raises:
        ImageError: the file is missing, damaged, no TIFF, or of another size than stated; its strips or tiles cannot be
            decoded one by one, or do not stand upright; or its pages would have to be compared.
    """

    def __init__(self, path: Path, frame: int | None, reading: Reading, size: tuple[int, int] | None = None) -> None:
        self._path = path
        self._lock = Lock()
        self._cache: OrderedDict[tuple[int, int], Samples] = OrderedDict()
        self._cached = 0  # bytes
        try:
            with path.open("rb") as stream:
                self._found = _with_shorter_strips(tiff_frames(stream, size))
        except (OSError, TiffError) as error:
            raise unreadable(path, str(error)) from error
        main = self._found.main
        self.size, self.frames = main.size, len(self._found.frames)
        self._is_compressed = is_decoded_by_pillow(main)
        if self._is_compressed and (main.bits != 8 or main.kind != "u" or main.photometric not in _COLOURS):
            raise unreadable(path, f"a large TIFF of colour model {main.photometric}", "save it as RGB or grey")
        if main.orientation != 1 and stands_upright(path, main.size, main.orientation, size, reading.exif):
            raise unreadable(path, "a large TIFF that does not stand upright", "turn it")
        stands_upright(path, main.size, 1, size, reading.exif)  # the size alone
        rows, columns = main.segment
        is_whole = rows >= main.size[0] and columns >= main.size[1]
        if rows * columns * main.samples * main.bits > 8 * (_STRIP if is_whole else _CACHE):
            raise unreadable(path, "a large TIFF that is stored in one piece", _IN_TILES)
        self.stack = tiff_stack(path, self._found, self._refuse_comparison)
        self._choice = choose(self.stack, reading) if frame is None else choose_page(self.stack, frame, reading)

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

    def _refuse_comparison(self, plane: TiffPage) -> Samples:
        """Take the place of decoding where a choice would compare whole pages."""
        reason = f"{len(self._found.frames)} pages, each too large to be compared with the others"
        raise ImageError("image-pages", self._path, reason, "set data.pages=first, max or mean")

    def _decode(self, plane: TiffPage) -> Samples:
        with self._path.open("rb") as stream:
            return decode_page(stream, plane)


def is_tiff(path: Path) -> bool:
    """Return True if a file begins as a TIFF does."""
    with path.open("rb") as stream:
        return stream.read(len(TIFF[0])).startswith(TIFF)


def _with_shorter_strips(found: TiffFrames) -> TiffFrames:
    """Divide pages that are stored in one strip without compression into many, which can be read one by one."""
    return replace(
        found,
        main=_divided(found.main),
        pages=[_divided(page) for page in found.pages],
        frames=[[_divided(page) for page in frame] for frame in found.frames],
    )


def _divided(page: TiffPage) -> TiffPage:
    height, width = page.size
    row = width * (1 if page.planar else page.samples) * page.bits // 8  # bytes
    rows = max(_STRIP // max(row, 1), 1)
    single = not page.tiled and page.segment[0] >= height
    if not single or page.compression != _UNCOMPRESSED or page.bits % 8 or rows >= height:
        return page
    starts = range(0, height, rows)
    return replace(
        page,
        segment=(rows, width),
        offsets=[offset + start * row for offset in page.offsets for start in starts],
        counts=[min(rows, height - start) * row for _ in page.offsets for start in starts],
    )


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
