"""The textbooks' claims on made-up results."""

from typing import Any

import pytest

from segtrain.report.claims import shape_claim, textbook_claims, threshold_claim, time_claim
from tests.helpers.report_examples import complete, results, typed, with_kinds

OVERLAP = "“Thresholds do well at high contrast and fail where grey values overlap”"
TIME = "“k-means costs time with image size”"


def whole() -> Any:
    return with_kinds(complete())


def contrast(
    low: float | None, high: float | None, wide: float | None = 0.05, objects: int = 40, images: int = 12
) -> Any:
    """Results whose best threshold has these AP at low and at high contrast, the difference plus or minus ``wide``."""
    content = whole()
    for row, ends in (("threshold_otsu", (low, high)), ("mask_rcnn", (0.54, 0.6))):
        content["methods"][row]["strata"]["contrast"] = [{"ap": ap, "recall": 0.5, "iou": 0.5} for ap in ends]
    content["strata"]["contrast"] = [
        {"name": "lowest", "low": None, "high": 0.5, "objects": objects, "images": 20},
        {"name": "highest", "low": 0.5, "high": None, "objects": 1240, "images": images},
    ]
    gap = 0.0 if low is None or high is None else high - low
    around = {"low": None, "high": None} if wide is None else {"low": gap - wide, "high": gap + wide}
    content["contrast_gap"] = {"row": "threshold_otsu", "difference": gap, **around, "p": 0.01}
    return content


def test_thresholds_beside_mask_rcnn() -> None:
    content = contrast(0.1, 0.4)
    assert threshold_claim(typed(content)) == [
        f"{OVERLAP}: true on these data. threshold_otsu has AP 0.400 on the 1,240 objects of highest contrast and "
        "0.100 on the 40 objects of lowest contrast, a difference of 0.300 (95 % interval 0.250 to 0.350); mask_rcnn "
        "has 0.600 and 0.540."
    ]
    del content["methods"]["mask_rcnn"]
    content["reference"] = None
    assert "mask_rcnn" not in threshold_claim(typed(content))[0]


@pytest.mark.parametrize(
    ("low", "high", "wide", "says"),
    [
        (0.1, 0.4, 0.05, "true on these data"),
        (0.0, 0.5, 0.05, "true on these data"),
        (0.2, 0.4, 0.05, "true on these data"),
        (0.95, 0.98, 0.01, "on these data they do less well where grey values overlap, but do not fail"),
        (0.1, 0.2, 0.05, "only the second half is true on these data"),
        (0.15, 0.25, 0.05, "on these data they do well at neither, and worse where grey values overlap"),
        (0.3, 0.2, 0.05, "the opposite holds on these data"),
        # No difference is too large for chance alone, and none too small to be certain.
        (0.1, 0.4, 0.31, "undecided on these data"),
        (0.4, 0.1, 0.31, "undecided on these data"),
        (0.395, 0.4, 0.01, "undecided on these data"),
        (0.1, 0.4, None, "undecided without resamples of the images"),
        (0.0, 0.04, 0.01, "undecided on these data, as thresholds find next to nothing in them"),
    ],
)
def test_what_the_best_threshold_says(low: float, high: float, wide: float | None, says: str) -> None:
    (said,) = threshold_claim(typed(contrast(low, high, wide)))
    assert said.startswith(f"{OVERLAP}: {says}. ")
    assert ("interval" in said) == (wide is not None)


def test_a_few_objects_or_images_tell_nothing_of_contrast() -> None:
    (said,) = threshold_claim(typed(contrast(0.1, 0.98, objects=3)))
    assert said.startswith(f"{OVERLAP}: undecided on these data, with only 3 objects of lowest contrast. ")
    (said,) = threshold_claim(typed(contrast(0.1, 0.98, objects=1)))
    assert "with only 1 object of lowest contrast. " in said
    (said,) = threshold_claim(typed(contrast(0.1, 0.98, images=1)))
    assert said.startswith(f"{OVERLAP}: undecided on these data, with objects of highest contrast in only 1 image. ")


def test_nothing_is_said_of_contrast_that_was_not_measured() -> None:
    content = contrast(0.1, 0.4)
    content["contrast_gap"] = None
    assert threshold_claim(typed(content)) == []
    content = contrast(0.1, 0.4)
    del content["strata"]["contrast"]
    assert threshold_claim(typed(content)) == []
    assert threshold_claim(typed(contrast(None, 0.4))) == []


