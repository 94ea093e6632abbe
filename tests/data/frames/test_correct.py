"""Corrected files: masks, boxes and areas are those from before the change, in memory and in a copy."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segtrain import masks
from segtrain.data.check import command
from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.rules import AnnotationRules
from segtrain.errors import SegtrainError
from tests.data.frames.test_judge import CASES, Case, changed, each, load, nonsense, seeds
from tests.helpers.drawn_frames import BOTH, BOXES, POLYGONS, RUNS, Content, healthy

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
FRAMES = [case for case in CASES if case.issue == "frame"]
# A mask that was scaled has lost pixels; scales are known up to a part of a pixel.
_LEAST = {
    "multiplied by 0.52": 0.7,
    "multiplied by 1.99": 0.7,
    "scaled from the size": 0.7,
    "rows instead of columns, and scaled": 0.7,
}


def overlaps(index: CocoIndex, truth: CocoIndex) -> list[float]:
    """IoU of each mask with the one in another index."""
    pairs = [
        (ours["segmentation"], theirs["segmentation"])
        for image in truth.images
        for ours, theirs in zip(index.truths(image.id), truth.truths(image.id), strict=True)
    ]
    return [float(masks.iou([ours], [theirs], [0])[0, 0]) for ours, theirs in pairs]


def check_restored(index: CocoIndex, truth: CocoIndex, least: float) -> None:
    assert min(overlaps(index, truth)) > least
    for image in truth.images:
        for ours, theirs in zip(index.truths(image.id), truth.truths(image.id), strict=True):
            assert ours["area"] == pytest.approx(theirs["area"], rel=0.25, abs=12)
            assert np.abs(np.subtract(ours["bbox"], theirs["bbox"])).max() <= 2


@given(seeds, st.sampled_from(FRAMES))
def test_masks_are_restored(tmp_path_factory: pytest.TempPathFactory, seed: int, case: Case) -> None:
    folder = tmp_path_factory.mktemp("frames")
    truth = load(folder, healthy(seed, kind=case.kind))
    index = load(folder, changed(seed, case.change, kind=case.kind), frame="auto")
    assert not index.issues.of("error")
    assert case.words.split(" by ")[0] in index.issues["frame-corrected"].examples[0]
    exact = case.kind == "run-length masks" and case.words not in _LEAST
    check_restored(index, truth, 0.9999 if exact else _LEAST.get(case.words, 0.85))


@pytest.mark.parametrize("words", BOXES)
def test_witnesses_are_taken_from_masks(tmp_path: Path, words: str) -> None:
    truth = load(tmp_path, healthy(1))
    index = load(tmp_path, changed(1, BOXES[words]), witnesses="masks")
    assert {issue.kind for issue in index.issues} == {"witnesses-replaced"}
    assert index.issues["witnesses-replaced"].count == 20
    assert all(index.truths(image.id) == truth.truths(image.id) for image in truth.images)
    unchecked = load_index(index.path, "off", AnnotationRules(witnesses="masks"))
    assert all(unchecked.truths(image.id) == truth.truths(image.id) for image in truth.images)


def test_only_the_images_in_another_frame_are_moved(tmp_path: Path) -> None:
    content, others = healthy(1, images=8), changed(1, POLYGONS["multiplied by 0.5263"], images=8)
    truth = load(tmp_path, content)
    for place, annotation in enumerate(content["annotations"]):
        if annotation["image_id"] % 2:
            content["annotations"][place] = others["annotations"][place]
    index = load(tmp_path, content, frame="auto")
    assert index.issues["frame-corrected"].count == 20
    assert "20 polygons are multiplied by 0.5263" in index.issues["frame-corrected"].examples[0]
    check_restored(index, truth, 0.85)
    assert sum(overlap == 1 for overlap in overlaps(index, truth)) >= 20


def test_a_size_can_be_given(tmp_path: Path) -> None:
    def enlarge(content: Content) -> None:
        for image in content["images"]:
            image |= {"height": 120, "width": 200}
        BOTH["multiplied by 0.52"](content)
        for annotation, _, _ in each(content):
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]

    same_size = healthy(1)
    for image in same_size["images"]:
        image |= {"height": 120, "width": 200}
    truth = load(tmp_path, same_size)
    index = load(tmp_path, changed(1, enlarge), frame=[228, 380])
    assert index.issues["frame-corrected"].examples == [
        "coco.json: 20 polygons are scaled from images of 380 x 228 pixels"
    ]
    check_restored(index, truth, 0.85)
    with pytest.raises(SegtrainError, match="as those of images of another size"):
        load_index(index.path, "strict", AnnotationRules(frame=[160, 200]))


def test_nothing_is_corrected_without_a_finding(tmp_path: Path) -> None:
    index = load(tmp_path, healthy(1), frame="auto")
    assert not list(index.issues)
    assert index.counts.repaired == 0
    with pytest.raises(SegtrainError, match=r"data\.check=warn"):
        load_index(index.path, "off", AnnotationRules(frame="auto"))


def write(folder: Path, content: Content) -> Path:
    """Write a file and its images."""
    rng = np.random.default_rng(0)
    for image in content["images"]:
        grey = rng.integers(0, 256, (image["height"], image["width"]), dtype=np.uint8)
        Image.fromarray(grey).save(folder / image["file_name"])
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("case", [
    Case("mirrored horizontally", POLYGONS["mirrored horizontally"]),
    Case("with y negated", BOTH["with y negated"]),
    Case("begin with 1s", RUNS["begin with 1s"], kind="run-length masks"),
])  # fmt: skip
def test_a_copy_holds_corrected_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: Case) -> None:
    truth = load(tmp_path, healthy(1, kind=case.kind))
    content = changed(1, case.change, kind=case.kind)
    path, fixed = write(tmp_path, content), tmp_path / "fixed.json"
    assert command.main([str(path), str(tmp_path), "--fix", str(fixed)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "masks in another frame than their boxes or images" in shown
    assert f"Corrected: {fixed}, all 20 annotations and 4 images kept" in shown
    log = fixed.with_suffix(".log").read_text().splitlines()
    assert log[1].startswith(f"masks moved into the frame of their images: coco.json: 20 {case.kind} are ")
    assert case.words in log[1]
    copy = load_index(fixed, "strict")
    assert min(overlaps(copy, truth)) > 0.85
    assert (copy.counts.used, copy.counts.repaired) == (20, 0)
    written = json.loads(fixed.read_text())
    for before, after in zip(content["annotations"], written["annotations"], strict=True):
        assert before["segmentation"] != after["segmentation"]
        assert before["area"] == after["area"]
        assert (before["bbox"] == after["bbox"]) == (case.words != "with y negated")


def test_a_copy_holds_witnesses_from_masks(tmp_path: Path) -> None:
    path, fixed = write(tmp_path, changed(1, nonsense)), tmp_path / "fixed.json"
    assert command.main([str(path), str(tmp_path), "--fix", str(fixed), "--witnesses", "masks"]) == 0
    assert [annotation["bbox"] for annotation in json.loads(fixed.read_text())["annotations"]] == [
        annotation["bbox"] for annotation in healthy(1)["annotations"]
    ]
    assert "boxes and areas taken from masks: coco.json: 20" in fixed.with_suffix(".log").read_text()


def test_no_copy_is_written_of_masks_in_an_unknown_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = changed(1, nonsense)
    for annotation, _, _ in each(content):
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    path, fixed = write(tmp_path, content), tmp_path / "fixed.json"
    assert command.main([str(path), str(tmp_path), "--fix", str(fixed)]) == 1
    assert "no known frame makes them agree; no corrected copy is written" in capsys.readouterr().err
    assert not fixed.exists()


@pytest.mark.parametrize(("given_size", "text"), [
    ("228", "228 is neither stored nor auto, nor a size H,W"), ("228,0", "0 is not a whole number from 1"),
])  # fmt: skip
def test_a_size_must_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str], given_size: str, text: str) -> None:
    assert command.main([str(tmp_path / "coco.json"), str(tmp_path), "--frame", given_size]) == 1
    assert text in capsys.readouterr().err
