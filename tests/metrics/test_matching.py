"""Matches against those that pycocotools makes, one by one."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain import boxes, masks
from segtrain.metrics.matching import AREAS, Matches, match
from segtrain.records import GroundTruth, Prediction
from tests.helpers.coco_referee import referee
from tests.helpers.random_scenes import CATEGORIES, Scene, scene

IouType = Literal["segm", "bbox"]


def ours(drawn: Scene, iou_type: IouType) -> Matches:
    found = drawn.predictions if iou_type == "segm" else drawn.box_predictions
    return match(drawn.truths, found, image_ids=list(drawn.sizes), category_ids=CATEGORIES, iou_type=iou_type)


def assert_same(drawn: Scene, iou_type: IouType, max_dets: int) -> int:
    """All that the referee keeps of each image, category and area is the same; the number of matches."""
    found = drawn.predictions if iou_type == "segm" else drawn.box_predictions
    matches = ours(drawn, iou_type)
    areas = [[low, high] for low, high in AREAS]
    seen_detections = seen_truths = total = 0
    for expected in referee(drawn.truths, found, drawn.sizes, CATEGORIES, iou_type, max_dets).evalImgs:
        if expected is None:
            continue
        a = areas.index(list(expected["aRng"]))
        image = np.flatnonzero(matches.image_ids == expected["image_id"])
        category = np.flatnonzero(matches.category_ids == expected["category_id"])
        here = np.flatnonzero((matches.image == image) & (matches.category == category) & (matches.rank < max_dets))
        # The loader numbers detections from 1 in the order given.
        assert (matches.record[here] + 1).tolist() == expected["dtIds"]
        assert matches.score[here].tolist() == expected["dtScores"]
        truth_ids = np.array([0, *(t["id"] for t in drawn.truths)])
        for t in range(matches.thresholds):
            assert np.array_equal(truth_ids[matches.truth(t, a, here) + 1], expected["dtMatches"][t])
            assert np.array_equal(matches.ignored(t, a, here), expected["dtIgnore"][t])

        there = np.flatnonzero((matches.truth_image == image) & (matches.truth_category == category))
        there = there[np.argsort(matches.truth_ignored[a, there], kind="stable")]
        assert [drawn.truths[n]["id"] for n in matches.truth_record[there]] == expected["gtIds"]
        assert np.array_equal(matches.truth_ignored[a, there], expected["gtIgnore"])
        if max_dets >= len(found):
            numbers = np.concatenate([[0], matches.record + 1])
            assert np.array_equal(numbers[matches.detection[:, a, there] + 1], expected["gtMatches"])
        total += int((expected["dtMatches"] > 0).sum())
        seen_detections += len(here)
        seen_truths += len(there)
    assert seen_detections == len(AREAS) * (matches.rank < max_dets).sum()
    assert seen_truths == len(AREAS) * len(drawn.truths)
    return total


@pytest.mark.few(8)
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("max_dets", [3, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_the_matches_are_cocos(seed: int, max_dets: int, iou_type: IouType) -> None:
    """Ties, crowds, areas at the borders, images without truths or detections."""
    assert assert_same(scene(seed, predictions=300), iou_type, max_dets) > 300


@pytest.mark.parametrize(("truths", "predictions"), [(0, 40), (40, 0), (0, 0), (1, 1)])
def test_little_or_nothing(truths: int, predictions: int) -> None:
    for iou_type in ("segm", "bbox"):
        assert_same(scene(3, truths, predictions), iou_type, 100)  # type: ignore[arg-type]


places = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5), st.integers(0, 5))
areas = st.sampled_from([1.0, 32.0**2, 32.0**2 + 1, 96.0**2, 96.0**2 + 1, 2e10])


@given(
    st.lists(st.tuples(places, areas, st.booleans(), st.integers(1, 2)), max_size=8),
    st.lists(st.tuples(places, st.integers(1, 3), st.integers(1, 2)), max_size=12),
    st.sampled_from(["segm", "bbox"]),
)
def test_crowded_scenes(real: list, found: list, iou_type: IouType) -> None:
    """Many rivals on few pixels, equal overlaps and equal scores."""

    def rle(place: tuple[int, int, int, int]) -> masks.Rle:
        x, y, width, height = place
        return masks.encode_crop(np.ones((height, width)), x, y, (9, 9))

    def box(mask: masks.Rle) -> list[float]:
        return boxes.of_predictions([{"segmentation": mask}])[0].tolist()

    truths = [
        GroundTruth(
            id=number, image_id=image, category_id=3, segmentation=rle(p), bbox=box(rle(p)), area=area, iscrowd=crowd
        )
        for number, (p, area, crowd, image) in enumerate(real, 1)
    ]
    predictions = [
        Prediction(image_id=image, category_id=3, segmentation=rle(p), score=score / 4) for p, score, image in found
    ]
    assert_same(Scene({1: (9, 9), 2: (9, 9)}, truths, predictions), iou_type, 100)


def test_a_cut_leaves_the_matches_of_the_better_ones() -> None:
    drawn = scene(8, predictions=300)
    whole = ours(drawn, "segm")
    kept = [drawn.predictions[n] for n in sorted(whole.record[whole.score >= 0.6])]
    part = ours(Scene(drawn.sizes, drawn.truths, kept), "segm")
    for t, a in np.ndindex(whole.thresholds, whole.areas):
        assert np.array_equal(whole.truth(t, a, whole.score >= 0.6), part.truth(t, a))


def test_records_of_other_images_and_categories_are_left_out() -> None:
    drawn = scene(9)
    image_id = drawn.predictions[0]["image_id"]
    matches = match(drawn.truths, drawn.predictions, image_ids=[image_id], category_ids=[3, 5], iou_type="segm")
    assert {drawn.predictions[n]["image_id"] for n in matches.record} == {image_id}
    assert {drawn.truths[n]["category_id"] for n in matches.truth_record} == {3}
    assert matches.category_ids.tolist() == [3, 5]
    matched = matches.near_truth[matches.near_truth >= 0]
    assert len(matched)
    assert {drawn.truths[n]["image_id"] for n in matched} == {image_id}


def test_the_memory_follows_the_matches_not_the_detections() -> None:
    drawn = scene(4)
    dot = masks.encode_crop(np.ones((1, 1)), 0, 0, drawn.sizes[drawn.truths[0]["image_id"]])
    noise = [drawn.predictions[0] | Prediction(image_id=1, category_id=3, segmentation=dot, score=0.5)] * 10_000
    few, many = (ours(Scene(drawn.sizes, drawn.truths, drawn.predictions + more), "segm") for more in ([], noise))
    assert many.nbytes - few.nbytes < 100 * len(noise)
