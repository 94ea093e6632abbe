"""COCO's run-length code in NumPy, many masks at a time.

The code (pycocotools' ``maskApi.c``, ``rleFrString``): the lengths of alternating runs, starting with 0s; from the
fourth on, a length is stored as the difference to the one two before. A number takes five bits a character, low bits
first; bit 5 says that more follow, bit 4 of the last one is the sign.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segtrain.arrays import BoolArray, IntArray, blocks

BLOCK = 2**21  # characters that are decoded, or flips that are encoded, at a time; bounds the memory
LIMITS = 1 << np.arange(4, 60, 5)  # the least number that needs more than one character, more than two, ...


def counts(code: str) -> IntArray:
    """Decode the lengths of one mask's runs.

    >>> counts("222").tolist()
    [2, 2, 2]
    """
    values, _ = _numbers(code.encode("ascii"))
    # Run 2 is stored as it is, run 3 relative to run 1, run 4 to run 2: two interleaved running sums.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def runs_of_text(text: bytes, ends: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Decode the runs of 1s of many masks whose codes are one text, some masks at a time.

    Args:
        text: run-length codes of the masks, one after the other; their planes may differ in size.
        ends: (N,) position after the last character of each mask's code.

    Returns:
        For each run the index of its mask, not decreasing, its first position in the plane, and the position after its
        last one; runs of length 0 are left out.

    >>> [column.tolist() for column in runs_of_text(b"22206", np.array([3, 5]))]
    [[0, 1], [2, 0], [4, 6]]
    """
    if len(text) <= BLOCK:
        return _runs(text, ends)
    parts = []
    for block in blocks(np.diff(ends, prepend=0), BLOCK):
        start = int(ends[block.start - 1]) if block.start else 0
        mask, starts, stops = _runs(text[start : int(ends[block.stop - 1])], ends[block] - start)
        parts.append((mask + block.start, starts, stops))
    mask, starts, stops = (np.concatenate(column) for column in zip(*parts, strict=True))
    return mask, starts, stops


def are_sound(codes: Sequence[str], pixels: IntArray) -> BoolArray:
    """Find the codes that need no correction, many at once, (N,).

    Their runs add up to the pixels of the plane, and none but the first is empty.

    Args:
        codes: run-length codes of the masks, each of which ``CODE`` matches.
        pixels: (N,) number of pixels of each mask's plane.

    >>> are_sound(["222", "06", "2022", "23"], np.array([6, 6, 6, 6])).tolist()
    [True, True, False, False]
    """
    characters = np.array([len(code) for code in codes], dtype=np.int64)
    sound = np.zeros(len(codes), dtype=np.bool_)
    for block in blocks(characters, BLOCK):
        lengths, own = _run_lengths("".join(codes[block]).encode("ascii"), np.cumsum(characters[block])), pixels[block]
        zeros, ones, has_pairs = lengths.zeros, lengths.ones, lengths.pairs > 0
        most = np.repeat(own, lengths.pairs)
        empty = zeros == 0
        empty[lengths.first[has_pairs]] = False  # the first run of 0s may be
        wrong = empty | (zeros < 0) | (zeros > most) | (ones <= 0) | (ones > most)
        right = ~lengths.odd | (lengths.last_zeros >= np.where(has_pairs, 1, 0))
        right[np.repeat(np.arange(len(own)), lengths.pairs)[wrong]] = False
        sound[block] = right & (lengths.stops_of_masks() + lengths.last_zeros == own)
    return sound


class _RunLengths(NamedTuple):
    """Lengths of the runs of N masks, in R pairs of a run of 0s and the following run of 1s.

    Attributes:
        zeros: (R,) length of the run of 0s of each pair.
        ones: (R,) length of its run of 1s.
        pairs: (N,) number of pairs of each mask.
        first: (N,) first pair of each mask, or the place where it would be.
        odd: (N,) true for masks that end with a run of 0s.
        last_zeros: (N,) its length; 0 for other masks.
    """

    zeros: IntArray
    ones: IntArray
    pairs: IntArray
    first: IntArray
    odd: BoolArray
    last_zeros: IntArray

    def stops(self) -> IntArray:
        """Find the position after each run of 1s in its plane, (R,)."""
        stops = np.cumsum(self.zeros + self.ones)
        stops -= np.repeat(np.append(0, stops)[self.first], self.pairs)
        return stops

    def stops_of_masks(self) -> IntArray:
        """Find the position after the last run of 1s of each mask, (N,); 0 for masks without pairs."""
        before = np.append(0, np.cumsum(self.zeros + self.ones))
        stops: IntArray = before[self.first + self.pairs] - before[self.first]
        return stops


def _run_lengths(text: bytes, ends_of_codes: IntArray) -> _RunLengths:
    """Decode the lengths of all runs of some masks."""
    values, ends = _numbers(text)
    stops = np.searchsorted(ends, ends_of_codes)
    lengths = np.diff(stops, prepend=0)
    odd = lengths % 2 == 1
    trailing = stops[odd] - 1
    kept = np.ones(len(values), dtype=np.bool_)
    kept[trailing] = False
    table = values[kept].reshape(-1, 2)
    pairs = lengths // 2
    first = np.cumsum(pairs) - pairs
    some = pairs > 0
    begins, repeats = first[some], pairs[some]
    # The differences are summed for all masks together, then the sums of the preceding masks are subtracted. A mask's
    # first run of 0s is not part of the sums.
    leading = table[begins, 0]
    table[begins, 0] = 0
    zeros, ones = np.cumsum(table[:, 0]), np.cumsum(table[:, 1])
    zeros -= np.repeat(zeros[begins], repeats)
    ones -= np.repeat(ones[begins] - table[begins, 1], repeats)
    zeros[begins] = leading
    last_zeros = np.zeros(len(lengths), dtype=np.int64)
    last_zeros[odd] = values[trailing]
    related = odd & (pairs > 1)  # the third number is the first that no sum precedes
    last_zeros[related] += zeros[(first + pairs - 1)[related]]
    return _RunLengths(zeros, ones, pairs, first, odd, last_zeros)


