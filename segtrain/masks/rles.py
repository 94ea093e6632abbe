"""Run-length masks: one, and a sequence of many that is kept as one text."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Self, TypedDict, overload

import numpy as np
import numpy.typing as npt

from segtrain.arrays import BoolArray, IntArray, blocks
from segtrain.masks.codec import BLOCK, runs_of_text

_BLOCK = 2**14  # masks that are cut out of the text at a time; bounds the memory


class Rle(TypedDict):
    """A compressed COCO run-length mask."""

    size: list[int]  # [H, W]
    counts: str  # COCO's ASCII run-length code


class PackedRles(Sequence[Rle]):
    """Sequence of masks whose run-length codes are one text: a tenth of the memory of as many dictionaries.

    Each mask is made when it is asked for, so changing it does not change the sequence.

    Args:
        text: run-length codes of all masks, one after the other, as ASCII.
        ends: (N,) position after the last character of each mask's code.
        sizes: distinct [H, W] of the images in pixels.
        size_numbers: (N,) index of each mask's size in ``sizes``.

    >>> packed = PackedRles.of([{"size": [2, 3], "counts": "222"}, {"size": [2, 3], "counts": "06"}])
    >>> packed[1]
    {'size': [2, 3], 'counts': '06'}
    """

    def __init__(
        self, text: bytes, ends: IntArray, sizes: Sequence[list[int]], size_numbers: npt.NDArray[np.int32]
    ) -> None:
        self.text, self.ends, self.sizes, self.size_numbers = text, ends, sizes, size_numbers

    @classmethod
    def of(cls, rles: Sequence[Rle]) -> "PackedRles":
        """Pack masks; return them as they are if they are packed already.

        >>> PackedRles.of([{"size": [2, 3], "counts": "222"}]).text
        b'222'
        """
        if isinstance(rles, PackedRles):
            return rles
        numbers: dict[tuple[int, ...], int] = {}
        size_numbers = [numbers.setdefault(tuple(rle["size"]), len(numbers)) for rle in rles]
        codes = [rle["counts"] for rle in rles]
        return cls(
            "".join(codes).encode("ascii"),
            np.cumsum(np.array([len(code) for code in codes], dtype=np.int64)),
            [list(size) for size in numbers],
            np.array(size_numbers, dtype=np.int32),
        )

    @classmethod
    def of_one_size(cls, text: bytes, ends: IntArray, size: tuple[int, int]) -> Self:
        """Pack the codes of masks of the same size.

        Args:
            text: run-length codes of all masks, one after the other, as ASCII.
            ends: (N,) position after the last character of each mask's code.
            size: (H, W) of the image.

        >>> list(PackedRles.of_one_size(b"222", np.array([3]), (2, 3)))
        [{'size': [2, 3], 'counts': '222'}]
        """
        return cls(text, ends, [[int(size[0]), int(size[1])]], np.zeros(len(ends), dtype=np.int32))

    @classmethod
    def joined(cls, parts: Iterable["PackedRles"]) -> "PackedRles":
        """Concatenate several sequences.

        >>> packed = PackedRles.of([{"size": [2, 3], "counts": "222"}])
        >>> len(PackedRles.joined([packed, packed]))
        2
        """
        held = list(parts)
        if len(held) == 1:
            return held[0]
        numbers: dict[tuple[int, ...], int] = {}
        places = [[numbers.setdefault(tuple(size), len(numbers)) for size in part.sizes] for part in held]
        starts = np.cumsum([0, *(len(part.text) for part in held)])
        ends, size_numbers = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int32)]
        for part, start, own in zip(held, starts[:-1], places, strict=True):
            ends.append(part.ends + start)
            size_numbers.append(np.array(own, dtype=np.int32)[part.size_numbers])
        text = b"".join(part.text for part in held)
        return cls(text, np.concatenate(ends), [list(size) for size in numbers], np.concatenate(size_numbers))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, place: int) -> Rle: ...
    @overload
    def __getitem__(self, place: slice) -> "PackedRles": ...
    def __getitem__(self, place: int | slice) -> "Rle | PackedRles":
        if isinstance(place, slice):
            return self.where(np.arange(len(self))[place])
        place = range(len(self))[place]
        code = self.text[self._start(place) : int(self.ends[place])].decode("ascii")
        return Rle(size=[*self.sizes[self.size_numbers[place]]], counts=code)

    def __iter__(self) -> Iterator[Rle]:
        for start in range(0, len(self), _BLOCK):
            cuts = [self._start(start), *self.ends[start : start + _BLOCK].tolist()]
            numbers = self.size_numbers[start : start + _BLOCK].tolist()
            for number, (first, last) in zip(numbers, pairwise(cuts), strict=True):
                yield Rle(size=[*self.sizes[number]], counts=self.text[first:last].decode("ascii"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def _start(self, place: int) -> int:
        return int(self.ends[place - 1]) if place else 0

    def where(self, chosen: BoolArray | IntArray) -> "PackedRles":
        """Select masks.

        Args:
            chosen: (N,) true for those that are kept, or their indices in a new order.

        >>> packed = PackedRles.of([{"size": [2, 3], "counts": "222"}, {"size": [2, 3], "counts": "06"}])
        >>> list(packed.where(np.array([1])))
        [{'size': [2, 3], 'counts': '06'}]
        """
        places = np.arange(len(self))[chosen]
        if not len(places):
            return PackedRles(b"", np.zeros(0, dtype=np.int64), self.sizes, self.size_numbers[:0])
        starts, ends = np.append(0, self.ends[:-1])[places], self.ends[places]
        if (places[1:] == places[:-1] + 1).all():
            text = self.text[starts[0] : ends[-1]]
        else:
            text = b"".join([self.text[first:last] for first, last in zip(starts.tolist(), ends.tolist(), strict=True)])
        chosen_masks = PackedRles(text, np.cumsum(ends - starts), self.sizes, self.size_numbers[places])
        if "areas" in vars(self):
            vars(chosen_masks)["areas"] = self.areas[places]
        return chosen_masks

    def runs(self) -> tuple[IntArray, IntArray, IntArray]:
        """Decode the runs of 1s of all masks, see `segtrain.masks.codec.runs_of_text`."""
        return runs_of_text(self.text, self.ends)

    def parts(self) -> Iterator["PackedRles"]:
        """Divide the masks into parts whose runs take little memory."""
        return (self[part] for part in blocks(np.diff(self.ends, prepend=0), BLOCK))

    @cached_property
    def areas(self) -> IntArray:
        """Pixels of each mask, (N,); those of masks that are selected from these are then known, too.

        >>> PackedRles.of([{"size": [2, 3], "counts": "222"}, {"size": [2, 3], "counts": "06"}]).areas.tolist()
        [2, 6]
        """
        found = [np.zeros(0, dtype=np.int64)]
        for part in self.parts():
            mask, starts, stops = part.runs()
            found.append(np.bincount(mask, weights=stops - starts, minlength=len(part)).astype(np.int64))
        return np.concatenate(found)

    @property
    def heights(self) -> IntArray:
        """Height of each mask's image, (N,)."""
        heights: IntArray = np.array([size[0] for size in self.sizes], dtype=np.int64)[self.size_numbers]
        return heights
