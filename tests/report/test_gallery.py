"""Choice of the images of the gallery, and its reasons."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pytest

from segtrain.benchmark.runner import MethodResult
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.evaluation import Detections, GroundTruthSet, metric_input
from segtrain.records import BoxPrediction, Category, GroundTruth, Prediction
from segtrain.report.gallery.encode import encode
from segtrain.report.gallery.select import GalleryItem, build, choose, per_image_f1
from tests.helpers.report_examples import prediction, square, truth


def method(masks: Sequence[Prediction] | None, threshold: float = 0.0, oracle: bool = False) -> MethodResult:
    boxes: list[BoxPrediction] = [{"image_id": 0, "category_id": 1, "bbox": [0, 0, 2, 2], "score": 0.9}]
    return MethodResult(Detections(masks, boxes if masks is None else None, True, threshold), oracle=oracle)


def objects(truths: Sequence[GroundTruth], images: Collection[int]) -> GroundTruthSet:
    return GroundTruthSet([Category(1, "object")], dict.fromkeys(images, (48, 64)), truths)


def chosen(
    rows: Mapping[str, MethodResult],
    truths: Sequence[GroundTruth],
    images: int,
    each: int,
    read: Callable[[ImageInfo], np.ndarray] | None = None,
    reference: str | None = None,
) -> list[GalleryItem]:
    """Items of so many images, with ids from 0."""
    infos = [ImageInfo(i, f"{i}.png", 48, 64) for i in range(images)]
    true = objects(truths, range(images))
    scores = {
        name: per_image_f1(metric_input(row.detections, true, 100))
        for name, row in rows.items()
        if row.detections.masks is not None
    }
    return build(rows, scores, true, infos, read or black, each, reference)


def black(info: ImageInfo) -> np.ndarray:
    return np.zeros((*info.size, 3), np.uint8)


def test_reasons_and_no_image_twice() -> None:
    own = {i: 1 - i / 20 for i in range(20)}
    rival = dict.fromkeys(own, 0.0) | {4: 0.9, 19: 0.99}
    picks = choose({"kmeans": rival, "mask_rcnn": own}, dict.fromkeys(own, 5), each=3, reference="mask_rcnn")
    # kmeans has its F1 on two images; of the others, all alike, the first three are its worst, which are shown by then.
    assert [i for i, _ in picks] == [0, 1, 2, 8, 9, 10, 17, 18, 19, 4]
    assert [reason for _, reason in picks] == (
        ["Best of mask_rcnn"] * 3
        + ["Median of mask_rcnn"] * 3
        + ["Worst of mask_rcnn"] * 2
        + ["kmeans beats mask_rcnn"] * 2
    )


@pytest.mark.parametrize("each", [1, 4])
def test_the_best_and_worst_of_every_row_and_the_widest_differences_are_shown(each: int) -> None:
    rng = np.random.default_rng(each)
    table = rng.integers(0, 12, (5, 60)) / 11  # with many equal ones
    table[rng.random(table.shape) < 0.1] = np.nan
    names = ["otsu", "canny", "mask_rcnn", "kmeans", "kmeans_oracle"]
    scores = {name: dict(enumerate(row.tolist())) for name, row in zip(names, table, strict=True)}
    picks = choose(scores, dict.fromkeys(range(60), 5), each, reference="mask_rcnn", oracles=["kmeans_oracle"])
    chosen = [i for i, _ in picks]
    assert len(set(chosen)) == len(chosen) < 60
    for row in table:
        shown, every = np.sort(row[chosen]), np.sort(row[~np.isnan(row)])
        shown = shown[~np.isnan(shown)]
        assert shown[:each].tolist() == every[:each].tolist()
        assert shown[-each:].tolist() == every[-each:].tolist()
    apart = np.nan_to_num(np.nanstd(table[:4], axis=0))
    assert np.sort(apart[chosen])[-each:] == pytest.approx(np.sort(apart)[-each:])
    assert not any("kmeans_oracle beats" in reason for _, reason in picks)


def test_first_method_stands_in_and_nan_is_never_beaten_or_ranked() -> None:
    picks = choose({"a": {1: math.nan, 2: 0.5, 3: 0.2}, "b": {1: 0.0, 2: math.nan, 3: 0.4}}, {1: 0, 2: 3, 3: 3}, each=1)
    assert dict(picks) == {2: "Best of a", 3: "b beats a", 1: "Worst of b"}


def test_among_equal_scores_the_fuller_image_comes_first() -> None:
    picks = choose({"a": dict.fromkeys(range(9), 1.0)}, {i: i for i in range(9)}, each=1)
    assert picks[0] == (8, "Best of a")


def test_per_image_f1_ignores_categories() -> None:
    truths = [truth(1, square(0, 0, 9)), truth(1, square(20, 20, 9), 2)]
    found = [prediction(1, square(0, 0, 9), category_id=-1), prediction(2, square(0, 0, 9))]
    scores = per_image_f1(metric_input(method(found).detections, objects(truths, [1, 2, 3]), 100))
    assert scores[1] == pytest.approx(2 / 3)
    assert scores[2] == 0
    assert math.isnan(scores[3])


def test_threshold_includes_its_own_value() -> None:
    records = [prediction(0, square(0, 0, 9), score) for score in (0.2, 0.5, 0.7)]
    (item,) = chosen({"a": method(records, threshold=0.5)}, [truth(0, square(0, 0, 9))], images=1, each=1)
    assert [r["score"] for r in item.predictions["a"]] == [0.7, 0.5]


def test_build_reads_only_what_it_shows_and_skips_rows_of_boxes() -> None:
    truths = [truth(i, square(3, 3, 9), i + 1) for i in range(30)]
    masks = [prediction(i, square(3, 3, 9) if i % 2 else square(30, 30, 9)) for i in range(30)]
    low = [prediction(i, square(3, 3, 9), 0.1) for i in range(30)]
    read: list[int] = []

    def reader(info: ImageInfo) -> np.ndarray:
        read.append(info.id)
        return np.zeros((48, 64, 3), np.uint8)

    rows = {"mask_rcnn": method(masks, 0.5), "kmeans": method(low), "file": method(None, 0.5), "silent": method([])}
    items = chosen(rows, truths, 30, 3, reader, reference="mask_rcnn")
    assert read == [item.image_id for item in items]
    assert len(set(read)) == len(read) <= 12
    for item in items:
        assert set(item.predictions) == {"mask_rcnn", "kmeans", "silent"}
        assert item.scores["mask_rcnn"] == item.image_id % 2
        assert [t["image_id"] for t in item.truths] == [item.image_id]


def test_further_images_are_shown_for_their_reason_unless_they_are_shown_already() -> None:
    rows, true = {"a": method([prediction(0, square(5, 5, 9))])}, objects([truth(0, square(5, 5, 9))], range(9))
    infos = [ImageInfo(i, f"{i}.png", 48, 64) for i in range(9)]
    scores = {"a": per_image_f1(metric_input(rows["a"].detections, true, 100))}
    shown = build(
        rows, scores, true, infos, black, 1, None, [(0, "not this"), (7, "a takes cat for dog"), (7, "nor this")]
    )
    assert [(item.image_id, item.reason) for item in shown] == [(0, "Best of a"), (7, "a takes cat for dog")]


def test_items_know_their_places_among_all_images() -> None:
    """F1 of a by image 1, ½, 0, and undefined; of b 0, ½ and undefined twice; an oracle's differ but do not count."""
    truths = [truth(0, square(3, 3, 9)), truth(1, square(3, 3, 9), 2), truth(2, square(3, 3, 9), 3)]
    half = [prediction(1, square(3, 3, 9)), prediction(1, square(30, 3, 9)), prediction(1, square(30, 20, 9))]
    oracle = method([prediction(2, square(3, 3, 9))], oracle=True)
    rows = {"a": method([prediction(0, square(3, 3, 9)), *half]), "b": method(half), "c_oracle": oracle}
    items = chosen(rows, truths, images=4, each=5)
    assert {item.image_id: item.best.get("a") for item in items} == {0: 1, 1: 2, 2: 3}
    assert {item.image_id: item.worst.get("a") for item in items} == {0: 3, 1: 2, 2: 1}
    assert {item.image_id: item.apart for item in items} == {0: 1, 1: None, 2: None}


