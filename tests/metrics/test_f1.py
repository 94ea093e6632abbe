"""F1 against the matches that pycocotools makes, and against scenes counted by hand."""

import contextlib
import copy
import io
from math import isnan

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segtrain.metrics.f1 import f1, f1_curve
from segtrain.metrics.matching import IOU_THRESHOLDS, match
from tests.helpers.builders import prediction, rectangle, truth_of
from tests.helpers.random_scenes import CATEGORIES, Scene, scene


def referee(drawn: Scene, iou_threshold: float) -> dict[tuple[int, int], list[int]]:
    """(image id, category id) -> TP, FP, FN, from COCO's per-image results."""
    images = [{"id": i, "height": height, "width": width} for i, (height, width) in drawn.sizes.items()]
    with contextlib.redirect_stdout(io.StringIO()):
        real = COCO()
        real.dataset = {
            "images": images,
            "categories": [{"id": c, "name": str(c)} for c in CATEGORIES],
            "annotations": copy.deepcopy(drawn.truths),
        }
        real.createIndex()
        evaluator = COCOeval(real, real.loadRes(copy.deepcopy(drawn.predictions)), "segm")
        evaluator.params.iouThrs = np.array([iou_threshold])
        evaluator.params.maxDets = [100_000]
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e5**2]], ["all"]
        evaluator.evaluate()
    counts = {}
    for result in evaluator.evalImgs:
        if result is not None:
            matched, counted = result["dtMatches"][0] > 0, ~result["dtIgnore"][0].astype(bool)
            missed = (result["gtMatches"][0] == 0) & ~result["gtIgnore"].astype(bool)
            counts[result["image_id"], result["category_id"]] = [
                int((matched & counted).sum()),
                int((~matched & counted).sum()),
                int(missed.sum()),
            ]
    return counts


@pytest.mark.few(8)
@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_the_matches_are_cocos(seed: int, iou_threshold: float) -> None:
    drawn = scene(seed, predictions=400)
    counts = referee(drawn, iou_threshold)
    result = f1(
        drawn.truths,
        drawn.predictions,
        category_ids=CATEGORIES,
        image_ids=list(drawn.sizes),
        iou_threshold=iou_threshold,
    )
    assert list(result.per_image) == sorted(drawn.sizes)
    for image_id, triple in result.per_image.items():
        expected = np.sum([[0, 0, 0]] + [c for key, c in counts.items() if key[0] == image_id], axis=0)
        assert list(triple) == expected.tolist()
    assert list(result.per_category) == sorted(CATEGORIES)
    for category_id, value in result.per_category.items():
        tp, fp, fn = np.sum([c for key, c in counts.items() if key[1] == category_id], axis=0)
        assert value == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert result.f1 == pytest.approx(np.mean(list(result.per_category.values())))
    assert 0 < result.f1 < 1


@pytest.mark.parametrize("seed", range(4))
def test_a_curve_is_f1_at_each_threshold(seed: int) -> None:
    drawn = scene(seed, predictions=200)
    operating = [p for p in drawn.predictions if p["score"] >= 0.4]
    matches = match(
        drawn.truths, drawn.predictions, image_ids=list(drawn.sizes), category_ids=CATEGORIES, iou_type="segm"
    )
    curve = f1_curve(matches, 0.4)
    assert curve["thresholds"] == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    for threshold, value in zip(IOU_THRESHOLDS.tolist(), curve["f1"], strict=True):
        alone = f1(drawn.truths, operating, category_ids=CATEGORIES, image_ids=drawn.sizes, iou_threshold=threshold)
        assert value == pytest.approx(alone.f1, abs=1e-12)


SIZE = (10, 10)


def test_a_second_detection_of_the_same_object_is_false() -> None:
    whole, half = rectangle(0, 0, 4, 4, SIZE), rectangle(0, 0, 4, 2, SIZE)
    result = f1(
        [truth_of(whole)], [prediction(whole, score=0.3), prediction(half, score=0.8)], category_ids=[1], image_ids=[1]
    )
    # The half one comes first by score, and IoU .50 is enough.
    assert result.per_image == {1: (1, 1, 0)}
    assert result.f1 == pytest.approx(2 / 3)


def test_of_equal_overlaps_the_last_truth_wins() -> None:
    """An arbitrary rule, but COCO's: the count depends on it."""
    left, middle, right = (rectangle(x, 0, 4, 4, SIZE) for x in (0, 1, 2))
    found = [prediction(middle, score=0.9), prediction(left, score=0.8)]
    for truths, counts in (([left, right], (2, 0, 0)), ([right, left], (1, 1, 1))):
        result = f1([truth_of(rle) for rle in truths], found, category_ids=[1], image_ids=[1])
        assert result.per_image == {1: counts}


def test_many_detections_in_a_crowd_count_neither_way() -> None:
    crowd = truth_of(rectangle(0, 0, 10, 5, SIZE), iscrowd=1)
    inside = [prediction(rectangle(x, 0, 2, 2, SIZE)) for x in range(0, 8, 2)]
    result = f1([crowd], inside, category_ids=[1], image_ids=[1])
    assert result.per_image == {1: (0, 0, 0)}
    assert isnan(result.f1)
    assert isnan(result.per_category[1])


def test_the_mean_is_over_categories_with_ground_truth() -> None:
    a, b = rectangle(0, 0, 3, 3, SIZE), rectangle(5, 5, 3, 3, SIZE)
    result = f1(
        [truth_of(a, 1), truth_of(b, 2)], [prediction(a, 1), prediction(b, 3)], category_ids=[1, 2, 3], image_ids=[1]
    )
    assert result.per_category[1] == 1
    assert result.per_category[2] == 0
    assert isnan(result.per_category[3])
    assert result.f1 == 0.5
    assert result.per_image == {1: (1, 1, 1)}


def test_other_images_and_categories_are_left_out() -> None:
    a = rectangle(0, 0, 3, 3, SIZE)
    result = f1(
        [truth_of(a), truth_of(a, 5), truth_of(a, image_id=2)],
        [prediction(a), prediction(a, -1), prediction(a, image_id=2)],
        category_ids=[1],
        image_ids=[1, 3],
    )
    assert result.per_image == {1: (1, 0, 0), 3: (0, 0, 0)}


def test_nothing_at_all_is_undefined() -> None:
    result = f1([], [], category_ids=[], image_ids=[])
    assert isnan(result.f1)
    assert result.per_category == {}
    assert result.per_image == {}
