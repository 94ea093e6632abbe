"""Images and parts that labels mean, where several folders hold files of one name."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from segtrain.cli.main import main
from tests.helpers.conversions import (
    SQUARE,
    STAR,
    assert_equal,
    convert,
    draw_image,
    objects,
    polygon_plane,
    write_json,
)


def labelme(path: Path, image: str, polygon: Any = STAR, size: tuple[int, int] = (40, 60), **more: Any) -> Path:
    """Write a file of labelme with one polygon, of whose group another file may have a part, too."""
    shape = {"label": "cell", "points": polygon, "group_id": 1, "shape_type": "polygon", "flags": {}}
    own = {"imagePath": image, "imageData": None, "imageHeight": size[0], "imageWidth": size[1], **more}
    return write_json(path, {"version": "5.5.0", "flags": {}, "shapes": [shape], **own})


def coco(path: Path, *names: str, polygon: Any = STAR) -> Path:
    images = [{"id": place, "file_name": name, "height": 40, "width": 60} for place, name in enumerate(names)]
    flat = [value for point in polygon for value in point]
    masks = [{"id": i, "image_id": i, "category_id": 1, "segmentation": [flat]} for i in range(len(names))]
    return write_json(path, {"images": images, "annotations": masks, "categories": [{"id": 1, "name": "cell"}]})


def test_a_file_of_this_name_elsewhere_is_another_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "set" / "d2" / "a.png")
    labelme(tmp_path / "set" / "d1" / "a.json", "a.png", SQUARE)
    labelme(tmp_path / "set" / "d2" / "a.json", "a.png")
    found = objects(convert(tmp_path / "set", tmp_path / "out.json"))
    assert_equal(found["a.png"], [("cell", polygon_plane(STAR))])
    assert f"the file of this name is another folder's: a.png of {tmp_path}/set/d1/a.json" in capsys.readouterr().out


def test_an_image_that_the_labels_hold_comes_after_a_match_that_fits(tmp_path: Path) -> None:
    held = base64.b64encode(draw_image(tmp_path / "held.png").read_bytes()).decode()
    draw_image(tmp_path / "set" / "d2" / "a.png")
    labelme(tmp_path / "set" / "d1" / "a.json", "a.png", SQUARE, imageData=held)
    labelme(tmp_path / "set" / "d2" / "a.json", "a.png", imageData=held)
    found = objects(convert(tmp_path / "set", tmp_path / "out.json"))
    assert_equal(found["set/d2/a.png"], [("cell", polygon_plane(STAR))])
    assert_equal(found["out_images/d1/a.png"], [("cell", polygon_plane(SQUARE))])
    assert (tmp_path / "out_images" / "d1" / "a.png").read_bytes() == (tmp_path / "held.png").read_bytes()


def test_folders_of_labels_and_of_images_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("d1", "d2"):
        draw_image(tmp_path / "set" / "images" / folder / "a.png")
        labelme(tmp_path / "set" / "labels" / folder / "a.json", "a.png", SQUARE if folder == "d1" else STAR)
    found = objects(convert(tmp_path / "set", tmp_path / "out.json"))
    assert_equal(found["d1/a.png"], [("cell", polygon_plane(SQUARE))])
    assert_equal(found["d2/a.png"], [("cell", polygon_plane(STAR))])
    (tmp_path / "set" / "images" / "d1" / "a.png").unlink()
    found = objects(convert(tmp_path / "set", tmp_path / "second.json"))
    assert_equal(found["a.png"], [("cell", polygon_plane(STAR))])


def test_two_files_that_may_be_meant_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("x", "y"):
        draw_image(tmp_path / "set" / folder / "a.png")
    labelme(tmp_path / "set" / "labels" / "a.json", "a.png")
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 1
    error = capsys.readouterr().err
    assert f"its image a.png may be {tmp_path}/set/x/a.png or {tmp_path}/set/y/a.png; give the folder" in error


def test_two_labels_that_may_be_meant_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "set" / "images" / "a.png")
    for folder in ("anna", "ben"):
        labelme(tmp_path / "set" / folder / "a.json", "a.png", SQUARE if folder == "anna" else STAR)
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 1
    error = capsys.readouterr().err
    assert "anna/a.json and " in error
    assert "ben/a.json may both be about" in error
    options = ["--images", str(tmp_path / "set" / "images")]
    assert len(convert(tmp_path / "set", tmp_path / "out.json", *options)["annotations"]) == 2  # groups of two files


def test_sizes_that_differ_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "set" / "a.png")
    labelme(tmp_path / "set" / "a.json", "a.png")
    labelme(tmp_path / "set" / "b.json", "a.png", size=(20, 30))
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 1
    assert "set/a.png: has 40x60 in " in capsys.readouterr().err


def test_parts_have_their_own_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The training image is missing, and validation has one of its name."""
    draw_image(tmp_path / "set" / "val2017" / "1.jpg")
    draw_image(tmp_path / "set" / "train2017" / "2.jpg")
    coco(tmp_path / "set" / "annotations" / "instances_train2017.json", "1.jpg", "2.jpg")
    coco(tmp_path / "set" / "annotations" / "instances_val2017.json", "1.jpg", polygon=SQUARE)
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 0
    files = {part: json.loads((tmp_path / f"out_{part}.json").read_text()) for part in ("train", "val")}
    assert list(objects(files["train"])) == ["train2017/2.jpg"]
    assert_equal(objects(files["val"])["val2017/1.jpg"], [("cell", polygon_plane(SQUARE))])
    assert "no image file of this name: 1.jpg" in capsys.readouterr().out


