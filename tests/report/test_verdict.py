"""The verdict's sentences, read."""

from typing import Any

import pytest

from segtrain.benchmark.results import Results
from segtrain.report.verdict import verdict
from tests.helpers.report_examples import METRICS, boxes_only, method, results
from tests.helpers.report_examples import typed as typed_results


def typed(content: dict[str, Any], images: int = 40) -> Results:
    """Results of so many images; fewer than 20 are too few to compare methods."""
    content["data"]["images"] = images
    return typed_results(content)


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


def read(methods: dict[str, Any], comparisons: dict[str, Any] | None = None, images: int = 40) -> list[str]:
    return verdict(typed(results(methods) | {"comparisons": comparisons or {}}, images))


def test_mask_rcnn_wins_clearly() -> None:
    methods = {"kmeans": row(0.2, 0.01), "mask_rcnn": row(0.5, 0.2, None), "otsu": row(0.3, 0.002)}
    methods["mask_rcnn"]["class_agnostic"]["intervals"] = {"mask_ap": [0.45, 0.56]}
    methods["mask_rcnn"]["costs"] = {"training_minutes": 10.0, "training_images": 570, "training_objects": 22000}
    found = read(methods, {"otsu": compared(-0.2, 0.002), "kmeans": compared(-0.3, 0.001)})
    assert found[0] == (
        "mask_rcnn has the best mask AP, 0.500 (95 % interval 0.450 to 0.560), 0.200 above otsu, the second best. "
        "The difference is significant: 95 % interval 0.190 to 0.210, p = 0.002."
    )
    assert found[1].startswith("mask_rcnn has the best mIoU, 0.500, 0.200 above otsu")
    assert found[2] == (
        "No baseline is good enough: the best one is significantly worse than mask_rcnn on mask AP "
        "(otsu, 0.200 below), box AP (otsu, 0.200 below), mIoU (otsu, 0.200 below), F1 (otsu, 0.200 below), PQ (otsu, "
        "0.200 below), boundary IoU (otsu, 0.200 below) and 9 more."
    )
    assert found[3] == "mask_rcnn takes 200.0 ms per image, 100 times as long as otsu, the best baseline (2.0 ms)."
    assert found[4] == "Training mask_rcnn took 10.0 minutes on 570 images with 22,000 labelled objects."
    assert len(found) == 5


def test_a_baseline_is_good_enough_here_and_undecided_there() -> None:
    methods = {"mask_rcnn": row(0.5, 0.002, None), "otsu": row(0.4, 0.003, fg_iou=0.495, mask_ap_small=0.46)}
    found = read(methods, {"otsu": compared(-0.1, 0.001, fg_iou=(-0.005, 0.3), mask_ap_small=(-0.04, 0.2))})
    assert found[2:5] == [
        "A baseline is good enough, losing less than 0.02 to mask_rcnn, on fg IoU (otsu, 0.005 below).",
        "The best baseline and mask_rcnn do not differ significantly on AP S (otsu, 0.040 below).",
        found[4],
    ]
    assert found[4].startswith(
        "The best baseline is significantly worse than mask_rcnn on mask AP (otsu, 0.100 below), box AP"
    )
    assert found[4].endswith("boundary IoU (otsu, 0.100 below) and 7 more.")  # AP50, AP75, AP M, AP L, AR, SQ, RQ
    assert found[5] == "mask_rcnn takes 2.0 ms per image, 1/1.5 of otsu, the best baseline (3.0 ms)."


def test_numbers_near_0_are_not_good_enough() -> None:
    """On most numbers both are of use; AP S of both is near 0, so that their difference says nothing."""
    methods = {"mask_rcnn": row(0.5, 0.1, None, mask_ap_small=0.09), "otsu": row(0.5, 0.1, mask_ap_small=0.085, pq=0.1)}
    entries = compared(0, 1.0, mask_ap_small=(-0.005, 1.0), pq=(-0.4, 0.001))
    said = read(methods, {"otsu": entries})
    assert said[2].startswith("A baseline is good enough")
    assert said[2].endswith("and 8 more.")
    assert read({**methods, "otsu": row(0.5, 0.1, mask_ap_small=0.1, pq=0.1)}, {"otsu": entries})[2].endswith(
        "and 9 more."
    )


