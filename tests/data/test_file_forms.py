"""Files in other forms than json with three lists: read as the usual file is, or refused by what they are."""

import contextlib
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from segtrain.data.check.fix import write_fixed
from segtrain.data.check.load import load_index
from segtrain.data.coco.file_forms import three_lists
from segtrain.data.coco.index import CocoIndex
from segtrain.data.split_drawing import write_split
from segtrain.errors import SegtrainError
from tests.data.test_issues import SQUARE, annotation, coco, image

IMAGES = [image(7), image(8)]
USUAL = coco(annotation(id=5), annotation(id=6, image_id=8), annotation(id=9, image_id=8, area=11.5), images=IMAGES)


def by_id(entries: list[dict[str, Any]], *, with_id: bool = True) -> dict[str, Any]:
    return {str(e["id"]): {key: value for key, value in e.items() if with_id or key != "id"} for e in entries}


def of_image(identifier: int) -> list[dict[str, Any]]:
    mine = [entry for entry in USUAL["annotations"] if entry["image_id"] == identifier]
    return [{key: value for key, value in entry.items() if key != "image_id"} for entry in mine]


TEXT = json.dumps(USUAL)
FORMS: dict[str, tuple[bytes | dict[str, Any] | list[Any], str]] = {
    "annotations by id": (USUAL | {"annotations": by_id(USUAL["annotations"])}, "annotations as an object keyed by id"),
    "annotations without id": (
        USUAL | {"annotations": by_id(USUAL["annotations"], with_id=False)},
        "annotations as an object keyed by id",
    ),
    "images by id": (USUAL | {"images": by_id(IMAGES, with_id=False)}, "images as an object keyed by id"),
    "images by name": (
        USUAL | {"images": {e["file_name"]: {k: v for k, v in e.items() if k != "file_name"} for e in IMAGES}},
        "images as an object keyed by id",
    ),
    "categories by id": (USUAL | {"categories": {"3": {"name": "cell"}}}, "categories as an object keyed by id"),
    "names by id": (USUAL | {"categories": {"3": "cell"}}, "categories as an object keyed by id"),
    "annotations by image": (
        USUAL | {"annotations": {"7": of_image(7), "8": of_image(8)}},
        "annotations as an object keyed by id",
    ),
    "a list around it": ([USUAL], "a list around the object"),
    "utf-8 mark": (b"\xef\xbb\xbf" + TEXT.encode(), "a byte-order mark"),
    "utf-16": (TEXT.encode("utf-16"), "encoded in UTF-16 or UTF-32"),
    "utf-16-be": (TEXT.encode("utf-16-be"), "encoded in UTF-16 or UTF-32"),
    "utf-32": (TEXT.encode("utf-32"), "encoded in UTF-16 or UTF-32"),
    "gzip": (gzip.compress(TEXT.encode(), mtime=0), "compressed by gzip"),
    "trailing commas": (
        TEXT.replace("}]", "} ,\n]").replace('"iscrowd": 0', '"iscrowd": 0, "note": ",]", ').encode(),
        "commas before closing brackets",
    ),
    "NaN": (
        TEXT.replace('"iscrowd": 0', '"iscrowd": 0, "confidence": NaN, "depth": -Infinity').encode(),
        "NaN or Infinity, which json does not have",
    ),
}


