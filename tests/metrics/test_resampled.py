"""All headline numbers of a resample against the metrics themselves, run on its images under new ids."""

import numpy as np
import pytest

from segtrain.metrics.average_precision import average_precision
from segtrain.metrics.boundary_iou import boundary_iou
from segtrain.metrics.f1 import f1
from segtrain.metrics.mean_iou import mean_iou
from segtrain.metrics.panoptic import panoptic_quality
from segtrain.metrics.resampled import resampled_numbers
from tests.helpers.random_scenes import CATEGORIES, scene
from tests.metrics.test_resampled_ap import draws_of, repeated


@pytest.mark.parametrize("own_boxes", [False, True])
@pytest.mark.parametrize(("seed", "score_threshold"), [(0, 0.0), (1, 0.6), (2, 0.7)])
def test_each_number_is_the_metric_run_again(seed: int, score_threshold: float, own_boxes: bool) -> None:
    drawn = scene(seed, predictions=200)
    draws = draws_of(np.random.default_rng(seed), len(drawn.sizes), 6)
    result = resampled_numbers(
        drawn.truths,
        drawn.predictions,
        drawn.box_predictions[::2] if own_boxes else None,
        draws,
        category_ids=CATEGORIES,
        sizes=drawn.sizes,
        max_dets=7,
        score_threshold=score_threshold,
    )
    for b, times in enumerate(draws):
        copy = repeated(drawn, times)
        found = repeated(type(drawn)(drawn.sizes, drawn.truths, drawn.predictions[::2]), times) if own_boxes else copy
        images = list(copy.sizes)
        stats, box_stats = (
            average_precision(
                copy.truths, records, image_ids=images, category_ids=CATEGORIES, max_dets=7, iou_type=kind,  # type: ignore[arg-type]
                sizes=copy.sizes,
            ).stats
            for records, kind in ((copy.predictions, "segm"), (found.box_predictions, "bbox"))
        )  # fmt: skip
        operating = [p for p in copy.predictions if p["score"] >= score_threshold]
        pixels = mean_iou(copy.truths, operating, category_ids=CATEGORIES, sizes=copy.sizes)
        objects = f1(copy.truths, operating, category_ids=CATEGORIES, image_ids=images)
        panoptic = panoptic_quality(copy.truths, operating, category_ids=CATEGORIES, sizes=copy.sizes)
        outlines = boundary_iou(copy.truths, operating, category_ids=CATEGORIES, sizes=copy.sizes)
        expected = {
            "mask_ap": stats[0], "mask_ap50": stats[1], "mask_ap75": stats[2], "mask_ap_small": stats[3],
            "mask_ap_medium": stats[4], "mask_ap_large": stats[5], "mask_ar": stats[8], "box_ap": box_stats[0],
            "miou": pixels.miou, "fg_iou": pixels.fg_iou, "f1_50": objects.f1,
            "pq": panoptic.pq, "sq": panoptic.sq, "rq": panoptic.rq, "boundary_iou": outlines.boundary_iou,
        }  # fmt: skip
        assert result.keys() == expected.keys()
        np.testing.assert_allclose([result[key][b] for key in expected], list(expected.values()), rtol=0, atol=1e-12)


def test_boxes_alone_have_box_ap_alone() -> None:
    drawn = scene(3)
    draws = draws_of(np.random.default_rng(0), len(drawn.sizes), 3)
    result = resampled_numbers(
        drawn.truths, None, drawn.box_predictions, draws, category_ids=CATEGORIES, sizes=drawn.sizes, max_dets=9,
        score_threshold=0.5,
    )  # fmt: skip
    assert list(result) == ["box_ap"]
    assert result["box_ap"].shape == (3,)


@pytest.mark.parametrize("category_ids", [[], [5]])
def test_without_truth_all_is_undefined(category_ids: list[int]) -> None:
    drawn = scene(4, truths=0)
    draws = draws_of(np.random.default_rng(0), len(drawn.sizes), 3)
    result = resampled_numbers(
        drawn.truths, drawn.predictions, None, draws, category_ids=category_ids, sizes=drawn.sizes, max_dets=9,
        score_threshold=0,
    )  # fmt: skip
    for key, values in result.items():
        # Only the background is there, and all of it is left bare.
        assert (values == 1).all() if key == "miou" else np.isnan(values).all()
