"""Readings of run lengths in other conventions than COCO's column-major runs, which begin with zeros."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from segtrain import masks
from segtrain.arrays import IntArray
from segtrain.masks import Rle, codec

Size = tuple[int, int]
STORED = "as stored"
_LARGEST = 2**26  # pixels; larger planes are not tried
_CODE = re.compile(r"(?:[P-o]{0,6}[0-O])+", re.ASCII)  # as in segtrain.masks.parse
_NUMBERS = re.compile(r"\s*\d+(?:[\s,]+\d+)*\s*", re.ASCII)


def numbers_of(segmentation: Any) -> tuple[IntArray, Size | None] | None:
    """Return the numbers of a run-length mask, and the size (H, W) that it states; None for what is no such mask.

    >>> numbers_of({"size": [2, 3], "counts": "222"})
    (array([2, 2, 2]), (2, 3))
    >>> numbers_of("3 2 9 1")
    (array([3, 2, 9, 1]), None)
    """
    counts, stated = segmentation, None
    if isinstance(segmentation, dict):
        counts, stated = segmentation.get("counts"), _size(segmentation.get("size"))
    if isinstance(counts, str):
        if _NUMBERS.fullmatch(counts) and (" " in counts or "," in counts):
            counts = [int(number) for number in re.split(r"[\s,]+", counts.strip())]
        elif isinstance(segmentation, dict) and _CODE.fullmatch(counts):
            return codec.counts(counts), stated
    if not isinstance(counts, list) or not counts or not set(map(type, counts)) <= {int, float}:
        return None
    if not all(0 <= count < 2**40 and count == int(count) for count in counts):
        return None
    return np.array(counts, dtype=np.int64), stated


def _size(size: Any) -> Size | None:
    if not isinstance(size, list) or len(size) != 2 or not set(map(type, size)) <= {int, float}:
        return None
    height, width = size
    if min(height, width) < 1 or height * width > _LARGEST or (height, width) != (int(height), int(width)):
        return None
    return int(height), int(width)


def _columns(counts: IntArray, size: Size) -> Rle | None:
    """Read runs down the columns."""
    if (counts < 0).any() or counts.sum() != size[0] * size[1]:
        return None
    return masks.from_runs(counts, size)


def _rows(counts: IntArray, size: Size) -> Rle | None:
    """Read runs along the rows."""
    height, width = size
    if (counts < 0).any() or counts.sum() != height * width:
        return None
    return masks.encode(np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width))


def _inverted(counts: IntArray) -> IntArray:
    return np.concatenate([[0], counts])


def _completed(counts: IntArray, size: Size) -> IntArray:
    """Append the last run of 0s, if the runs end with 1s and leave room for it."""
    rest = size[0] * size[1] - int(counts.sum())
    return np.append(counts, rest) if len(counts) % 2 == 0 and rest > 0 else np.array([-1])


def _preceded(counts: IntArray, size: Size) -> IntArray:
    """Put the first run of 0s, if the runs leave room for it, before runs that begin with 1s."""
    rest = size[0] * size[1] - int(counts.sum())
    return np.concatenate([[rest], counts]) if rest > 0 else np.array([-1])


def _from_pairs(numbers: IntArray, size: Size, *, base: int, ends: bool) -> IntArray:
    """Convert pairs of a start and a length, or of a start and an end, to runs; what is no such list becomes [-1]."""
    if len(numbers) % 2:
        return np.array([-1])
    starts = numbers[0::2] - base
    stops = numbers[1::2] - base + 1 if ends else starts + numbers[1::2]
    edges = np.stack([starts, stops], axis=1).ravel()
    if (np.diff(edges) < 0).any() or edges[0] < 0 or edges[-1] > size[0] * size[1]:
        return np.array([-1])
    return np.diff(np.concatenate([[0], edges, [size[0] * size[1]]]))


def _from_changes(numbers: IntArray, size: Size) -> IntArray:
    """Convert positions at which the mask changes to runs."""
    if (np.diff(numbers) < 0).any() or numbers[-1] > size[0] * size[1]:
        return np.array([-1])
    return np.diff(np.concatenate([[0], numbers, [size[0] * size[1]]]))


Reading = Callable[[IntArray, Size | None, Size], Rle | None]


def _of_stated(read: Callable[[IntArray, Size], Rle | None]) -> Reading:
    return lambda numbers, stated, image: None if stated is None else read(numbers, stated)


def _of_image(read: Callable[[IntArray, Size], Rle | None]) -> Reading:
    return lambda numbers, stated, image: None if image[0] * image[1] > _LARGEST else read(numbers, image)


def _pairs(base: int, *, ends: bool, rows: bool) -> Reading:
    read = _rows if rows else _columns
    return _of_image(lambda numbers, size: read(_from_pairs(numbers, size, base=base, ends=ends), size))


# Words that follow "once read as ..."; the simplest come first.
READINGS: Mapping[str, Reading] = {
    STORED: _of_stated(_columns),
    "runs that begin with 1s (their first run of 0s is missing, masks are inverted)": _of_stated(
        lambda numbers, size: _columns(_inverted(numbers), size)
    ),
    "runs along rows instead of columns": _of_stated(_rows),
    "runs along rows that begin with 1s": _of_stated(lambda numbers, size: _rows(_inverted(numbers), size)),
    "runs of size [width, height]": _of_stated(lambda numbers, size: _columns(numbers, size[::-1])),
    "runs of the image's size, not of the stated one": _of_image(_columns),
    "runs along rows of the image, whose size they do not state": _of_image(_rows),
    "runs without the last run of 0s": _of_stated(lambda numbers, size: _columns(_completed(numbers, size), size)),
    "runs along rows without the last run of 0s": _of_stated(
        lambda numbers, size: _rows(_completed(numbers, size), size)
    ),
    "runs without the first run of 0s": _of_stated(lambda numbers, size: _columns(_preceded(numbers, size), size)),
    "runs along rows without the first run of 0s": _of_stated(
        lambda numbers, size: _rows(_preceded(numbers, size), size)
    ),
    "pairs of start and length, from 1, down columns": _pairs(1, ends=False, rows=False),
    "pairs of start and length, from 1, along rows": _pairs(1, ends=False, rows=True),
    "pairs of start and length, from 0, down columns": _pairs(0, ends=False, rows=False),
    "pairs of start and length, from 0, along rows": _pairs(0, ends=False, rows=True),
    "pairs of start and end, from 1, down columns": _pairs(1, ends=True, rows=False),
    "pairs of start and end, from 1, along rows": _pairs(1, ends=True, rows=True),
    "pairs of start and end, from 0, down columns": _pairs(0, ends=True, rows=False),
    "pairs of start and end, from 0, along rows": _pairs(0, ends=True, rows=True),
    "positions of the changes, down columns": _of_image(lambda n, size: _columns(_from_changes(n, size), size)),
    "positions of the changes, along rows": _of_image(lambda n, size: _rows(_from_changes(n, size), size)),
}

# Readings that can be recognised by the shape of masks where there are no boxes.
WITHOUT_WITNESSES = tuple(READINGS)[1:4]


def read_run_lengths(segmentation: Any, size: Size, reading: str) -> Rle | None:
    """Read a run-length mask in one of the ways; None if its numbers do not allow it.

    Args:
        segmentation: decoded json value.
        size: (H, W) of the image.
        reading: a key of `READINGS`.

    Returns:
        The mask, in the frame that it states; for readings of the image's size in that of the image.

    >>> stripes = {"size": [2, 3], "counts": [0, 3, 3]}  # the upper row, along rows
    >>> masks.decode(read_run_lengths(stripes, (2, 3), "runs along rows instead of columns")).astype(int).tolist()
    [[1, 1, 1], [0, 0, 0]]
    """
    found = numbers_of(segmentation)
    return None if found is None else READINGS[reading](found[0], found[1], size)