def test_a_baseline_that_wins_is_compared_with_the_next_best_and_with_mask_rcnn() -> None:
    methods = {"mask_rcnn": row(0.3, 0.2, None), "otsu": row(0.5, 0.1), "kmeans": row(0.4, 0.1)}
    content = results(methods) | {
        "comparisons": {"otsu": compared(0.2, 0.2, 0.3), "kmeans": compared(0.1, 0.2)},
        "contests": {
            "mask_ap": {
                "first": "otsu",
                "second": "kmeans",
                "difference": 0.1,
                "low": -0.0002,
                "high": 0.2,
                "p": 0.01,
                "least_p": 0.001,
            }
        },
    }
    assert verdict(typed(content))[0] == (
        "otsu has the best mask AP, 0.500, 0.100 above kmeans, the second best. "
        "The difference is significant: 95 % interval 0.000 to 0.200, p = 0.010. "
        "mask_rcnn is number 3 of 3, 0.200 below otsu. "
        "The difference is not significant: 95 % interval −0.100 to 0.500, p = 0.20."
    )


def floored(entries: dict[str, Any], least: float) -> dict[str, Any]:
    return {key: entry | {"least_p": least} for key, entry in entries.items()}


@pytest.mark.parametrize(
    ("p", "least", "head", "tail", "told"),
    [
        (
            6 / 101,
            6 / 101,
            "There are too few resamples to test the difference: ",
            "p ≤ 0.060 after correction for 6 methods.",
            "few",
        ),
        (
            12 / 101,
            6 / 101,
            "The difference is not significant: ",
            "p = 0.12 after correction for 6 methods.",
            "cannot",
        ),
        (6 / 1001, 6 / 1001, "The difference is significant: ", "p ≤ 0.006.", "worse"),
        (30 / 1001, 6 / 1001, "The difference is significant: ", "p = 0.030.", "worse"),
    ],
)
def test_too_few_resamples_are_not_the_fault_of_the_data(
    p: float, least: float, head: str, tail: str, told: str
) -> None:
    """Nor does the sentence on baselines say otherwise than that on the winner."""
    methods = {"mask_rcnn": row(0.5, 0.2, None), **{f"row_{n}": row(0.3, 0.1) for n in range(6)}}
    found = read(methods, {f"row_{n}": floored(compared(-0.2, p), least) for n in range(6)})
    assert head in found[0]
    assert found[0].endswith(tail)
    starts = {
        "few": "There are too few resamples to compare the best baseline with mask_rcnn on mask AP",
        "cannot": "The best baseline and mask_rcnn do not differ significantly on mask AP",
        "worse": "No baseline is good enough",
    }
    (sentence,) = found[2:-1]
    assert sentence.startswith(starts[told])


def test_p_of_the_best_two_is_held_against_what_resamples_can_give_for_two() -> None:
    """Of 200 resamples p of 12 rows is never below 0.05; that of a single pair is."""
    methods = {"mask_rcnn": row(0.3, 0.2, None), "otsu": row(0.5, 0.1), "kmeans": row(0.4, 0.1)}
    for p, said in (
        (0.341, "The difference is not significant: 95 % interval 0.100 to 0.200, p = 0.34. mask"),
        (1 / 201, "The difference is significant: 95 % interval 0.100 to 0.200, p ≤ 0.005. mask"),
    ):
        contest = {"first": "otsu", "second": "kmeans", "difference": 0.1, "low": 0.1, "high": 0.2, "p": p}
        content = results(methods) | {
            "comparisons": {name: floored(compared(0.2, 12 / 201), 12 / 201) for name in ("otsu", "kmeans")},
            "contests": {"mask_ap": contest | {"least_p": 1 / 201}},
        }
        assert said in verdict(typed(content))[0]


def test_equal_rows_meet_whichever_of_them_is_named_first() -> None:
    methods = {"mask_rcnn": row(0.3, 0.2, None), "a": row(0.5, 0.1, box_ap=0.1), "b": row(0.5, 0.1)}
    contest = {"first": "b", "second": "a", "difference": 0, "low": -0.01, "high": 0.03, "p": 1.0, "least_p": 0.001}
    content = results(methods) | {"comparisons": {}, "contests": {"mask_ap": contest}}
    assert verdict(typed(content))[0].startswith(
        "a and b have the same mask AP, 0.500. The difference is not significant: 95 % interval −0.030 to "
        "0.010, p = 1.00. mask_rcnn is number 3"
    )


