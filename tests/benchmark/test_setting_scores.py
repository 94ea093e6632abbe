"""Scores of settings from what is kept of each image, against COCO's program and the metrics of the benchmark."""

from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segtrain import masks
from segtrain.benchmark.setting_scores import ImageTruth, score_of
from segtrain.metrics.mean_iou import mean_iou
from segtrain.records import OBJECT, GroundTruth, Prediction

SIZE = (40, 60)


def drawn(rng: np.random.Generator, count: int) -> list[Any]:
    """Masks of boxes that often overlap."""
    found = []
    for y, x, height, width in rng.integers([0, 0, 4, 4], [30, 50, 14, 14], (count, 4)).tolist():
        mask = np.zeros(SIZE, np.uint8)
        mask[y : y + height, x : x + width] = 1
        found.append(masks.encode(mask))
    return found


def example(seed: int) -> tuple[list[ImageTruth], list[list[Prediction]]]:
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for image_id in (1, 4, 9, 11):
        own = [
            GroundTruth(id=100 * image_id + number, image_id=image_id, category_id=OBJECT.id, segmentation=rle,
                        bbox=[0.0, 0.0, 1.0, 1.0], area=float(masks.area([rle])[0]), iscrowd=int(number == 1))
            for number, rle in enumerate(drawn(rng, 0 if image_id == 9 else 5))
        ]  # fmt: skip
        near = [truth["segmentation"] for truth in own[:4]]
        scores = rng.integers(1, 6, len(near) + 6) / 5
        found.append([
            Prediction(image_id=image_id, category_id=OBJECT.id, segmentation=rle, score=score)
            for rle, score in zip([*near, *drawn(rng, 6)], scores.tolist(), strict=True)
        ])  # fmt: skip
        truths.append(ImageTruth(image_id, SIZE, own))
    return truths, found


def by_coco(truths: list[ImageTruth], found: list[list[Prediction]], max_dets: int) -> float:
    ground_truth = COCO()
    ground_truth.dataset = {
        "images": [{"id": truth.image_id, "height": SIZE[0], "width": SIZE[1]} for truth in truths],
        "categories": [{"id": OBJECT.id, "name": "object"}],
        "annotations": [dict(own) for truth in truths for own in truth.truths],
    }
    ground_truth.createIndex()
    results = ground_truth.loadRes([dict(one) for own in found for one in own])
    evaluation = COCOeval(ground_truth, results, "segm")
    evaluation.params.maxDets = [1, 2, max_dets]
    evaluation.evaluate()
    evaluation.accumulate()
    return float(evaluation.eval["precision"][:, :, 0, 0, 2].mean())


@pytest.mark.parametrize("max_dets", [3, 100])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_average_precision_is_coco_s(seed: int, max_dets: int) -> None:
    truths, found = example(seed)
    score = score_of("mask_ap", max_dets)
    parts = [score.of_image(truth, own) for truth, own in zip(truths, found, strict=True)]
    expected = by_coco(truths, found, max_dets)
    assert score.of_images(parts) == pytest.approx(expected, abs=1e-12)
    assert 0 < expected < 1


def test_mean_iou_is_the_benchmark_s() -> None:
    truths, found = example(3)
    score = score_of("miou", 100)
    parts = [score.of_image(truth, own) for truth, own in zip(truths, found, strict=True)]
    together = mean_iou(
        [own for truth in truths for own in truth.truths], [one for own in found for one in own],
        category_ids=[OBJECT.id], sizes={truth.image_id: SIZE for truth in truths},
    )  # fmt: skip
    assert score.of_images(parts) == together.miou
