"""Files of the VGG Image Annotator, converted."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import draw

from segtrain.cli.main import main
from tests.helpers.conversions import (
    SIZE,
    SQUARE,
    STAR,
    Plane,
    assert_equal,
    convert,
    draw_image,
    objects,
    polygon_plane,
    write_json,
)


def region(name: str, attributes: dict[str, Any], **shape: Any) -> dict[str, Any]:
    return {"shape_attributes": {"name": name, **shape}, "region_attributes": attributes}


def points(polygon: list[list[float]]) -> dict[str, list[float]]:
    return {"all_points_x": [x for x, _ in polygon], "all_points_y": [y for _, y in polygon]}


REGIONS = [
    region("polygon", {"type": "cell", "note": "x"}, **points(STAR)),
    region("polyline", {"type": "wall", "note": ""}, **points(SQUARE)),
    region("rect", {"type": "cell"}, x=3, y=30, width=12, height=7),
    region("circle", {"type": "drop"}, cx=45, cy=12, r=9.5),
    region("ellipse", {"type": "drop"}, cx=30, cy=20, rx=14, ry=6, theta=0.6),
    region("point", {"type": "cell"}, cx=1, cy=1),
]


def expected() -> list[tuple[str, Plane]]:
    circle, ellipse = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    circle[draw.disk((11.5, 44.5), 9.5, shape=SIZE)] = True
    ellipse[draw.ellipse(19.5, 29.5, 6, 14, shape=SIZE, rotation=-0.6)] = True
    rectangle = np.zeros(SIZE, bool)
    rectangle[30:37, 3:15] = True
    return [
        ("cell", polygon_plane(STAR)),
        ("wall", polygon_plane(SQUARE)),
        ("cell", rectangle),
        ("drop", circle),
        ("drop", ellipse),
    ]


def entry(name: str, regions: Any) -> dict[str, Any]:
    return {"filename": name, "size": 1234, "regions": regions, "file_attributes": {}}


def write_csv(path: Path, images: dict[str, list[dict[str, Any]]]) -> Path:
    with path.open("w", newline="") as stream:
        keys = ["filename", "file_size", "file_attributes", "region_count", "region_id"]
        writer = csv.writer(stream)
        writer.writerow([*keys, "region_shape_attributes", "region_attributes"])
        for name, regions in images.items():
            for place, each in enumerate(regions or [region("", {})]):
                shape = each["shape_attributes"] if regions else {}
                attributes = json.dumps(each["region_attributes"])
                writer.writerow([name, 1234, "{}", len(regions), place, json.dumps(shape), attributes])
    return path


@pytest.mark.parametrize("form", ["project", "annotations", "regions as an object", "csv"])
def test_every_form_is_an_independent_raster(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        draw_image(tmp_path / "images" / name)
    regions: Any = {str(place): each for place, each in enumerate(REGIONS)} if "object" in form else REGIONS
    entries = {"a.png1234": entry("a.png", regions), "b.png1234": entry("b.png", [])}
    if form == "csv":
        path = write_csv(tmp_path / "via.csv", {"a.png": REGIONS, "b.png": []})
    elif form == "project":
        project = {"_via_settings": {}, "_via_img_metadata": entries, "_via_attributes": {}}
        path = write_json(tmp_path / "via.json", project)
    else:
        path = write_json(tmp_path / "via.json", entries)
    content = convert(path, tmp_path / "out.json")
    found = objects(content)
    assert_equal(found["a.png"], expected())
    assert found["b.png"] == []
    out = capsys.readouterr().out
    assert "the class is the attribute type of a region, not note" in out
    assert "1  regions that are no area: point: a.png, region 6" in out


@pytest.mark.parametrize(
    ("attributes", "name"),
    [({}, "object"), ({"kind": {"big": True, "red": False}}, "big"), ({"Class": "a"}, "a"), ({"label": 3}, "3")],
)
def test_the_class_of_a_region(attributes: dict[str, Any], name: str, tmp_path: Path) -> None:
    draw_image(tmp_path / "a.png")
    path = write_json(tmp_path / "via.json", {"a": entry("a.png", [region("polygon", attributes, **points(STAR))])})
    content = convert(path, tmp_path / "out.json")
    assert [each["name"] for each in content["categories"]] == [name]


def test_damage_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "a.png")
    broken = [
        region("polygon", {}, all_points_x=[1, 2], all_points_y=[1, 2, 3]),
        region("circle", {}, cx=1, cy="?", r=3),
        {"region_attributes": {}},
        region("rect", {}, x=1, y=1, width=math.inf, height=2),
        region("ellipse", {}, cx=1e308, cy=1, rx=1e308, ry=3),
        {"shape_attributes": 3},
        {**region("polygon", {}, **points(STAR)), "region_attributes": [1]},
    ]
    path = tmp_path / "via.json"
    path.write_text(json.dumps({"a": entry("a.png", broken), "b": entry("gone.png", [])}))
    assert len(convert(path, tmp_path / "out.json")["annotations"]) == 1
    out = capsys.readouterr().out
    assert "6  regions that cannot be read" in out
    assert "no image file of this name: gone.png" in out


def test_classes_choose_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Regions without a class are of none that is chosen, unless there are no classes at all."""
    draw_image(tmp_path / "a.png")
    regions = [region("polygon", {"type": "debris"}, **points(STAR)), region("polygon", {}, **points(SQUARE))]
    path = write_json(tmp_path / "via.json", {"a": entry("a.png", regions)})
    content = convert(path, tmp_path / "out.json", "--classes", "debris")
    assert_equal(objects(content)["a.png"], [("debris", polygon_plane(STAR))])
    assert main(["convert", str(path), str(tmp_path / "b.json"), "--classes", "cell,debris"]) == 1
    assert "has no class cell; it has debris, object" in capsys.readouterr().err
    write_json(path, {"a": entry("a.png", regions[1:])})
    content = convert(path, tmp_path / "c.json", "--classes", "cell")
    assert_equal(objects(content)["a.png"], [("cell", polygon_plane(SQUARE))])


def test_long_fields_of_a_csv(tmp_path: Path) -> None:
    draw_image(tmp_path / "a.png")
    many = [[float(x % 60), float(x // 999)] for x in range(30_000)]
    path = write_csv(tmp_path / "via.csv", {"a.png": [region("polygon", {}, **points(many))]})
    assert len(convert(path, tmp_path / "out.json")["annotations"]) == 1
