"""Panoptic quality against its definition, spelled out on full planes."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain import masks
from segtrain.metrics.panoptic import panoptic_counts, qualities
from segtrain.records import GroundTruth, Prediction
from tests.helpers.builders import prediction, truth_of
from tests.helpers.metric_values import PanopticQuality, panoptic_quality
from tests.helpers.random_scenes import CATEGORIES, scene

Sizes = dict[int, tuple[int, int]]
Segments = list[tuple[int, np.ndarray]]  # category and plane


def disjoint(records: list, least_share: float) -> Segments:
    """Each record's pixels that no earlier one took."""
    taken: np.ndarray | bool = False
    segments = []
    for record in records:
        plane = masks.decode(record["segmentation"])
        free = plane & ~np.asarray(taken)
        if free.sum() > least_share * plane.sum():
            segments.append((record["category_id"], free))
            taken = taken | plane
    return segments


def brute_force(
    truths: list[GroundTruth], predictions: list[Prediction], category_ids: list[int], sizes: Sizes
) -> dict[int, tuple[float, float, float]]:
    """PQ, SQ and RQ of each category, every pair of segments compared on planes."""
    sums = {category_id: [0.0, 0, 0, 0] for category_id in sorted(category_ids)}
    for image_id, size in sizes.items():
        inside = [t for t in truths if t["image_id"] == image_id and t["category_id"] in category_ids]
        found = [p for p in predictions if p["image_id"] == image_id and p["category_id"] in category_ids]
        by_size = sorted((t for t in inside if not t["iscrowd"]), key=lambda t: masks.decode(t["segmentation"]).sum())
        real_segments = disjoint(by_size, 0)
        found_segments = disjoint(sorted(found, key=lambda p: p["score"], reverse=True), 0.5)
        objects = np.any([np.zeros(size, bool), *(plane for _, plane in real_segments)], axis=0)
        missed = set(range(len(real_segments)))
        for category_id, p in found_segments:
            for number, (other, g) in enumerate(real_segments):
                iou = (g & p).sum() / (g | p).sum()
                if other == category_id and iou > 0.5:
                    assert number in missed, "no segment has two matches"
                    missed.remove(number)
                    sums[category_id][0] += iou
                    sums[category_id][1] += 1
                    break
            else:
                crowds = [t for t in inside if t["iscrowd"] and t["category_id"] == category_id]
                crowd = np.any([np.zeros(size, bool), *(masks.decode(t["segmentation"]) for t in crowds)], axis=0)
                sums[category_id][2] += (p & crowd & ~objects).sum() / p.sum() <= 0.5
        for number in missed:
            sums[real_segments[number][0]][3] += 1
    values = {}
    for category_id, (overlap, tp, fp, fn) in sums.items():
        undefined = tp + fn == 0
        pq, rq = (float("nan") if undefined else top / (tp + fp / 2 + fn / 2) for top in (overlap, tp))
        values[category_id] = (pq, overlap / tp if tp else float("nan"), rq)
    return values


def assert_same(got: PanopticQuality, expected: dict[int, tuple[float, float, float]]) -> None:
    assert list(got.per_category) == list(expected)
    for category_id, values in expected.items():
        np.testing.assert_allclose(got.per_category[category_id], values, rtol=0, atol=1e-12)
    for place, mean in enumerate((got.pq, got.sq, got.rq)):
        defined = [values[place] for values in expected.values() if not isnan(values[place])]
        np.testing.assert_allclose(mean, np.mean(defined) if defined else np.nan, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("category_ids", [CATEGORIES, [3], []], ids=str)
def test_random_scenes(seed: int, category_ids: list[int]) -> None:
    """Identical and nested masks, many equal scores, crowds, images without objects or detections."""
    drawn = scene(seed, 40, 80)
    got = panoptic_quality(drawn.truths, drawn.predictions, category_ids=category_ids, sizes=drawn.sizes)
    assert_same(got, brute_force(drawn.truths, drawn.predictions, category_ids, drawn.sizes))


def test_random_scenes_are_worth_comparing() -> None:
    drawn = [scene(seed, 40, 80) for seed in range(8)]
    sums = [
        panoptic_counts(d.truths, d.predictions, category_ids=CATEGORIES, sizes=d.sizes).sum(axis=(0, 1)) for d in drawn
    ]
    assert (np.sum(sums, axis=0) > 20).all()


rectangles = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(0, 8)] * 2)
records = st.lists(st.tuples(rectangles, st.integers(1, 2), st.integers(1, 3), st.integers(0, 3)), max_size=10)


