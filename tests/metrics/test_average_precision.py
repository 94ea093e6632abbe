"""Average precision against pycocotools, which stays the referee."""

import contextlib
import copy
import io
import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segtrain.masks.parse import from_segmentation
from segtrain.metrics.average_precision import AveragePrecision, average_precision
from tests.helpers.random_scenes import CATEGORIES, Scene, scene

IouType = Literal["segm", "bbox"]
IOU_TYPES: list[IouType] = ["segm", "bbox"]


def ours(drawn: Scene, iou_type: IouType, max_dets: int, **changes: Any) -> AveragePrecision:
    arguments: dict[str, Any] = {
        "truths": drawn.truths,
        "predictions": drawn.predictions if iou_type == "segm" else drawn.box_predictions,
        "image_ids": list(drawn.sizes),
        "category_ids": CATEGORIES,
        "sizes": drawn.sizes,
    }
    return average_precision(**(arguments | changes), iou_type=iou_type, max_dets=max_dets)


def referee(drawn: Scene, iou_type: IouType, max_dets: list[int]) -> COCOeval:
    """pycocotools, run on copies, since it writes into its input."""
    images = [{"id": i, "height": height, "width": width} for i, (height, width) in drawn.sizes.items()]
    dataset = {"images": images, "categories": [{"id": c, "name": str(c)} for c in CATEGORIES]}
    predictions: Any = drawn.predictions if iou_type == "segm" else drawn.box_predictions
    with contextlib.redirect_stdout(io.StringIO()):
        real, found = COCO(), COCO()
        real.dataset = dataset | {"annotations": copy.deepcopy(drawn.truths)}
        real.createIndex()
        if predictions:
            found = real.loadRes(copy.deepcopy(predictions))
        else:
            found.dataset = dataset | {"annotations": []}
            found.createIndex()
        evaluator = COCOeval(real, found, iou_type)
        evaluator.params.maxDets = max_dets
        evaluator.evaluate()
        evaluator.accumulate()
        if max_dets == [1, 10, 100]:
            evaluator.summarize()
    return evaluator


def mean(values: np.ndarray) -> float:
    return float(values[values > -1].mean()) if (values > -1).any() else float("nan")


