"""Several COCO files of one set: one data set, whatever their ids are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segtrain
from segtrain.data.check import command
from segtrain.data.check.load import load_index
from segtrain.data.coco import joined_files
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.joined_files import annotation_file
from segtrain.data.splits import open_splits, save_split
from segtrain.errors import SegtrainError
from tests.data.test_issues import CELL, FAR, annotation, coco, image

DEBRIS = {"id": 3, "name": "debris"}
FIRST = coco(annotation(id=1), annotation(id=2, image_id=8), images=[image(7), image(8)])


def join(folder: Path, *contents: dict[str, Any], check: Any = "strict") -> CocoIndex:
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"part{number}.json")
        paths[-1].write_text(json.dumps(content))
    return load_index(annotation_file(paths), check)


def told(index: CocoIndex) -> list[tuple[str, str, float]]:
    """File name, category and area of every object."""
    names = {category.id: category.name for category in index.categories}
    return [
        (entry.file_name, names[truth["category_id"]], truth["area"])
        for entry in index.images
        for truth in index.truths(entry.id)
    ]


def test_other_images_under_the_same_ids_stay_apart(tmp_path: Path) -> None:
    images = [image(7, file_name="x.png"), image(9, file_name="y.png")]
    second = coco(annotation(id=1, area=13), annotation(id=2, image_id=9, area=14), images=images)
    index = join(tmp_path, FIRST, second)
    assert told(index) == [
        ("7.png", "cell", 12),
        ("8.png", "cell", 12),
        ("x.png", "cell", 13),
        ("y.png", "cell", 14),
    ]
    assert [entry.id for entry in index.images] == [7, 8, 10, 9]
    assert index.annotations.rows["id"].tolist() == [1, 2, 3, 4]
    assert not index.issues.of("error") + index.issues.of("warning")
    assert "part1.json: 1 image ids occur in an earlier file, and are replaced" in index.issues["files-joined"].examples


def test_one_image_in_both_files_is_one_image(tmp_path: Path) -> None:
    """As where each category, or each annotator, has a file."""
    second = coco(annotation(id=1, image_id=70, area=13), images=[image(70, file_name="7.png")], categories=[DEBRIS])
    index = join(tmp_path, FIRST, second)
    assert told(index) == [("7.png", "cell", 12), ("7.png", "debris", 13), ("8.png", "cell", 12)]
    assert [(category.id, category.name) for category in index.categories] == [(3, "cell"), (4, "debris")]


def test_what_two_files_share_counts_once(tmp_path: Path) -> None:
    again = annotation(id=5), annotation(id=6, segmentation=[FAR], bbox=[10, 2, 4, 3])
    second = coco(*again, again[0] | {"id": 7}, images=[image(7)])
    index = join(tmp_path, FIRST, second)
    assert index.counts.used == 3
    said = json.loads(annotation_file([tmp_path / "part0.json", tmp_path / "part1.json"]).read_text())[
        "segtrain_joined"
    ]
    assert "part1.json: 2 annotation entries are those of an earlier file, with the same mask" in said
    boxes = [annotation(id=n, segmentation=[]) for n in (1, 2)]
    assert len(join(tmp_path, coco(boxes[0]), coco(boxes[1]), check="warn").annotations.rows) == 2


def test_categories_are_those_of_the_same_name(tmp_path: Path) -> None:
    second = coco(
        annotation(id=5, image_id=9, category_id=1, area=13),
        annotation(id=6, image_id=9, category_id="2", area=14),
        images=[image(9)],
        categories=[{"id": 1, "name": "debris"}, {"id": 2, "name": "cell"}],
    )
    index = join(tmp_path, FIRST, second)
    assert [(category.id, category.name) for category in index.categories] == [(1, "debris"), (3, "cell")]
    assert told(index)[2:] == [("9.png", "debris", 13), ("9.png", "cell", 14)]


def test_an_unknown_image_does_not_become_one_of_another_file(tmp_path: Path) -> None:
    index = join(tmp_path, FIRST, coco(annotation(id=5, image_id=7), images=[image(9)]), check="warn")
    assert index.issues["unknown-image"].examples == ["annotation 5 names the unknown image '7 in part1.json'"]
    assert len(told(index)) == 2


def test_odd_entries_are_named_as_in_a_single_file(tmp_path: Path) -> None:
    second = {**coco(annotation(id=5, image_id=9), 5, annotation(id=None, image_id=9)), "images": [image(9), 4]}
    index = join(tmp_path, FIRST, second, check="warn")
    assert index.issues["wrong-type"].count == 2
    assert len(told(index)) == 4


def test_three_files_and_their_forms(tmp_path: Path) -> None:
    third = {**coco(images=[image(9)]), "annotations": {"1": annotation(id=1, image_id=9, area=13)}}
    index = join(tmp_path, FIRST, FIRST, third)
    assert [name for name, _, _ in told(index)] == ["7.png", "8.png", "9.png"]
    path = annotation_file([tmp_path / f"part{number}.json" for number in range(3)])
    notes = json.loads(path.read_text())["segtrain_joined"]
    assert notes[0] == "3 files: part0.json, part1.json, part2.json"
    assert "part2.json had another form: annotations as an object keyed by id" in notes
    assert "part1.json: 2 image entries are those of an earlier file, by name" in notes


def test_the_joined_file_is_written_once_and_again_after_a_change(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, number in zip(paths, (7, 9), strict=True):
        path.write_text(json.dumps(coco(annotation(image_id=number), images=[image(number)])))
    joined = annotation_file(paths)
    written = joined.stat().st_mtime_ns
    assert joined.name == "a+b.json"
    assert (annotation_file(["a.json", "b.json"], tmp_path), joined.stat().st_mtime_ns) == (joined, written)
    paths[1].write_text(json.dumps(coco(annotation(image_id=10), images=[image(10)])))
    assert [entry.id for entry in load_index(annotation_file(paths)).images] == [7, 10]
    assert annotation_file([paths[0]]) == annotation_file(paths[0]) == paths[0]


def test_few_joined_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(joined_files, "_KEPT", 2)
    for number in range(4):
        join(tmp_path, FIRST, coco(images=[image(9 + number)]))
    assert len(list((tmp_path / "cache" / "segtrain" / "joined").iterdir())) == 2


def test_what_cannot_be_joined_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text(json.dumps(FIRST))
    (tmp_path / "bad.json").write_text("{")
    for given, message in (
        (["a.json", "none.json"], r"none\.json: no such file"),
        (["a.json", "bad.json"], r"bad\.json: not a json file"),
        ([], "the list of annotation files is empty"),
    ):
        with pytest.raises(SegtrainError, match=message):
            annotation_file(given, tmp_path)
    (tmp_path / "b.json").write_text(json.dumps(FIRST))
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(SegtrainError, match="cannot write the joined annotations"):
        annotation_file(["a.json", "b.json"], tmp_path)


def with_files(folder: Path) -> list[Path]:
    """Two files of one set, with the images of both."""
    (folder / "images").mkdir()
    paths = []
    for number in (7, 9):
        pixels = np.random.default_rng(number).integers(0, 256, (10, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(
            json.dumps(coco(annotation(id=1, image_id=1), images=[image(1, file_name=f"{number}.png")]))
        )
    return paths


def test_a_split_of_joined_files(tmp_path: Path) -> None:
    names = [path.name for path in with_files(tmp_path)]
    splits = open_splits(
        root=tmp_path,
        train_annotations=names,
        train_images="images",
        val_annotations=None,
        val_images=None,
        val_fraction=0.5,
        exif="auto",
        max_image_pixels=10**6,
        check="strict",
        seed=0,
        need=["train", "val"],
    )
    assert [len(split.index.images) for split in splits.values()] == [1, 1]
    save_split(splits, tmp_path / "run")
    written = [load_index(tmp_path / "run" / "split" / f"{name}.json") for name in ("train", "val")]
    assert {index.images[0].file_name for index in written} == {"7.png", "9.png"}
    assert [index.counts.used for index in written] == [1, 1]


def test_the_check_takes_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, fixed = with_files(tmp_path), tmp_path / "fixed.json"
    assert command.main([*map(str, paths), str(tmp_path / "images"), "--fix", str(fixed)]) == 0
    assert "2 files: 7.json, 9.json" in capsys.readouterr().out
    index = load_index(fixed)
    assert ([entry.file_name for entry in index.images], index.counts.used) == (["7.png", "9.png"], 2)
    assert list(json.loads(fixed.read_text())) == ["images", "annotations", "categories"]
    assert not index.issues["files-joined"].count


def test_from_python(tmp_path: Path) -> None:
    data = segtrain.load_coco(with_files(tmp_path), tmp_path / "images")
    assert data.index.counts.used == 2
    assert segtrain.check(data).errors == 0


def test_a_single_file_has_no_note(tmp_path: Path) -> None:
    assert not join(tmp_path, FIRST).issues["files-joined"].count
    assert [CELL["name"]] == [category.name for category in join(tmp_path, FIRST).categories]
