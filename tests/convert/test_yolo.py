"""YOLO's polygons, converted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtrain.cli.main import main
from tests.helpers.conversions import SIZE, SQUARE, STAR, assert_equal, convert, draw_image, objects, polygon_plane


def line(kind: int, points: list[list[float]]) -> str:
    height, width = SIZE
    fractions = np.asarray(points) / [width, height]
    return " ".join([str(kind), *(repr(float(value)) for value in fractions.reshape(-1))])


def plane(points: list[list[float]]) -> np.ndarray:  # type: ignore[type-arg]
    """Rasterise what a reader of the text sees."""
    height, width = SIZE
    return polygon_plane((np.asarray(points) / [width, height] * [width, height]).tolist())


def write_set(folder: Path, *, yaml: str, parts: tuple[str, str] = ("train", "val"), inside: bool = False) -> Path:
    """Write ``images/PART`` and ``labels/PART``, or the other way about."""
    for part in parts:
        places = {kind: folder / (f"{part}/{kind}" if inside else f"{kind}/{part}") for kind in ("images", "labels")}
        for name in ("a", "b"):
            draw_image(places["images"] / f"{part}_{name}.jpg")
        places["labels"].mkdir(parents=True)
        (places["labels"] / f"{part}_a.txt").write_text(f"{line(1, STAR)}\n\n{line(0, SQUARE)}\n")
        (places["labels"] / f"{part}_b.txt").write_text("")
    (folder / "data.yaml").write_text(yaml)
    return folder


@pytest.mark.parametrize(
    ("yaml", "parts", "inside"),
    [
        ("path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cell\n  1: wall\n", ("train", "val"), False),
        (
            "path: ../datasets/gone\ntrain: images/train\nval: images/val\nnames: [cell, wall]\n",
            ("train", "val"),
            False,
        ),
        ("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cell', 'wall']\n", ("train", "valid"), True),
        (
            "train: /content/cells-3/train/images\nval: C:\\cells\\valid\\images\nnames: [cell, wall]\n",
            ("train", "valid"),
            True,
        ),
    ],
)
def test_parts_of_a_data_yaml(yaml: str, parts: tuple[str, str], inside: bool, tmp_path: Path) -> None:
    source = write_set(tmp_path / "set", yaml=yaml, parts=parts, inside=inside)
    assert main(["convert", str(source), str(tmp_path / "out.json")]) == 0
    for part, own in zip(("train", "val"), parts, strict=True):
        content = json.loads((tmp_path / f"out_{part}.json").read_text())
        assert [entry["name"] for entry in content["categories"]] == ["cell", "wall"]
        (first, drawn), (_, empty) = objects(content).items()
        assert first.endswith(f"{own}_a.jpg")
        assert_equal(drawn, [("wall", plane(STAR)), ("cell", plane(SQUARE))])
        assert empty == []


def test_the_yaml_itself_and_lists_of_images(tmp_path: Path) -> None:
    source = write_set(tmp_path / "set", yaml="train: train.txt\nnames: [cell, wall]\n")
    (source / "train.txt").write_text("./images/train/train_a.jpg\n")
    content = convert(source / "data.yaml", tmp_path / "out.json")
    assert [entry["file_name"] for entry in content["images"]] == ["train_a.jpg"]


def test_texts_beside_images_with_names_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "set" / "a.png")
    (tmp_path / "set" / "a.txt").write_text(line(1, STAR))
    content = convert(tmp_path / "set", tmp_path / "one.json", "--classes", "cell,wall")
    assert_equal(objects(content)["a.png"], [("wall", plane(STAR))])
    content = convert(tmp_path / "set", tmp_path / "two.json")
    assert_equal(objects(content)["a.png"], [("class_1", plane(STAR))])
    assert "class numbers without a name; give names with --classes: 1" in capsys.readouterr().out


@pytest.mark.usefixtures("checked")
def test_boxes_and_damage_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_set(tmp_path / "set", yaml="train: images/train\nnames: [cell, wall]\n")
    text = source / "labels" / "train" / "train_a.txt"
    text.write_text(
        f"{line(0, STAR)}\n0 0.5 0.5 0.25 0.5\n1 .1 .1 .2 .2 .3\nx .1 .1 .2 .2 .3 .3\n0 10 10 40 10 40 30\n"
    )
    (source / "labels" / "train" / "gone.txt").write_text(line(0, STAR))
    content = convert(source, tmp_path / "out.json", code=1)  # a box without a mask is an error of the check
    assert content["annotations"][1]["bbox"] == [22.5, 10.0, 15.0, 20.0]
    assert content["annotations"][1]["segmentation"] == []
    out = capsys.readouterr().out
    assert "1  boxes without a mask; data.boxes_without_masks says what they are: train_a.txt, line 2" in out
    assert "3  lines that cannot be read: train_a.txt, line 3" in out
    assert "1  label files without an image: gone.txt" in out


def test_a_missing_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_set(tmp_path / "set", yaml="train: images/trian\nnames: [cell, wall]\n")
    assert main(["convert", str(source), str(tmp_path / "out.json")]) == 1
    assert "data.yaml: train names images/trian, which does not exist" in capsys.readouterr().err


def write_plain(folder: Path, *, names: str | None, kinds: int = 3) -> Path:
    """Write an image and its text in ``images`` and ``labels``, with a ``classes.txt``."""
    draw_image(folder / "images" / "my cell.png")
    (folder / "labels").mkdir()
    (folder / "labels" / "my cell.txt").write_text("\n".join(line(kind, STAR) for kind in range(kinds)))
    if names is not None:
        (folder / "classes.txt").write_text(names)
    return folder


def names_of(content: dict[str, Any]) -> list[str]:
    return [entry["name"] for entry in content["categories"]]


def test_empty_names_are_none(tmp_path: Path) -> None:
    source = write_plain(tmp_path / "set", names="cell\n\nwall\n\n")
    content = convert(source, tmp_path / "out.json")
    assert names_of(content) == ["cell", "class_1", "wall"]
    content = convert(source, tmp_path / "second.json", "--classes", "wall,cell")
    assert [entry["category_id"] for entry in content["annotations"]] == [2, 1]


def test_classes_name_numbers_or_choose_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_plain(tmp_path / "set", names=None), str(tmp_path / "out.json")
    assert main(["convert", str(source), out, "--classes", "cell,wall"]) == 1
    assert "my cell.txt: line 3 has class 2, and --classes names 2 classes, from 0; name" in capsys.readouterr().err
    (source / "classes.txt").write_text("cell\nwall\nspot\n")
    assert main(["convert", str(source), out, "--classes", "cell,wal"]) == 1
    assert "has no class wal; it has cell, wall, spot" in capsys.readouterr().err


def test_lists_with_spaces_missing_images_and_a_test_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_plain(tmp_path / "set", names=None)
    (source / "data.yaml").write_text("train: train.txt\ntest: ../test/images\nnames: [a, b, c]\n")
    (source / "train.txt").write_text("./images/my cell.png\n\nimages/gone.png\n")
    assert len(convert(source, tmp_path / "out.json")["images"]) == 1
    out = capsys.readouterr().out
    assert "images that train.txt lists and that do not exist: images/gone.png" in out
    assert "the test set, which data.yaml names and which does not exist: ../test/images" in out
    for names in ("{a: cell}", "{0: cell"):
        (source / "data.yaml").write_text(f"train: images\nnames: {names}\n")
        assert main(["convert", str(source), str(tmp_path / "b.json")]) == 1
        assert "data.yaml: n" in capsys.readouterr().err


def test_keypoints_are_no_polygons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_plain(tmp_path / "set", names=None)
    (source / "data.yaml").write_text("train: images\nkpt_shape: [3, 2]\nnames: [person]\n")
    (source / "labels" / "my cell.txt").write_text("0 0.5 0.5 0.25 0.5 0.1 0.1 0.2 0.2 0.3 0.9\n")
    (found,) = convert(source, tmp_path / "out.json")["annotations"]
    assert (found["bbox"], found["segmentation"]) == ([22.5, 10.0, 15.0, 20.0], [])
    assert "1  keypoints; their boxes stay" in capsys.readouterr().out


def test_images_elsewhere_in_the_folders_of_the_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, polygon in (("train", STAR), ("val", SQUARE)):
        draw_image(tmp_path / "elsewhere" / part / "a.png")
        (tmp_path / "set" / "labels" / part).mkdir(parents=True)
        (tmp_path / "set" / "labels" / part / "a.txt").write_text(line(0, polygon))
    options = ["--images", str(tmp_path / "elsewhere"), "--classes", "cell"]
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json"), *options]) == 0
    for part, polygon in (("train", STAR), ("val", SQUARE)):
        content = json.loads((tmp_path / f"out_{part}.json").read_text())
        assert_equal(objects(content)[f"{part}/a.png"], [("cell", plane(polygon))])
    draw_image(tmp_path / "flat" / "a.png")
    options = ["--images", str(tmp_path / "flat")]
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "b.json"), *options]) == 1
    assert "flat/a.png: its labels may be" in capsys.readouterr().err


def test_lists_of_another_machine_and_texts_of_another_set(tmp_path: Path) -> None:
    source = write_plain(tmp_path / "images" / "set", names=None)
    (source / "data.yaml").write_text("train: train.txt\nnames: [a, b, c]\n")
    (source / "train.txt").write_text("/content/set/images/my cell.png\n")
    assert len(convert(source, tmp_path / "out.json")["annotations"]) == 3
    (tmp_path / "labels" / "set" / "images").mkdir(parents=True)
    (tmp_path / "labels" / "set" / "images" / "my cell.txt").write_text(line(0, STAR))
    (source / "labels" / "my cell.txt").rename(source / "images" / "my cell.txt")
    (source / "data.yaml").unlink()
    assert len(convert(source, tmp_path / "b.json")["annotations"]) == 3
