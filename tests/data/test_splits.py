"""Opening the splits: what is needed, nothing else, and one line for everything that can be wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from segtrain.data.coco.index import require_instances
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.splits import (
    Split,
    check_images,
    drop_unreadable,
    fingerprint_of,
    open_splits,
    same_contents,
    save_split,
)
from segtrain.errors import SegtrainError

SQUARE = [[1, 1, 4, 1, 4, 4, 1, 4]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, ids in (("train", range(10, 30)), ("val", range(5))):
        (tmp_path / name).mkdir()
        for i in ids:
            Image.new("L", (8, 8)).save(tmp_path / name / f"{i}.png")
        write(tmp_path / f"{name}.json", list(ids))
    return tmp_path


def write(path: Path, ids: list[int], names: tuple[str, ...] = ("a", "b"), **changes: Any) -> None:
    annotation = {"category_id": 1, "segmentation": SQUARE} | changes
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 8, "width": 8} for i in ids],
        "annotations": [annotation | {"image_id": i} for i in ids],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
    }
    path.write_text(json.dumps(content))


def open_with(root: Path, **changes: Any) -> dict[Any, Split]:
    given = {
        "root": root,
        "train_annotations": "train.json",
        "train_images": "train",
        "val_annotations": "val.json",
        "val_images": "val",
        "val_fraction": None,
        "exif": "auto",
        "max_image_pixels": 10**6,
        "check": "strict",
        "seed": 0,
        "need": ("train", "val"),
    }
    return open_splits(**given | changes)  # type: ignore[arg-type]


def ids(split: Split) -> list[int]:
    return [image.id for image in split.index.images]


def test_two_files(root: Path) -> None:
    splits = open_with(root)
    assert ids(splits["train"]) == list(range(10, 30))
    assert ids(splits["val"]) == list(range(5))
    assert [check_images(split).folder.name for split in splits.values()] == ["train", "val"]


def test_only_what_is_needed_is_opened(root: Path) -> None:
    (root / "train.json").unlink()
    for absent in ("absent.json", None):
        splits = open_with(root, train_annotations=absent, train_images=absent, need=["val"])
        assert list(splits) == ["val"]
    assert open_with(root, val_images=None, train_images=None, need=["val"])["val"].images is None
    fallback = open_with(root, val_images=None, need=["val"])["val"].images
    assert fallback is not None
    assert fallback.folder == root / "train"
    assert open_with(root, val_images=None, need=["val"], images="welcome")["val"].images is None


def test_a_fraction_splits_one_file_by_image(root: Path) -> None:
    one = {"val_annotations": None, "val_images": None, "val_fraction": 0.25}
    splits = open_with(root, **one)
    assert len(ids(splits["val"])) == 5
    assert sorted(ids(splits["train"]) + ids(splits["val"])) == list(range(10, 30))
    assert splits["val"].images == ImageReader(root / "train", "auto", 10**6)
    assert ids(open_with(root, **one, need=["val"])["val"]) == ids(splits["val"])
    assert ids(open_with(root, **one, seed=1)["val"]) != ids(splits["val"])
    write(root / "train.json", list(reversed(range(10, 30))))
    assert set(ids(open_with(root, **one)["val"])) == set(ids(splits["val"]))


def patients(root: Path, *names: Any) -> None:
    """Give the training images a patient each, these in turn."""
    content = json.loads((root / "train.json").read_text())
    for image, name in zip(content["images"], names * 20, strict=False):
        image["extra"] = {"patient": name}
    (root / "train.json").write_text(json.dumps(content))


def test_images_of_a_group_stay_together(root: Path) -> None:
    one = {"val_annotations": None, "val_images": None, "val_fraction": 0.25, "split_by": "extra.patient"}
    patients(root, "ann", 7, "bob", 2.5)
    splits = open_with(root, **one)
    assert len(ids(splits["val"])) == 5
    assert len({i % 4 for i in ids(splits["val"])}) == 1  # every fourth image is of the same patient
    assert ids(open_with(root, **one | {"split_by": "file_name"})["val"]) != ids(splits["val"])
    assert ids(open_with(root, **one, val_ids=[11, 12])["val"]) == [11, 12]


def test_folds_are_validated_on_in_turn(root: Path) -> None:
    patients(root, "ann", 7, "bob", 2.5)
    one: dict[str, Any] = {"val_annotations": None, "val_images": None, "folds": 4}
    for more in ({}, {"split_by": "extra.patient"}):
        drawn = [open_with(root, **one, **more, fold=fold) for fold in range(4)]
        assert [len(ids(splits["val"])) for splits in drawn] == [5] * 4
        assert sorted(i for splits in drawn for i in ids(splits["val"])) == list(range(10, 30))
        for splits in drawn:
            assert sorted(ids(splits["train"]) + ids(splits["val"])) == list(range(10, 30))
            assert more == {} or len({i % 4 for i in ids(splits["val"])}) == 1
    assert ids(open_with(root, **one, fold=0, seed=1)["val"]) != ids(open_with(root, **one, fold=0)["val"])
    assert ids(open_with(root, **one, fold=0, val_ids=[11, 12])["val"]) == [11, 12]


def test_a_drawn_split_is_recorded_as_two_files(root: Path) -> None:
    one: dict[str, Any] = {"val_annotations": None, "val_images": None}
    drawn = open_with(root, **one, val_fraction=0.25)
    save_split(drawn, root / "run")
    files = {f"{name}_annotations": str(root / "run" / "split" / f"{name}.json") for name in ("train", "val")}
    again = open_with(root, **files, val_images=None)
    for name, split in drawn.items():
        assert list(again[name].index.images) == list(split.index.images)
        assert again[name].index.categories == split.index.categories
        assert [again[name].index.truths(i) != [] for i in ids(split)] == [True] * len(ids(split))
        assert again[name].images == split.images
        assert again[name].entries is None
    save_split(again, root / "other")
    assert not (root / "other").exists()
    save_split(open_with(root, **one, val_ids=[12, 11]), root / "known")
    assert [image["id"] for image in json.loads((root / "known/split/val.json").read_text())["images"]] == [11, 12]


def test_images_that_cannot_be_read_are_recorded_where_they_were_drawn(root: Path) -> None:
    drawn = open_with(root, val_annotations=None, val_images=None, val_ids=[11, 12, 13])
    (root / "train" / "12.png").write_bytes(b"broken")
    save_split({**drawn, "val": drop_unreadable(drawn["val"])}, root)
    assert [image["id"] for image in json.loads((root / "split/val.json").read_text())["images"]] == [11, 12, 13]


def test_known_ids_win_over_drawing(root: Path) -> None:
    for fraction in (0.25, None):
        splits = open_with(root, val_annotations=None, val_fraction=fraction, val_ids=[12, 11], seed=9)
        assert ids(splits["val"]) == [11, 12]
        assert len(ids(splits["train"])) == 18


def test_annotations_for_evaluation_alone_win_over_a_fraction(root: Path) -> None:
    assert ids(open_with(root, val_fraction=0.5, val_ids=[11], need=["val"])["val"]) == list(range(5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_annotations": None}, r"data\.train_annotations is null; give"),
        ({"train_images": None}, r"data\.train_images is null; give"),
        ({"val_annotations": None}, r"data\.val_annotations is null; give a COCO json, or data\.val_fraction"),
        (
            {"val_annotations": None, "val_fraction": 0.5, "train_annotations": None},
            r"data\.train_annotations is null",
        ),
        ({"train_annotations": "x.json"}, r"x\.json: no such file; set data\.train_annotations"),
        ({"val_annotations": "val"}, r"val: no such file; set data\.val_annotations"),
        ({"train_images": "x"}, r"x: no such image folder; set data\.train_images"),
        ({"val_images": "x"}, r"x: no such image folder; set data\.val_images"),
        ({"val_fraction": 0.5}, r"data\.val_annotations and data\.val_fraction exclude each other"),
        *(
            ({"val_annotations": None, "val_fraction": fraction}, rf"data\.val_fraction={fraction} lies outside")
            for fraction in (0, 1, -0.5, 2, float("nan"))
        ),
        ({"val_annotations": None, "val_fraction": 0.001}, r"leaves one split of .*train\.json \(20 images\) empty"),
        ({"val_annotations": None, "val_fraction": 0.999}, r"leaves one split"),
        ({"split_by": "patient"}, r"data\.split_by=patient says how to draw a split, but data\.val_fraction and"),
        (
            {"val_annotations": None, "val_fraction": 0.5, "split_by": "height"},
            r"all images have the height 8, so data",
        ),
        ({"val_annotations": None, "val_fraction": 0.5, "split_by": "slide"}, r"no image has the field 'slide'"),
        ({"val_annotations": None, "folds": 21, "fold": 0}, r"data\.folds=21 is more than its 20 images; give fewer"),
        (
            {"val_annotations": None, "folds": 4, "fold": 0, "split_by": "file_name", "train_annotations": "few.json"},
            r"data\.folds=4 is more than its 3 groups of images",
        ),
        ({"val_annotations": None, "val_ids": [11, 77, 99]}, r"lacks 2 of the 3 validation images .* first id 77"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_in_one_line(root: Path, changes: dict[str, Any], message: str) -> None:
    write(root / "few.json", [10, 11, 12])
    with pytest.raises(SegtrainError, match=message) as caught:
        open_with(root, **changes)
    assert "\n" not in str(caught.value)


def test_there_must_be_something_to_learn(root: Path) -> None:
    write(root / "train.json", [10, 11], iscrowd=1)
    with pytest.raises(SegtrainError, match=r"train\.json: no object to learn from: 2 annotations, all crowd regions"):
        require_instances(open_with(root, check="warn")["train"].index)
    write(root / "val.json", [1], segmentation=[])
    assert open_with(root, need=["val"])["val"].index.counts.dropped == 1


def test_all_images_are_looked_for_at_once(root: Path) -> None:
    for i in (3, 1):
        (root / "val" / f"{i}.png").unlink()
    split = open_with(root)["val"]
    with pytest.raises(SegtrainError, match=r"1\.png: no such image \(2 of 5 are missing\); set data\.val_images"):
        check_images(split)
    with pytest.raises(SegtrainError, match=r"data\.val_images is null; give the folder"):
        check_images(Split("val", split.index, None))


def test_the_fingerprint_covers_boxes_and_areas_by_their_values(root: Path) -> None:
    def fingerprint(**changes: Any) -> str:
        write(root / "val.json", list(range(5)), **changes)
        return fingerprint_of(open_with(root, need=["val"], check="warn")["val"])

    bare = fingerprint()
    stated = fingerprint(bbox=[1, 1, 3, 3], area=9)
    others = [fingerprint(bbox=[1, 1, 3, 4], area=9), fingerprint(bbox=[1, 1, 3, 3], area=12), fingerprint(area=9)]
    assert len({bare, stated, *others}) == 5
    assert fingerprint(bbox=[1.0, 1, 3.0, 3e0], area=9.0) == stated
    assert fingerprint(bbox=["1", 1, 3, 3], area=9) == stated  # in another form
    for invalid in ([1, 1, -3, 3], [90, 1, 3, 3], [1, 1], None):  # the box is that of the mask
        assert fingerprint(bbox=invalid, area=9) == others[-1]


def test_the_fingerprint_covers_categories_by_the_names_of_those_that_have_annotations(root: Path) -> None:
    def fingerprint(*names: str, label: int) -> str:
        write(root / "val.json", list(range(5)), names, category_id=label)
        return fingerprint_of(open_with(root, need=["val"], check="warn")["val"])

    first = fingerprint("a", "b", label=1)
    assert fingerprint("b", "a ", "c", label=2) == first  # of another order, and with one that has no annotations
    assert fingerprint("a", "b", label=2) != first
    assert fingerprint("c", "b", label=1) != first


def test_a_copy_of_remote_images_is_the_same_data_and_a_changed_image_is_not(root: Path) -> None:
    def opened(images: str) -> Split:
        return open_with(root, need=["val"], val_images=images)["val"]

    here, remote = (fingerprint_of(opened(place)) for place in ("val", f"file://{root}/val"))
    assert here != remote
    assert same_contents(here, remote)
    assert same_contents(remote, here)
    assert same_contents(here, fingerprint_of(replace(opened("val"), images=None)))
    Image.new("L", (8, 8)).save(root / "val" / "2.png", compress_level=0)
    changed = fingerprint_of(opened("val"))
    assert not same_contents(here, changed)
    assert same_contents(remote, changed)
    write(root / "val.json", list(range(5)), category_id=2)
    assert not same_contents(remote, fingerprint_of(opened(f"file://{root}/val")))


def test_a_changed_image_is_seen_among_many(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also beside fingerprints of before, which covered a few of many files."""

    def fingerprint() -> str:
        return fingerprint_of(open_with(root, need=["val"])["val"])

    monkeypatch.setattr("segtrain.data.splits._SAMPLED", 2)  # the first and the last
    before = fingerprint()
    of_before = before.rpartition("-")[0]
    assert len(of_before.split("-")) == 2
    assert same_contents(before, of_before)
    Image.new("L", (8, 8)).save(root / "val" / "2.png", compress_level=0)
    assert not same_contents(before, fingerprint())
    assert same_contents(of_before, fingerprint())
    Image.new("L", (8, 8)).save(root / "val" / "0.png", compress_level=0)
    assert not same_contents(of_before, fingerprint())
