"""Calibration against pycocotools' matches and plain sums; best overlaps against planes."""

from contextlib import redirect_stdout
from io import StringIO
from typing import Any, Literal

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segtrain import masks
from segtrain.metrics.calibration import Calibration, calibration
from segtrain.metrics.candidates import find_candidates
from tests.helpers.random_scenes import Scene, inputs_of, scene


def one_category(seed: int) -> Scene:
    drawn = scene(seed)
    rng = np.random.default_rng(seed)
    for record in (*drawn.truths, *drawn.predictions):
        record["category_id"] = 1
    for prediction in drawn.predictions:
        prediction["score"] = float(rng.choice([rng.random(), 0.0, 0.1, 0.3, 1.0]))
    return drawn


def measured(drawn: Scene) -> Calibration | None:
    return calibration(inputs_of(drawn, category_ids=[1]))


def outcomes(drawn: Scene) -> list[tuple[float, bool, float]]:
    """Score, right or wrong by pycocotools, and best IoU by planes, of each detection that is not ignored."""
    with redirect_stdout(StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i, "height": h, "width": w} for i, (h, w) in drawn.sizes.items()],
            "categories": [{"id": 1}],
            "annotations": [dict(t) for t in drawn.truths],
        }
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes([dict(p) for p in drawn.predictions]), "segm")
        evaluator.params.maxDets = [1, 10, 10_000]
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluator.evaluate()
    found = []
    for image in filter(None, evaluator.evalImgs):
        for number, matched, ignored in zip(image["dtIds"], image["dtMatches"][0], image["dtIgnore"][0], strict=True):
            if not ignored:
                record: Any = drawn.predictions[number - 1]  # loadRes counts from 1
                found.append((record["score"], matched > 0, best_by_planes(drawn, record)))
    return found


def best_by_planes(drawn: Scene, record: Any) -> float:
    own = masks.decode(record["segmentation"])
    best = 0.0
    for truth in drawn.truths:
        if truth["image_id"] == record["image_id"] and not truth["iscrowd"]:
            other = masks.decode(truth["segmentation"])
            best = max(best, (own & other).sum() / max((own | other).sum(), 1))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_bins_and_errors_are_plain_sums_over_cocos_matches(seed: int) -> None:
    drawn = one_category(seed)
    result = measured(drawn)
    assert result is not None
    known = outcomes(drawn)
    assert len(known) < len(drawn.predictions)  # some lie on crowds
    errors = [0.0, 0.0]
    for n, part in enumerate(result.bins):
        low, high = n / 10, (n + 1) / 10
        inside = [o for o in known if (low < o[0] or n == 0) and o[0] <= high]
        assert part.count == len(inside)
        assert (part.low, part.high) == pytest.approx((low, high))
        if not inside:
            assert np.isnan([part.mean_score, part.precision, part.mean_iou]).all()
            continue
        means = [float(np.mean([o[column] for o in inside])) for column in range(3)]
        assert (part.mean_score, part.precision, part.mean_iou) == pytest.approx(means)
        for column in (1, 2):
            errors[column - 1] += len(inside) / len(known) * abs(means[0] - means[column])
    assert (result.ece, result.ece_iou) == pytest.approx(errors)
    assert 0 < result.ece < 1


def test_scores_that_keep_their_word_have_no_error() -> None:
    """Of ten detections of score .3, three are right; of ten of .8, eight."""
    square = masks.encode_crop(np.ones((5, 5)), 0, 0, (20, 20))
    elsewhere = masks.encode_crop(np.ones((5, 5)), 10, 10, (20, 20))
    drawn = scene(0, truths=1, predictions=0)
    template = {**drawn.truths[0], "category_id": 1, "iscrowd": 0, "segmentation": square, "area": 25.0}
    truths: list[Any] = [{**template, "id": i + 1, "image_id": i} for i in range(20)]
    found: list[Any] = [
        {"image_id": i, "category_id": 1, "score": 0.3 if i < 10 else 0.8,
         "segmentation": square if i % 10 < (3 if i < 10 else 8) else elsewhere}
        for i in range(20)
    ]  # fmt: skip
    result = calibration(inputs_of(Scene(dict.fromkeys(range(20), (1, 1)), truths, found), category_ids=[1]))
    assert result is not None
    assert result.ece == pytest.approx(0, abs=1e-12)
    assert result.ece_iou == pytest.approx(0, abs=1e-12)
    for record in found:
        record["score"] = 1 - record["score"]
    turned = calibration(inputs_of(Scene(dict.fromkeys(range(20), (1, 1)), truths, found), category_ids=[1]))
    assert turned is not None
    assert turned.ece == pytest.approx((0.4 + 0.6) / 2)


def test_scores_that_are_no_probabilities_and_no_scores_at_all() -> None:
    drawn = one_category(1)
    drawn.predictions[3]["score"] = 1.5
    assert measured(drawn) is None
    drawn.predictions.clear()
    assert measured(drawn) is None


@pytest.mark.parametrize("seed", range(2))
def test_best_overlaps_of_masks_and_boxes(seed: int) -> None:
    drawn = one_category(seed)

    def found(truths: Any, predictions: Any, iou_type: Literal["segm", "bbox"] = "segm") -> np.ndarray:
        candidates = find_candidates(
            truths, predictions, image_ids=list(drawn.sizes), category_ids=[1], iou_type=iou_type
        )
        best = np.full(len(predictions), np.nan)
        best[candidates.record] = candidates.max_iou_per_detection()
        return best

    expected = [best_by_planes(drawn, record) for record in drawn.predictions]
    np.testing.assert_allclose(found(drawn.truths, drawn.predictions), expected, atol=1e-12)

    # Boxes drawn as masks: whole pixels, so nothing is lost.
    def filled(record: Any) -> masks.Rle:
        x, y, w, h = (int(v) for v in record["bbox"])
        return masks.encode_crop(np.ones((h, w)), x, y, drawn.sizes[record["image_id"]])

    truths, boxes = drawn.truths, [{**box, "category_id": 1} for box in drawn.box_predictions]
    as_masks = [[{**own, "segmentation": filled(own)} for own in records] for records in (truths, boxes)]
    np.testing.assert_allclose(found(truths, boxes, "bbox"), found(*as_masks), atol=1e-9)
