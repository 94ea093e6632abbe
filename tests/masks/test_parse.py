"""Parser of segmentations, many at once, against the parser of one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from segtrain.masks import Rle
from segtrain.masks.parse import SegmentationError, are_compressed, from_segmentation

SIZE = (4, 6)


def written(lengths: list[int]) -> str:
    """Encode run lengths, whatever they are."""
    return str(coco_mask.frPyObjects({"size": list(SIZE), "counts": lengths}, *SIZE)["counts"].decode())


def code(lengths: list[int]) -> str:
    """Encode run lengths that pycocotools takes for unsigned numbers."""
    relative = [length - lengths[n - 2] if n > 2 else length for n, length in enumerate(lengths)]
    text = ""
    for number in relative:
        more = True
        while more:
            digit, number = number & 31, number >> 5
            more = number != (-1 if digit & 16 else 0)
            text += chr((digit | 32 * more) + 48)
    return text


def is_kept(segmentation: Any, size: tuple[int, int] | None) -> bool:
    if size is None or not isinstance(segmentation, dict) or not isinstance(segmentation.get("counts"), str):
        return False
    try:
        return from_segmentation(segmentation, size) == segmentation
    except SegmentationError:
        return False


pixels = SIZE[0] * SIZE[1]
cuts = st.lists(st.integers(0, pixels), max_size=6).map(lambda ends: np.diff([0, *sorted(ends), pixels]).tolist())
codes = st.one_of(
    cuts.map(written),
    st.lists(st.integers(0, 30), min_size=1, max_size=5).map(written),
    st.text("0123456789:;<=?@OPQRo~é ", max_size=6),
)
sizes = st.sampled_from([[4, 6], [6, 4], [4.0, 6], [4, 6, 1], "4x6", None])
rles = st.builds(lambda counts, size: {"counts": counts, "size": size}, codes, sizes)
others = st.sampled_from([None, [], [[0, 0, 3, 0, 3, 3]], {"size": [4, 6], "counts": [2, 22]}, {}, 5, "02"])


@given(st.lists(st.tuples(st.one_of(rles, rles, others), st.sampled_from([SIZE, SIZE, (2, 12), None])), max_size=8))
def test_masks_that_are_kept_as_they_are(drawn: list[tuple[Any, tuple[int, int] | None]]) -> None:
    found = are_compressed([segmentation for segmentation, _ in drawn], [size for _, size in drawn])
    # A size of whole numbers written as 4.0 is read, and written anew.
    expected = [is_kept(own, size) and all(type(side) is int for side in own["size"]) for own, size in drawn]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [
        ([0, 5, pixels - 5], True),
        ([pixels], True),
        ([0, pixels], True),
        ([3, 0, 2, pixels - 5], False),
        ([3, 2, 0, pixels - 5], False),
        ([pixels, 0], False),
        ([30, -10, pixels - 20], False),
        ([-2, 2, pixels], False),
    ],
)
def test_empty_runs_and_negative_ones(lengths: list[int], kept: bool) -> None:
    assert are_compressed([{"size": list(SIZE), "counts": code(lengths)}], [SIZE]).tolist() == [kept]


def test_a_wrong_mask_does_not_change_its_neighbours() -> None:
    right: Any = Rle(size=list(SIZE), counts=written([3, 2, pixels - 5]))
    wrong: list[Any] = [{"size": list(SIZE), "counts": code} for code in ("", "P", "0PPPPPPPPP", written([3, 2]), "~")]
    mixed = [right, *(one for bad in wrong for one in (bad, right))]
    assert are_compressed(mixed, [SIZE] * len(mixed)).tolist() == [True, *[False, True] * len(wrong)]
