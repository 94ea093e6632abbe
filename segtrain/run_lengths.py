"""COCO's run-length code in NumPy, many masks at a time.

The code (pycocotools' ``maskApi.c``, ``rleFrString``): the lengths of alternating runs, starting with 0s; from the
fourth on, a length is stored as the difference to the one two before. A number takes five bits a character, low bits
first; bit 5 says that more follow, bit 4 of the last one is the sign.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def counts(code: str) -> IntArray:
    """The lengths of one mask's runs."""
    values, _ = _numbers(code)
    # Run 2 is stored as it is, run 3 relative to run 1, run 4 to run 2: two interleaved running sums.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def runs(codes: Sequence[str], pixels: int) -> tuple[IntArray, IntArray, IntArray]:
    """The runs of 1s of many masks at once.

    Args:
        codes: of masks whose runs sum to ``pixels``.
        pixels: of the plane that they all belong to.

    Returns:
        For each run its mask's number, not decreasing, and its first and one-past-last position in the plane; runs of
        length 0 are left out.
    """
    values, ends = _numbers("".join(codes))
    lengths = np.diff(np.searchsorted(ends, np.cumsum([len(code) for code in codes])), prepend=0)
    # A row is a run of 0s and the run of 1s behind it; at the end of a mask that may be missing.
    rows = (lengths + 1) // 2
    mask = np.repeat(np.arange(len(codes)), rows)
    first = np.cumsum(rows) - rows
    odd = lengths % 2 == 1
    pairs = np.zeros((len(mask), 2), dtype=np.int64)
    pairs.reshape(-1)[np.arange(len(values)) + np.repeat(np.cumsum(odd) - odd, lengths)] = values
    # The differences are undone for all masks together, then freed of what the masks before had added up. A mask's
    # first run of 0s is no part of the sums.
    leading = pairs[first, 0]
    pairs[first, 0] = 0
    sums = np.cumsum(pairs, axis=0)
    sums -= (sums[first] - pairs[first])[mask]
    sums[first, 0] = leading
    sums[(first + rows - 1)[odd], 1] = 0
    stops = np.cumsum(sums.sum(axis=1)) - mask * pixels
    kept = sums[:, 1] > 0
    return mask[kept], (stops - sums[:, 1])[kept], stops[kept]


def _numbers(code: str) -> tuple[IntArray, IntArray]:
    """The numbers in a code, or in several one after the other, and where in it each one ends."""
    digits = np.frombuffer(code.encode("ascii"), dtype=np.uint8) - np.uint8(48)
    ends = np.flatnonzero(digits < 0x20)
    lengths = np.diff(ends, prepend=-1)
    starts = ends - lengths + 1
    bits = (digits & 0x1F).astype(np.int64)
    values = bits[starts]
    for place in range(1, int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > place)
        values[longer] |= bits[starts[longer] + place] << (5 * place)
    negative = np.flatnonzero(digits[ends] & 0x10)
    values[negative] -= np.int64(1) << (5 * lengths[negative])
    return values, ends