def test_a_baseline_that_clearly_wins_is_called_better() -> None:
    methods = {"mask_rcnn": row(0.3, 0.2, None), "otsu": row(0.5, 0.1, miou=0.3001, pq=0.31)}
    entries = compared(0.2, 0.01, miou=(0.0001, 0.01), pq=(0.01, 0.6))
    found = read(methods, {"otsu": entries})
    assert found[2].startswith(
        "The best baseline is significantly better than mask_rcnn on mask AP (otsu, 0.200 above), box"
    )
    assert found[3] == (
        "A baseline is good enough, losing less than 0.02 to mask_rcnn, on mIoU (otsu, the same) and PQ (otsu, 0.010 "
        "above)."
    )
    assert len(found) == 5


def test_an_interval_beside_0_does_not_contradict_a_corrected_p() -> None:
    methods = {"mask_rcnn": row(0.5, 0.2, None), "otsu": row(0.1, 0.1), "kmeans": row(0.05, 0.1)}
    comparisons = {"otsu": compared(-0.4, 0.224, 0.37), "kmeans": compared(-0.45, 0.224, 0.5)}
    assert read(methods, comparisons)[0].endswith(
        "The difference is not significant: 95 % interval 0.030 to 0.770, p = 0.22 after correction for 2 methods."
    )
    assert not any("after correction" in sentence for sentence in read(methods, {"otsu": comparisons["kmeans"]}))


def test_numbers_that_are_not_named_are_counted() -> None:
    other = ("mask_ap50", "mask_ap75", "mask_ap_small")
    methods = {"mask_rcnn": row(0.5, 0.2, None), "otsu": row(0.5, 0.1, **dict.fromkeys(other, 0.3))}
    found = read(methods, {"otsu": compared(0, 1.0, **dict.fromkeys(other, (-0.2, 0.001)))})
    assert "The best baseline is significantly worse than mask_rcnn on AP50 (otsu, 0.200 below) and 2 more." in found


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
    assert found[0].startswith("mask_rcnn and otsu have the same mask AP, 0.500. The difference is not significant")


@pytest.mark.parametrize("comparisons", [None, {}, {"otsu": {}}])
def test_without_resamples_the_numbers_alone_are_stated(comparisons: Any) -> None:
    found = read({"mask_rcnn": row(0.5, 0.2, None), "otsu": row(0.3, 0.1)}, comparisons)
    assert found == [
        "mask_rcnn has the best mask AP, 0.500, 0.200 above otsu, the second best.",
        "mask_rcnn has the best mIoU, 0.500, 0.200 above otsu, the second best.",
        "mask_rcnn takes 200.0 ms per image, 2.0 times as long as otsu, the best baseline (100.0 ms).",
    ]


def test_the_search_of_the_best_baseline_is_a_cost_too() -> None:
    methods = {"mask_rcnn": row(0.5, 0.2, None), "otsu": row(0.3, 0.1), "tuned": row(0.4, 0.1)}
    methods["tuned"]["costs"] = {"tuning_seconds": 60.1, "training_images": 60, "training_objects": 2063}
    said = "Searching the settings of tuned took 60 s on 60 training images with 2,063 labelled objects."
    assert read(methods)[-1] == said
    methods["otsu"] = row(0.45, 0.1)  # what the best one took is told
    assert said not in read(methods)
    methods["tuned"] = row(0.9, 0.1) | {"costs": {"tuning_seconds": 1.0, "training_images": 1, "training_objects": 1}}
    assert read(methods)[-1].endswith("took 1 s on 1 training image with 1 labelled object.")


def test_mask_rcnn_alone_has_its_costs() -> None:
    costs = {"training_minutes": 10.0, "training_images": None, "training_objects": None}
    group = {"mask_ap": {"mean": 0.5, "deviation": 0.01, "low": 0.49, "high": 0.51}}
    content = results({"mask_rcnn": row(0.5, 0.2, None) | {"costs": costs}})
    content["seeds"] = [{"rows": ["a", "b"], "seeds": [0, 1], "class_agnostic": group, "class_aware": {}}]
    assert verdict(typed(content)) == [
        "The mask AP of mask_rcnn is 0.500.",
        "The mIoU of mask_rcnn is 0.500.",
        "Training mask_rcnn took 10.0 minutes.",
        "Over 2 seeds of one configuration mask AP is 0.500 ± 0.010, from 0.490 to 0.510.",
    ]


