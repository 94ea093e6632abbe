"""Outcomes of the objects of one image, against those that are drawn to be of a kind, and against the counts of F1."""

from dataclasses import replace
from typing import Any

import pytest

from segtrain.evaluation import Detections, metric_input
from segtrain.metrics.registry import f1_50_counts
from segtrain.records import GroundTruth, Prediction
from segtrain.report.gallery.encode import Legend, encode
from segtrain.report.gallery.outcomes import judge
from segtrain.report.gallery.outline_paths import Mark
from tests.helpers.random_scenes import ground_truth_of, scene
from tests.helpers.report_examples import gallery, prediction, square, truth


def of_category(record: Any, category_id: int) -> Any:
    return {**record, "category_id": category_id}


def image() -> tuple[list[GroundTruth], list[Prediction]]:
    truths = [truth(1, square(0, 0, 10), 1), truth(1, square(20, 0, 10), 2), truth(1, square(40, 0, 10), 3)]
    truths = [truths[0], of_category(truths[1], 2), truths[2], truth(1, square(0, 30, 12), 4, iscrowd=1)]
    found = [
        prediction(1, square(0, 0, 10), 0.9),
        prediction(1, square(20, 0, 10), 0.8),
        prediction(1, square(1, 1, 9), 0.7),
        prediction(1, square(2, 30, 6), 0.6),
        prediction(1, square(44, 5, 10), 0.5),
        prediction(1, square(30, 30, 6), 0.4),
    ]
    return truths, found


def test_each_kind_is_recognised() -> None:
    outcomes = judge(*image(), aware=True)
    assert outcomes.kinds == ["hit", "category", "duplicates", "crowd", "location", "background"]
    assert outcomes.partners == [0, 1, -1, -1, -1, -1]
    assert outcomes.missed == [2]
    assert judge(*image(), aware=False).kinds[:2] == ["hit", "hit"]
    assert judge(image()[0], [], aware=True).missed == [0, 1, 2]
    assert judge([], image()[1], aware=True).kinds == ["background"] * 6


@pytest.mark.parametrize("seed", range(3))
def test_hits_and_misses_are_those_of_f1(seed: int) -> None:
    drawn = scene(seed, predictions=40)
    truth = ground_truth_of(drawn)
    counts = metric_input(Detections(drawn.predictions, None, True, 0.0), truth, 100).once(f1_50_counts)
    for number, image_id in enumerate(sorted(truth.sizes)):
        found = sorted((p for p in drawn.predictions if p["image_id"] == image_id), key=lambda p: -p["score"])
        own = judge([t for t in drawn.truths if t["image_id"] == image_id], found, aware=False)
        hits, crowds = own.kinds.count("hit"), own.kinds.count("crowd")
        assert [hits, len(found) - hits - crowds, len(own.missed)] == counts[number, 0].tolist()


def test_shapes_know_category_score_and_outcome() -> None:
    truths, found = image()
    (item,) = gallery(count=1)
    item = replace(item, truths=truths, predictions={"net": found, "otsu": found[:3]})
    legend = Legend(categories=[1, 2], aware=["net"], learned=["net"])
    (shown,) = encode([item], ["net", "otsu"], legend=legend)
    true, net, otsu = shown.layers
    assert [mark.category for mark in true.marks] == [0, 1, 0]
    marks = set(net.marks)
    assert {Mark("missed", 0), Mark("hit", 0, None, 0.9), Mark("category", 0, 1, 0.8)} < marks
    assert len(net.marks) == len(net.paths) == 7
    assert (net.objects, net.drawn) == (6, 6)
    assert set((net.outcomes or {}).values()) == {1}
    assert {mark.kind for mark in otsu.marks} == {"hit", "duplicates", "missed"}
    assert all(mark.category is None or mark.kind == "missed" for mark in otsu.marks)
    assert all(mark.score is None for mark in otsu.marks)
