"""The run-length codec and algebra, against NumPy planes and pycocotools."""

import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from segtrain import masks
from segtrain.masks.parse import from_segmentation

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))


def planes(size: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
    """Bool planes, sparse and full ones among them."""
    return hnp.arrays(bool, size, elements=st.booleans(), fill=st.booleans())


def several(least: int, most: int) -> st.SearchStrategy[list[np.ndarray]]:
    return SIZES.flatmap(lambda size: st.lists(planes(size), min_size=least, max_size=most))


plane_alone = SIZES.flatmap(planes)


def reference(plane: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(plane, dtype=np.uint8))
    return {"size": list(plane.shape), "counts": rle["counts"].decode()}


@given(plane_alone)
def test_encode_and_decode_are_cocos(plane: np.ndarray) -> None:
    rle = masks.encode(plane)
    assert rle == reference(plane)
    assert json.loads(json.dumps(rle)) == rle
    np.testing.assert_array_equal(masks.decode(rle), plane)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_encode_takes_any_nonzero_value(dtype: type) -> None:
    plane = np.array([[0, 200], [7, 0]], dtype=dtype)
    assert masks.encode(plane) == reference(plane != 0)


@given(SIZES, SIZES.flatmap(planes), st.integers(-15, 15), st.integers(-15, 15))
def test_encode_crop_is_the_pasted_plane(size: tuple[int, int], crop: np.ndarray, x: int, y: int) -> None:
    room = np.zeros((60, 60), dtype=bool)
    room[20 + y : 20 + y + crop.shape[0], 20 + x : 20 + x + crop.shape[1]] = crop
    assert masks.encode_crop(crop, x, y, size) == reference(room[20 : 20 + size[0], 20 : 20 + size[1]])


@given(SIZES.flatmap(lambda size: hnp.arrays(np.int64, size, elements=st.integers(0, 5))))
def test_encode_labels_is_one_mask_per_number(labels: np.ndarray) -> None:
    expected = [reference(labels == number) for number in range(1, labels.max() + 1)]
    assert masks.encode_labels(labels) == expected
    assert masks.encode_labels(labels.astype(np.uint8)) == expected


@given(plane_alone)
def test_decode_crop_is_the_bounding_box(plane: np.ndarray) -> None:
    crop, x, y = masks.decode_crop(masks.encode(plane))
    assert crop.dtype == np.uint8
    rows, columns = np.nonzero(plane)
    if not len(rows):
        assert (crop.shape, x, y) == ((0, 0), 0, 0)
        return
    assert (x, y) == (columns.min(), rows.min())
    np.testing.assert_array_equal(crop, plane[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])


@given(several(0, 5))
def test_area_and_boxes(stack: list[np.ndarray]) -> None:
    rles = [masks.encode(plane) for plane in stack]
    assert masks.area(rles).dtype == np.int64
    assert masks.area(rles).tolist() == [plane.sum() for plane in stack]
    expected = np.zeros((len(stack), 4))
    for row, plane in zip(expected, stack, strict=True):
        y, x = np.nonzero(plane)
        if len(y):
            row[:] = x.min(), y.min(), x.max() + 1, y.max() + 1
    np.testing.assert_array_equal(masks.boxes(rles), expected)


def test_areas_of_more_masks_than_pycocotools_counts() -> None:
    plane = np.zeros((4, 5), dtype=np.bool_)
    plane[1, :3] = True
    assert masks.area([masks.encode(plane)] * 256 + [masks.empty((4, 5))]).tolist() == [3] * 256 + [0]


def test_areas_can_be_subtracted() -> None:
    small, large = masks.area([masks.empty((4, 4)), masks.complement(masks.empty((4, 4)))])
    assert small - large == -16


@given(several(1, 5))
def test_algebra_is_numpys(stack: list[np.ndarray]) -> None:
    rles, size = [masks.encode(plane) for plane in stack], stack[0].shape
    first, last = stack[0], stack[-1]
    assert masks.union(rles, size) == reference(np.logical_or.reduce(stack))
    assert masks.intersection(rles[0], rles[-1]) == reference(first & last)
    assert masks.difference(rles[0], rles[-1]) == reference(first & ~last)
    assert masks.complement(rles[0]) == reference(~first)


@given(SIZES)
def test_no_masks_make_the_empty_mask(size: tuple[int, int]) -> None:
    nothing = reference(np.zeros(size))
    assert masks.empty(size) == nothing
    assert masks.union([], size) == nothing
    assert masks.iou([], [nothing], [0]).shape == (0, 1)
    assert masks.iou([nothing], [], []).shape == (1, 0)


@given(several(2, 6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_iou_is_cocos(stack: list[np.ndarray], crowd: list[bool]) -> None:
    found, real = stack[: len(stack) // 2], stack[len(stack) // 2 :]
    expected = np.zeros((len(found), len(real)))
    for i, detection in enumerate(found):
        for j, truth in enumerate(real):
            either = detection.sum() if crowd[j] else (detection | truth).sum()
            expected[i, j] = (detection & truth).sum() / max(either, 1)
    got = masks.iou([masks.encode(p) for p in found], [masks.encode(p) for p in real], crowd[: len(real)])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@given(plane_alone)
def test_counts_are_the_runs(plane: np.ndarray) -> None:
    flips = np.flatnonzero(np.diff(plane.ravel(order="F"), prepend=False))
    assert masks.counts_of(masks.encode(plane)).tolist() == np.diff(flips, prepend=0, append=plane.size).tolist()


@given(st.lists(st.integers(0, 3_000_000), min_size=1, max_size=9))
def test_counts_of_long_runs(runs: list[int]) -> None:
    rle = coco_mask.frPyObjects({"size": [1, sum(runs)], "counts": runs}, 1, sum(runs))
    assert masks.counts_of({"size": [1, sum(runs)], "counts": rle["counts"].decode()}).tolist() == runs


# What an annotation may hold


@given(SIZES, st.data())
def test_polygons_are_rasterised_as_coco_does(size: tuple[int, int], data: st.DataObject) -> None:
    points = st.lists(st.floats(-5, 20) | st.integers(-5, 20), min_size=6, max_size=12).filter(
        lambda p: len(p) % 2 == 0
    )
    polygons = data.draw(st.lists(points, min_size=1, max_size=3))
    expected = coco_mask.merge(coco_mask.frPyObjects([np.array(p, dtype=float).tolist() for p in polygons], *size))
    assert from_segmentation(polygons, size)["counts"] == expected["counts"].decode()


@given(plane_alone, st.data())
def test_run_lengths_are_read_in_any_spelling(plane: np.ndarray, data: st.DataObject) -> None:
    size, rle = plane.shape, masks.encode(plane)
    assert from_segmentation(rle, size) == rle
    runs = masks.counts_of(rle).tolist()
    assert from_segmentation({"size": list(size), "counts": runs}, size) == rle
    # A run of length 0 splits its neighbour; pycocotools' own boxes and unions go wrong on such masks.
    where = data.draw(st.integers(0, len(runs) - 1))
    part = data.draw(st.integers(0, runs[where]))
    split = [*runs[:where], part, 0, runs[where] - part, *runs[where + 1 :]]
    assert from_segmentation({"size": list(size), "counts": split}, size) == rle
    text = coco_mask.frPyObjects({"size": list(size), "counts": split}, *size)["counts"].decode()
    assert from_segmentation({"size": list(size), "counts": text}, size) == rle


SIZE = (4, 5)


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        {},
        "text",
        7,
        [[]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[0, 0, 3, 0, 3, 3], [1, 1]],
        [0, 0, 3, 0, 3, 3],
        [[0, 0, 3, 0, 3, float("nan")]],
        [[0, 0, 3, 0, 3, float("inf")]],
        [[0, 0, 3, 0, 3, -1e300]],
        [[0, 0, 3, 0, 3, 10**400]],
        [[0, 0, 3, 0, 3, 1e6]],
        [[0, 0, 3, 0, 3, "3"]],
        [[0, 0, 3, 0, 3, None]],
        [[0, 0, 3, 0, 3, [3]]],
        [{"size": [4, 5], "counts": [20]}],
        {"counts": [20]},
        {"size": [4, 5]},
        {"size": [5, 4], "counts": [20]},
        {"size": [4, 5, 1], "counts": [20]},
        {"size": [4, "x", 5], "counts": [20]},
        {"size": "4x5", "counts": [20]},
        {"size": [[4], 5], "counts": [20]},
        {"size": [4, 5], "counts": []},
        {"size": [4, 5], "counts": [19]},
        {"size": [4, 5], "counts": [21]},
        {"size": [4, 5], "counts": [30, -10]},
        {"size": [4, 5], "counts": [10, 2**63, -(2**63), 10]},
        {"size": [4, 5], "counts": [2**64 + 20]},
        {"size": [4, 5], "counts": [19.5, 0.5]},
        {"size": [4, 5], "counts": ["20"]},
        {"size": [4, 5], "counts": [[20]]},
        {"size": [4, 5], "counts": None},
        {"size": [4, 5], "counts": ""},
        {"size": [4, 5], "counts": "d"},
        {"size": [4, 5], "counts": "D\n"},
        {"size": [4, 5], "counts": "\u00e9\u0444"},
        {"size": [4, 5], "counts": "~~"},
        {"size": [4, 5], "counts": "o" * 50 + "0"},
        {"size": [4, 5], "counts": "P" * 12 + "1"},
    ],
    ids=lambda segmentation: repr(segmentation)[:40],
)
def test_what_is_no_mask_is_refused(segmentation: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        from_segmentation(segmentation, SIZE)


numbers = st.integers() | st.floats() | st.integers(0, 20) | st.booleans()
garbage = st.recursive(
    st.none() | numbers | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner)
        | st.fixed_dictionaries({"size": st.just([4, 5]), "counts": inner})
    ),
    max_leaves=30,
)
# Mostly the right characters, so that many get as far as the numbers.
codes = st.fixed_dictionaries({"size": st.just([4, 5]), "counts": st.text("0123456789DTPo`abc", max_size=12)})
runs = st.fixed_dictionaries({"size": st.just([4, 5]), "counts": st.lists(st.integers(-1, 21), max_size=6)})


def check(segmentation: object) -> None:
    """A mask that COCO's own program reads the same way, or ValueError: never anything else."""
    try:
        rle = from_segmentation(segmentation, SIZE)
    except ValueError:
        return
    plane = masks.decode(rle)
    assert plane.shape == SIZE
    assert masks.union([rle], SIZE) == reference(plane)
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools 2.0.11 under NumPy 2
            np.testing.assert_array_equal(plane, coco_mask.decode(segmentation))


@given(garbage | codes | runs | st.lists(st.lists(numbers, min_size=6, max_size=8), min_size=1, max_size=2))
def test_wild_segmentations_are_a_mask_or_a_value_error(segmentation: object) -> None:
    check(segmentation)


def test_nesting_is_no_way_out() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    for segmentation in (deep, [deep], {"size": deep, "counts": [20]}, {"size": [4, 5], "counts": deep}):
        check(segmentation)


@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: text + "0"])
def test_every_short_code(wrap: Callable[[str], str]) -> None:
    alphabet = [chr(48 + value) for value in range(0, 64, 3)] + ["D", "T", "~"]
    for first in alphabet:
        for second in alphabet:
            for third in alphabet:
                check({"size": [4, 5], "counts": wrap(first + second + third)})
