"""Projects of Supervisely, converted."""

import base64
import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
    write_json,
)


def packed(plane: Plane) -> str:
    """A PNG as Supervisely writes it: a palette of two colours, the first one transparent."""
    image = Image.fromarray(plane.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.putdata(plane.astype(int).reshape(-1).tolist())
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=0)
    return base64.b64encode(zlib.compress(stream.getvalue())).decode()


def figure(title: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"id": 1, "classId": 2, "geometryType": kind, "tags": [], "classTitle": title, **more}


def outline(exterior: Any, *interior: Any) -> dict[str, Any]:
    return {"exterior": exterior, "interior": list(interior)}


def test_every_shape_is_an_independent_raster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = np.random.default_rng(2).integers(0, 2, (11, 17)).astype(bool)
    figures = [
        figure("cell", "bitmap", bitmap={"data": packed(drawn), "origin": [40, 20]}),
        figure("wall", "polygon", points=outline(SQUARE, HOLE)),
        figure("cell", "polygon", points=outline(STAR)),
        figure("cell", "rectangle", points=outline([[3, 30], [14, 36]])),
        figure("cell", "point", points=outline([[3, 3]])),
        figure("cell", "bitmap", bitmap={"data": "no picture", "origin": [0, 0]}),
    ]
    height, width = SIZE
    project = tmp_path / "project"
    write_json(project / "meta.json", {"classes": [{"title": "wall"}, {"title": "cell"}], "tags": []})
    for name, own in (("a.png", figures), ("b.png", [])):
        draw_image(project / "ds0" / "img" / name)
        document = {"description": "", "tags": [], "size": {"height": height, "width": width}, "objects": own}
        write_json(project / "ds0" / "ann" / f"{name}.json", document)
    content = convert(project, tmp_path / "out.json")
    bitmap, box = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    bitmap[20:31, 40:57] = drawn
    box[30:37, 3:15] = True  # its corners belong to it
    expected = [
        ("cell", bitmap),
        ("wall", polygon_plane(SQUARE) & ~polygon_plane(HOLE)),
        ("cell", polygon_plane(STAR)),
        ("cell", box),
    ]
    found = objects(content)
    assert_equal(found["a.png"], expected)
    assert found["b.png"] == []
    assert [each["name"] for each in content["categories"]] == ["wall", "cell"]
    out = capsys.readouterr().out
    assert "objects that are no area: point: a.png.json, object 5" in out
    assert "objects that cannot be read: a.png.json, object 6 (its picture cannot be read" in out
