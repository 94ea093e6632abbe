"""Verdicts on files whose masks, boxes or areas were changed as tools and people change them."""

import json
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import FRAME_ERRORS
from segtrain.data.coco.rules import AnnotationRules
from segtrain.errors import SegtrainError
from tests.helpers.drawn_frames import (
    BOTH,
    BOXES,
    POLYGONS,
    RUNS,
    Content,
    each,
    healthy,
    move_boxes,
    move_points,
    rewrite_runs,
    runs,
)

REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")).absolute() / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="SEGTRAIN_REAL_DATA names no folder with real data")
# pycocotools 2.0.11 under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
Change = Callable[[Content], None]
seeds = st.integers(0, 2**32 - 1)
WHOLE = (*FRAME_ERRORS, "boxes-wrong", "areas-wrong")


def load(folder: Path, content: Content, **rules: Any) -> CocoIndex:
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    return load_index(path, "warn", AnnotationRules(**rules))


def changed(seed: int, change: Change, **settings: Any) -> Content:
    content = healthy(seed, **settings)
    change(content)
    return content


def found(index: CocoIndex) -> dict[str, str]:
    return {kind: index.issues[kind].examples[0] for kind in WHOLE if index.issues[kind].count}


def test_masks_without_a_pixel_are_in_no_frame(tmp_path: Path) -> None:
    content = healthy(4, kind="run-length masks")
    for annotation, height, width in each(content):
        annotation["segmentation"]["counts"] = [height * width]
    index = load(tmp_path, content)
    assert not found(index)
    assert index.issues["object-without-pixel"].count == len(content["annotations"])


@pytest.mark.parametrize("case", ["begin with 1s", "along rows instead of columns", "along rows that begin with 1s"])
def test_shapes_betray_run_lengths_without_boxes(case: str, tmp_path: Path) -> None:
    right = healthy(6, images=6, kind="run-length masks")
    content = deepcopy(right)
    RUNS[case](content)
    for annotation, _, _ in (*each(content), *each(right)):
        del annotation["bbox"], annotation["area"]
    assert not found(load(tmp_path, right))
    truths = [load(tmp_path, right).objects(place)[1] for place in range(6)]
    assert case in found(load(tmp_path, content))["frame"]
    index = load(tmp_path, content, frame="auto")
    assert [index.objects(place)[1] for place in range(6)] == truths


def test_one_region_of_each_image_may_cover_it(tmp_path: Path) -> None:
    content = healthy(6, images=6, objects=1, kind="run-length masks")
    RUNS["begin with 1s"](content)
    for annotation, _, _ in each(content):
        del annotation["bbox"], annotation["area"]
    assert not found(load(tmp_path, content))


def test_masks_in_the_corners_of_all_images_are_said(tmp_path: Path) -> None:
    content = changed(2, BOTH["multiplied by 1.99"], images=5)
    for annotation, _, _ in each(content):
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    index = load(tmp_path, content)
    assert index.issues["masks-in-corner"].count == 25
    assert not load(tmp_path, healthy(2, images=5)).issues["masks-in-corner"].count


def test_masks_that_are_their_boxes_are_counted(tmp_path: Path) -> None:
    content = healthy(3)
    assert not load(tmp_path, content).issues["mask-is-box"].count
    for annotation, _, _ in list(each(content))[::5]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    index = load(tmp_path, content)
    assert (index.issues["mask-is-box"].count, index.counts.used) == (4, 20)


def test_boxes_of_zeros_are_no_witnesses(tmp_path: Path) -> None:
    """Tools write them where they know no box; every mask agrees with one once it is multiplied by 0."""
    content = changed(3, move_boxes(lambda box, height, width: [0, 0, 0, 0]))
    index = load(tmp_path, content)
    assert not found(index)
    assert index.issues["box-invalid"].count == len(content["annotations"])


@given(seeds, st.sampled_from(["polygons", "run-length masks"]))
def test_healthy_files_are_not_doubted(tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str) -> None:
    index = load(tmp_path_factory.mktemp("healthy"), healthy(seed, kind=kind))
    assert not list(index.issues)


SLIGHT: dict[str, Change] = {
    "boxes from 1": move_boxes(lambda b, h, w: [b[0] + 1, b[1] + 1, b[2], b[3]]),
    "boxes to the last pixel": move_boxes(lambda b, h, w: [b[0], b[1], b[2] - 1, b[3] - 1]),
    "polygons from 1": move_points(lambda x, y, h, w, b: (x + 1, y + 1)),
    "whole pixels": move_points(lambda x, y, h, w, b: (np.round(x), np.round(y))),
    "half pixels": move_points(lambda x, y, h, w, b: (x + 0.5, y + 0.5)),
}


