"""COCO files of other tools, converted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segtrain.cli.main import main
from tests.helpers.conversions import (
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

FLAT = [np.reshape(STAR, -1).tolist()]


def document(name: str, *annotations: dict[str, Any], categories: Any = None) -> dict[str, Any]:
    own = [{"id": place, "image_id": 5, "iscrowd": 0, **each} for place, each in enumerate(annotations, 10)]
    height, width = SIZE
    return {
        "images": [{"id": 5, "file_name": name, "height": height, "width": width}],
        "annotations": own,
        "categories": categories or [{"id": 0, "name": "cell"}, {"id": 7, "name": "wall"}],
    }


def annotation(category: int = 0, **more: Any) -> dict[str, Any]:
    return {"category_id": category, "segmentation": FLAT, "bbox": [6.5, 4, 24, 27.75], "area": 400, **more}


@pytest.mark.parametrize(
    "stated",
    [
        "images\\0a1b2c3d-a.png",
        "../../label-studio/data/media/upload/3/0a1b2c3d-a.png",
        "/data/local-files/?d=export/images/a.png",
        "images/0a1b2c3d-a.png",
    ],
)
@pytest.mark.parametrize("file", ["a.png", "0a1b2c3d-a.png"])
def test_label_studio(stated: str, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "export" / "images" / file)
    if file == "0a1b2c3d-a.png" and "local-files" in stated:
        pytest.skip("files of its own disk have no prefix")
    write_json(tmp_path / "export" / "result.json", document(stated, annotation(7)))
    content = convert(tmp_path / "export", tmp_path / "out.json")
    assert_equal(objects(content)[file], [("wall", polygon_plane(STAR))])
    assert "(--format labelstudio)" in capsys.readouterr().out


def test_roboflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    categories = [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 1, "name": "cell", "supercategory": "cells"},
    ]
    for part in ("train", "valid", "test"):
        name = f"{part}_png.rf.0123456789abcdef0123456789abcdef.jpg"
        draw_image(tmp_path / "set" / part / name)
        path = tmp_path / "set" / part / "_annotations.coco.json"
        write_json(path, document(name, annotation(1), categories=categories))
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 0
    for part, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        content = json.loads((tmp_path / f"out_{part}.json").read_text())
        (name,) = objects(content)
        assert name.startswith(f"{folder}/{folder}_png.rf.")
        assert [each["name"] for each in content["categories"]] == ["cell"]
    assert "3  a class that is the parent of the others" in capsys.readouterr().out


def cvat_annotation(**more: Any) -> dict[str, Any]:
    return annotation(attributes={"occluded": False}, **more)


@pytest.mark.parametrize("alone", [True, False])
def test_crowd_flags_of_cvat(alone: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Brush masks have them; where some masks have none, the flags mean what COCO says."""
    plane = polygon_plane(SQUARE)
    rle = coco_mask.encode(np.asfortranarray(plane.astype(np.uint8)))
    counts = {"size": list(SIZE), "counts": rle["counts"].decode()}
    masks = [cvat_annotation(segmentation=counts, iscrowd=1), cvat_annotation(segmentation=FLAT)]
    masks += [] if alone else [cvat_annotation(segmentation=counts, iscrowd=0)]
    draw_image(tmp_path / "export" / "images" / "default" / "a.png")
    path = tmp_path / "export" / "annotations" / "instances_default.json"
    write_json(path, document("a.png", *masks))
    content = convert(tmp_path / "export", tmp_path / "out.json")
    assert [each["iscrowd"] for each in content["annotations"]] == ([0, 0] if alone else [1, 0, 0])
    assert_equal(objects(content)["a.png"][:2], [("cell", plane), ("cell", polygon_plane(STAR))])
    assert ("1  brush masks with CVAT's crowd flag" in capsys.readouterr().out) == alone


def test_crowds_of_cvat_without_brush_masks_stay(tmp_path: Path) -> None:
    draw_image(tmp_path / "export" / "images" / "default" / "a.png")
    path = tmp_path / "export" / "annotations" / "instances_default.json"
    write_json(path, document("a.png", cvat_annotation(iscrowd=1), cvat_annotation()))
    content = convert(tmp_path / "export", tmp_path / "out.json")
    assert [each["iscrowd"] for each in content["annotations"]] == [1, 0]