def test_large_images_are_scaled_down_as_they_are_read() -> None:
    images = [ImageInfo(1, "1.png", 1500, 2000)]
    truths = [truth(1, square(300, 300, 90, (1500, 2000)))]
    (item,) = build({"a": method([])}, {"a": {1: 0.0}}, objects(truths, [1]), images, black, each=1)
    assert item.size == (1500, 2000)
    assert item.image.shape == (720, 960, 3)


def test_oracles_are_shown_but_decide_nothing() -> None:
    truths = [truth(i, square(3, 3, 9), i + 1) for i in range(4)]
    perfect = [prediction(i, square(3, 3, 9)) for i in range(4)]

    def reasons(oracle: bool) -> set[str]:
        rows = {"b_oracle": method(perfect, oracle=oracle), "mask_rcnn": method(perfect[:2])}
        items = chosen(rows, truths, images=4, each=3, reference="mask_rcnn")
        assert all("b_oracle" in item.predictions for item in items)
        return {item.reason for item in items}

    assert "b_oracle beats mask_rcnn" in reasons(False)
    assert "b_oracle beats mask_rcnn" not in reasons(True)


def test_nothing_to_show() -> None:
    assert chosen({}, [], images=0, each=3) == []
    assert chosen({"a": method([])}, [], images=0, each=3) == []


def test_processes_that_share_the_images_draw_the_same() -> None:
    truths = [truth(i, square(3 + i, 3, 9), i + 1) for i in range(8)]
    rows = {"mask_rcnn": method([prediction(i, square(3, 3, 9)) for i in range(8)], 0.5)}
    items = chosen(rows, truths, 8, 8, lambda info: np.zeros((48, 64, 3), np.uint8), reference="mask_rcnn")
    assert len(items) > 2
    assert encode(items, list(rows), processes=2) == encode(items, list(rows))