@given(seeds, st.sampled_from(list(SLIGHT)))
def test_slight_differences_are_no_other_frame(tmp_path_factory: pytest.TempPathFactory, seed: int, name: str) -> None:
    index = load(tmp_path_factory.mktemp("slight"), changed(seed, SLIGHT[name]))
    assert found(index) == {}


@pytest.mark.parametrize("area", ["box", "micrometres", "missing", "nothing"])
def test_areas_of_another_kind_are_no_frame(tmp_path: Path, area: str) -> None:
    content = healthy(3)
    for annotation, _, _ in each(content):
        of_box = annotation["bbox"][2] * annotation["bbox"][3]
        areas = {"box": of_box, "micrometres": 0.01 * annotation["area"], "missing": None, "nothing": 0}
        annotation["area"] = areas[area]
    index = load(tmp_path, content)
    assert set(found(index)) == ({"areas-wrong"} if area == "micrometres" else set())
    assert index.issues["areas-of-boxes"].count == (area == "box")
    assert load(tmp_path, content, witnesses="masks").issues["areas-of-boxes"].count == 0


class Case(NamedTuple):
    """Change of a healthy file, and what is said of it."""

    words: str
    change: Change
    issue: str = "frame"
    kind: str = "polygons"


CASES = [
    *(Case(words, change) for table in (POLYGONS, BOTH) for words, change in table.items()),
    *(Case(words, change, kind="run-length masks") for words, change in RUNS.items()),
    *(Case(words, change, "boxes-wrong") for words, change in BOXES.items()),
]


@pytest.mark.few(16)
@pytest.mark.parametrize("case", CASES)
def test_frames_and_meanings_of_boxes_are_named(tmp_path: Path, case: Case) -> None:
    index = load(tmp_path, changed(1, case.change, kind=case.kind))
    assert list(found(index)) == [case.issue]
    assert case.words in found(index)[case.issue]


@given(seeds, st.sampled_from(CASES))
def test_frames_are_named_in_any_file(tmp_path_factory: pytest.TempPathFactory, seed: int, case: Case) -> None:
    index = load(tmp_path_factory.mktemp("frames"), changed(seed, case.change, kind=case.kind))
    assert list(found(index)) == [case.issue]
    assert case.words.split(" by ")[0] in found(index)[case.issue]  # scales are estimated


def test_boxes_in_other_forms_are_witnesses_too(tmp_path: Path) -> None:
    content = changed(1, POLYGONS["mirrored horizontally"])
    for annotation, _, _ in each(content):
        annotation["bbox"] = dict(zip(("x", "y", "width", "height"), map(str, annotation["bbox"]), strict=True))
    assert "mirrored horizontally" in found(load(tmp_path, content))["frame"]


def nonsense(content: Content) -> None:
    rng = np.random.default_rng(0)
    for annotation, height, width in each(content):
        corner = rng.uniform(0, [width / 2, height / 2])
        annotation["bbox"] = [*corner.tolist(), *rng.uniform(3, [width / 2, height / 2]).tolist()]


def test_areas_decide_whether_nonsense_boxes_are_wrong(tmp_path: Path) -> None:
    content = changed(1, nonsense)
    content["annotations"][4]["bbox"] = healthy(1)["annotations"][4]["bbox"]
    index = load(tmp_path, content)
    assert found(index) == {
        "boxes-wrong": "coco.json: 19 of 20 boxes contradict their masks; areas agree with the masks, so the boxes are "
        "wrong"
    }
    load_index(index.path, "strict")
    for annotation, _, _ in each(content):
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    index = load(tmp_path, content)
    assert list(found(index)) == ["frame-unknown"]
    with pytest.raises(SegtrainError, match=r"no known frame.*data.witnesses=masks"):
        load_index(index.path, "strict")
    assert found(load(tmp_path, content, witnesses="masks")) == {}


def test_the_size_of_the_image_is_a_witness(tmp_path: Path) -> None:
    def enlarge(content: Content) -> None:
        BOTH["multiplied by 0.52"](content)
        for annotation, _, _ in each(content):
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]

    index = load(tmp_path, changed(1, enlarge))
    text = found(index)["frame-outside"]
    assert "coordinates reach 1.8 times the width and 1.7 times the height" in text
    with pytest.raises(SegtrainError, match=r"set data.frame=\[H, W\]"):
        load_index(index.path, "strict")


