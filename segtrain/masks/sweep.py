"""Sweeps over the sorted runs of many masks: unions, dilations, and the pixels that masks share.

Runs are three arrays: the index of each run's mask, its first position in the plane, and the position after its last
one. Time and memory grow with the number of runs, times its logarithm, and with the number of runs that meet; no table
of all pairs of masks is made.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segtrain.arrays import BoolArray, IntArray, blocks
from segtrain.masks.rles import PackedRles

Runs = tuple[IntArray, IntArray, IntArray]
_BLOCK = 2**21  # meetings of runs that are counted at a time; bounds the memory
_BATCH = 2**20  # characters of run-length code that are decoded at a time, if a group has no more; likewise


class Overlaps(NamedTuple):
    """Pairs of masks that share pixels, sorted by the first mask, then by the second.

    Attributes:
        first: (P,) index of each pair's mask in the first list.
        second: (P,) index of each pair's mask in the second list.
        pixels: (P,) number of pixels that they share, at least 1.
    """

    first: IntArray
    second: IntArray
    pixels: IntArray


def ranges(first: IntArray, last: IntArray) -> IntArray:
    """Concatenate ranges of whole numbers.

    Args:
        first: (N,) first number of each range.
        last: (N,) number after the last one of each range, not below the first.

    >>> ranges(np.array([3, 10]), np.array([6, 12])).tolist()
    [3, 4, 5, 10, 11]
    """
    lengths = last - first
    numbers: IntArray = np.arange(lengths.sum()) + np.repeat(first - np.cumsum(lengths) + lengths, lengths)
    return numbers


def merged(runs: Runs, pixels: int) -> Runs:
    """Unite the runs of each mask that overlap or touch.

    Args:
        runs: runs in any order, none of which is empty.
        pixels: number of pixels of the plane.

    Returns:
        The runs sorted by mask, then by position.

    >>> [column.tolist() for column in merged((np.array([0, 1, 0]), np.array([4, 5, 0]), np.array([6, 7, 4])), 9)]
    [[0, 1], [0, 5], [6, 7]]
    """
    mask, starts, stops = runs
    # The masks form one sequence, with a gap of one position after each.
    offset = mask * (pixels + 1)
    starts, stops = _sorted(starts + offset), _sorted(stops + offset)
    # A gap follows where as many runs have ended as have begun.
    new = np.append(True, starts[1:] > stops[:-1])[: len(starts)]
    mask, starts = np.divmod(starts[new], pixels + 1)
    return mask, starts, stops[np.append(new[1:], True)[: len(stops)]] - mask * (pixels + 1)


def intersected(first: Runs, second: Runs, pixels: int) -> Runs:
    """Intersect each mask of one list with the mask of the same number in another.

    Args:
        first: runs of the first masks; those of one mask do not overlap.
        second: runs of the second masks, likewise.
        pixels: number of pixels of the largest plane.

    Returns:
        The runs sorted by mask, then by position.

    >>> first = np.array([0, 1]), np.array([0, 2]), np.array([4, 6])
    >>> second = np.array([0, 1]), np.array([3, 0]), np.array([9, 2])
    >>> [column.tolist() for column in intersected(first, second, 9)]
    [[0], [3], [4]]
    """
    return _in_planes(*shared(*_in_line(first, pixels), *_in_line(second, pixels)), pixels)


def subtracted(first: Runs, second: Runs, pixels: int) -> Runs:
    """Remove from each mask of one list the pixels of the mask of the same number in another.

    Args:
        first: runs of the first masks; those of one mask do not overlap.
        second: runs of the second masks, likewise.
        pixels: number of pixels of the largest plane.

    Returns:
        The runs sorted by mask, then by position.

    >>> first, second = (np.array([0]), np.array([0]), np.array([4])), (np.array([0]), np.array([1]), np.array([2]))
    >>> [column.tolist() for column in subtracted(first, second, 9)]
    [[0, 0], [0, 2], [1, 4]]
    """
    starts, stops = map(_sorted, _in_line(second, pixels))
    own = _in_line(first, pixels)
    # What lies between the runs of the second masks is kept.
    opened, closed = np.append(0, stops), np.append(starts, own[1].max(initial=0))
    kept = opened < closed
    return _in_planes(*shared(*own, opened[kept], closed[kept]), pixels)


def shared(
    starts: IntArray, stops: IntArray, other_starts: IntArray, other_stops: IntArray
) -> tuple[IntArray, IntArray]:
    """Intersect two sets of runs on a line, neither of which overlap among themselves.

    No more than two runs are open at a time, so the second opens with the next start and one of them closes with the
    stop in turn.

    >>> [ends.tolist() for ends in shared(np.array([0, 6]), np.array([4, 9]), np.array([3]), np.array([8]))]
    [[3, 6], [4, 8]]
    """
    opened = _sorted(np.concatenate([starts, other_starts]))[1:]
    closed = _sorted(np.concatenate([stops, other_stops]))[:-1]
    kept = opened < closed
    return opened[kept], closed[kept]


def _sorted(ends: IntArray) -> IntArray:
    """Sort ends of runs. They are sorted in each mask already, which a stable sort makes use of."""
    return np.sort(ends, kind="stable")


def _in_line(runs: Runs, pixels: int) -> tuple[IntArray, IntArray]:
    """Place the planes of all masks one after the other, with a gap of one position after each."""
    offset = runs[0] * (pixels + 1)
    return runs[1] + offset, runs[2] + offset


def _in_planes(starts: IntArray, stops: IntArray, pixels: int) -> Runs:
    mask, first = np.divmod(starts, pixels + 1)
    return mask, first, first + stops - starts


def dilated(runs: Runs, size: tuple[int, int], reach: IntArray) -> Runs:
    """Dilate each mask by a shape that is symmetric about its centre.

    Args:
        runs: runs down the columns of the plane; those of a mask neither overlap nor touch.
        size: (H, W) of the plane.
        reach: (2 r + 1,) rows by which the shape extends above and below its centre, in each column from -r to r.

    >>> runs = np.array([0]), np.array([7]), np.array([8])  # row 2 of column 1
    >>> [column.tolist() for column in dilated(runs, (5, 3), np.array([0, 1, 0]))]
    [[0, 0, 0], [2, 6, 12], [3, 9, 13]]
    """
    height, width = size
    radius = len(reach) // 2
    run, column = column_pieces(runs, height)
    mask, starts, stops = runs
    top = np.maximum(starts[run] - column * height, 0)[:, None] - reach
    foot = np.minimum(stops[run] - column * height, height)[:, None] + reach
    column = column[:, None] + np.arange(-radius, radius + 1)
    kept = (column >= 0) & (column < width)
    begins = (np.maximum(top, 0) + column * height)[kept]
    ends = (np.minimum(foot, height) + column * height)[kept]
    return merged((np.broadcast_to(mask[run][:, None], kept.shape)[kept], begins, ends), height * width)


def column_pieces(runs: Runs, height: int) -> tuple[IntArray, IntArray]:
    """Cut runs at the ends of columns.

    Args:
        runs: runs down the columns of the plane, none of which is empty.
        height: rows of the plane.

    Returns:
        The index of each piece's run, and the column of each piece.

    >>> runs = np.array([0]), np.array([1]), np.array([5])  # positions 1 to 4 of columns of height 3
    >>> [column.tolist() for column in column_pieces(runs, 3)]
    [[0, 0], [0, 1]]
    """
    _, starts, stops = runs
    first, last = starts // height, (stops - 1) // height + 1
    return np.repeat(np.arange(len(first)), last - first), ranges(first, last)


def overlaps_by_group(first: PackedRles, second: PackedRles, first_group: IntArray, second_group: IntArray) -> Overlaps:
    """Count the pixels that masks of one list share with masks of the same group in another.

    Args:
        first: the first masks.
        second: the second masks.
        first_group: (N,) group of each of the first masks, such as its image.
        second_group: (M,) group of each of the second masks.

    >>> group = np.array([0, 1])
    >>> first = PackedRles.of_one_size(b"0606", np.array([2, 4]), (2, 3))
    >>> second = PackedRles.of_one_size(b"22242", np.array([3, 5]), (2, 3))
    >>> [column.tolist() for column in overlaps_by_group(first, second, group, group)]
    [[0, 1], [0, 1], [2, 2]]
    """
    _, number = np.unique(np.concatenate([first_group, second_group]), return_inverse=True)
    groups = number[: len(first)], number[len(first) :]
    lengths = np.concatenate([np.diff(own.ends, prepend=0) for own in (first, second)])
    in_both = np.intersect1d(*groups)
    # Groups are taken together, so that many small ones cost no more than a large one, up to a limit of memory.
    batch = np.full(int(number.max(initial=-1)) + 1, -1)
    batch[in_both] = np.cumsum(np.bincount(number, lengths)[in_both]) // _BATCH
    found = [Overlaps(*np.zeros((3, 0), dtype=np.int64))]
    batches = [_members(batch[own]) for own in groups]
    for key in batches[0]:
        chosen = [own[key] for own in batches]
        runs = [own.where(part).runs() for own, part in zip((first, second), chosen, strict=True)]
        plane = max(int(stops.max(initial=0)) for _, _, stops in runs)
        one, other = (
            (mask, starts + own[part][mask] * plane, stops + own[part][mask] * plane)
            for (mask, starts, stops), own, part in zip(runs, groups, chosen, strict=True)
        )
        pairs = overlaps(one, other)
        found.append(Overlaps(chosen[0][pairs.first], chosen[1][pairs.second], pairs.pixels))
    every = [np.concatenate(column) for column in zip(*found, strict=True)]
    order = np.lexsort(every[1::-1])
    return Overlaps(*(column[order] for column in every))


def _members(number: IntArray) -> dict[int, IntArray]:
    """List the indices of each number from 0 on, increasing."""
    order = np.argsort(number, kind="stable")
    order = order[np.searchsorted(number[order], 0) :]
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    return {int(number[part[0]]): part for part in np.split(order, starts)[1:]}


def overlaps(first: Runs, second: Runs) -> Overlaps:
    """Count the pixels that each mask of one list shares with each of another, by their runs.

    Args:
        first: runs of the first masks; those of one mask do not overlap.
        second: runs of the second masks.

    >>> first = np.array([0, 1]), np.array([0, 6]), np.array([4, 8])
    >>> second = np.array([0, 1]), np.array([1, 3]), np.array([2, 7])
    >>> [column.tolist() for column in overlaps(first, second)]
    [[0, 0, 1], [0, 1, 1], [1, 1, 1]]
    """
    count = int(second[0].max(initial=0)) + 1
    codes, pixels = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for one, other in meetings(first, second):
        shared = np.minimum(first[2][one], second[2][other]) - np.maximum(first[1][one], second[1][other])
        code, total = _summed(first[0][one] * count + second[0][other], shared)
        codes.append(code)
        pixels.append(total)
    code, total = _summed(np.concatenate(codes), np.concatenate(pixels))
    return Overlaps(*np.divmod(code, count), total)


def meetings(first: Runs, second: Runs) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the indices of all pairs of runs that share positions, some pairs at a time, each pair once.

    Args:
        first: runs of the first masks.
        second: runs of the second masks.

    >>> first, second = (np.array([0]), np.array([2]), np.array([4])), (np.array([0]), np.array([0]), np.array([3]))
    >>> [(one.tolist(), other.tolist()) for one, other in meetings(first, second)]
    [([0], [0])]
    """
    # Of two runs that meet, either the second begins within the first, or the first begins later within the second.
    for one, other in _beginning_within(first, second, including_start=True):
        yield one, other
    for other, one in _beginning_within(second, first, including_start=False):
        yield one, other


