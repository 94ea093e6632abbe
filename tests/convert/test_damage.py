"""Label files with values of other kinds than a format has: never a traceback."""

import base64
import copy
import json
import random
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.cli.main import main
from tests.convert.test_imagej import path_of, roi
from tests.convert.test_labelme import png
from tests.helpers.conversions import STAR, draw_image, polygon_plane
from tests.helpers.json_mutations import Literal, junk

MASK = png(polygon_plane(STAR))
PACKED = base64.b64encode(zlib.compress(base64.b64decode(MASK))).decode()
FLAT = [value for point in STAR for value in point]
POINTS = {"all_points_x": [x for x, _ in STAR], "all_points_y": [y for _, y in STAR]}
SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "labelme": ("a.json", {
        "shapes": [
            {"label": "a", "points": STAR, "shape_type": "polygon", "group_id": 1, "flags": {"x": True}},
            {"label": "a", "points": [[1, 1], [60, 40]], "shape_type": "mask", "mask": MASK},
            {"label": "a", "points": [[9, 9], [12, 9]], "shape_type": "circle"},
        ],
        "imagePath": "a.png", "imageData": None, "imageHeight": 40, "imageWidth": 60,
    }),
    "via": ("a.json", {"a": {"filename": "a.png", "size": 3, "regions": [
        {"shape_attributes": {"name": "polygon", **POINTS}, "region_attributes": {"class": "a"}},
        {"shape_attributes": {"name": "ellipse", "cx": 9, "cy": 9, "rx": 4, "ry": 3}, "region_attributes": {}},
    ]}}),
    "supervisely": ("set/ann/a.png.json", {"size": {"height": 40, "width": 60}, "objects": [
        {"classTitle": "a", "geometryType": "bitmap", "bitmap": {"data": PACKED, "origin": [0, 0]}},
        {"classTitle": "a", "geometryType": "polygon", "points": {"exterior": STAR, "interior": [STAR[:3]]}},
    ]}),
    "coco": ("a.json", {
        "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 60}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [FLAT], "attributes": {"x": 1}}],
        "categories": [{"id": 1, "name": "a", "supercategory": "b"}],
    }),
}  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def written(value: Any) -> str:
    """Return json text, in which literals stay as they are."""
    if isinstance(value, Literal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {written(own)}" for key, own in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


@pytest.mark.parametrize("name", list(SOURCES))
@given(seed=st.integers(0, 2**32))
def test_values_of_other_kinds_are_no_traceback(name: str, seed: int) -> None:
    rng, (file, content) = random.Random(seed), SOURCES[name]
    damaged = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        if found := list(places(damaged)):
            container, key = rng.choice(found)
            container[key] = junk(rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file
        draw_image(Path(folder) / ("set/img/a.png" if name == "supervisely" else "a.png"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written(damaged), encoding="utf-8", errors="surrogatepass")
        assert main(["convert", str(path), str(Path(folder) / "out.json"), "--format", name]) in (0, 1)


XML = (
    '<annotations><meta><label><name>a</name></label></meta><image id="0" name="a.png" width="60" height="40">'
    '<polygon label="a" points="1.5,2;9,3;5,8" z_order="1"/><mask label="a" rle="2, 3, 1" left="5" top="5" width="3" '
    'height="2"/><ellipse label="a" cx="9" cy="9" rx="4" ry="3" rotation="20"/></image></annotations>'
)
VIA_ROW = 'a.png,9,"{}",1,0,"{""name"":""rect"",""x"":1,""y"":2,""width"":5,""height"":6}","{""class"":""a""}"'
FILES = {
    "cvat": {"a.xml": XML.encode()},
    "via": {"a.csv": f"filename,a,b,c,d,region_shape_attributes,region_attributes\n{VIA_ROW}\n".encode()},
    "yolo": {"data.yaml": b"train: .\nnames: {0: a, 1: b}\n", "a.txt": b"0 .1 .1 .5 .1 .5 .5\n1 .5 .5 .2 .2\n"},
    "imagej": {"a.roi": roi(1, (3, 3, 9, 9), path=path_of(STAR, STAR[:3]), position=2) + bytes(64)},
}
PIECES = [b"1e308", b"NaN", b"-1", b"9" * 30, b'"', b"}", b",", b"\xff\xfe", b"\0", b"null", b"[[", b": "]


@pytest.mark.parametrize("name", list(FILES))
@given(seed=st.integers(0, 2**32))
def test_damaged_bytes_are_no_traceback(name: str, seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        draw_image(Path(folder) / "set" / "a.png")
        for file, content in FILES[name].items():
            damaged = bytearray(content)
            for _ in range(rng.randint(0, 4)):
                place = rng.randrange(len(damaged) + 1)
                damaged[place : place + rng.choice([0, 1, 4, 99])] = rng.choice([*PIECES, rng.randbytes(2)])
            (Path(folder) / "set" / file).write_bytes(damaged)
        source, out = str(Path(folder) / "set"), str(Path(folder) / "out.json")
        assert main(["convert", source, out, "--format", name]) in (0, 1)