@given(st.dictionaries(st.integers(1, 2), st.tuples(st.integers(1, 7), st.integers(1, 7))), records, records)
def test_wild_scenes(sizes: Sizes, real: list, found: list) -> None:
    """Few pixels: exact halves, equal areas and scores, empty masks, images all crowd, nothing at all."""

    def rle(place: tuple[int, int, int, int], image_id: int) -> masks.Rle:
        x, y, width, height = place
        return masks.encode_crop(np.ones((height, width)), x, y, sizes[image_id])

    truths = [truth_of(rle(place, i), c, i, iscrowd=dice == 0) for place, i, c, dice in real if i in sizes]
    predictions = [
        prediction(rle(place, i), c, score=dice / 3, image_id=i) for place, i, c, dice in found if i in sizes
    ]
    got = panoptic_quality(truths, predictions, category_ids=[1, 2], sizes=sizes)
    assert_same(got, brute_force(truths, predictions, [1, 2], sizes))


SIZES: Sizes = {1: (2, 20), 2: (2, 20)}


def columns(start: int, stop: int) -> masks.Rle:
    """2 x (stop - start) pixels."""
    return masks.encode_crop(np.ones((2, stop - start)), start, 0, SIZES[1])


def sums_of(truths: list[GroundTruth], predictions: list[Prediction]) -> list[float]:
    """IoU, TP, FP and FN of category 1 in image 1."""
    sums: list[float] = panoptic_counts(truths, predictions, category_ids=[1], sizes=SIZES)[0, 0].tolist()
    return sums


def test_counted_by_hand() -> None:
    truths = [truth_of(columns(0, 4)), truth_of(columns(6, 10)), truth_of(columns(12, 16), image_id=2)]
    predictions = [prediction(columns(0, 3)), prediction(columns(8, 12)), prediction(columns(12, 16), image_id=2)]
    got = panoptic_quality(truths, predictions, category_ids=[1], sizes=SIZES)
    counts = panoptic_counts(truths, predictions, category_ids=[1], sizes=SIZES)
    np.testing.assert_array_equal(counts, [[[0.75, 1, 1, 1]], [[1, 1, 0, 0]]])
    assert (got.pq, got.sq, got.rq) == got.per_category[1] == (1.75 / 3, 1.75 / 2, 2 / 3)


def test_an_iou_of_exactly_a_half_is_no_match() -> None:
    assert sums_of([truth_of(columns(0, 4))], [prediction(columns(0, 2))]) == [0, 0, 1, 1]
    assert sums_of([truth_of(columns(0, 5))], [prediction(columns(0, 3))]) == [0.6, 1, 0, 0]


def test_the_higher_score_paints_first_whatever_its_place() -> None:
    truths = [truth_of(columns(0, 4)), truth_of(columns(4, 8))]
    wide, right = prediction(columns(0, 6), score=0.4), prediction(columns(4, 8), score=0.9)
    assert sums_of(truths, [wide, right]) == sums_of(truths, [right, wide]) == [2, 2, 0, 0]


def test_of_equal_scores_the_first_paints_first() -> None:
    truths = [truth_of(columns(0, 6))]
    whole, part = prediction(columns(0, 6)), prediction(columns(3, 7))
    assert sums_of(truths, [whole, part]) == [1, 1, 0, 0]  # a quarter of the part is left: it is dropped
    assert sums_of(truths, [part, whole]) == [0, 0, 1, 1]  # and so is the whole, of which half is left


def test_what_loses_half_its_area_is_dropped_and_paints_nothing() -> None:
    truths = [truth_of(columns(0, 4)), truth_of(columns(4, 8))]
    first, half, last = (prediction(columns(*c), score=s) for c, s in (((0, 4), 0.9), ((2, 6), 0.8), ((4, 8), 0.7)))
    assert sums_of(truths, [first, half, last]) == [2, 2, 0, 0]
    third = prediction(columns(2, 7), score=0.8)  # keeps three of its five columns
    assert sums_of(truths, [first, third, last]) == [1.75, 2, 0, 0]


