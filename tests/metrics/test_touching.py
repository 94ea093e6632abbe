"""Touching objects, merges and splits, against planes of pixels."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from segtrain import masks
from segtrain.metrics.touching import MergesAndSplits, crowding_of_truths, grown, merges_and_splits, touching_parts
from segtrain.records import GroundTruth, Prediction
from tests.helpers.builders import rectangle, truth_of
from tests.helpers.random_scenes import scene

SIZE = (9, 12)
Plane = np.ndarray[Any, np.dtype[np.bool_]]


def brute_force(truths: list[Any], predictions: list[Any]) -> MergesAndSplits:
    total = covered_ones = merged = split = 0
    for image_id in {t["image_id"] for t in truths}:
        real = [masks.decode(t["segmentation"]) for t in truths if t["image_id"] == image_id and not t["iscrowd"]]
        found = [masks.decode(p["segmentation"]) for p in predictions if p["image_id"] == image_id]
        objects: list[Plane] = []
        for n, plane in enumerate(real):
            others = [other for m, other in enumerate(real) if m != n]
            wide = binary_dilation(plane, np.ones((3, 3)))
            if any((wide & other).any() for other in others):
                objects.append(plane & ~np.any(others, axis=0))
        total += len(objects)
        in_merge: set[int] = set()
        in_any: set[int] = set()
        for detection in found:
            covered = [n for n, part in enumerate(objects) if 2 * (part & detection).sum() > part.sum()]
            in_any |= set(covered)
            in_merge |= set(covered) if len(covered) > 1 else set()
        merged += len(in_merge)
        for n, part in enumerate(objects):
            inside = [d for d in found if 2 * (part & d).sum() > d.sum()]
            pieces = any(
                2 * (a & b).sum() <= min(a.sum(), b.sum()) for i, a in enumerate(inside) for b in inside[i + 1 :]
            )
            split += pieces
            covered_ones += pieces or n in in_any
    return MergesAndSplits(total, covered_ones, merged, split)


def ours(truths: list[Any], predictions: list[Any], sizes: dict[int, tuple[int, int]]) -> MergesAndSplits:
    return merges_and_splits(parts_of(truths, sizes=sizes), predictions)


def parts_of(truths: Any, sizes: Any) -> dict[int, list[Any]]:
    return touching_parts(truths, crowding_of_truths(truths), sizes=sizes)


def real(*rles: masks.Rle) -> list[GroundTruth]:
    return [truth_of(rle) for rle in rles]


def found(*rles: masks.Rle) -> list[Prediction]:
    return [Prediction(image_id=1, category_id=1, segmentation=rle, score=1.0) for rle in rles]


def test_random_scenes() -> None:
    totals = np.zeros(3)
    for seed in range(6):
        drawn = scene(seed, 40, 150)
        counts = ours(drawn.truths, drawn.predictions, drawn.sizes)
        assert counts == brute_force(drawn.truths, drawn.predictions)
        totals += [counts.objects, counts.merged, counts.split]
    assert totals.min() >= 5


rectangles = st.tuples(st.integers(0, 10), st.integers(0, 8), st.integers(0, 8), st.integers(0, 9))
several = st.lists(st.lists(rectangles, min_size=1, max_size=3), max_size=6)


def shapes(drawn: list[list[tuple[int, int, int, int]]]) -> list[masks.Rle]:
    """Unions of rectangles: with holes, with parts apart, empty."""
    return [masks.union([rectangle(*r, SIZE) for r in part], SIZE) for part in drawn]


@given(several, several)
def test_wild_shapes(true: list, detected: list) -> None:
    truths, predictions = real(*shapes(true)), found(*shapes(detected))
    assert ours(truths, predictions, {1: SIZE}) == brute_force(truths, predictions)


@given(several)
def test_growing_is_dilation(drawn: list) -> None:
    for mask, wide in zip(shapes(drawn), grown(shapes(drawn), SIZE), strict=True):
        assert np.array_equal(masks.decode(wide), binary_dilation(masks.decode(mask), np.ones((3, 3))))
        assert wide == masks.encode(masks.decode(wide))


@given(several)
def test_the_truth_itself_merges_and_splits_nothing(true: list) -> None:
    """However its objects overlap."""
    counts = ours(real(*shapes(true)), found(*shapes(true)), {1: SIZE})
    assert (counts.merged, counts.split) == (0, 0)


@pytest.mark.parametrize(("x", "y", "touches"), [(4, 2, True), (4, 4, True), (4, 5, False), (5, 2, False)])
def test_neighbours_touch_across_edges_and_corners(x: int, y: int, touches: bool) -> None:
    parts = parts_of(real(rectangle(2, 2, 2, 2, SIZE), rectangle(x, y, 2, 2, SIZE)), sizes={1: SIZE})
    assert len(parts.get(1, ())) == 2 * touches


def test_the_foot_of_a_column_is_not_beside_the_head_of_the_next() -> None:
    assert parts_of(real(rectangle(2, 8, 1, 1, SIZE), rectangle(3, 0, 1, 1, SIZE)), sizes={1: SIZE}) == {}


def test_a_detection_over_two_merges_both_and_one_over_half_of_the_second_none() -> None:
    truths = real(rectangle(0, 0, 4, 4, SIZE), rectangle(4, 0, 4, 4, SIZE), rectangle(11, 8, 1, 1, SIZE))
    assert ours(truths, found(rectangle(0, 0, 8, 4, SIZE)), {1: SIZE}) == MergesAndSplits(2, 2, 2, 0)
    assert ours(truths, found(rectangle(0, 0, 6, 4, SIZE)), {1: SIZE}) == MergesAndSplits(2, 1, 0, 0)
    assert ours(truths, found(rectangle(0, 0, 7, 4, SIZE)), {1: SIZE}) == MergesAndSplits(2, 2, 2, 0)


def test_pieces_split_and_duplicates_do_not() -> None:
    truths = real(rectangle(0, 0, 4, 4, SIZE), rectangle(4, 0, 4, 4, SIZE))
    assert ours(truths, found(rectangle(0, 0, 2, 4, SIZE), rectangle(2, 0, 2, 4, SIZE)), {1: SIZE}) == MergesAndSplits(
        2, 1, 0, 1
    )
    assert ours(truths, found(rectangle(0, 0, 4, 4, SIZE), rectangle(0, 0, 3, 4, SIZE)), {1: SIZE}) == MergesAndSplits(
        2, 1, 0, 0
    )
    # Half in the one and half in the other: in neither for more than half.
    assert ours(truths, found(rectangle(0, 0, 2, 4, SIZE), rectangle(2, 0, 4, 4, SIZE)), {1: SIZE}) == MergesAndSplits(
        2, 0, 0, 0
    )


def test_crowds_and_other_images_are_left_out() -> None:
    crowd = truth_of(rectangle(4, 0, 4, 4, SIZE), iscrowd=True)
    assert parts_of([*real(rectangle(0, 0, 4, 4, SIZE)), crowd], sizes={1: SIZE}) == {}
    pair = real(rectangle(0, 0, 4, 4, SIZE), rectangle(4, 0, 4, 4, SIZE))
    assert parts_of(pair, sizes={2: SIZE}) == {}
    elsewhere: Any = [{**p, "image_id": 2} for p in found(rectangle(0, 0, 8, 4, SIZE))]
    assert ours(pair, elsewhere, {1: SIZE, 2: SIZE}) == MergesAndSplits(2, 0, 0, 0)


def test_nothing_at_all() -> None:
    assert ours([], [], {1: SIZE}) == MergesAndSplits(0, 0, 0, 0)
