"""One path from a segmenter to numbers: records, categories, tracks, operating points."""

import copy
import gc
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args
from weakref import ref

import numpy as np
import pytest
import torch
from torch import Tensor

from segtrain import evaluation, masks
from segtrain.evaluation import TRACKS, Detections, GroundTruthSet, TrackName, predict, score
from segtrain.mask_records import MaskRecords
from segtrain.metrics.candidates import pairs_in_images
from segtrain.metrics.pairs import Pairs
from segtrain.metrics.scores import CocoStats
from segtrain.records import NO_CATEGORY, Category, Instances, to_box_predictions, to_predictions
from tests.helpers.coco_referee import twelve_numbers
from tests.helpers.random_scenes import CATEGORIES, NAMED, Scene, ground_truth_of, scene

SIZE = (20, 30)


def instances(labels: Sequence[int], scores: Sequence[float]) -> Instances:
    """One 4 x 5 rectangle each, in a row, with boxes of their own that are not quite the masks'."""
    count = len(labels)
    boxes = np.array([[3 * i + 0.5, 2.25, 3 * i + 5, 6] for i in range(count)], np.float32).reshape(-1, 4)
    rles = [masks.encode_crop(np.ones((4, 5)), 3 * i, 2, SIZE) for i in range(count)]
    return Instances(SIZE, boxes, np.array(labels, np.int64), np.array(scores, np.float32), rles)


class Fixed:
    """Finds what it is told, by the first pixel of the image; a segmenter without labels of its own."""

    scores_are_learned = False

    def __init__(self, answers: Sequence[Instances]) -> None:
        self.answers = answers
        self.asked: list[int] = []

    def segment(self, images: Sequence[Tensor]) -> list[Instances]:
        assert len(images) == 1, "one at a time, or padding would change results"
        self.asked.append(int(images[0][0, 0, 0]))
        return [self.answers[self.asked[-1]]]


class Learned(Fixed):
    scores_are_learned = True


def images(count: int) -> list[tuple[int, Tensor]]:
    return [(100 + i, torch.full((3, *SIZE), i, dtype=torch.uint8)) for i in range(count)]


def test_thresholds_of_categories_apply_to_class_aware_numbers_alone() -> None:
    """As if the detections below them were not there."""
    drawn = scene(3, predictions=60)
    truth, least = ground_truth_of(drawn), {sorted(CATEGORIES)[0]: 0.3, sorted(CATEGORIES)[1]: 0.8}
    found = Detections(drawn.predictions, None, True, 0.5, category_thresholds=least)
    kept = [one for one in drawn.predictions if one["score"] >= least.get(one["category_id"], 0.5)]
    expected, plain = Detections(kept, None, True, 0.0), replace(found, category_thresholds={})
    own, cut, before = (score(one, truth, 100) for one in (found, expected, plain))
    assert own["class_agnostic"] == before["class_agnostic"]
    keys = ("f1_50", "miou", "pq", "boundary_iou")
    values = [[one["class_aware"].metrics[key] for key in keys] for one in (own, cut, before) if one["class_aware"]]
    assert values[0] == values[1] != values[2]
    curves = [one["class_aware"].f1_curve for one in (own, cut) if one["class_aware"]]
    assert curves[0] == curves[1]


def test_a_learned_segmenter_gives_masks_and_its_own_boxes() -> None:
    answers = [instances([1, 3], [0.9, 0.4]), Instances.empty(SIZE), instances([2], [0.7])]
    advanced: list[int] = []
    found = predict(Learned(answers), images(3), NAMED, 0.5, lambda: advanced.append(1))
    assert found.class_aware
    assert found.score_threshold == 0.5
    assert found.masks is not None
    assert found.boxes is not None
    assert [(p["image_id"], p["category_id"]) for p in found.masks] == [(100, 3), (100, 90), (102, 7)]
    assert [(p["image_id"], p["category_id"]) for p in found.boxes] == [(100, 3), (100, 90), (102, 7)]
    assert found.boxes[1]["bbox"] == [3.5, 2.25, 4.5, 3.75]  # xywh
    assert [p["score"] for p in found.masks] == pytest.approx([0.9, 0.4, 0.7])
    assert all(set(p) == {"image_id", "category_id", "segmentation", "score"} for p in found.masks)
    assert len(advanced) == 3
    assert {name: len(values) for name, values in found.seconds.items()} == {"data": 3, "segmentation": 3}
    assert all(value >= 0 for values in found.seconds.values() for value in values)


def test_box_ap_takes_predicted_boxes_and_files_the_others() -> None:
    answer = instances([1, 3], [0.9, 0.4])
    tight = replace(answer, boxes=masks.boxes(answer.rles).astype(np.float32), predicted_boxes=answer.boxes)
    before, after = (predict(Learned([found]), images(1), NAMED, 0.5) for found in (answer, tight))
    assert after.boxes == before.boxes
    assert before.exported_boxes is None
    assert after.exported_boxes is not None
    assert [record["bbox"] for record in after.exported_boxes] == [[0, 2, 5, 4], [3, 2, 5, 4]]


