"""The verdict's sentences, read."""

from typing import Any

import pytest
from reporting_examples import METRICS, boxes_only, method, results

from segtrain.reporting.analysis.verdict import verdict


def row(ap: float, seconds: float, score: str | None = "contrast", **numbers: float) -> dict[str, Any]:
    """A method whose numbers are all equal but the given ones."""
    made = method(ap, seconds, [], aware=score is None) | {"score": score}
    made["class_agnostic"].update(dict.fromkeys(METRICS, ap) | numbers)
    return made


def compared(difference: float, p: float, spread: float = 0.01, **others: tuple[float, float]) -> dict[str, Any]:
    """A method minus Mask R-CNN: the same for all numbers but the given ones."""
    entries = dict.fromkeys(METRICS, (difference, p)) | others
    return {
        key: {"difference": value, "low": value - spread, "high": value + spread, "p": p}
        for key, (value, p) in entries.items()
    }


def read(methods: dict[str, Any], comparisons: dict[str, Any] | None = None) -> list[str]:
    return verdict(results(methods) | {"comparisons": comparisons or {}})


def test_mask_rcnn_wins_clearly() -> None:
    methods = {"kmeans": row(0.2, 0.01), "mask_rcnn": row(0.5, 0.2, None), "otsu": row(0.3, 0.002)}
    methods["mask_rcnn"]["class_agnostic"]["intervals"] = {"mask_ap": [0.45, 0.56]}
    methods["mask_rcnn"]["costs"] = {"training_minutes": 10.0, "training_images": 570, "training_objects": 22000}
    found = read(methods, {"otsu": compared(-0.2, 0.002), "kmeans": compared(-0.3, 0.001)})
    assert found[0] == (
        "mask_rcnn has the best mask AP, 0.500 (95 % interval 0.450 to 0.560), 0.200 above otsu, the next best. "
        "The data can tell them apart: the difference lies between 0.190 and 0.210, p = 0.002."
    )
    assert found[1].startswith("mask_rcnn has the best mIoU, 0.500, 0.200 above otsu")
    worst = (
        "No baseline is good enough: the best one is clearly worse than mask_rcnn on mask AP (otsu, 0.200 below), AP50"
    )
    assert found[2].startswith(worst)
    assert found[3] == "mask_rcnn takes 200.0 ms per image, 100 times as long as otsu, the best baseline (2.0 ms)."
    assert found[4] == "Its training took 10.0 minutes on 570 images with 22,000 labelled objects."
    assert len(found) == 5


def test_a_baseline_is_good_enough_here_and_undecided_there() -> None:
    methods = {"mask_rcnn": row(0.5, 0.002, None), "otsu": row(0.4, 0.003, fg_iou=0.495, mask_ap_small=0.46)}
    found = read(methods, {"otsu": compared(-0.1, 0.001, fg_iou=(-0.005, 0.3), mask_ap_small=(-0.04, 0.2))})
    assert found[2:5] == [
        "A baseline is good enough, losing less than 0.02 to mask_rcnn, on fg IoU (otsu, 0.005 below).",
        "The data cannot tell whether the best baseline is as good as mask_rcnn on AP S (otsu, 0.040 below).",
        found[4],
    ]
    assert found[4].startswith("The best baseline is clearly worse than mask_rcnn on mask AP (otsu, 0.100 below), AP50")
    assert "fg IoU" not in found[4]
    assert found[5] == "mask_rcnn takes 2.0 ms per image, 1/1.5 of otsu, the best baseline (3.0 ms)."


def test_a_baseline_that_wins_is_compared_with_the_next_best_and_with_mask_rcnn() -> None:
    methods = {"mask_rcnn": row(0.3, 0.2, None), "otsu": row(0.5, 0.1), "kmeans": row(0.4, 0.1)}
    content = results(methods) | {
        "comparisons": {"otsu": compared(0.2, 0.2, 0.3), "kmeans": compared(0.1, 0.2)},
        "contests": {
            "mask_ap": {"first": "otsu", "second": "kmeans", "difference": 0.1, "low": -0.0002, "high": 0.2, "p": 0.01}
        },
    }
    assert verdict(content)[0] == (
        "otsu has the best mask AP, 0.500, 0.100 above kmeans, the next best. "
        "The data can tell them apart: the difference lies between 0.000 and 0.200, p = 0.010. "
        "mask_rcnn is number 3 of 3, 0.200 below otsu. "
        "The data cannot tell them apart: the difference lies between -0.100 and 0.500, p = 0.200."
    )


def test_too_few_resamples_are_not_the_fault_of_the_data() -> None:
    methods = {"mask_rcnn": row(0.5, 0.2, None), **{f"row_{n}": row(0.3, 0.1) for n in range(6)}}
    comparisons = {f"row_{n}": compared(-0.2, 6 / 101) for n in range(6)}
    for resamples, said in ((100, "There are too few resamples to tell: "), (1000, "The data cannot tell them apart")):
        content = results(methods) | {"comparisons": comparisons, "bootstrap": {"resamples": resamples, "seed": 0}}
        assert said in verdict(content)[0]


def test_margins_are_those_of_the_table_everywhere() -> None:
    methods = {"mask_rcnn": row(0.49962, 0.2, None), "otsu": row(0.36349, 0.1)}  # .13613 apart, shown as .500 and .363
    found = read(methods, {"otsu": compared(-0.13613, 0.001)})
    assert "0.137 above otsu" in found[0]
    assert "(otsu, 0.137 below)" in found[2]


def test_oracles_are_left_out() -> None:
    methods = {"mask_rcnn": row(0.5, 0.2, None), "otsu": row(0.3, 0.1), "best": row(0.9, 0.1) | {"oracle": True}}
    assert not any("best " in sentence.replace("the best ", "") or "0.9" in sentence for sentence in read(methods))


def test_a_tie_reads_as_one() -> None:
    found = read({"mask_rcnn": row(0.5, 0.2, None), "otsu": row(0.4996, 0.1)}, {"otsu": compared(-0.0004, 1.0)})
    assert found[0].startswith("mask_rcnn and otsu have the same mask AP, 0.500. The data cannot tell them apart")


@pytest.mark.parametrize("comparisons", [None, {}, {"otsu": {}}])
def test_without_resamples_the_numbers_alone_are_stated(comparisons: Any) -> None:
    found = read({"mask_rcnn": row(0.5, 0.2, None), "otsu": row(0.3, 0.1)}, comparisons)
    assert found == [
        "mask_rcnn has the best mask AP, 0.500, 0.200 above otsu, the next best.",
        "mask_rcnn has the best mIoU, 0.500, 0.200 above otsu, the next best.",
        "mask_rcnn takes 200.0 ms per image, 2.0 times as long as otsu, the best baseline (100.0 ms).",
    ]


def test_one_row_boxes_alone_or_nothing() -> None:
    assert read({"otsu": row(0.3, 0.1)})[0] == "otsu has the best mask AP, 0.300; no other method has one."
    assert read({"boxes": boxes_only([])}) == ["boxes has the best box AP, 0.258; no other method has one."]
    undefined = row(float("nan"), 0.1)
    assert read({"otsu": undefined}) == ["No method has a defined number on these data."]
    assert read({}) == ["No method has a defined number on these data."]