def test_an_image_of_two_parts_stays_in_both(tmp_path: Path) -> None:
    draw_image(tmp_path / "set" / "images" / "1.jpg")
    for part, polygon in (("train", STAR), ("val", SQUARE)):
        coco(tmp_path / "set" / f"{part}.json", "1.jpg", polygon=polygon)
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json"), "--format", "coco"]) == 0
    for part, polygon in (("train", STAR), ("val", SQUARE)):
        content = json.loads((tmp_path / f"out_{part}.json").read_text())
        assert_equal(objects(content)["1.jpg"], [("cell", polygon_plane(polygon))])


def test_folders_of_labels_tell_the_parts_too(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        draw_image(tmp_path / "set" / "images" / f"{part}.png")
        labelme(tmp_path / "set" / "labels" / part / f"{part}.json", f"{part}.png")
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["out_train.json", "out_val.json"]


def test_parts_of_via(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rect = {"name": "rect", "x": 3, "y": 4, "width": 5, "height": 6}
    regions = {"0": {"shape_attributes": rect, "region_attributes": {}}}
    for part in ("train", "val"):
        draw_image(tmp_path / "balloon" / part / "1.jpg")
        path = tmp_path / "balloon" / part / "via_region_data.json"
        write_json(path, {"1.jpg9": {"filename": "1.jpg", "size": 9, "regions": regions, "file_attributes": {}}})
    assert main(["convert", str(tmp_path / "balloon"), str(tmp_path / "out.json")]) == 0
    for part in ("train", "val"):
        assert list(objects(json.loads((tmp_path / f"out_{part}.json").read_text()))) == [f"{part}/1.jpg"]
    write_json(tmp_path / "balloon" / "val" / "copy.json", json.loads(path.read_text()))
    assert main(["convert", str(tmp_path / "balloon"), str(tmp_path / "b.json")]) == 1
    assert "val/copy.json and val/via_region_data.json are for the same images; give" in capsys.readouterr().err


def test_equal_names_in_subsets_of_cvat(tmp_path: Path) -> None:
    images = ""
    for part in ("Train", "Validation"):
        draw_image(tmp_path / "set" / "images" / part / "a.png")
        box = f'<box label="cell" xtl="{len(part)}" ytl="2" xbr="20" ybr="9"/>'
        images += f'<image id="1" name="a.png" subset="{part}" width="60" height="40">{box}</image>'
    (tmp_path / "set" / "annotations.xml").write_text(f"<annotations><meta></meta>{images}</annotations>")
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 0
    for part, folder in (("train", "Train"), ("val", "Validation")):
        content = json.loads((tmp_path / f"out_{part}.json").read_text())
        assert [image["file_name"] for image in content["images"]] == [f"{folder}/a.png"]
        assert content["annotations"][0]["bbox"][0] == len(folder)


def test_hidden_files_are_not_read(tmp_path: Path) -> None:
    draw_image(tmp_path / "set" / "a.png")
    labelme(tmp_path / "set" / "a.json", "a.png")
    labelme(tmp_path / "set" / ".ipynb_checkpoints" / "a-checkpoint.json", "a.png", SQUARE)
    (tmp_path / "set" / "._a.json").write_bytes(b"\0\5\x16\7Mac OS X")
    assert len(convert(tmp_path / "set", tmp_path / "out.json")["annotations"]) == 1


def test_a_name_that_is_too_long_is_a_missing_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "set" / "a.png")
    coco(tmp_path / "set" / "a.json", "a.png", "b" * 300 + ".png")
    assert len(convert(tmp_path / "set", tmp_path / "out.json")["images"]) == 1
    assert "left out      1  images and their objects: no image file of this name: bbb" in capsys.readouterr().out


def test_labels_of_one_folder_are_about_one_image(tmp_path: Path) -> None:
    """One states its path, and the other one its name with what a tool has added."""
    draw_image(tmp_path / "set" / "images" / "a.png")
    coco(tmp_path / "set" / "one.json", "images/a.png")
    coco(tmp_path / "set" / "two.json", "0a1b2c3d-a.png", polygon=SQUARE)
    assert len(convert(tmp_path / "set", tmp_path / "out.json")["annotations"]) == 2


@pytest.mark.parametrize("stated", ["..", "/", "", "a\0b.png", "pictures\\a", "n" * 300 + ".png"])
def test_held_images_get_names_that_can_be(stated: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = draw_image(tmp_path / "held.png").read_bytes()
    labels = labelme(tmp_path / "set" / "a.json", stated, imageData=base64.b64encode(held).decode())
    long = len(stated) > 255
    assert main(["convert", str(labels), str(tmp_path / "out.json")]) == int(long)
    if long:
        assert "the name is too long for the system" in capsys.readouterr().err
    else:
        assert (tmp_path / "out_images" / "a.png").read_bytes() == held


def test_held_images_of_one_name_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate("ab"):
        held = base64.b64encode(draw_image(tmp_path / "held.png", seed=seed).read_bytes()).decode()
        labelme(tmp_path / "set" / f"{name}.json", "x.png", imageData=held)
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 1
    assert "b.json hold different images called x.png; rename one of them" in capsys.readouterr().err
    assert not (tmp_path / "out_images").exists()
