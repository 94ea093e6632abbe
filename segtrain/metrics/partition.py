"""Partition of an image at the ends of mask runs, a compact form of label planes.

All pixels of a part, in column-major order, belong to the same masks, so computations treat a part as one pixel whose
weight is its length. Memory and time grow with the outlines of the masks, not with their areas.
"""

import numpy as np

from segtrain.arrays import BoolArray, IntArray


class Partition:
    """Partition of an image into runs of pixels that belong to the same masks.

    Args:
        starts: column-major position of the first pixel of each run of each mask.
        stops: position after the last pixel of each run.

    Attributes:
        starts: (P,) column-major position of the first pixel of each part.
        lengths: (P,) number of pixels of each part.

    >>> partition = Partition(np.array([2, 4]), np.array([6, 9]))  # pixels 2-5 and 4-8
    >>> partition.starts.tolist(), partition.lengths.tolist()
    ([2, 4, 6], [2, 2, 3])
    """

    def __init__(self, starts: IntArray, stops: IntArray) -> None:
        # np.unique takes ten times as long where most values occur once.
        cuts = np.sort(np.concatenate([starts, stops]))
        self._cuts = cuts[np.diff(cuts, prepend=-1) > 0]
        self.starts, self.lengths = self._cuts[:-1], np.diff(self._cuts)

    def span(self, starts: IntArray, stops: IntArray) -> tuple[IntArray, IntArray]:
        """Find the index of the first part of each run, and the index after its last part."""
        return np.searchsorted(self._cuts, starts), np.searchsorted(self._cuts, stops)

    def total(self, first: IntArray, last: IntArray, values: IntArray | int = 1) -> IntArray:
        """Sum the values of the runs that cover each part, (P,).

        Args:
            first: (R,) index of the first part of each run, see ``span``.
            last: (R,) index after the last part of each run.
            values: (R,) value of each run; 1 to count the runs.
        """
        change = np.zeros(len(self.lengths) + 1, dtype=np.int64)
        np.add.at(change, first, values)
        np.subtract.at(change, last, values)
        return np.cumsum(change)[:-1]

    def pixels(self, chosen: BoolArray) -> int:
        """Count the pixels of some parts.

        Args:
            chosen: (P,) true for the parts that count.
        """
        return int(self.lengths[chosen].sum())

    def areas(self, owner: IntArray, count: int) -> IntArray:
        """Count the pixels of each of the owners 0 to ``count`` - 1, (count,).

        Args:
            owner: (P,) owner of each part; -1 for none.
            count: number of owners.
        """
        owned = owner >= 0
        pixels = np.bincount(owner[owned], weights=self.lengths[owned], minlength=count)
        return pixels.astype(np.int64)