def test_ids_of_other_types_mean_the_same(tmp_path: Path) -> None:
    content = document("a.png", annotation(7.0, image_id="5"), annotation("0", image_id=5.0))
    draw_image(tmp_path / "a.png")
    content = convert(write_json(tmp_path / "a.json", content), tmp_path / "out.json")
    assert [each["category_id"] for each in content["annotations"]] == [2, 1]


def test_livecell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = document("A172_Phase.tif", annotation(), annotation(7))
    content["annotations"] = {str(each["id"]): each for each in content["annotations"]}
    draw_image(tmp_path / "images" / "livecell_test_images" / "A172" / "A172_Phase.tif")
    path = write_json(tmp_path / "livecell_coco_test.json", content)
    written = convert(path, tmp_path / "out.json")
    expected = [("cell", polygon_plane(STAR)), ("wall", polygon_plane(STAR))]
    assert_equal(objects(written)["A172_Phase.tif"], expected)
    assert "files with annotations as an object keyed by id" in capsys.readouterr().out


def test_parts_of_a_folder_of_annotations(tmp_path: Path) -> None:
    """The same name in both parts, as COCO's own layout allows."""
    for part in ("train2017", "val2017"):
        draw_image(tmp_path / "coco" / part / "1.jpg")
        write_json(tmp_path / "coco" / "annotations" / f"instances_{part}.json", document("1.jpg", annotation()))
        write_json(tmp_path / "coco" / "annotations" / f"captions_{part}.json", document("1.jpg"))
    assert main(["convert", str(tmp_path / "coco"), str(tmp_path / "out.json")]) == 0
    for part in ("train", "val"):
        content = json.loads((tmp_path / f"out_{part}.json").read_text())
        assert [each["file_name"] for each in content["images"]] == [f"{part}2017/1.jpg"]


def test_damage_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = [
        annotation(99),
        annotation(segmentation={"size": [1, 1], "counts": "?"}),
        annotation(segmentation=[[1, 2, 3, 4, 5]]),
        annotation(image_id=77),
        annotation(segmentation=[]),
        annotation(segmentation=STAR),
        annotation(),
    ]
    draw_image(tmp_path / "a.png")
    path = write_json(tmp_path / "a.json", document("a.png", *broken))
    content = convert(path, tmp_path / "out.json", "--format", "coco")
    assert [each["segmentation"] for each in content["annotations"]] == [[], FLAT, FLAT]
    out = capsys.readouterr().out
    for line in (
        "annotations of a class that is not listed: annotation 10",
        "masks that cannot be read: annotation 11",
        "polygon with an odd count of numbers: annotation 12",
        "annotations of images that are not listed: image 77",
        "masks as points as [x, y]: annotation 15",
    ):
        assert line in out


def test_damaged_files_are_not_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "valid"):
        draw_image(tmp_path / "set" / part / "a.png")
        write_json(tmp_path / "set" / part / "coco.json", document("a.png", annotation()))
    write_json(tmp_path / "set" / "notes.json", {"by": "me"})
    path = tmp_path / "set" / "valid" / "coco.json"
    path.write_text(path.read_text(), encoding="utf-16")
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 0
    assert "1  files that are not COCO files: notes.json" in capsys.readouterr().out
    assert (tmp_path / "out_val.json").is_file()
    path.write_text(path.read_text(encoding="utf-16")[:-9])
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "b.json")]) == 1
    assert "valid/coco.json: not a json file" in capsys.readouterr().err


def test_objects_of_several_files_are_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    square = [np.reshape(SQUARE, -1).tolist()]
    draw_image(tmp_path / "set" / "a.png")
    write_json(tmp_path / "set" / "one.json", document("a.png", annotation()))
    write_json(tmp_path / "set" / "two.json", document("a.png", annotation(), annotation(segmentation=square)))
    content = convert(tmp_path / "set", tmp_path / "out.json")
    assert_equal(objects(content)["a.png"], [("cell", polygon_plane(STAR)), ("cell", polygon_plane(SQUARE))])
    assert "1  objects that an earlier label file has, too: annotation 10 in two.json" in capsys.readouterr().out
