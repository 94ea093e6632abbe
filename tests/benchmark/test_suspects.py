"""Labels to look at: damaged labels are found, named by their kind, and written as a COCO file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from segtrain import masks
from segtrain.benchmark.runner import SUSPECTS, MethodResult
from segtrain.benchmark.suspects import find_suspects, voters, write_suspects
from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CocoIndex
from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.masks import Rle
from segtrain.records import GroundTruth, Prediction

SIZE, SIDE = (60, 60), 8
IMAGES = range(1, 11)


def square(row: int, column: int, height: int = SIDE, width: int = SIDE) -> Rle:
    return masks.encode_crop(np.ones((height, width), np.uint8), column, row, SIZE)


@pytest.fixture
def index(tmp_path: Path) -> CocoIndex:
    """Ten images with four squares each, of two categories in turn, and a label without an object."""
    places = [(4, 4), (4, 16), (30, 4), (30, 40)]
    annotations = [
        {"id": 10 * image + n, "image_id": image, "category_id": 1 + n % 2, "iscrowd": 0, "area": SIDE**2,
         "bbox": [x, y, SIDE, SIDE], "segmentation": [[x, y, x + SIDE, y, x + SIDE, y + SIDE, x, y + SIDE]]}
        for image in IMAGES for n, (y, x) in enumerate(places)
    ]  # fmt: skip
    annotations.append({**annotations[0], "id": 99, "image_id": 5, "segmentation": [[20, 50, 28, 50, 28, 58, 20, 58]]})
    images = [{"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in IMAGES]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    return load_index(tmp_path / "a.json", "strict")


def row(truth: GroundTruthSet, score: float = 0.9, **changes: Any) -> MethodResult:
    """A method that finds every true object."""
    found = [
        Prediction(
            image_id=own["image_id"], category_id=own["category_id"], segmentation=own["segmentation"], score=score
        )
        for own in truth.truths
    ]
    return MethodResult(Detections(found, None, True, 0.5), **changes)


def real(index: CocoIndex) -> GroundTruthSet:
    """All objects, without the label that has none."""
    truth = GroundTruthSet.of(index)
    return replace(truth, truths=[own for own in truth.truths if own["id"] != 41])


def damaged(index: CocoIndex) -> GroundTruthSet:
    """Drop a label, shift one, give one another category, and merge two; one has no object."""
    truth = GroundTruthSet.of(index)
    labels: dict[int, GroundTruth] = {own["id"]: own for own in truth.truths}
    del labels[1]
    labels[5] = {**labels[5], "segmentation": square(8, 7)}
    labels[9] = {**labels[9], "category_id": 2}
    labels[13] = {**labels[13], "segmentation": masks.union([square(4, 4), square(4, 16)], SIZE)}
    del labels[14]
    return replace(truth, truths=list(labels.values()))


EXPECTED = {("unlabelled", 1, None), ("outline", 2, 5), ("category", 3, 9), ("merged", 4, 13), ("missed", 5, 41)}


@pytest.mark.parametrize("names", [["net"], ["net", "other"]])
def test_each_kind_of_damage_is_found(index: CocoIndex, names: list[str]) -> None:
    truth = real(index)
    rows = {"net": row(truth), "other": row(truth, 0.8), "oracle": row(truth, oracle=True)}
    suspects = find_suspects(rows, damaged(index), names)
    assert {(own.kind, own.image_id, own.annotation_id) for own in suspects} == EXPECTED
    assert all(list(own.methods) == names and 0.5 <= own.score <= 1 for own in suspects)
    assert find_suspects(rows, truth, names) == []
    assert find_suspects(rows, damaged(index), []) == []
    (swapped,) = [own for own in suspects if own.kind == "category"]
    assert swapped.category_id == 1
    (unlabelled,) = [own for own in suspects if own.kind == "unlabelled"]
    assert unlabelled.found == [square(4, 4)]
    (merged,) = [own for own in suspects if own.kind == "merged"]
    assert merged.found == [square(4, 4), square(4, 16)]


def test_a_method_that_confirms_a_label_speaks_for_it(index: CocoIndex) -> None:
    truth = real(index)
    wrong = damaged(index)
    rows = {"net": row(truth), "labels": row(wrong)}
    assert {own.kind for own in find_suspects(rows, wrong, ["net", "labels"])} <= {"category"}


def test_methods_that_count() -> None:
    none = Detections([], None, False, 0.0)
    classical = {"ranked_by": "area", "technique": "threshold"}
    rows = {
        "net": MethodResult(none, technique="mask_rcnn"),
        "otsu": MethodResult(none, **classical),
        "mean": MethodResult(none, **classical),
        "edges": MethodResult(none, ranked_by="area", technique="edges"),
        "boxes": MethodResult(replace(none, masks=None, boxes=[])),
        "best": MethodResult(none, oracle=True),
    }
    quality = {"net": 0.8, "otsu": 0.5, "mean": 0.6, "edges": 0.3, "boxes": 0.9, "best": 0.9}
    assert voters(rows, list(rows), quality) == ["net", "mean"]
    assert voters(rows, ["edges"], quality) == ["edges"]
    assert voters(rows, [], quality) == []


def test_the_file_is_read_by_pycocotools(index: CocoIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = real(index)
    wrong = damaged(index)
    suspects = find_suspects({"net": row(truth)}, wrong, ["net"])
    write_suspects(tmp_path, suspects, index, wrong, ["net"])
    coco = COCO(str(tmp_path / SUSPECTS))
    capsys.readouterr()
    entries = coco.loadAnns(coco.getAnnIds())
    assert {(own["kind"], own["image_id"]) for own in entries} == {(kind, image) for kind, image, _ in EXPECTED}
    assert sorted(coco.getImgIds()) == [1, 2, 3, 4, 5]
    by_kind = {own["kind"]: own for own in entries}
    assert by_kind["outline"]["id"] == 20
    assert by_kind["category"]["found_category_id"] == 1
    assert by_kind["unlabelled"]["id"] == 104
    assert by_kind["unlabelled"]["bbox"] == [4, 4, SIDE, SIDE]
    assert masks.area([coco.annToRLE(by_kind["unlabelled"])]).tolist() == [SIDE**2]
    assert by_kind["merged"]["methods"] == ["net"]
    assert by_kind["merged"]["found_segmentations"] == [square(4, 4), square(4, 16)]
    assert "found_segmentations" not in by_kind["missed"]
    write_suspects(tmp_path, [], index, wrong, [])
    assert COCO(str(tmp_path / SUSPECTS)).getAnnIds() == []
