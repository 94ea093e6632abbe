"""Run-length code of many masks at once, against pycocotools' own decoder."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from segtrain import masks
from segtrain.masks import codec
from tests.helpers.random_instances import Planes, scenes


def runs(codes: Sequence[str]) -> tuple[Any, ...]:
    return codec.runs_of_text("".join(codes).encode(), np.cumsum([len(code) for code in codes]))


def codes(flips: Any, owners: Any, count: int, pixels: int) -> list[str]:
    text, ends = codec.text_of(flips, owners, count, pixels)
    return [text[start:stop].decode() for start, stop in pairwise([0, *ends.tolist()])]


@given(scenes())
def test_runs_are_the_pixels_of_each_mask(drawn: tuple[tuple[int, int], Planes]) -> None:
    size, planes = drawn
    planes = [*planes, np.zeros(size, dtype=bool), np.ones(size, dtype=bool)]
    codes = [coco_mask.encode(np.asfortranarray(plane, dtype=np.uint8))["counts"].decode() for plane in planes]
    number, starts, stops = runs(codes)
    assert (np.diff(number) >= 0).all()
    assert (stops > starts).all()
    painted = np.zeros((len(planes), size[0] * size[1]), dtype=bool)
    for n, start, stop in zip(number, starts, stops, strict=True):
        assert not painted[n, start:stop].any()
        painted[n, start:stop] = True
    for plane, flat in zip(planes, painted, strict=True):
        assert np.array_equal(flat.reshape(size, order="F"), plane)


def test_long_runs_and_empty_runs() -> None:
    size = [100_000, 50]
    lengths = [[0, 5, 0, 0, 1, 4_000_000, 999_994], [5_000_000], [2_500_000, 2_500_000], [4_999_999, 1]]
    rles = [coco_mask.frPyObjects({"size": size, "counts": counts}, *size) for counts in lengths]
    number, starts, stops = masks.runs([masks.Rle(size=size, counts=rle["counts"].decode()) for rle in rles])
    found = list(zip(number.tolist(), starts.tolist(), stops.tolist(), strict=True))
    expected = [(0, 0, 5), (0, 6, 4_000_006), (2, 2_500_000, 5_000_000), (3, 4_999_999, 5_000_000)]
    assert found == expected


@given(scenes(), st.randoms())
def test_codes_are_cocos(drawn: tuple[tuple[int, int], Planes], random: Random) -> None:
    size, planes = drawn
    planes = [*planes, np.zeros(size, dtype=bool), np.ones(size, dtype=bool)]
    flips: list[int] = []
    owners: list[int] = []
    for number, plane in enumerate(planes):
        changes = np.flatnonzero(np.diff(plane.ravel(order="F"), prepend=False)).tolist()
        # What comes twice is no change, and the end of the plane is none.
        unchanged = [random.randrange(plane.size + 1) for _ in range(3)] * 2
        mine = sorted([*changes, *unchanged, *[plane.size] * random.randrange(2)])
        flips += mine
        owners += [number] * len(mine)
    found = codes(np.array(flips), np.array(owners), len(planes), size[0] * size[1])
    assert found == [coco_mask.encode(np.asfortranarray(p, dtype=np.uint8))["counts"].decode() for p in planes]


# pycocotools has room for six characters a run (30 bits with the sign): longer runs overflow its buffer. So does the
# byte that ends the text if all runs take six; the first one takes less.
@given(st.lists(st.integers(1, 2**29 - 1), max_size=9).map(lambda longer: [1, *longer]))
def test_codes_of_long_runs(lengths: list[int]) -> None:
    pixels = sum(lengths) + 1
    (code,) = codes(np.cumsum(lengths, dtype=np.int64), np.zeros(len(lengths), np.int64), 1, pixels)
    expected = coco_mask.frPyObjects({"size": [pixels, 1], "counts": [*lengths, 1]}, pixels, 1)
    assert code == expected["counts"].decode()
    assert codec.counts(code).tolist() == [*lengths, 1]


def test_no_masks() -> None:
    assert codes(np.zeros(0, np.int64), np.zeros(0, np.int64), 0, 12) == []
    assert [len(part) for part in masks.runs([])] == [0, 0, 0]


def code_of(lengths: Sequence[int]) -> str:
    """Encode run lengths, even impossible ones, digit by digit as pycocotools' ``rleToString`` does."""
    text = ""
    for place, length in enumerate(lengths):
        rest, more = length - (lengths[place - 2] if place > 2 else 0), True
        while more:
            digit, rest = rest & 0x1F, rest >> 5
            more = rest != (-1 if digit & 0x10 else 0)
            text += chr(digit + 48 + 32 * more)
    return text


@given(st.lists(st.lists(st.sampled_from([0, 1, 2, 3, 15, 16, 17, 40, 600, -1, -2, -17]), min_size=1, max_size=7)))
def test_sound_codes_are_those_that_need_no_correction(drawn: list[list[int]]) -> None:
    pixels = [sum(lengths) - (number % 5 == 4) for number, lengths in enumerate(drawn)]
    for lengths in drawn:
        assert codec.counts(code_of(lengths)).tolist() == lengths
    expected = [
        sum(lengths) == size and lengths[0] >= 0 and all(0 < length <= size for length in lengths[1:])
        for lengths, size in zip(drawn, pixels, strict=True)
    ]
    assert codec.are_sound(list(map(code_of, drawn)), np.array(pixels, dtype=np.int64)).tolist() == expected


def test_only_the_first_run_may_be_empty_and_the_last_may_be_missing() -> None:
    sound = [[2, 4], [2, 3, 1], [6], [0, 6], [0, 2, 4]]
    broken = [
        [2, 4, -1],
        [2, 4, 0],
        [5, 2, -1, 0],
        [-1, 7],
        [2, 2, 0, 2],
        [2, 0, 1, 3],
        [2, 2, 2, 0],
        [1, 2],
        [7, 1, -2],
    ]
    found = codec.are_sound(list(map(code_of, [*sound, *broken])), np.full(len(sound) + len(broken), 6))
    assert found.tolist() == [True] * len(sound) + [False] * len(broken)
