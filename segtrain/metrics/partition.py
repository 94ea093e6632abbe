"""Partition of an image at the ends of mask runs: label planes at the cost of outlines.

All pixels of a part, in column-major order, belong to the same masks, so a part is as good as a pixel with a weight.
"""

import numpy as np

from segtrain.arrays import IntArray


class Partition:
    """The parts of an image.

    Args:
        starts: column-major position of the first pixel of each run of each mask.
        stops: one past its last.

    Attributes:
        starts: (P,) column-major position of the first pixel of each part.
        lengths: (P,) its pixels.
    """

    def __init__(self, starts: IntArray, stops: IntArray) -> None:
        self._cuts = np.unique(np.concatenate([starts, stops]))
        self.starts, self.lengths = self._cuts[:-1], np.diff(self._cuts)

    def span(self, starts: IntArray, stops: IntArray) -> tuple[IntArray, IntArray]:
        """The first part of each of the runs, and one past its last."""
        return np.searchsorted(self._cuts, starts), np.searchsorted(self._cuts, stops)

    def total(self, first: IntArray, last: IntArray, values: IntArray | int = 1) -> IntArray:
        """The sum of the values of the runs that cover each part, (P,); of runs without values, their number."""
        change = np.zeros(len(self.lengths) + 1, dtype=np.int64)
        np.add.at(change, first, values)
        np.subtract.at(change, last, values)
        return np.cumsum(change)[:-1]

    def areas(self, owner: IntArray, count: int) -> IntArray:
        """Pixels of each of the owners 0 to ``count`` - 1, (count,).

        Args:
            owner: (P,) of each part; -1 for none.
            count: of owners.
        """
        owned = owner >= 0
        pixels = np.bincount(owner[owned], weights=self.lengths[owned], minlength=count)
        return pixels.astype(np.int64)


def ranges(first: IntArray, last: IntArray) -> IntArray:
    """All numbers from each first to before its last, one range after the other."""
    lengths = last - first
    numbers: IntArray = np.arange(lengths.sum()) + np.repeat(first - np.cumsum(lengths) + lengths, lengths)
    return numbers