def write(folder: Path, content: Any) -> Path:
    path = folder / "coco.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def assert_usual(index: CocoIndex) -> None:
    assert [(entry.id, entry.file_name, entry.size) for entry in index.images] == [
        (7, "7.png", (10, 20)),
        (8, "8.png", (10, 20)),
    ]
    assert [(category.id, category.name) for category in index.categories] == [(3, "cell")]
    assert index.annotations.rows["id"].tolist() == [5, 6, 9]
    assert [len(index.truths(identifier)) for identifier in (7, 8)] == [1, 2]
    assert index.truths(8)[1]["area"] == 11.5


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_noted_and_rewritten(form: str, tmp_path: Path) -> None:
    content, noted = FORMS[form]
    index = load_index(write(tmp_path, content))
    assert noted in index.issues["file-form"].examples
    if "without id" not in form and form != "images by name":
        assert_usual(index)
    copy = write_fixed(index, {}, tmp_path / "fixed.json")
    assert (copy.annotations, copy.all_annotations) == (3, 3)
    assert f"the file had another form: {noted}" in copy.log.read_text().splitlines()
    fixed = load_index(copy.path)
    assert not [issue for issue in fixed.issues if issue.severity != "note"]
    assert not fixed.issues["file-form"].count
    assert [len(fixed.truths(entry.id)) for entry in fixed.images] == [1, 2]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_can_be_split(form: str, tmp_path: Path) -> None:
    path = write(tmp_path, FORMS[form][0])
    write_split(path, [1], tmp_path / "split")
    sides = {name: load_index(tmp_path / "split" / f"{name}.json") for name in ("train", "val")}
    assert [entry.file_name for side in sides.values() for entry in side.images] == ["7.png", "8.png"]
    assert [side.counts.used for side in sides.values()] == [1, 2]


def test_the_key_is_the_id_of_an_entry_without_one(tmp_path: Path) -> None:
    index = load_index(write(tmp_path, FORMS["annotations without id"][0]))
    assert_usual(index)
    index = load_index(write(tmp_path, {**USUAL, "images": {"a.png": {"height": 10, "width": 20}}, "annotations": []}))
    assert index.images[0].file_name == "a.png"


def test_the_usual_form_has_no_note(tmp_path: Path) -> None:
    index = load_index(write(tmp_path, USUAL))
    assert_usual(index)
    assert not index.issues["file-form"].count


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer: run git lfs pull"),
        (b"<!DOCTYPE html>\n<html></html>", "a HTML page, as a failed download leaves it"),
        (b"<?xml version='1.0'?><annotations/>", "XML: export the annotations as COCO json"),
        (repr(USUAL).encode(), "text of Python: write it with json.dump"),
        (b"PK\x03\x04abc", "a zip archive: unpack it"),
        (b"\x89PNG\r\n\x1a\n", "a picture: give the COCO json"),
        (gzip.compress(TEXT.encode(), mtime=0)[:60], "a gzip file that cannot be unpacked"),
        (b'{"image_id": 1}\n{"image_id": 2}\n', "one json in each line"),
        (TEXT[:200].encode(), "not a json file"),
        ({"shapes": [], "imagePath": "a.png"}, "these are labels of labelme, .*; convert them: segtrain convert "),
        (
            {"a.png1": {"filename": "a.png", "regions": []}},
            "these are labels of the VGG Image Annotator 2, .*; convert them: segtrain convert .*coco_coco.json",
        ),
        ({"image": {"width": 1}, "annotations": []}, "this is a file for one image, as Segment Anything's"),
        ([{"data": {"image": "a.png"}, "annotations": []}], "this is an export of Label Studio"),
        ([{"file_name": "a.png", "annotations": []}], "a list of Detectron2's records, which names no categories"),
        ([{"image_id": 1, "score": 0.5}], "this is a result file, not the annotations"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_other_files_are_named_for_what_they_are(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match=message) as caught:
        load_index(write(tmp_path, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(30))
def test_damage_to_objects_keyed_by_id_is_no_traceback(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    document: Any = {
        **USUAL,
        **{key: by_id(USUAL[key], with_id=rng.random() < 0.5) for key in ("images", "annotations")},
    }
    target = document[rng.choice(["images", "annotations"])]
    target[rng.choice(list(target))] = rng.choice([None, 5, "x", [], {}, [[]], {"id": {}}, {"id": [SQUARE]}])
    with contextlib.suppress(SegtrainError):
        load_index(write(tmp_path, document), "warn")


def test_other_json_is_left_as_it_is() -> None:
    for content in (b"[]", b"5", b'{"images": {"a": 1}}', b"[{}, {}]", b'{"annotations": 5}'):
        assert three_lists(content) == (content, [])
