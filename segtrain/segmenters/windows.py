"""Overlapping windows that cover an image, each with a core, and the pixels that windows are read from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from segtrain.arrays import BoolArray

if TYPE_CHECKING:
    from torch import Tensor


class Window(NamedTuple):
    """Rectangle of an image, in pixels.

    Attributes:
        x0: column of its left edge.
        y0: row of its top edge.
        x1: column after its right edge.
        y1: row after its bottom edge.
    """

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels.

        >>> Window(10, 20, 40, 30).size
        (10, 30)
        """
        return self.y1 - self.y0, self.x1 - self.x0


class Pixels(Protocol):
    """Image that is read window by window."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    def read(self, window: Window, /) -> "Tensor":
        """Read a window: uint8 RGB (3, H, W)."""
        ...


@dataclass(frozen=True)
class ImagePixels:
    """Pixels of an image in memory.

    Attributes:
        image: uint8 RGB (3, H, W).
    """

    image: "Tensor"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.image.shape[1]), int(self.image.shape[2])

    def read(self, window: Window) -> "Tensor":
        """Return a window as a view."""
        return self.image[:, window.y0 : window.y1, window.x0 : window.x1]


@dataclass(frozen=True)
class WindowGrid:
    """Rows and columns of windows of one size that cover an image.

    Neighbours overlap; the border between their cores lies in the middle of what they share, so that the cores cover
    the image without an overlap.

    Attributes:
        size: (H, W) of the image.
        window: largest (H, W) of a window; along a shorter side of the image, windows have its length.
        overlap: least (rows, columns) that neighbours share, below half of the window.

    >>> grid = WindowGrid((100, 250), (100, 100), (20, 20))
    >>> [window.x0 for window in grid]
    [0, 75, 150]
    >>> grid.core(1)
    Window(x0=87, y0=0, x1=162, y1=100)
    """

    size: tuple[int, int]
    window: tuple[int, int]
    overlap: tuple[int, int]

    @cached_property
    def starts(self) -> tuple[list[int], list[int]]:
        """First row of each row of windows, and first column of each column."""
        rows, columns = (_starts(*axis) for axis in zip(self.size, self.sides, self.overlap, strict=True))
        return rows, columns

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of every window."""
        return min(self.window[0], self.size[0]), min(self.window[1], self.size[1])

    def __len__(self) -> int:
        return len(self.starts[0]) * len(self.starts[1])

    def __iter__(self) -> Iterator[Window]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Window:
        """Return a window by its number, row by row."""
        y, x = self._starts_of(number)
        height, width = self.sides
        return Window(x, y, x + width, y + height)

    def core(self, number: int) -> Window:
        """Return the part of a window that belongs to no other one."""
        row, column = divmod(number, len(self.starts[1]))
        (y0, y1), (x0, x1) = (
            _core(starts, place, side, length)
            for starts, place, side, length in zip(self.starts, (row, column), self.sides, self.size, strict=True)
        )
        return Window(x0, y0, x1, y1)

    def before(self, number: int) -> list[int]:
        """List the windows of smaller numbers that overlap a window."""
        rows, columns = self.starts
        row, column = divmod(number, len(columns))
        height, width = self.sides
        near_rows = [place for place in range(row + 1) if rows[row] - rows[place] < height]
        near_columns = [place for place, x in enumerate(columns) if abs(columns[column] - x) < width]
        found = [y * len(columns) + x for y in near_rows for x in near_columns]
        return [other for other in found if other < number]

    def inner_edges(self, number: int) -> BoolArray:
        """Return True for each edge of a window (left, top, right, bottom) that is none of the image's: (4,)."""
        window, (height, width) = self[number], self.size
        return np.array([window.x0 > 0, window.y0 > 0, window.x1 < width, window.y1 < height])

    def _starts_of(self, number: int) -> tuple[int, int]:
        row, column = divmod(number, len(self.starts[1]))
        return self.starts[0][row], self.starts[1][column]


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Spread the fewest windows that suffice evenly along an axis."""
    if length <= side:
        return [0]
    count = ceil((length - overlap) / (side - overlap))
    return [round(place * (length - side) / (count - 1)) for place in range(count)]


def _core(starts: Sequence[int], place: int, side: int, length: int) -> tuple[int, int]:
    first = 0 if place == 0 else (starts[place] + starts[place - 1] + side) // 2
    last = length if place == len(starts) - 1 else (starts[place + 1] + starts[place] + side) // 2
    return first, last