def times(
    pixels: tuple[int, int] = (50_000, 200_000), images: tuple[int, int] = (30, 5), **seconds: list[float]
) -> Any:
    content = whole()
    for row in content["methods"].values():
        row["timing"]["by_size"] = None
    for name, pair in seconds.items():
        row = content["methods"].setdefault(name, whole()["methods"]["threshold_otsu"])
        row["timing"]["by_size"] = {"pixels": list(pixels), "seconds": pair, "images": list(images)}
    return content


def test_time_of_kmeans_beside_the_others() -> None:
    said = (
        f"{TIME}: true on these data. In the median the 5 largest images have 4.0 times the pixels of the 30 smallest "
        "and"
    )
    assert time_claim(typed(times(kmeans=[0.01, 0.038]))) == [f"{said} take kmeans 3.8 times as long."]
    assert time_claim(typed(times(kmeans=[0.01, 0.038], mask_rcnn=[0.3, 0.33]))) == [
        f"{said} take kmeans 3.8 times as long, mask_rcnn 1.1 times."
    ]
    content = times(kmeans=[0.01, 0.038], mask_rcnn=[0.3, 0.33], edge=[1, 4], threshold_otsu=[1, 2])
    assert time_claim(typed(content)) == [
        f"{said} take kmeans 3.8 times as long, the other methods 1.1 (mask_rcnn) to 4.0 times (edge)."
    ]


@pytest.mark.parametrize(("seconds", "grows"), [(1.5, False), (11.9, False), (12.1, True), (20, True)])
def test_kmeans_costs_time_if_time_grows_about_as_the_pixels_do(seconds: float, grows: bool) -> None:
    (said,) = time_claim(typed(times(pixels=(10_000, 160_000), kmeans=[1, seconds])))
    finding = "true on these data" if grows else "on these data time grows less than the pixels do"
    assert said.startswith(f"{TIME}: {finding}. ")
    assert f"16.0 times the pixels of the 30 smallest and take kmeans {seconds:.1f} times as long" in said


def test_images_that_cannot_tell_of_time() -> None:
    assert time_claim(typed(times(pixels=(1000, 1900), kmeans=[0.01, 0.02]))) == [
        f"{TIME}: undecided on these images, as the largest have only 1.90 times the pixels."
    ]
    assert time_claim(typed(times(images=(1, 1040), kmeans=[0.01, 0.04]))) == [
        f"{TIME}: undecided on these images, with 1 image among the smallest and 1,040 among the largest."
    ]
    assert time_claim(typed(times(mask_rcnn=[1, 2]))) == []
    assert time_claim(typed(times(kmeans=[0.0, 0.0]))) == []
    content = times(kmeans=[0.01, 0.04])
    content["methods"]["kmeans"]["technique"] = None  # a file of that name
    assert time_claim(typed(content)) == []


def test_a_renamed_method_keeps_its_claims() -> None:
    content = times(kmeans=[0.01, 0.038])
    content["methods"]["colours"] = content["methods"].pop("kmeans")
    assert "take colours 3.8 times as long" in time_claim(typed(content))[0]


@pytest.mark.parametrize(
    ("reach", "says"),
    [
        (0.45, "true on these data"),
        (0.749, "true on these data"),
        (0.89, "only partly true on these data"),
        (0.97, "not true on these data, as objects nearly fill their boxes"),
    ],
)
def test_boxes_and_shape(reach: float, says: str) -> None:
    content = whole()
    content["true_boxes"] = {"mask_ap": reach, "filled": 0.74}
    assert shape_claim(typed(content)) == [
        f"“Boxes say nothing of shape”: {says}. The true boxes themselves, filled and taken as masks, reach mask AP "
        f"{reach:.3f}; an object fills 74 % of its box on average."
    ]


def test_results_without_any_of_it_make_no_claims() -> None:
    assert textbook_claims(typed(results())) == []
    content = whole()
    content["true_boxes"]["mask_ap"] = None
    assert len(textbook_claims(typed(content))) == 2
    assert len(textbook_claims(typed(whole()))) == 3