def test_a_small_object_lies_upon_a_large_one() -> None:
    large, small = truth_of(columns(0, 10)), truth_of(columns(2, 4))
    found = [prediction(columns(2, 4), score=0.9), prediction(columns(0, 10), score=0.8)]
    assert sums_of([large, small], found) == sums_of([small, large], found) == [2, 2, 0, 0]
    # An object that another covers has no segment: nothing is missed.
    assert sums_of([large, truth_of(columns(0, 10))], found[1:]) == [1, 1, 0, 0]


def test_a_detection_mostly_in_a_crowd_is_not_false() -> None:
    crowd = truth_of(columns(0, 10), iscrowd=True)
    assert sums_of([crowd], [prediction(columns(0, 4)), prediction(columns(7, 12))]) == [0, 0, 0, 0]
    assert sums_of([crowd], [prediction(columns(8, 12))]) == [0, 0, 1, 0]  # by half
    other = truth_of(columns(0, 10), 2, iscrowd=True)
    assert sums_of([other], [prediction(columns(0, 4))]) == [0, 0, 1, 0]
    # What an object covers belongs to no crowd: a duplicate in there is false.
    objects = [crowd, truth_of(columns(0, 10))]
    assert sums_of(objects, [prediction(columns(0, 2)), prediction(columns(2, 10))]) == [0.8, 1, 1, 0]


def test_only_pairs_of_one_category_match() -> None:
    truths = [truth_of(columns(0, 4)), truth_of(columns(6, 10), 2)]
    predictions = [prediction(columns(0, 4)), prediction(columns(6, 10), 3)]
    got = panoptic_quality(truths, predictions, category_ids=[1, 2, 3], sizes=SIZES)
    assert got.per_category[1] == (1, 1, 1)
    assert got.per_category[2][::2] == (0, 0)
    assert isnan(got.per_category[2][1])  # nothing matched: no fit to speak of
    assert all(isnan(value) for value in got.per_category[3])  # only predicted
    assert (got.pq, got.sq, got.rq) == (0.5, 1, 0.5)


def test_records_of_others_are_left_out() -> None:
    a = columns(0, 4)
    truths = [truth_of(a), truth_of(a, 5), truth_of(a, image_id=9)]
    predictions = [prediction(a, -1, score=1), prediction(a, image_id=9), prediction(a, score=0.1)]
    assert sums_of(truths, predictions) == [1, 1, 0, 0]


def test_nothing_at_all_is_undefined() -> None:
    for category_ids, sizes in (([], {}), ([], SIZES), ([1], {}), ([1], SIZES)):
        got = panoptic_quality([], [prediction(columns(0, 4))], category_ids=category_ids, sizes=sizes)
        assert all(isnan(value) for value in (got.pq, got.sq, got.rq))
        counts = panoptic_counts([], [prediction(columns(0, 4))], category_ids=category_ids, sizes=sizes)
        assert counts.shape == (len(sizes), len(category_ids), 4)


def test_counts_give_the_numbers_of_any_choice_of_images() -> None:
    drawn = scene(3)
    counts = panoptic_counts(drawn.truths, drawn.predictions, category_ids=CATEGORIES, sizes=drawn.sizes)
    some = panoptic_quality(
        drawn.truths,
        drawn.predictions,
        category_ids=CATEGORIES,
        sizes={i: drawn.sizes[i] for i in list(drawn.sizes)[1:4]},
    )
    np.testing.assert_array_equal(qualities(counts[1:4].sum(axis=0)), list(some.per_category.values()))
    assert qualities(counts[None]).shape == (1, *counts.shape[:2], 3)


def test_records_stay_as_they_are() -> None:
    drawn = scene(2)
    before = repr(drawn)
    panoptic_quality(drawn.truths, drawn.predictions, category_ids=CATEGORIES, sizes=drawn.sizes)
    assert repr(drawn) == before
