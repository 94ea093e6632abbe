"""labelme's files, converted."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import draw

from segtrain.cli.main import main
from tests.helpers.conversions import (
    HOLE,
    SIZE,
    SQUARE,
    STAR,
    assert_equal,
    convert,
    draw_image,
    objects,
    polygon_plane,
    write_json,
)

TURNED = [[30.0, 20.0], [38.0, 14.0], [41.0, 18.0], [33.0, 24.0]]


def png(plane: np.ndarray[Any, Any]) -> str:
    stream = io.BytesIO()
    Image.fromarray(plane).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def shape(label: str, points: Any, kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def document(name: str, *shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    height, width = SIZE
    own = {"imagePath": name, "imageData": None, "imageHeight": height, "imageWidth": width, **more}
    return {"version": "5.5.0", "flags": {}, "shapes": list(shapes), **own}


@pytest.mark.usefixtures("checked")
def test_every_shape_is_an_independent_raster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = np.random.default_rng(0).integers(0, 2, (12, 20)).astype(bool)
    shapes = [
        shape("cell", STAR, flags={"blurred": True, "sharp": False}),
        shape("box", [[50.5, 35.0], [40.0, 32.25]], "rectangle"),
        shape("disc", [[20.0, 18.5], [29.0, 21.5]], "circle"),
        shape("mask", [[5.0, 7.0], [24.0, 18.0]], "mask", mask=png(drawn)),
        shape("spot", [[3.0, 3.0]], "point"),
        shape("road", [[3.0, 3.0], [9.0, 9.0]], "line"),
        shape("turned", TURNED, "oriented_rectangle"),
        shape("moved", [[4.6, 6.7], [23.6, 17.7]], "mask", mask=png(drawn)),
    ]
    draw_image(tmp_path / "labels" / "a.png")
    write_json(tmp_path / "labels" / "a.json", document("a.png", *shapes))
    content = convert(tmp_path / "labels", tmp_path / "out.json")

    disc, mask = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    disc[draw.disk((18.0, 19.5), np.hypot(9, 3))] = True  # centres of pixels at whole numbers
    mask[7:19, 5:25] = drawn
    box = polygon_plane([[40.0, 32.25], [50.5, 32.25], [50.5, 35.0], [40.0, 35.0]])
    expected = [("cell", polygon_plane(STAR)), ("box", box), ("disc", disc), ("mask", mask)]
    expected += [("turned", polygon_plane(TURNED)), ("moved", mask)]
    assert_equal(objects(content)["a.png"], expected)
    assert isinstance(content["annotations"][0]["segmentation"], list)
    assert content["annotations"][0]["attributes"] == {"blurred": True}
    out = capsys.readouterr().out
    assert "left out      1  shapes that are no area: point: a.json, shape 5" in out
    assert "shapes that are no area: line: a.json, shape 6" in out
    assert "6 objects: 3 as polygons, 3 as run lengths" in out
    assert out.rstrip().endswith("0 errors")


def test_a_group_is_one_object_of_several_parts(tmp_path: Path) -> None:
    full = np.ones((3, 4), bool)
    shapes = [
        shape("cell", STAR, group_id=1),
        shape("cell", SQUARE, group_id=2),
        shape("cell", [[2.0, 33.0], [9.0, 33.0], [9.0, 38.0]], group_id=1),
        shape("other", HOLE, group_id=1),
        shape("cell", [[56.0, 1.0], [59.0, 3.0]], "mask", mask=png(full), group_id=2),
    ]
    draw_image(tmp_path / "labels" / "a.png")
    write_json(tmp_path / "labels" / "a.json", document("a.png", *shapes))
    content = convert(tmp_path / "labels", tmp_path / "out.json")
    corner = np.zeros(SIZE, bool)
    corner[1:4, 56:60] = True
    expected = [
        ("cell", polygon_plane(STAR, shapes[2]["points"])),
        ("cell", polygon_plane(SQUARE) | corner),
        ("other", polygon_plane(HOLE)),
    ]
    assert_equal(objects(content)["a.png"], expected)
    assert len(content["annotations"][0]["segmentation"]) == 2


@pytest.mark.parametrize(
    ("image", "stated"),
    [
        ("labels/a.png", "a.png"),
        ("images/a.png", "..\\images\\a.png"),
        ("images/a.png", "../images/a.png"),
        ("labels/a.png", "C:\\Users\\me\\a.png"),
        ("labels/deep/a.png", "a.png"),
    ],
)
def test_images_are_found(image: str, stated: str, tmp_path: Path) -> None:
    draw_image(tmp_path / image)
    write_json(tmp_path / "labels" / "a.json", document(stated, shape("cell", STAR)))
    content = convert(tmp_path / "labels", tmp_path / "out.json")
    assert [entry["file_name"] for entry in content["images"]] == ["a.png"]


def test_images_that_the_labels_hold_are_written(tmp_path: Path) -> None:
    held = draw_image(tmp_path / "a.png").read_bytes()
    labels = write_json(
        tmp_path / "labels" / "a.json",
        document("a.png", shape("cell", STAR), imageData=base64.b64encode(held).decode()),
    )
    (tmp_path / "a.png").unlink()
    assert len(convert(labels, tmp_path / "out.json")["annotations"]) == 1
    assert (tmp_path / "out_images" / "a.png").read_bytes() == held


def test_train_and_valid_folders_become_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, label in (("train", "cell"), ("valid", "bubble")):
        draw_image(tmp_path / "set" / part / f"{part}.png")
        write_json(tmp_path / "set" / part / f"{part}.json", document(f"{part}.png", shape(label, STAR)))
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 0
    for part, folder in (("train", "train"), ("val", "valid")):
        content = __import__("json").loads((tmp_path / f"out_{part}.json").read_text())
        assert [entry["file_name"] for entry in content["images"]] == [f"{folder}/{folder}.png"]
        assert [entry["name"] for entry in content["categories"]] == ["bubble", "cell"]
    assert "data.val_annotations=" in capsys.readouterr().out


def test_damage_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "labels" / "a.png")
    broken = [
        shape("cell", [["x", 1], [2, 2], [3, 3]]),
        shape("cell", None),
        shape("cell", [[1, 1], [2, 2]]),
        shape("cell", [[1, 1], [9, 9]], "mask", mask="no picture"),
        shape("cell", [[100, 100], [120, 100], [120, 120]]),
        shape("cell", STAR, group_id="left"),
        "no shape",
        shape("cell", [[1e308, 1], [-1e308, 9]], "circle"),
        shape("cell", [[float("nan"), 1], [2, 9], [5, 5]]),
    ]
    write_json(tmp_path / "labels" / "a.json", document("a.png", *broken))
    content = convert(tmp_path / "labels", tmp_path / "out.json")
    assert len(content["annotations"]) == 1
    out = capsys.readouterr().out
    for line in ("6  shapes that cannot be read", "1  objects without a pixel inside their image"):
        assert line in out
    (tmp_path / "labels" / "b.json").write_text('{"shapes": [')
    assert main(["convert", str(tmp_path / "labels"), str(tmp_path / "second.json")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "b.json: not a json file" in error
    assert error.count("\n") == 1


def test_a_missing_image_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "labels" / "a.json", document("a.png", shape("cell", STAR)))
    assert main(["convert", str(tmp_path / "labels"), str(tmp_path / "out.json")]) == 1
    assert "give their folder with --images DIR" in capsys.readouterr().err
    draw_image(tmp_path / "pictures" / "a.png")
    convert(tmp_path / "labels", tmp_path / "out.json", "--images", str(tmp_path / "pictures"))


def test_only_the_named_classes_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "labels" / "a.png")
    shapes = [shape("cell", STAR), shape("dirt", SQUARE), shape("wall", HOLE)]
    write_json(tmp_path / "labels" / "a.json", document("a.png", *shapes))
    content = convert(tmp_path / "labels", tmp_path / "out.json", "--classes", "wall,cell")
    assert [entry["name"] for entry in content["categories"]] == ["wall", "cell"]
    assert [entry["category_id"] for entry in content["annotations"]] == [2, 1]
    assert "1  objects of class dirt, which --classes does not name" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "labels"), str(tmp_path / "b.json"), "--classes", "celll"]) == 1
    assert "it has cell, dirt, wall" in capsys.readouterr().err


def test_the_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("b", "a"):
        draw_image(tmp_path / "labels" / f"{name}.png")
        write_json(tmp_path / "labels" / f"{name}.json", document(f"{name}.png", shape("cell", STAR)))
    for out in ("one.json", "two.json"):
        convert(tmp_path / "labels", tmp_path / out)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert main(["convert", str(tmp_path / "labels"), str(tmp_path / "one.json")]) == 1


@pytest.mark.usefixtures("checked")
def test_names_of_classes_control_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "labels" / "a.png")
    write_json(tmp_path / "labels" / "a.json", document("a.png", shape("cell\x1b[31m", STAR)))
    content = convert(tmp_path / "labels", tmp_path / "out.json")
    assert [category["name"] for category in content["categories"]] == ["cell\x1b[31m"]
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "cell\\u001b[31m" in out
