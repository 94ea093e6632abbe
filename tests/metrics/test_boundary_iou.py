"""Boundary IoU against its definition, spelled out on full planes."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from segtrain import masks
from segtrain.metrics.boundary_iou import boundary_counts, eroded
from segtrain.metrics.mean_iou import iou_of_sums
from segtrain.records import GroundTruth, Prediction
from tests.helpers.builders import prediction, rectangle, truth_of
from tests.helpers.metric_values import BoundaryIou, boundary_iou
from tests.helpers.random_scenes import CATEGORIES, scene

Sizes = dict[int, tuple[int, int]]


def boundary(plane: np.ndarray) -> np.ndarray:
    """The pixels of a plane whose square of 2 d + 1 pixels does not lie in it, with zeros around the image."""
    distance = max(1, round(0.02 * (plane.shape[0] ** 2 + plane.shape[1] ** 2) ** 0.5))
    square = np.ones((2 * distance + 1,) * 2)
    return plane & ~ndimage.binary_erosion(plane, square, border_value=0)


def brute_force(
    truths: list[GroundTruth], predictions: list[Prediction], category_ids: list[int], sizes: Sizes
) -> dict[int, float]:
    values = {}
    for category_id in sorted(category_ids):
        true = both = either = 0
        for image_id, size in sizes.items():
            void, g, p = (np.zeros(size, dtype=bool) for _ in range(3))
            for t in truths:
                if t["image_id"] == image_id and t["iscrowd"]:
                    void |= masks.decode(t["segmentation"])
                elif t["image_id"] == image_id and t["category_id"] == category_id:
                    g |= boundary(masks.decode(t["segmentation"]))
            for q in predictions:
                if q["image_id"] == image_id and q["category_id"] == category_id:
                    p |= boundary(masks.decode(q["segmentation"]))
            g, p = g & ~void, p & ~void
            true, both, either = true + g.sum(), both + (g & p).sum(), either + (g | p).sum()
        values[category_id] = both / either if true else float("nan")
    return values


def assert_same(got: BoundaryIou, expected: dict[int, float]) -> None:
    assert list(got.per_category) == list(expected)
    np.testing.assert_allclose(list(got.per_category.values()), list(expected.values()), rtol=0, atol=1e-12)
    defined = [value for value in expected.values() if not isnan(value)]
    np.testing.assert_allclose(got.boundary_iou, np.mean(defined) if defined else np.nan, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("category_ids", [CATEGORIES, [3], []], ids=str)
def test_random_scenes(seed: int, category_ids: list[int]) -> None:
    drawn = scene(seed, 20, 20)
    got = boundary_iou(drawn.truths, drawn.predictions, category_ids=category_ids, sizes=drawn.sizes)
    assert_same(got, brute_force(drawn.truths, drawn.predictions, category_ids, drawn.sizes))


rectangles = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(0, 40)] * 2)
records = st.lists(st.tuples(rectangles, st.integers(1, 3), st.integers(1, 3), st.integers(0, 4)), max_size=8)


@given(st.dictionaries(st.integers(1, 3), st.tuples(st.integers(1, 90), st.integers(1, 90))), records, records)
def test_wild_scenes(sizes: Sizes, real: list, found: list) -> None:
    """Boundaries of 1 to 3 pixels: at the border, in crowds, of objects that are all boundary."""

    def rle(place: tuple[int, int, int, int], image_id: int) -> masks.Rle:
        x, y, width, height = place
        return masks.encode_crop(np.ones((height, width)), x, y, sizes[image_id])

    truths = [truth_of(rle(place, i), c, i, iscrowd=dice == 0) for place, i, c, dice in real if i in sizes]
    predictions = [prediction(rle(place, i), c, image_id=i) for place, i, c, _ in found if i in sizes]
    # Category 3 belongs to no one: only its crowds matter.
    got = boundary_iou(truths, predictions, category_ids=[1, 2], sizes=sizes)
    assert_same(got, brute_force(truths, predictions, [1, 2], sizes))


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 30), st.integers(1, 12))
def test_erosion(seed: int, height: int, width: int, distance: int) -> None:
    rng = np.random.default_rng(seed)
    planes = [rng.random((height, width)) < share for share in rng.choice([0, 0.5, 0.97, 1], 5)]
    runs = masks.runs([masks.encode(plane) for plane in planes])
    mask, starts, stops = eroded(*runs, (height, width), distance)
    assert (np.diff(mask) >= 0).all()
    left = np.zeros((len(planes), height * width), dtype=bool)
    for number, start, stop in zip(mask, starts, stops, strict=True):
        assert start < stop
        left[number, start:stop] = True
    square = np.ones((2 * distance + 1,) * 2)
    for plane, flat in zip(planes, left, strict=True):
        np.testing.assert_array_equal(flat.reshape(width, height).T, ndimage.binary_erosion(plane, square))


SIZES: Sizes = {1: (30, 40), 2: (30, 40)}  # a diagonal of 50: boundaries of one pixel


def test_counted_by_hand() -> None:
    """A 6 x 6 frame of 20 pixels, and a 4 x 4 one of 12 inside it: nothing in common, though the masks' IoU is .44."""
    big, small = rectangle(4, 4, 6, 6, SIZES[1]), rectangle(5, 5, 4, 4, SIZES[1])
    got = boundary_iou([truth_of(big)], [prediction(small)], category_ids=[1], sizes=SIZES)
    assert got.boundary_iou == 0
    counts = boundary_counts([truth_of(big)], [prediction(small)], category_ids=[1], sizes=SIZES)
    np.testing.assert_array_equal(counts, [[[20, 0, 32]], [[0, 0, 0]]])
    shifted = boundary_iou(
        [truth_of(big)], [prediction(rectangle(4, 5, 6, 6, SIZES[1]))], category_ids=[1], sizes=SIZES
    )
    # Two columns of five pixels; the rows meet only there.
    assert shifted.boundary_iou == 10 / 30


