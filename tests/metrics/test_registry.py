"""All metrics, on all images and on resamples, against the functions of single metrics."""

from collections import Counter

import numpy as np
import pytest

from segtrain.metrics.average_precision import average_precision
from segtrain.metrics.f1 import f1
from segtrain.metrics.mean_iou import mean_iou
from segtrain.metrics.registry import METRICS, metric_values, resampled_values
from tests.helpers.metric_values import boundary_iou, panoptic_quality
from tests.helpers.random_scenes import CATEGORIES, Scene, inputs_of, scene
from tests.metrics.test_resampled_ap import draws_of, repeated


def expected_values(drawn: Scene, boxes: Scene, score_threshold: float, max_dets: int) -> dict[str, float]:
    """Each metric by its own function; ``boxes`` has the detections whose boxes are compared."""
    images = list(drawn.sizes)
    stats, box_stats = (
        average_precision(
            drawn.truths, records, image_ids=images, category_ids=CATEGORIES, max_dets=max_dets, iou_type=kind,  # type: ignore[arg-type]
            sizes=drawn.sizes,
        ).stats
        for records, kind in ((drawn.predictions, "segm"), (boxes.box_predictions, "bbox"))
    )  # fmt: skip
    operating = [p for p in drawn.predictions if p["score"] >= score_threshold]
    pixels = mean_iou(drawn.truths, operating, category_ids=CATEGORIES, sizes=drawn.sizes)
    panoptic = panoptic_quality(drawn.truths, operating, category_ids=CATEGORIES, sizes=drawn.sizes)
    return {
        "mask_ap": stats[0],
        "mask_ap50": stats[1],
        "mask_ap75": stats[2],
        "mask_ap_small": stats[3],
        "mask_ap_medium": stats[4],
        "mask_ap_large": stats[5],
        "mask_ar": stats[8],
        "box_ap": box_stats[0],
        "miou": pixels.miou,
        "fg_iou": pixels.fg_iou,
        "f1_50": f1(drawn.truths, operating, category_ids=CATEGORIES, image_ids=images).f1,
        "pq": panoptic.pq,
        "sq": panoptic.sq,
        "rq": panoptic.rq,
        "boundary_iou": boundary_iou(drawn.truths, operating, category_ids=CATEGORIES, sizes=drawn.sizes).boundary_iou,
    }


@pytest.mark.parametrize("own_boxes", [False, True])
@pytest.mark.parametrize(("seed", "score_threshold"), [(0, 0.0), (1, 0.6), (2, 0.7)])
def test_each_value_is_the_metric_run_again(seed: int, score_threshold: float, own_boxes: bool) -> None:
    drawn = scene(seed, predictions=200)
    boxed = Scene(drawn.sizes, drawn.truths, drawn.predictions[::2] if own_boxes else drawn.predictions)
    draws = draws_of(np.random.default_rng(seed), len(drawn.sizes), 6)
    inputs = inputs_of(
        drawn, boxes=boxed.box_predictions if own_boxes else None, max_dets=7, score_threshold=score_threshold
    )
    result = resampled_values(inputs, draws)
    on_all = metric_values(inputs).values
    for values, times in ((on_all, np.ones(len(drawn.sizes), np.int64)), *zip(_rows(result), draws, strict=True)):
        expected = expected_values(repeated(drawn, times), repeated(boxed, times), score_threshold, 7)
        assert list(values) == list(expected) == [metric.key for metric in METRICS]
        np.testing.assert_allclose(list(values.values()), list(expected.values()), rtol=0, atol=1e-12)


def _rows(columns: dict[str, np.ndarray]) -> list[dict[str, float]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_values_of_categories_are_those_of_the_metrics() -> None:
    drawn = scene(5)
    inputs = inputs_of(drawn)
    result = metric_values(inputs).per_category
    space = {"category_ids": CATEGORIES, "sizes": drawn.sizes}
    ap = average_precision(
        drawn.truths,
        drawn.predictions,
        image_ids=list(drawn.sizes),
        max_dets=100,
        iou_type="segm",
        **space,  # type: ignore[arg-type]
    )
    pixels = mean_iou(drawn.truths, inputs.operating_point, **space)  # type: ignore[arg-type]
    assert list(result) == sorted(CATEGORIES)
    for category_id, values in result.items():
        assert list(values) == [metric.category_key for metric in METRICS if metric.category_key]
        assert values["mask_ap"] == pytest.approx(ap.per_category[category_id]["ap"], abs=1e-12)
        assert values["mask_ap50"] == pytest.approx(ap.per_category[category_id]["ap50"], abs=1e-12)
        assert values["iou"] == pixels.per_category[category_id]


def test_many_resamples_are_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = inputs_of(scene(6))
    draws = draws_of(np.random.default_rng(0), len(inputs.sizes), 9)
    whole = resampled_values(inputs, draws)
    monkeypatch.setattr("segtrain.metrics.registry._CELLS", 80)
    parts = resampled_values(inputs, draws)
    for key, values in whole.items():
        np.testing.assert_allclose(parts[key], values, rtol=0, atol=1e-12)


def test_boxes_alone_have_box_ap_alone() -> None:
    drawn = scene(3)
    inputs = inputs_of(drawn, masks=None, boxes=drawn.box_predictions)
    result = resampled_values(inputs, draws_of(np.random.default_rng(0), len(drawn.sizes), 3))
    assert list(result) == ["box_ap"]
    assert result["box_ap"].shape == (3,)
    values = metric_values(inputs)
    assert [key for key, value in values.values.items() if not np.isnan(value)] == ["box_ap"]
    assert {key for row in values.per_category.values() for key, v in row.items() if not np.isnan(v)} == {"box_ap"}


@pytest.mark.parametrize("category_ids", [[], [5]])
def test_without_truth_all_is_undefined(category_ids: list[int]) -> None:
    drawn = scene(4, truths=0)
    inputs = inputs_of(drawn, category_ids=category_ids, score_threshold=0)
    result = resampled_values(inputs, draws_of(np.random.default_rng(0), len(drawn.sizes), 3))
    for key, values in result.items():
        # Only the background is there, and all of it is left bare.
        assert (values == 1).all() if key == "miou" else np.isnan(values).all()
    assert list(metric_values(inputs).per_category) == category_ids


def test_masks_are_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()
    inputs = inputs_of(scene(7))
    from segtrain.metrics import metric

    original = metric.find_candidates

    def counted(*args: object, **kwargs: object) -> object:
        calls[str(kwargs["iou_type"])] += 1
        return original(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(metric, "find_candidates", counted)
    metric_values(inputs)
    resampled_values(inputs, draws_of(np.random.default_rng(0), len(inputs.sizes), 3))
    assert calls == {"segm": 1}  # boxes are those of the same masks


def test_keys_are_unique_and_every_metric_is_explained() -> None:
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert all((metric.title, metric.hint, metric.definition, metric.source))


def test_the_terminal_has_room_for_five_metrics() -> None:
    assert sum(metric.in_terminal for metric in METRICS) == 5