def _runs(text: bytes, ends_of_codes: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Decode the runs of 1s of some masks."""
    lengths = _run_lengths(text, ends_of_codes)
    mask, stops = np.repeat(np.arange(len(lengths.pairs)), lengths.pairs), lengths.stops()
    starts = stops - lengths.ones
    kept = lengths.ones > 0
    return (mask, starts, stops) if kept.all() else (mask[kept], starts[kept], stops[kept])


def text_of(
    flips: npt.NDArray[np.integer[Any]], owners: npt.NDArray[np.integer[Any]], count: int, pixels: int
) -> tuple[bytes, IntArray]:
    """Encode many masks as one text, some masks at a time, without a loop over them.

    Args:
        flips: positions in 0..``pixels`` at which a mask changes between 0 and 1, starting with 0s, sorted in each, of
            any type of integer; two equal positions cancel out.
        owners: index of each flip's mask, not decreasing, in 0..``count`` - 1.
        count: number of masks; a mask without flips is empty.
        pixels: number of pixels of the plane.

    Returns:
        The text, and the position after the last character of each mask, (``count``,).

    >>> text_of(np.array([2, 4, 0]), np.array([0, 0, 1]), 2, 6)
    (b'22206', array([3, 5]))
    """
    stops = np.searchsorted(owners, np.arange(count, dtype=owners.dtype), side="right")
    texts, ends, length = [], [np.zeros(0, dtype=np.int64)], 0
    for block in blocks(np.diff(stops, prepend=0) + 1, BLOCK):  # a mask without flips has a run, too
        start, stop = int(stops[block.start - 1]) if block.start else 0, int(stops[block.stop - 1])
        own = flips[start:stop].astype(np.int64), owners[start:stop].astype(np.int64) - block.start
        text, own_ends = _characters(*_run_differences(*_distinct(*own, pixels), block.stop - block.start, pixels))
        texts.append(text)
        ends.append(own_ends + length)
        length += len(text)
    return b"".join(texts), np.concatenate(ends)


def _distinct(flips: IntArray, owners: IntArray, pixels: int) -> tuple[IntArray, IntArray]:
    """Cancel equal positions of a mask out, and drop those at the plane's end, where a run ends without a flip."""
    new = np.ones(len(flips), dtype=np.bool_)
    new[1:] = (flips[1:] != flips[:-1]) | (owners[1:] != owners[:-1])
    kept = new & (flips < pixels)
    if not new.all():
        # Only an odd number of equal positions is a flip.
        first = np.flatnonzero(new)
        kept[first] &= np.diff(first, append=len(flips)) % 2 == 1
    return (flips, owners) if kept.all() else (flips[kept], owners[kept])


def _run_differences(flips: IntArray, owners: IntArray, count: int, pixels: int) -> tuple[IntArray, IntArray]:
    """Compute the numbers that are stored for each mask's runs, and the index after each mask's last one."""
    # Each mask's flips, then the plane's end: the differences are its runs.
    lengths = np.bincount(owners, minlength=count) + 1
    ends = np.cumsum(lengths)
    runs = np.full(len(flips) + count, pixels, dtype=np.int64)
    runs[np.arange(len(flips)) + owners] = flips
    starts = ends - lengths
    first = runs[starts]
    runs[1:] -= runs[:-1].copy()
    runs[starts] = first
    early = [starts[lengths > place] + place for place in range(3)]
    stored = [runs[places] for places in early]
    runs[2:] -= runs[:-2].copy()
    for places, own in zip(early, stored, strict=True):  # these are stored as they are
        runs[places] = own
    return runs, ends


def _characters(numbers: IntArray, ends: IntArray) -> tuple[bytes, IntArray]:
    """Encode a sequence of numbers, and find the places of its ``ends`` in the text."""
    # Five bits hold a number from -16 to 15, ten one from -512 to 511, and so on.
    sizes = (np.searchsorted(LIMITS, numbers ^ (numbers >> 63), side="right") + 1).astype(np.uint8)
    last = np.cumsum(sizes, dtype=np.int64)
    digits = np.empty(int(last[-1]) if len(last) else 0, dtype=np.uint8)
    for place in range(int(sizes.max(initial=0))):
        long = np.flatnonzero(sizes > place)
        more = (sizes[long] > place + 1).astype(np.int64) << 5
        digits[last[long] - sizes[long] + place] = ((numbers[long] >> (5 * place)) & 0x1F | more) + 48
    return digits.tobytes(), last[ends - 1]


def _numbers(code: bytes) -> tuple[IntArray, IntArray]:
    """Decode the numbers of a code, or of several concatenated ones, and the position at which each ends."""
    digits = np.frombuffer(code, dtype=np.uint8) - np.uint8(48)
    last = digits < 0x20
    ends = np.flatnonzero(last)
    # Bit 4 of the last character is the sign: 16..31 stand for -16..-1.
    values = (((digits & 0x1F) ^ 0x10).astype(np.int8) - np.int8(0x10))[ends].astype(np.int64)
    # Few numbers have more than one character. Their characters are taken from the last but one to the first.
    more = np.flatnonzero(~last)
    owner = more - np.arange(len(more))  # number of last characters before each
    distance = ends[owner] - more
    for place in range(1, int(distance.max(initial=0)) + 1):
        chosen = np.flatnonzero(distance == place)
        own = owner[chosen]
        values[own] = values[own] << 5 | digits[more[chosen]] & 0x1F
    return values, ends
