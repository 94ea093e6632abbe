"""CVAT's XML for images, converted."""

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import draw

from segtrain.cli.main import main
from tests.helpers.conversions import (
    HOLE,
    SIZE,
    SQUARE,
    STAR,
    Plane,
    assert_equal,
    convert,
    draw_image,
    objects,
    polygon_plane,
)


def points(polygon: list[list[float]]) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in polygon)


def runs(plane: Plane) -> str:
    """CVAT's runs, along rows, beginning with background."""
    values = [(bool(key), len(list(own))) for key, own in groupby(plane.reshape(-1).tolist())]
    return ", ".join(map(str, ([0] if values[0][0] else []) + [length for _, length in values]))


def document(*shapes: str, name: str = "a.png", more: str = "") -> str:
    labels = "".join(f"<label><name>{name}</name><color>#aaa</color></label>" for name in ("wall", "cell", "unused"))
    meta = f"<meta><task><id>1</id><mode>annotation</mode><labels>{labels}</labels></task></meta>"
    height, width = SIZE
    image = f'<image id="0" name="{name}" width="{width}" height="{height}"{more}>{"".join(shapes)}</image>'
    return f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>{meta}{image}</annotations>'


def shape(tag: str, label: str = "cell", inner: str = "", **values: Any) -> str:
    written = {"label": label, "source": "manual", "occluded": "0", "z_order": "0", **values}
    attributes = " ".join(f'{key}="{value}"' for key, value in written.items())
    return f"<{tag} {attributes}>{inner}</{tag}>"


def test_every_shape_is_an_independent_raster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = np.random.default_rng(1).integers(0, 2, (9, 14)).astype(bool)
    full = np.ones((3, 4), bool)
    shapes = [
        shape("polygon", points=points(STAR), occluded="1", z_order="2", inner='<attribute name="age">old</attribute>'),
        shape("mask", rle=runs(drawn), left=40, top=5, width=14, height=9),
        shape("mask", "wall", rle=runs(full), left=0, top=0, width=4, height=3),
        shape("box", xtl="3.00", ytl="30.00", xbr="15.00", ybr="37.00"),
        shape("box", xtl="20", ytl="20", xbr="40", ybr="30", rotation="30"),
        shape("ellipse", cx="30", cy="20", rx="14", ry="6", rotation="40"),
        shape("polyline", points=points(STAR)),
        shape("points", points="3,3"),
    ]
    draw_image(tmp_path / "export" / "images" / "sub" / "a.png")
    (tmp_path / "export" / "annotations.xml").write_text(document(*shapes, name="sub/a.png"))
    content = convert(tmp_path / "export", tmp_path / "out.json")

    mask, corner, box, ellipse = (np.zeros(SIZE, bool) for _ in range(4))
    mask[5:14, 40:54] = drawn
    corner[:3, :4] = True
    box[30:37, 3:15] = True
    ellipse[draw.ellipse(19.5, 29.5, 6, 14, shape=SIZE, rotation=-np.radians(40))] = True
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    corners = np.array([[-10, -5], [10, -5], [10, 5], [-10, 5]]) @ np.array([[cosine, sine], [-sine, cosine]])
    expected = [
        ("cell", polygon_plane(STAR)),
        ("cell", mask),
        ("wall", corner),
        ("cell", box),
        ("cell", polygon_plane((corners + np.array([30, 25])).tolist())),
        ("cell", ellipse),
    ]
    assert_equal(objects(content)["a.png"], expected)
    assert [each["name"] for each in content["categories"]] == ["wall", "cell"]
    assert content["annotations"][0]["attributes"] == {"occluded": True, "z_order": 2, "age": "old"}
    out = capsys.readouterr().out
    assert "regions" not in out
    assert "shapes that are no area: polyline: sub/a.png, shape 7" in out


def test_a_group_is_one_object(tmp_path: Path) -> None:
    shapes = [
        shape("polygon", points=points(STAR), group_id=4),
        shape("polygon", points=points(SQUARE), group_id=4),
        shape("polygon", "wall", points=points(HOLE), group_id=4),
    ]
    draw_image(tmp_path / "a.png")
    path = tmp_path / "a.xml"
    path.write_text(document(*shapes))
    expected = [("cell", polygon_plane(STAR, SQUARE)), ("wall", polygon_plane(HOLE))]
    assert_equal(objects(convert(path, tmp_path / "out.json"))["a.png"], expected)


def test_damage_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = [
        shape("mask", rle="1, 2, 900", left=0, top=0, width=4, height=3),
        shape("polygon", points="1,2;3"),
        shape("box", xtl="1"),
        shape("mask", rle="1, 99999999999999", left=1, top=1, width=99999999, height=99999999),
        shape("ellipse", cx="1", cy="2", rx="1e308", ry="3"),
        shape("polygon", points=points(STAR), z_order="x"),
        shape("polygon", points=points(STAR)),
    ]
    draw_image(tmp_path / "a.png")
    path = tmp_path / "a.xml"
    path.write_text(document(*broken))
    assert len(convert(path, tmp_path / "out.json")["annotations"]) == 1
    assert "6  shapes that cannot be read" in capsys.readouterr().out
    for content, message in (
        (document()[:-20], "cannot be read as XML"),
        ("<annotations><version>1.1</version><meta></meta><track id='0'></track></annotations>", "CVAT for video"),
    ):
        path.write_text(content)
        assert main(["convert", str(path), str(tmp_path / "b.json")]) == 1
        assert message in capsys.readouterr().err


def test_subsets_become_files(tmp_path: Path) -> None:
    images = [document(shape("polygon", points=points(STAR)), name=f"{part}.png", more=f' subset="{part}"')
              for part in ("Train", "Validation")]  # fmt: skip
    for part in ("Train", "Validation"):
        draw_image(tmp_path / "set" / "images" / f"{part}.png")
    second = images[1][images[1].index("<image") : images[1].index("</annotations>")]
    (tmp_path / "set" / "annotations.xml").write_text(images[0].replace("</annotations>", second + "</annotations>"))
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 0
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out_train.json", "out_val.json"]