def test_images_that_were_cut_are_named(tmp_path: Path) -> None:
    index = load(tmp_path, changed(1, BOTH_SHIFTED))
    assert "as if images were cut out of larger ones" in found(index)["frame-outside"]


def BOTH_SHIFTED(content: Content) -> None:  # noqa: N802 - beside the tables of the helpers
    for annotation, _, _ in each(content):
        annotation["segmentation"] = [[value + 1000 for value in ring] for ring in annotation["segmentation"]]
        annotation["bbox"][:2] = [value + 1000 for value in annotation["bbox"][:2]]


def test_tiles_whose_objects_reach_beyond_all_sides_pass(tmp_path: Path) -> None:
    content = healthy(5, images=6, objects=8)
    for number, (annotation, height, width) in enumerate(each(content)):
        x, y = annotation["bbox"][:2]
        move = [(-x - 16, 0), (width - x - 6, 0), (0, -y - 12), (0, height - y - 5)][number % 4]
        ring = np.array(annotation["segmentation"][0]).reshape(-1, 2) + move
        annotation["segmentation"] = [ring.ravel().tolist()]
        annotation["bbox"][:2] = [x + move[0], y + move[1]]
    assert found(load(tmp_path, content)) == {}


def test_two_annotations_are_too_few_for_a_frame(tmp_path: Path) -> None:
    index = load(tmp_path, changed(1, POLYGONS["multiplied by 2"], images=1, objects=2))
    assert found(index) == {}
    assert index.issues["box-contradicts-mask"].count == 2


def test_one_inverted_mask_is_enough(tmp_path: Path) -> None:
    content = healthy(1, kind="run-length masks")
    worse = deepcopy(content)
    RUNS["begin with 1s"](worse)
    content["annotations"][7] = worse["annotations"][7]
    text = found(load(tmp_path, content))["frame"]
    area = content["annotations"][7]["area"]
    image = content["images"][1]
    assert f"(area {area}, mask {image['height'] * image['width'] - area} pixels)" in text
    assert "1 of 20 run-length masks" in text


def test_frames_of_both_kinds_are_told_apart(tmp_path: Path) -> None:
    content, others = changed(1, POLYGONS["mirrored horizontally"]), healthy(2, kind="run-length masks")
    rewrite_runs(lambda plane: runs(plane[::-1]))(others)
    for annotation in others["annotations"]:
        annotation["image_id"] += 10
        annotation["id"] += 100
    for image in others["images"]:
        image |= {"id": image["id"] + 10, "file_name": f"b{image['file_name']}"}
    content["images"] += others["images"]
    content["annotations"] += others["annotations"]
    index = load(tmp_path, content)
    assert index.issues["frame"].count == 2
    first, second = index.issues["frame"].examples
    assert "polygons" in first
    assert "mirrored horizontally" in first
    assert "run-length masks" in second
    assert "mirrored vertically" in second


@needs_real_data
@pytest.mark.parametrize("name", [
    "nuclei/annotations/instances_train.json", "nuclei/annotations/instances_val.json",
    "coco/annotations/instances_train2017.json", "coco/annotations/instances_val2017.json",
    "evaluator_reference/ground_truth.json",
])  # fmt: skip
def test_real_files_are_not_doubted(name: str) -> None:
    index = load_index(REAL / name, "strict")
    assert found(index) == {}
    assert index.issues["areas-of-boxes"].count == 0


@needs_real_data
@pytest.mark.parametrize(("case", "text"), [
    ("rle_first_run_forgotten", "(area 252, mask 8708 pixels)"),
    ("polygons_of_original_size", "coordinates reach 1.8 times the width"),
])  # fmt: skip
@pytest.mark.parametrize("split", ["train", "val"])
def test_real_cases_stop(case: str, text: str, split: str) -> None:
    with pytest.raises(SegtrainError) as caught:
        load_index(REAL / "cases" / case / f"{split}.json", "strict")
    assert text in str(caught.value)


def test_coco_reads_the_drawn_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The helper writes what pycocotools takes for the same masks."""
    for kind in ("polygons", "run-length masks"):
        path = tmp_path / "coco.json"
        path.write_text(json.dumps(content := healthy(4, kind=kind)))
        reference = COCO(str(path))
        for annotation in content["annotations"]:
            assert reference.annToMask(annotation).sum() == annotation["area"]