def test_a_segmenter_without_categories() -> None:
    found = predict(Fixed([instances([0, 0], [0.9, 0.1])]), images(1), NAMED, 0.5)
    assert not found.class_aware
    assert found.score_threshold == 0  # its scores only rank
    assert found.boxes is None
    assert found.masks is not None
    assert {p["category_id"] for p in found.masks} == {NO_CATEGORY}
    alone = predict(Fixed([instances([0, 0], [0.9, 0.1])]), images(1), NAMED[1:2], 0.5)
    assert alone.masks is not None
    assert {p["category_id"] for p in alone.masks} == {7}


@pytest.mark.parametrize(
    ("labels", "categories", "expected"),
    [([1, 3], NAMED[:1], 3), ([1, 1], NAMED, NO_CATEGORY), ([1, 3], NAMED, NO_CATEGORY)],
    ids=["3 to 1", "1 to 3", "other names"],
)
def test_labels_of_other_categories_than_the_datas(
    labels: list[int], categories: list[Category], expected: int
) -> None:
    found = predict(Learned([instances(labels, [0.9, 0.4])]), images(1), categories, 0.5, foreign=True)
    assert not found.class_aware
    assert found.score_threshold == 0.5
    assert found.masks is not None
    assert found.boxes is not None
    assert {p["category_id"] for p in (*found.masks, *found.boxes)} == {expected}


def test_records_hold_plain_values_that_json_takes() -> None:
    found = instances([1, 2], [0.9, 0.8])
    text = json.dumps([to_predictions(found, 5, NAMED), to_box_predictions(found, 5, NAMED)])
    assert json.loads(text)[0][0]["segmentation"] == found.rles[0]


def merged(drawn: Scene) -> Scene:
    drawn = copy.deepcopy(drawn)
    for record in (*drawn.truths, *drawn.predictions):
        record["category_id"] = 1
    return drawn


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("max_dets", [12, 100])
def test_both_tracks_are_cocos_numbers(seed: int, max_dets: int) -> None:
    drawn = scene(seed)
    one = merged(drawn)
    detections = Detections(drawn.predictions, drawn.box_predictions, True, 0.5)
    tracks = score(detections, ground_truth_of(drawn), max_dets)
    for name, expected, categories in (
        ("class_aware", drawn, sorted(CATEGORIES)),
        ("class_agnostic", one, [1]),
    ):
        track = tracks[name]  # type: ignore[index]
        assert track is not None
        for kind, found in (("segm", expected.predictions), ("bbox", expected.box_predictions)):
            numbers = twelve_numbers(expected, found, categories, kind, max_dets)
            own = np.array(getattr(track.coco, kind), dtype=np.float64)  # None becomes nan
            np.testing.assert_allclose(own, numbers, atol=1e-12, equal_nan=True)
        keys = ("mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large")
        segm, bbox = track.coco.segm, track.coco.bbox
        assert segm is not None
        assert bbox is not None
        assert [track.metrics[key] for key in keys] == segm[:6]
        assert [track.metrics["mask_ar"], track.metrics["box_ap"]] == [segm[8], bbox[0]]


def test_class_agnostic_numbers_do_not_see_categories() -> None:
    drawn = scene(4)
    aware = score(Detections(drawn.predictions, None, True, 0.0), ground_truth_of(drawn), 50)
    unknown = [{**p, "category_id": NO_CATEGORY} for p in drawn.predictions]
    blind = score(Detections(unknown, None, False, 0.0), ground_truth_of(drawn), 50)  # type: ignore[arg-type]
    assert blind["class_aware"] is None
    assert repr(blind["class_agnostic"]) == repr(aware["class_agnostic"])
    assert [row.name for row in aware["class_agnostic"].per_category] == ["object"]  # type: ignore[union-attr]


def test_numbers_of_records_by_column_are_those_of_the_records() -> None:
    drawn = scene(6)
    detections = Detections(drawn.predictions, None, True, 0.4)
    kept = detections.by_column()
    assert isinstance(kept.masks, MaskRecords)
    assert repr(score(kept, ground_truth_of(drawn), 50)) == repr(score(detections, ground_truth_of(drawn), 50))


def test_the_operating_point_cuts_pixels_and_f1_but_not_ap() -> None:
    drawn = scene(5)
    kept = [p for p in drawn.predictions if p["score"] >= 0.6]
    assert 0 < len(kept) < len(drawn.predictions)
    low = score(Detections(drawn.predictions, None, True, 0.0), ground_truth_of(drawn), 50)["class_aware"]
    high = score(Detections(drawn.predictions, None, True, 0.6), ground_truth_of(drawn), 50)["class_aware"]
    cut = score(Detections(kept, None, True, 0.0), ground_truth_of(drawn), 50)["class_aware"]
    assert low is not None
    assert high is not None
    assert cut is not None
    for key in ("miou", "fg_iou", "f1_50", "pq", "rq", "boundary_iou"):
        assert high.value(key) == cut.value(key) != low.value(key)
    assert high.f1_curve == cut.f1_curve != low.f1_curve
    assert high.value("mask_ap") == low.value("mask_ap") != cut.value("mask_ap")