def assert_equal(got: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("iou_type", IOU_TYPES)
@pytest.mark.parametrize("seed", range(6))
def test_twelve_numbers_are_cocos(seed: int, iou_type: IouType) -> None:
    drawn = scene(seed)
    stats = referee(drawn, iou_type, [1, 10, 100]).stats
    assert 0.05 < stats[0] < 0.95
    assert_equal(ours(drawn, iou_type, 100).stats, np.where(stats < 0, np.nan, stats).tolist())


@pytest.mark.parametrize("iou_type", IOU_TYPES)
@pytest.mark.parametrize("max_dets", [1, 2, 5, 10, 11, 100, 400])
def test_any_number_of_detections(max_dets: int, iou_type: IouType) -> None:
    drawn = scene(7, predictions=500)
    tables = referee(drawn, iou_type, [min(1, max_dets), min(10, max_dets), max_dets]).eval
    precision, recall = tables["precision"][..., 2], tables["recall"]
    expected = [
        mean(precision[..., 0]),
        mean(precision[0, ..., 0]),
        mean(precision[5, ..., 0]),
        *(mean(precision[..., area]) for area in (1, 2, 3)),
        *(mean(recall[:, :, 0, column]) for column in (0, 1, 2)),
        *(mean(recall[:, :, area, 2]) for area in (1, 2, 3)),
    ]
    result = ours(drawn, iou_type, max_dets)
    assert_equal(result.stats, expected)
    assert list(result.per_category) == sorted(CATEGORIES)
    for k, scores in enumerate(result.per_category.values()):
        one = precision[:, :, k, 0]
        expected = [mean(one), mean(one[0]), mean(one[5]), mean(recall[:, k, 0, 2])]
        assert_equal([scores["ap"], scores["ap50"], scores["ap75"], scores["ar"]], expected)
    curves = result.precision_recall
    assert_equal(curves["iou50"], [mean(precision[0, r, :, 0]) for r in range(101)])
    assert_equal(curves["mean"], [mean(precision[:, r, :, 0]) for r in range(101)])
    assert np.mean(curves["mean"]) == pytest.approx(result.stats[0], abs=1e-12)


@pytest.mark.parametrize("iou_type", IOU_TYPES)
@pytest.mark.parametrize(("truths", "predictions"), [(0, 40), (40, 0), (0, 0), (1, 1), (3, 200)])
def test_little_or_nothing(truths: int, predictions: int, iou_type: IouType) -> None:
    drawn = scene(3, truths, predictions)
    stats = referee(drawn, iou_type, [1, 10, 100]).stats
    assert_equal(ours(drawn, iou_type, 100).stats, np.where(stats < 0, np.nan, stats).tolist())


@pytest.mark.parametrize("image_ids", [[], [5]])
@pytest.mark.parametrize("category_ids", [[], [-1]])
def test_nothing_to_evaluate_is_undefined(image_ids: list[int], category_ids: list[int]) -> None:
    result = average_precision(
        [], [], image_ids=image_ids, category_ids=category_ids, max_dets=9, iou_type="segm", sizes={5: (4, 4)}
    )
    assert np.isnan(result.stats).all()
    assert len(result.stats) == 12
    assert list(result.per_category) == category_ids
    assert np.isnan(result.precision_recall["iou50"]).all()
    assert len(result.precision_recall["mean"]) == 101


def test_only_the_images_and_categories_asked_for() -> None:
    drawn = scene(11)
    kept = list(drawn.sizes)[:4]
    part = Scene(
        {i: drawn.sizes[i] for i in kept},
        [t for t in drawn.truths if t["image_id"] in kept],
        [p for p in drawn.predictions if p["image_id"] in kept],
    )
    assert_equal(ours(drawn, "segm", 100, image_ids=kept).stats, ours(part, "segm", 100).stats)
    one = ours(drawn, "segm", 100, category_ids=[7])
    assert one.per_category == {7: ours(drawn, "segm", 100).per_category[7]}
    assert one.stats[0] == one.per_category[7]["ap"]


def test_images_without_detections_count() -> None:
    drawn = scene(12)
    with_detections = sorted({p["image_id"] for p in drawn.predictions})
    assert ours(drawn, "segm", 100).stats[8] < ours(drawn, "segm", 100, image_ids=with_detections).stats[8]


def test_a_box_beside_a_mask_changes_nothing() -> None:
    """COCO's loader would take small, medium and large from the box."""
    drawn = scene(13)
    with_boxes: list[Any] = [{**p, "bbox": [0.0, 0.0, 200.0, 200.0]} for p in drawn.predictions]
    assert_equal(ours(drawn, "segm", 100, predictions=with_boxes).stats, ours(drawn, "segm", 100).stats)


def test_boxes_come_from_the_masks_where_there_are_none() -> None:
    drawn = scene(14)
    assert_equal(ours(drawn, "bbox", 100, predictions=drawn.predictions).stats, ours(drawn, "bbox", 100).stats)


def test_ids_of_any_kind() -> None:
    """Negative ids, and annotation ids that COCO's program would misread (0) or cannot hold."""
    drawn = scene(15)
    image = {image_id: image_id - 25 for image_id in drawn.sizes}
    category = {c: c - 50 for c in CATEGORIES}

    def moved(records: list[Any]) -> list[Any]:
        return [{**r, "image_id": image[r["image_id"]], "category_id": category[r["category_id"]]} for r in records]

    truths = [{**t, "id": number} for t, number in zip(moved(drawn.truths), [0, 2**60, *range(1, 99)], strict=False)]
    result = average_precision(
        truths,  # type: ignore[arg-type]
        moved(drawn.predictions),
        image_ids=list(image.values()),
        category_ids=list(category.values()),
        max_dets=100,
        iou_type="segm",
        sizes={image[i]: size for i, size in drawn.sizes.items()},
    )
    assert_equal(result.stats, ours(drawn, "segm", 100).stats)


@pytest.mark.parametrize("iou_type", IOU_TYPES)
@pytest.mark.parametrize("max_dets", [5, 100, 400])
def test_it_is_silent_and_leaves_the_records_alone(
    max_dets: int, iou_type: IouType, capfd: pytest.CaptureFixture[str]
) -> None:
    drawn = scene(16)
    before = copy.deepcopy(drawn)
    ours(drawn, iou_type, max_dets)
    assert drawn == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("iou_type", IOU_TYPES)
def test_the_numbers_that_coco_published(iou_type: IouType) -> None:
    folder = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")) / "data" / "evaluator_reference"
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set SEGTRAIN_REAL_DATA")
    dataset = json.loads((folder / "ground_truth.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in dataset["images"]}
    truths = [
        {**t, "segmentation": from_segmentation(t["segmentation"], sizes[t["image_id"]])}
        for t in dataset["annotations"]
    ]
    result = average_precision(
        truths,
        json.loads((folder / f"detections_{iou_type}.json").read_text()),
        image_ids=list(sizes),
        category_ids=[category["id"] for category in dataset["categories"]],
        max_dets=100,
        iou_type=iou_type,
        sizes=sizes,
    )
    published = json.loads((folder / "published.json").read_text())[iou_type]
    assert [round(value, 3) for value in result.stats] == published
