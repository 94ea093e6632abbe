"""COCO json to other formats and back: the same masks."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pycocotools import mask as coco_mask

from segtrain.cli.main import main
from tests.helpers.conversions import HOLE, SIZE, SQUARE, STAR, Plane, draw_image, objects, plane_of, write_json

REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")).absolute() / "data"


def flat(*polygons: list[list[float]]) -> list[list[float]]:
    return [np.reshape(polygon, -1).tolist() for polygon in polygons]


def counted(plane: Plane) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(plane.astype(np.uint8)))
    return {"size": list(plane.shape), "counts": rle["counts"].decode()}


def write_source(folder: Path, *, overlapping: bool) -> Path:
    """Write a COCO json of polygons, parts, holes and noise."""
    random = np.random.default_rng(0)
    noise, ring = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    noise[33:39, 2:30] = random.random((6, 28)) < 0.5
    ring[32:39, 40:58] = True
    ring[34:37, 44:50] = ring[35, 52:55] = False
    segmentations: list[Any] = [flat(STAR), counted(noise), counted(ring), flat([[1, 1], [5, 1], [5, 3]], SQUARE)]
    segmentations += [flat(HOLE)] if overlapping else []
    draw_image(folder / "images" / "a.png")
    draw_image(folder / "images" / "b.png")
    height, width = SIZE
    return write_json(
        folder / "source.json",
        {
            "images": [
                {"id": number, "file_name": f"{name}.png", "height": height, "width": width}
                for number, name in enumerate("ab", 1)
            ],
            "annotations": [
                {"id": place, "image_id": 1, "category_id": 1 + place % 2, "segmentation": mask, "iscrowd": 0}
                for place, mask in enumerate(segmentations, 1)
            ],
            "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "wall"}],
        },
    )


def planes(path: Path) -> dict[str, list[Plane]]:
    """Masks of a COCO json by the names of the images' files."""
    content = json.loads(path.read_text())
    images = {image["id"]: image for image in content["images"]}
    found: dict[str, list[Plane]] = {Path(image["file_name"]).name: [] for image in images.values()}
    for entry in content["annotations"]:
        image = images[entry["image_id"]]
        found[Path(image["file_name"]).name].append(plane_of(entry, (image["height"], image["width"])))
    return found


def there_and_back(source: Path, images: Path, to: str, folder: Path, *options: str) -> Path:
    other, back = folder / to, folder / f"{to}.json"
    assert main(["convert", str(source), str(other), "--images", str(images), "--to", to]) == 0
    assert main(["convert", str(other), str(back), "--format", to, *options]) == 0
    return back


@pytest.mark.parametrize("to", ["yolo", "labelme"])
def test_masks_and_classes_come_back(to: str, tmp_path: Path) -> None:
    source = write_source(tmp_path, overlapping=True)
    back = there_and_back(source, tmp_path / "images", to, tmp_path)
    expected, found = planes(source), planes(back)
    assert list(found) == ["a.png", "b.png"]
    for one, other in zip(expected["a.png"], found["a.png"], strict=True):
        assert (one == other).all()
    names = [name for name, _ in objects(json.loads(back.read_text())).popitem()[1] or []]
    assert names == []
    content = json.loads(back.read_text())
    assert [entry["name"] for entry in content["categories"]] == ["cell", "wall"]
    assert [entry["category_id"] for entry in content["annotations"]] == [2, 1, 2, 1, 2]


def test_attributes_come_back_from_labelme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path, overlapping=False)
    content = json.loads(source.read_text())
    kept = {"occluded": True, "z_order": 2, "age": "old", "description": "torn"}
    content["annotations"][0]["attributes"] = kept
    write_json(source, content)
    back = json.loads(there_and_back(source, tmp_path / "images", "labelme", tmp_path).read_text())
    assert [each.get("attributes") for each in back["annotations"]] == [kept, None, None, None]
    there_and_back(source, tmp_path / "images", "yolo", tmp_path)
    assert "attributes of objects, which YOLO does not know: annotation 1" in capsys.readouterr().out


def test_label_maps_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_source(tmp_path, overlapping=False)
    back = there_and_back(source, tmp_path / "images", "labelmaps", tmp_path, "--images", str(tmp_path / "images"))
    for one, other in zip(planes(source)["a.png"], planes(back)["a.png"], strict=True):
        assert (one == other).all()
    assert "names of classes, which label maps do not hold: a.png" in capsys.readouterr().out
    source = write_source(tmp_path, overlapping=True)
    main(["convert", str(source), str(tmp_path / "maps"), "--images", str(tmp_path / "images"), "--to", "labelmaps"])
    assert "pixels of overlaps, which the smaller object keeps: a.png" in capsys.readouterr().out


def test_the_yaml_names_parts_and_classes(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_source(tmp_path / "set" / part, overlapping=False)
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "yolo"), "--to", "yolo"]) == 0
    settings = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert settings == {
        "path": ".", "train": "images/train", "val": "images/val", "names": {0: "cell", 1: "wall"},
    }  # fmt: skip
    assert (tmp_path / "yolo" / "labels" / "val" / "b.txt").read_text() == ""
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "yolo"), "--to", "yolo"]) == 1


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="SEGTRAIN_REAL_DATA names no folder with real data")
@pytest.mark.parametrize("to", ["yolo", "labelme", "labelmaps"])
def test_nuclei_come_back(to: str, tmp_path: Path) -> None:
    source, images = REAL / "nuclei" / "annotations" / "instances_val.json", REAL / "nuclei" / "images" / "val"
    options = ["--images", str(images)] if to == "labelmaps" else []
    found = planes(there_and_back(source, images, to, tmp_path, *options))
    expected = planes(source)
    assert found.keys() == expected.keys()
    for name, masks in expected.items():
        for one, other in zip(masks, found[name], strict=True):
            assert (one == other).all()