def test_boxes_only() -> None:
    drawn = scene(6)
    detections = Detections(None, drawn.box_predictions, True, 0.5)
    both = score(Detections(drawn.predictions, drawn.box_predictions, True, 0.5), ground_truth_of(drawn), 50)
    for name, track in score(detections, ground_truth_of(drawn), 50).items():
        full = both[name]
        assert track is not None
        assert full is not None
        assert track.coco == CocoStats(None, full.coco.bbox)
        undefined = {"mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large"}
        undefined |= {"mask_ar", "miou", "fg_iou", "f1_50", "pq", "sq", "rq", "boundary_iou"}
        assert all(track.metrics[key] is None for key in undefined)
        assert track.metrics.keys() == full.metrics.keys()
        assert track.f1_curve is not None
        assert full.f1_curve is not None
        assert track.f1_curve.thresholds == full.f1_curve.thresholds
        assert not any(track.f1_curve.f1)
        for row, other in zip(track.per_category, full.per_category, strict=True):
            assert row.metrics.keys() == other.metrics.keys()
            keys = ("mask_ap", "mask_ap50", "iou", "f1_50", "pq", "boundary_iou")
            assert all(row.metrics[key] is None for key in keys)
            assert not any(other.metrics[key] is None for key in keys)
            assert row.metrics["box_ap"] == other.metrics["box_ap"]
        assert track.precision_recall is not None
        assert len(track.precision_recall.iou50) == 101


def test_only_the_tracks_asked_for() -> None:
    drawn = scene(7)
    detections = Detections(drawn.predictions, None, True, 0.5)
    assert get_args(TrackName) == TRACKS
    for name in TRACKS:
        tracks = score(detections, ground_truth_of(drawn), 50, [name])
        assert [key for key, track in tracks.items() if track is not None] == [name]


def test_nothing_found_and_nothing_to_find() -> None:
    drawn = scene(8)
    nothing = score(Detections([], [], True, 0.5), ground_truth_of(drawn), 50)["class_aware"]
    assert nothing is not None
    assert [nothing.value(key) for key in ("mask_ap", "f1_50", "fg_iou", "pq", "rq", "boundary_iou")] == [0] * 6
    assert nothing.metrics["sq"] is None  # no match has a fit
    empty = score(Detections([], [], True, 0.5), GroundTruthSet(NAMED, drawn.sizes, []), 50)["class_aware"]
    assert empty is not None
    assert all(empty.metrics[key] is None for key in ("mask_ap", "f1_50", "pq", "sq", "rq", "boundary_iou"))


def test_the_curve_of_f1_starts_at_its_number_and_falls() -> None:
    drawn = scene(5)
    track = score(Detections(drawn.predictions, None, True, 0.3), ground_truth_of(drawn), 50)["class_aware"]
    assert track is not None
    curve = track.f1_curve
    assert curve is not None
    assert curve.thresholds == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    first, *_, last = curve.f1
    assert first is not None
    assert last is not None
    assert first == track.value("f1_50") > last > 0


def test_counts_leave_crowds_out() -> None:
    drawn = scene(9)
    track = score(Detections(drawn.predictions, None, True, 0.5), ground_truth_of(drawn), 50)["class_aware"]
    assert track is not None
    for row in track.per_category:
        truths = [t for t in drawn.truths if t["category_id"] == row.id]
        assert row.annotations == sum(not t["iscrowd"] for t in truths) < len(truths)
    assert [row.name for row in track.per_category] == ["spindle", "round", "lobed"]


def test_scoring_changes_no_record() -> None:
    drawn = scene(10)
    before = copy.deepcopy((drawn.truths, drawn.predictions))
    score(Detections(drawn.predictions, None, True, 0.5), ground_truth_of(drawn), 50)
    assert (drawn.truths, drawn.predictions) == before


def test_pairs_of_masks_are_found_once_for_both_tracks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*given: Any) -> Pairs:
        calls.append(given)
        return pairs_in_images(*given)

    monkeypatch.setattr(evaluation, "pairs_in_images", counted)
    drawn = scene(3)
    truth, found = ground_truth_of(drawn), Detections(drawn.predictions, None, True, 0.5)
    score(found, truth, 100)
    assert len(calls) == 1
    truth.forget(found, "class_agnostic")
    score(found, truth, 100)
    assert len(calls) == 1  # the pairs are not those of a track
    truth.forget(found)
    score(found, truth, 100)
    assert len(calls) == 2


def test_forgotten_results_leave_the_memory_at_once() -> None:
    """Without the garbage collector, which runs too late where results are large."""
    drawn = scene(3)
    truth, found = ground_truth_of(drawn), Detections(drawn.predictions, None, True, 0.5)
    score(found, truth, 100)
    held = [ref(evaluation.metric_input(found, truth, 100, track)) for track in TRACKS]
    gc.disable()
    try:
        truth.forget(found, "class_agnostic")
        assert [one() is None for one in held] == [True, False]
        truth.forget(found)
        assert held[1]() is None
    finally:
        gc.enable()
