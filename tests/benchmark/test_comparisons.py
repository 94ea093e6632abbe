"""Intervals and comparisons of a benchmark's rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from segtrain import masks
from segtrain.benchmark.comparisons import (
    Uncertainty,
    caveats,
    compute_uncertainty,
    draw_resamples,
    images_behind,
    resample,
)
from segtrain.benchmark.results import Comparison
from segtrain.evaluation import TRACKS, Detections, GroundTruthSet, metric_input, score
from segtrain.metrics.bootstrap import draw_images, holm, interval, paired_difference
from segtrain.metrics.registry import METRICS, resampled_values
from segtrain.records import Category, GroundTruth, Prediction
from tests.helpers.random_scenes import NAMED, Scene, ground_truth_of, scene


@dataclass
class Row:
    detections: Detections
    tracks: Any
    oracle: bool = False


def row(drawn: Scene, reference: GroundTruthSet, tracks: Any = TRACKS, **changes: Any) -> Row:
    detections = Detections(
        **({"masks": drawn.predictions, "boxes": None, "class_aware": True, "score_threshold": 0.5} | changes)
    )
    return Row(detections, tracks=score(detections, reference, 20, tracks))


def worse(drawn: Scene, keep: int) -> Scene:
    return Scene(drawn.sizes, drawn.truths, drawn.predictions[::keep])


def sure(rows: dict[str, Row], reference: GroundTruthSet, **changes: Any) -> Uncertainty:
    given: Any = {"reference": "mask_rcnn", "resamples": 60} | changes
    draws = draw_resamples(reference, given["resamples"], 5)
    resampled: Any = {
        name: {
            track: resample(own.detections, reference, 20, track, draws)
            for track, scores in own.tracks.items()
            if scores is not None and draws is not None
        }
        for name, own in rows.items()
    }
    return compute_uncertainty(rows, resampled, given["reference"])


@pytest.fixture(scope="module")
def drawn() -> Scene:
    return scene(1, predictions=240)


def test_every_number_of_every_track_has_its_interval(drawn: Scene) -> None:
    reference = ground_truth_of(drawn)
    rows = {"mask_rcnn": row(drawn, reference), "classical": row(drawn, reference, class_aware=False)}
    found = sure(rows, reference).intervals
    assert [list(tracks) for tracks in found.values()] == [["class_agnostic", "class_aware"], ["class_agnostic"]]
    draws = draw_images(len(drawn.sizes), 60, 5)
    aware = resampled_values(metric_input(rows["mask_rcnn"].detections, reference, 20, "class_aware"), draws)
    track = rows["mask_rcnn"].tracks["class_aware"]
    assert list(aware) == [metric.key for metric in METRICS]
    assert found["mask_rcnn"]["class_aware"] == {
        key: interval(track.value(key), values) for key, values in aware.items() if not np.isnan(track.value(key))
    }
    for key, (low, high) in found["mask_rcnn"]["class_agnostic"].items():
        assert low < rows["mask_rcnn"].tracks["class_agnostic"].value(key) < high


def test_rows_are_compared_with_mask_rcnn_on_the_same_resamples(drawn: Scene) -> None:
    reference = ground_truth_of(drawn)
    parts = {"mask_rcnn": drawn, "twin": drawn, "half": worse(drawn, 2), "third": worse(drawn, 3)}
    rows = {name: row(part, reference) for name, part in parts.items()}
    found = sure(rows, reference).comparisons
    assert list(found) == ["twin", "half", "third"]
    none = Comparison(difference=0, low=0, high=0, p=1, least_p=3 / 61)
    assert all(entry == none for entry in found["twin"].values())

    draws = draw_images(len(drawn.sizes), 60, 5)
    numbers = {
        name: resampled_values(metric_input(part.detections, reference, 20), draws)["mask_ap"]
        for name, part in rows.items()
    }
    ap = {name: part.tracks["class_agnostic"].value("mask_ap") for name, part in rows.items()}
    expected = {
        name: paired_difference(ap[name], ap["mask_rcnn"], numbers[name], numbers["mask_rcnn"]) for name in found
    }
    corrected = holm({name: difference.p for name, difference in expected.items()})
    for name, difference in expected.items():
        got = found[name]["mask_ap"]
        assert (got.difference, got.low, got.high) == (difference.difference, difference.low, difference.high)
        assert got.p == corrected[name]
    assert abs(found["third"]["mask_ap"].difference) > 0.05


def test_rows_that_cannot_be_had_are_not_compared(drawn: Scene) -> None:
    reference = ground_truth_of(drawn)
    rows = {name: row(drawn, reference) for name in ("mask_rcnn", "oracle")}
    rows["oracle"].oracle = True
    found = sure(rows, reference)
    assert found.comparisons == {}
    assert "mask_ap" in found.intervals["oracle"]["class_agnostic"]


def test_without_mask_rcnn_or_resamples(drawn: Scene) -> None:
    reference = ground_truth_of(drawn)
    rows = {"a": row(drawn, reference), "b": row(drawn, reference)}
    assert sure(rows, reference).comparisons == {}
    assert sure(rows, reference, resamples=0) == Uncertainty({}, {}, {})


def test_the_best_two_are_compared_whoever_they_are(drawn: Scene) -> None:
    reference = ground_truth_of(drawn)
    half = Scene(drawn.sizes, drawn.truths, drawn.predictions[::2])
    rows = {"mask_rcnn": row(half, reference), "a": row(drawn, reference), "b": row(drawn, reference)}
    rows["oracle"] = row(drawn, reference)
    numbers = {name: rows[name].tracks["class_agnostic"].value("mask_ap50") for name in rows}
    assert numbers["a"] > numbers["mask_rcnn"]
    rows["oracle"].oracle = True
    contest = sure(rows, reference).contests["mask_ap50"]
    assert (contest.first, contest.second) == ("a", "b")  # equal ones in their order
    assert (contest.difference, contest.p, contest.least_p) == (0, 1, 1 / 61)


def test_one_image_has_no_intervals(drawn: Scene) -> None:
    (image, *_) = drawn.sizes
    one = Scene({image: drawn.sizes[image]}, drawn.truths, drawn.predictions)
    reference = ground_truth_of(one)
    rows = {"mask_rcnn": row(one, reference), "b": row(one, reference)}
    assert sure(rows, reference) == Uncertainty({}, {}, {})


def square(n: int, image: int, side: int, iscrowd: int = 0) -> GroundTruth:
    rle = masks.encode_crop(np.ones((side, side)), n % 4, 0, (64, 64))
    return GroundTruth(
        id=n, image_id=image, category_id=1, segmentation=rle, bbox=[n % 4, 0, side, side], area=float(side**2),
        iscrowd=iscrowd,
    )  # fmt: skip


def objects_in_few_images(medium: int, images: int = 24) -> GroundTruthSet:
    """Small objects in all images but the last, medium ones in the first few, a medium crowd in every image."""
    truths = [square(n, n, 10) for n in range(1, images)]
    truths += [square(100 + n, n, 40) for n in range(1, medium + 1)]
    truths += [square(200 + n, n, 50, iscrowd=1) for n in range(1, images + 1)]
    return GroundTruthSet([Category(1, "object")], dict.fromkeys(range(1, images + 1), (64, 64)), truths)


def test_images_are_counted_that_hold_what_a_number_is_about() -> None:
    found = images_behind(objects_in_few_images(3))
    assert found == {"mask_ap": 23, "mask_ap_small": 23, "mask_ap_medium": 3, "mask_ap_large": 0}
    both = GroundTruthSet([Category(1, "object")], {1: (64, 64)}, [square(1, 1, 32)])  # COCO's ends belong to both
    assert images_behind(both) == {"mask_ap": 1, "mask_ap_small": 1, "mask_ap_medium": 1, "mask_ap_large": 0}


@pytest.mark.parametrize(("medium", "told"), [(1, False), (2, True)])
def test_objects_of_one_image_have_no_interval(medium: int, told: bool) -> None:
    reference = objects_in_few_images(medium)
    found: list[Prediction] = [
        Prediction(image_id=t["image_id"], category_id=1, segmentation=t["segmentation"], score=1 - t["id"] / 1000)
        for t in reference.truths
        if not t["iscrowd"]
    ]
    rows = {}
    for name, kept in {"mask_rcnn": found, "other": found[::2]}.items():
        detections = Detections(kept, None, True, 0.5)
        rows[name] = Row(detections, tracks=score(detections, reference, 20, TRACKS))
    certain = sure(rows, reference)
    for entries in (
        *(tracks[track] for tracks in certain.intervals.values() for track in TRACKS),
        certain.comparisons["other"],
        certain.contests,
    ):
        assert "mask_ap_small" in entries
        assert ("mask_ap_medium" in entries) == told


def test_without_objects_in_two_images_there_is_no_interval_at_all() -> None:
    reference = objects_in_few_images(0, 2)
    detections = Detections([], None, True, 0.5)
    rows = {name: Row(detections, tracks=score(detections, reference, 20, TRACKS)) for name in ("mask_rcnn", "other")}
    found = sure(rows, reference)
    assert found.comparisons == {"other": {}}
    assert found.contests == {}
    assert found.intervals["other"] == {"class_agnostic": {}, "class_aware": {}}


def test_caveats_are_named() -> None:
    def said(images: int, rows: int, resamples: int, holding: int | None = None, **of_size: int) -> list[str]:
        behind = {"mask_ap": images if holding is None else holding}
        return caveats(images, behind | {f"mask_ap_{size}": n for size, n in of_size.items()}, rows, resamples)

    assert said(100, 14, 1000) == said(1, 14, 0) == said(100, 14, 1000, small=100, medium=20, large=0) == []
    assert said(1, 3, 1000, small=1, medium=1) == ["There is only one image, so there are no intervals"]
    assert said(5, 3, 1000, small=5) == ["Only 5 images: intervals from resampling so few are too narrow"]
    narrow = "Only 6 of 100 images hold true objects: intervals from resampling so few are too narrow"
    assert said(100, 3, 1000, 6, small=6) == [narrow]
    assert said(100, 3, 1000, 1, small=1) == ["Only 1 of 100 images holds true objects, so there are no intervals"]
    assert said(100, 3, 1000, 0) == []
    assert said(24, 3, 1000, small=23, medium=1, large=7) == [
        "Few images hold objects of these sizes: AP M (1 image, so no interval), AP L (7 images, interval too narrow)"
    ]
    assert said(6, 3, 1000, small=6, medium=1)[1:] == [
        "Few images hold objects of this size: AP M (1 image, so no interval)"
    ]
    few = "bootstrap.resamples=100 are too few for 14 comparisons: no p is below 0.139; take 280 or more"
    assert said(100, 14, 100) == [few]


def test_boxes_alone_and_one_track_alone(drawn: Scene) -> None:
    reference = ground_truth_of(drawn)
    rows = {
        "mask_rcnn": row(drawn, reference, ["class_agnostic"]),
        "boxes": row(drawn, reference, masks=None, boxes=drawn.box_predictions),
    }
    found = sure(rows, reference)
    assert list(found.intervals["mask_rcnn"]) == ["class_agnostic"]
    assert list(found.intervals["boxes"]["class_agnostic"]) == ["box_ap"]
    assert list(found.comparisons["boxes"]) == ["box_ap"]


def test_with_a_single_category_the_tracks_are_one(drawn: Scene) -> None:
    only = Scene(
        drawn.sizes,
        [t for t in drawn.truths if t["category_id"] == 3],
        [p for p in drawn.predictions if p["category_id"] == 3],
    )
    reference = ground_truth_of(only, NAMED[:1])
    measured = row(only, reference)
    found = sure({"mask_rcnn": measured}, reference).intervals["mask_rcnn"]
    assert found["class_aware"] == found["class_agnostic"]
    again = sure({"mask_rcnn": Row(measured.detections, tracks={**measured.tracks, "class_agnostic": None})}, reference)
    assert again.intervals["mask_rcnn"]["class_aware"] == found["class_aware"]