def found(ap: float, objects: int, detections: int, score: str | None = "contrast", **costs: Any) -> dict[str, Any]:
    """A method that finds so many of the 20 objects."""
    made = row(ap, 0.1, score) | {"costs": costs, "technique": "mask_rcnn" if score is None else None}
    made["counts"] = {"images": 40, "detections": detections, "images_without_detections": 0, "found": objects}
    return made


def test_where_no_method_is_of_use_no_difference_is_told() -> None:
    methods = {
        "mask_rcnn": found(0, 0, 0, None, training_minutes=0.2),
        "edge": found(0.007, 1, 90),
        "otsu": found(0.004, 1, 300),
    }
    said = read(methods, {"edge": compared(0.007, 0.001), "otsu": compared(0.004, 0.001)})
    assert said[:2] == [
        "No method is of use on these data: the best, edge, finds 1 of 20 objects among 90 detections of any score.",
        "mask_rcnn detected nothing after 0.2 minutes of training: this says nothing about Mask R-CNN; train longer.",
    ]
    assert said[2].startswith("mask_rcnn takes")
    for made in methods.values():
        made["counts"]["detections"] = 0
    assert read(methods)[0] == "No method found anything."


def test_an_untrained_network_is_no_measure_of_baselines() -> None:
    methods = {"mask_rcnn": found(0.02, 2, 31, None, training_minutes=0.2), "otsu": found(0.6, 15, 25)}
    said = read(methods, {"otsu": compared(0.58, 0.001)})
    assert said[0].startswith("otsu has the best mask AP, 0.600, 0.580 above mask_rcnn, the second best.")
    assert said[2] == (
        "mask_rcnn finds 2 of 20 objects among 31 detections of any score after 0.2 minutes of training: this says "
        "nothing about Mask R-CNN; train longer."
    )
    assert not any("good enough" in sentence or "significantly better" in sentence for sentence in said)
    methods["mask_rcnn"]["costs"] = {"training_minutes": 480.0}
    assert read(methods)[2].endswith(
        "after 480.0 minutes of training: look at its training curves, and at the labels, before comparing it."
    )
    methods["mask_rcnn"]["costs"] = {}
    assert read(methods)[2].startswith("mask_rcnn is of no use on these data: it finds 2 of 20 objects")


def test_few_images_come_first() -> None:
    methods = {"mask_rcnn": row(0.5, 0.2, None), "otsu": row(0.3, 0.1)}
    few = "evaluated: with fewer than 20, differences between methods cannot be trusted."
    assert read(methods, images=3)[0] == f"Only 3 images were {few}"
    assert read(methods, images=1)[0] == f"A single image was {few}"
    assert read(methods, images=20) == read(methods, images=3)[1:]
    assert read({"otsu": row(0.3, 0.1)}, images=3)[0] == "The mask AP of otsu is 0.300."


@pytest.mark.parametrize(("numbers", "of_use"), [({"f1_50": 0.1}, True), ({"mask_ap50": 0.1}, True), ({}, False)])
def test_what_is_of_use(numbers: dict[str, float], of_use: bool) -> None:
    made = row(0.09, 0.1, **numbers)
    del made["counts"]["found"]  # as in results of before
    said = read({"otsu": made})[0]
    assert said.startswith(
        "The mask AP of otsu" if of_use else "No method is of use on these data: otsu has F1 0.090 with"
    )


def test_one_row_boxes_alone_or_nothing() -> None:
    assert read({"otsu": row(0.3, 0.1)})[0] == "The mask AP of otsu is 0.300."
    assert read({"boxes": boxes_only([])}) == ["The box AP of boxes is 0.258."]
    assert read({"boxes": boxes_only([]), "otsu": row(0.3, 0.1)})[0] == (
        "otsu is the only method with a defined mask AP, 0.300."
    )
    undefined = row(float("nan"), 0.1)
    assert read({"otsu": undefined}) == ["No method has a defined score on these data."]
    assert read({}) == ["No method has a defined score on these data."]
