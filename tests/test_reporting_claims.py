"""The textbooks' claims on made-up results."""

from typing import Any

import pytest
from reporting_examples import complete, results, with_kinds

from segtrain.reporting.analysis.claims import claims, shape_claim, threshold_claim, time_claim


def whole() -> Any:
    return with_kinds(complete())


def contrast(content: Any, name: str, low: float | None, high: float | None) -> None:
    """Give a row its AP at low and at high contrast; recall is higher by .1."""
    content["methods"][name]["strata"]["contrast"] = [
        {"ap": ap, "recall": None if ap is None else ap + 0.1, "iou": ap} for ap in (low, high)
    ]


def test_thresholds_beside_mask_rcnn() -> None:
    content = whole()
    contrast(content, "threshold_otsu", 0.1, 0.4)
    contrast(content, "mask_rcnn", 0.54, 0.6)
    assert threshold_claim(content) == [
        "“Thresholds do well at high contrast and fail where grey values overlap”: so it is here. On the 10 objects of "
        "highest contrast threshold_otsu has AP 0.400 (recall 0.500), on the 10 objects of lowest contrast AP 0.100 "
        "(recall 0.200), 25 % of that AP; mask_rcnn has AP 0.600 (recall 0.700) and AP 0.540 (recall 0.640), 90 % of "
        "that AP."
    ]
    del content["methods"]["mask_rcnn"]
    assert "mask_rcnn" not in threshold_claim(content)[0]


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.1, 0.4, "so it is here"), (0.395, 0.4, "not so here"), (0.4, 0.395, "not so here"),
     (0.3, 0.2, "the reverse is true"), (0.0, 0.5, "so it is here"), (0.1, 0.2, "only the second half is true here"),
     (0.0, 0.04, "these data cannot tell, as thresholds find next to nothing in them")],
)  # fmt: skip
def test_what_the_best_threshold_says(low: float, high: float, says: str) -> None:
    content = whole()
    contrast(content, "threshold_otsu", low, high)
    (said,) = threshold_claim(content)
    assert f"overlap”: {says}." in said


def test_other_threshold_rows_are_counted_and_oracles_are_not() -> None:
    content = whole()
    for name, low in (("threshold_mean", 0.02), ("threshold_multi", 0.3), ("threshold_oracle", 0.0)):
        content["methods"][name] = whole()["methods"]["kmeans"] | {"oracle": name == "threshold_oracle"}
        contrast(content, name, low, 0.3)
    assert "Of 3 threshold rows 2 lose AP from the one to the other." in threshold_claim(content)[0]


def test_nothing_is_said_of_contrast_that_was_not_measured() -> None:
    content = whole()
    del content["strata"]["contrast"]
    assert threshold_claim(content) == []
    content = whole()
    content["strata"]["contrast"] = content["strata"]["contrast"][:1]
    assert threshold_claim(content) == []
    content = whole()
    contrast(content, "threshold_otsu", None, 0.4)
    assert threshold_claim(content) == []
    content = whole()
    content["methods"]["threshold_otsu"]["score"] = None  # a file of that name
    assert threshold_claim(content) == []


def times(content: Any, **seconds: list[float]) -> Any:
    for row in content["methods"].values():
        row["timing"]["by_size"] = None
    for name, pair in seconds.items():
        content["methods"][name]["timing"]["by_size"] = {"pixels": [50_000, 200_000], "seconds": pair}
    return content


def test_time_of_kmeans_beside_the_others() -> None:
    content = times(whole(), kmeans=[0.01, 0.038], mask_rcnn=[0.3, 0.33], threshold_otsu=[0.001, 0.002])
    assert time_claim(content) == [
        "“k-means costs time with image size”: so it is here. Images of 4.0 times the pixels take kmeans 3.8 times, "
        "mask_rcnn 1.1 times, threshold_otsu 2.0 times as long."
    ]
    content["methods"]["edge"] = whole()["methods"]["threshold_otsu"]
    content["methods"]["edge"]["timing"]["by_size"] = {"pixels": [50_000, 200_000], "seconds": [0.1, 0.4]}
    assert "mask_rcnn 1.1 times, the others 2.0 (threshold_otsu) to 4.0 times (edge) as long." in time_claim(content)[0]
    assert "size”: not so here." in time_claim(times(whole(), kmeans=[0.01, 0.011]))[0]


def test_images_of_one_size_cannot_tell() -> None:
    content = times(whole(), kmeans=[0.01, 0.02])
    content["methods"]["kmeans"]["timing"]["by_size"]["pixels"] = [1000, 1400]
    assert time_claim(content) == [
        "“k-means costs time with image size”: these images cannot tell, as the largest have only 1.40 times the "
        "pixels."
    ]
    assert time_claim(times(whole(), mask_rcnn=[1, 2])) == []
    assert time_claim(times(whole(), kmeans=[0.0, 0.0])) == []


def test_boxes_and_shape() -> None:
    content = whole()
    for name, box in (("mask_rcnn", 0.51), ("threshold_otsu", 0.4), ("kmeans", 0.3)):
        content["methods"][name]["class_agnostic"]["box_ap"] = box
    assert shape_claim(content) == [
        "“Boxes say nothing of shape”: so it is here. The true boxes themselves, filled and taken as masks, reach mask "
        "AP 0.450; an object fills 74 % of its box on average. Box AP is above mask AP by 0.02 or more in 2 of 3 "
        "methods, most in kmeans (0.300 and 0.110)."
    ]
    content["true_boxes"] = {"mask_ap": 0.97, "filled": 0.99}
    assert "shape”: not so here, as objects nearly fill them." in shape_claim(content)[0]
    content["true_boxes"]["mask_ap"] = None
    assert shape_claim(content) == []


def test_results_without_any_of_it_make_no_claims() -> None:
    assert claims(results()) == []
    assert len(claims(whole())) == 3