def test_the_image_border_is_outline() -> None:
    counts = boundary_counts([truth_of(rectangle(0, 0, 40, 30, SIZES[1]))], [], category_ids=[1], sizes=SIZES)
    assert counts[0, 0].tolist() == [2 * 40 + 2 * 28, 0, 2 * 40 + 2 * 28]


def test_one_mask_over_two_objects_lacks_the_line_between_them() -> None:
    halves = [truth_of(rectangle(4, 4, 5, 5, SIZES[1])), truth_of(rectangle(9, 4, 5, 5, SIZES[1]))]
    got = boundary_iou(halves, [prediction(rectangle(4, 4, 10, 5, SIZES[1]))], category_ids=[1], sizes=SIZES)
    assert got.boundary_iou == 26 / 32


def test_one_division_for_all_images() -> None:
    """A mean of per-image ratios would be 1/2."""
    truths = [truth_of(rectangle(4, 4, 6, 6, SIZES[1])), truth_of(rectangle(4, 4, 3, 3, SIZES[1]), image_id=2)]
    got = boundary_iou(truths, [prediction(rectangle(4, 4, 6, 6, SIZES[1]))], category_ids=[1], sizes=SIZES)
    assert got.boundary_iou == 20 / 28


def test_a_category_only_predicted_has_none() -> None:
    square = rectangle(4, 4, 6, 6, SIZES[1])
    got = boundary_iou(
        [truth_of(square)], [prediction(square), prediction(square, 2)], category_ids=[1, 2], sizes=SIZES
    )
    assert got.boundary_iou == got.per_category[1] == 1
    assert isnan(got.per_category[2])


def test_nothing_at_all_is_undefined() -> None:
    crowd = truth_of(rectangle(0, 0, 40, 30, SIZES[1]), iscrowd=True)
    for category_ids, truths, sizes in (([], [], {}), ([1], [], SIZES), ([1], [crowd], SIZES)):
        got = boundary_iou(
            truths, [prediction(rectangle(1, 1, 5, 5, SIZES[1]))], category_ids=category_ids, sizes=sizes
        )
        assert isnan(got.boundary_iou)
        assert all(isnan(value) for value in got.per_category.values())


def test_counts_give_the_numbers_of_any_choice_of_images() -> None:
    drawn = scene(3, 40, 60)
    counts = boundary_counts(drawn.truths, drawn.predictions, category_ids=CATEGORIES, sizes=drawn.sizes)
    chosen = list(drawn.sizes)[1:4]
    some = boundary_iou(
        drawn.truths, drawn.predictions, category_ids=CATEGORIES, sizes={i: drawn.sizes[i] for i in chosen}
    )
    np.testing.assert_array_equal(iou_of_sums(counts[1:4].sum(axis=0)), list(some.per_category.values()))


def test_records_stay_as_they_are() -> None:
    drawn = scene(2, 10, 10)
    before = repr(drawn)
    boundary_iou(drawn.truths, drawn.predictions, category_ids=CATEGORIES, sizes=drawn.sizes)
    assert repr(drawn) == before
