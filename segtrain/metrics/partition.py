"""Partition of an image at the ends of mask runs, a compact form of label planes.

All pixels of a part, in column-major order, belong to the same masks, so computations treat a part as one pixel whose
weight is its length. Memory and time grow with the outlines of the masks, not with their areas.
"""

import numpy as np

from segtrain.arrays import BoolArray, IntArray


class Partition:
    """Partition of an image into runs of pixels that belong to the same masks.

    Args:
        starts: (R,) column-major position of the first pixel of each run of each mask.
        stops: (R,) position after the last pixel of each run.

    Attributes:
        starts: (P,) column-major position of the first pixel of each part.
        lengths: (P,) number of pixels of each part.
        first: (R,) index of the first part of each run.
        last: (R,) index after the last part of each run.

    >>> partition = Partition(np.array([2, 4]), np.array([6, 9]))  # pixels 2-5 and 4-8
    >>> partition.starts.tolist(), partition.lengths.tolist()
    ([2, 4, 6], [2, 2, 3])
    """

    def __init__(self, starts: IntArray, stops: IntArray) -> None:
        # Ragged masks have millions of runs: positions are sorted in place, and what is no longer needed is freed.
        cuts = np.concatenate([starts, stops])
        cuts.sort(kind="stable")  # fast, since the runs of each mask are sorted already
        new = np.ones(len(cuts), dtype=np.bool_)
        np.not_equal(cuts[1:], cuts[:-1], out=new[1:])
        cuts = cuts[new]
        self.starts, self.lengths = cuts[:-1], np.diff(cuts)
        self.first, self.last = np.searchsorted(cuts, starts), np.searchsorted(cuts, stops)

    def total(self, first: IntArray, last: IntArray, values: IntArray | int = 1) -> IntArray:
        """Sum the values of the runs that cover each part, (P,).

        Args:
            first: index of the first part of each run that counts.
            last: index after the last part of each of these runs.
            values: value of each of these runs; 1 to count the runs.
        """
        weights = None if np.isscalar(values) else values
        opened, closed = (np.bincount(ends, weights, len(self.lengths) + 1) for ends in (first, last))
        # Whole numbers below 2^53 are exact in float64.
        return np.cumsum(opened - closed)[:-1].astype(np.int64)

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