def _beginning_within(outer: Runs, inner: Runs, *, including_start: bool) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the indices of pairs in which the inner run begins within the outer one, or else after its beginning."""
    order = np.argsort(inner[1], kind="stable")
    begins = inner[1][order]
    low = np.searchsorted(begins, outer[1], side="left" if including_start else "right")
    high = np.searchsorted(begins, outer[2])
    meeting = np.flatnonzero(high > low)
    low, high = low[meeting], high[meeting]
    for part in blocks(high - low, _BLOCK):
        yield np.repeat(meeting[part], (high - low)[part]), order[ranges(low[part], high[part])]


def drawn(runs: Runs, box: IntArray, height: int) -> npt.NDArray[np.uint8]:
    """Draw masks into their bounding boxes.

    Args:
        runs: runs down the columns of the plane; those of a mask do not overlap.
        box: (N, 4) xyxy bounding box of each mask.
        height: rows of the plane.

    Returns:
        (P,) 1 inside the masks, else 0; column by column of each box, one box after the other.

    >>> drawn((np.array([0, 0]), np.array([1, 4]), np.array([2, 6])), np.array([[0, 1, 2, 3]]), 3).tolist()
    [1, 0, 1, 1]
    """
    mask, starts, stops = runs
    run, column = column_pieces(runs, height)
    own = mask[run]
    sides = box[:, 2:] - box[:, :2]
    areas = sides.prod(axis=1)
    # A piece's column begins here, counted from the top of the plane.
    place = (np.cumsum(areas) - areas - box[:, 1])[own] + (column - box[own, 0]) * sides[own, 1]
    change = np.zeros(int(areas.sum()) + 1, dtype=np.int8)
    np.add.at(change, place + np.maximum(starts[run] - column * height, 0), 1)
    np.add.at(change, place + np.minimum(stops[run] - column * height, height), -1)
    return np.cumsum(change[:-1], dtype=np.int8).view(np.uint8)


def _summed(codes: IntArray, values: IntArray) -> tuple[IntArray, IntArray]:
    """Add up the values of equal codes; the codes that occur are sorted."""
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    new: BoolArray = np.append(True, codes[1:] != codes[:-1])[: len(codes)]
    if not len(codes):
        return codes, values
    return codes[new], np.add.reduceat(values[order], np.flatnonzero(new))
