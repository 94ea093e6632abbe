"""Intervals and comparisons of a benchmark's rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from random_scenes import CATEGORIES, Scene, scene

from segtrain.data.index.coco import Category
from segtrain.evaluation import TRACKS, Findings, Reference, score
from segtrain.metrics.bootstrap import draw_images, holm, interval, paired_difference
from segtrain.metrics.resampled import resampled_numbers
from segtrain.reporting.analysis.comparisons import Certainty, certainty, doubts


@dataclass
class Row:
    findings: Findings
    tracks: Any


def reference_of(drawn: Scene, categories: list[int] = CATEGORIES) -> Reference:
    return Reference([Category(c, str(c)) for c in sorted(categories)], drawn.sizes, drawn.truths)


def row(drawn: Scene, reference: Reference, tracks: Any = TRACKS, **changes: Any) -> Row:
    findings = Findings(
        **({"masks": drawn.predictions, "boxes": None, "class_aware": True, "score_threshold": 0.5} | changes)
    )
    return Row(findings, tracks=score(findings, reference, 20, tracks))


def worse(drawn: Scene, keep: int) -> Scene:
    return Scene(drawn.sizes, drawn.truths, drawn.predictions[::keep])


def sure(rows: dict[str, Row], reference: Reference, **changes: Any) -> Certainty:
    return certainty(rows, reference, 20, **({"resamples": 60, "seed": 5} | changes))


@pytest.fixture(scope="module")
def drawn() -> Scene:
    return scene(1, predictions=240)


def test_every_number_of_every_track_has_its_interval(drawn: Scene) -> None:
    reference = reference_of(drawn)
    rows = {"mask_rcnn": row(drawn, reference), "classical": row(drawn, reference, class_aware=False)}
    found = sure(rows, reference).intervals
    assert [list(tracks) for tracks in found.values()] == [["class_agnostic", "class_aware"], ["class_agnostic"]]
    draws = draw_images(len(drawn.sizes), 60, 5)
    aware = resampled_numbers(
        drawn.truths, drawn.predictions, None, draws, category_ids=CATEGORIES, sizes=drawn.sizes, max_dets=20,
        score_threshold=0.5,
    )  # fmt: skip
    track = rows["mask_rcnn"].tracks["class_aware"]
    assert len(aware) == 15
    assert found["mask_rcnn"]["class_aware"] == {
        key: list(interval(track[key], values)) for key, values in aware.items() if not np.isnan(track[key])
    }
    for key, (low, high) in found["mask_rcnn"]["class_agnostic"].items():
        assert low < rows["mask_rcnn"].tracks["class_agnostic"][key] < high


def test_rows_are_compared_with_mask_rcnn_on_the_same_resamples(drawn: Scene) -> None:
    reference = reference_of(drawn)
    parts = {"mask_rcnn": drawn, "twin": drawn, "half": worse(drawn, 2), "third": worse(drawn, 3)}
    rows = {name: row(part, reference) for name, part in parts.items()}
    found = sure(rows, reference).comparisons
    assert list(found) == ["twin", "half", "third"]
    assert all(entry == {"difference": 0, "low": 0, "high": 0, "p": 1} for entry in found["twin"].values())

    draws = draw_images(len(drawn.sizes), 60, 5)
    merged = reference.class_agnostic()
    numbers = {
        name: resampled_numbers(
            merged.truths, part.findings.class_agnostic().masks, None, draws, category_ids=[1], sizes=drawn.sizes,
            max_dets=20, score_threshold=0.5,
        )["mask_ap"]
        for name, part in rows.items()
    }  # fmt: skip
    ap = {name: part.tracks["class_agnostic"]["mask_ap"] for name, part in rows.items()}
    expected = {
        name: paired_difference(ap[name], ap["mask_rcnn"], numbers[name], numbers["mask_rcnn"]) for name in found
    }
    corrected = holm({name: difference.p for name, difference in expected.items()})
    for name, difference in expected.items():
        got = found[name]["mask_ap"]
        assert (got["difference"], got["low"], got["high"]) == (difference.difference, difference.low, difference.high)
        assert got["p"] == corrected[name]
    assert abs(found["third"]["mask_ap"]["difference"]) > 0.05


def test_rows_that_cannot_be_had_are_not_compared(drawn: Scene) -> None:
    reference = reference_of(drawn)
    rows = {name: row(drawn, reference) for name in ("mask_rcnn", "oracle")}
    found = sure(rows, reference, apart=["oracle"])
    assert found.comparisons == {}
    assert "mask_ap" in found.intervals["oracle"]["class_agnostic"]


def test_without_mask_rcnn_or_resamples(drawn: Scene) -> None:
    reference = reference_of(drawn)
    rows = {"a": row(drawn, reference), "b": row(drawn, reference)}
    assert sure(rows, reference).comparisons == {}
    assert sure(rows, reference, resamples=0) == Certainty({}, {}, {})


def test_the_best_two_are_compared_whoever_they_are(drawn: Scene) -> None:
    reference = reference_of(drawn)
    half = Scene(drawn.sizes, drawn.truths, drawn.predictions[::2])
    rows = {"mask_rcnn": row(half, reference), "a": row(drawn, reference), "b": row(drawn, reference)}
    rows["oracle"] = row(drawn, reference)
    numbers = {name: rows[name].tracks["class_agnostic"]["mask_ap50"] for name in rows}
    assert numbers["a"] > numbers["mask_rcnn"]
    contest = sure(rows, reference, apart=["oracle"]).contests["mask_ap50"]
    assert (contest["first"], contest["second"]) == ("a", "b")  # equal ones in their order
    assert (contest["difference"], contest["p"]) == (0, 1)


def test_one_image_has_no_intervals(drawn: Scene) -> None:
    (image, *_) = drawn.sizes
    one = Scene({image: drawn.sizes[image]}, drawn.truths, drawn.predictions)
    reference = reference_of(one)
    rows = {"mask_rcnn": row(one, reference), "b": row(one, reference)}
    assert sure(rows, reference) == Certainty({}, {}, {})


def test_doubts_are_named() -> None:
    assert doubts(100, 14, 1000) == doubts(1, 14, 0) == []
    assert doubts(1, 3, 1000) == ["One image says nothing of others: there are no intervals"]
    assert doubts(5, 3, 1000) == ["Only 5 images: intervals from resampling so few are too narrow"]
    said = "bootstrap.resamples=100 are too few for 14 comparisons: no p is below 0.139; take 280 or more"
    assert doubts(100, 14, 100) == [said]


def test_boxes_alone_and_one_track_alone(drawn: Scene) -> None:
    reference = reference_of(drawn)
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
    reference = reference_of(only, [3])
    measured = row(only, reference)
    found = sure({"mask_rcnn": measured}, reference).intervals["mask_rcnn"]
    assert found["class_aware"] == found["class_agnostic"]
    again = sure({"mask_rcnn": Row(measured.findings, tracks={**measured.tracks, "class_agnostic": None})}, reference)
    assert again.intervals["mask_rcnn"]["class_aware"] == found["class_aware"]
