"""Sources of labels for tests of conversions, and reading of what was converted by pycocotools alone."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco_mask

from segtrain.cli.main import main

SIZE = (40, 60)
STAR = [[10.0, 4.0], [30.5, 8.25], [22.0, 31.75], [6.5, 20.0]]
SQUARE = [[34.0, 10.0], [52.0, 10.0], [52.0, 30.0], [34.0, 30.0]]
HOLE = [[40.0, 15.0], [46.0, 15.0], [46.0, 22.0], [40.0, 22.0]]
Plane = npt.NDArray[np.bool_]


def draw_image(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> Path:
    """Write a picture of noise, another one for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *path.name.encode()]).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def polygon_plane(*polygons: Sequence[Sequence[float]], size: tuple[int, int] = SIZE) -> Plane:
    """Rasterise polygons by pycocotools."""
    flat = [np.asarray(polygon, dtype=float).reshape(-1).tolist() for polygon in polygons]
    return _decoded(coco_mask.merge(coco_mask.frPyObjects(flat, *size)))


def _decoded(rle: Any) -> Plane:
    with warnings.catch_warnings(action="ignore"):  # pycocotools' own, under NumPy 2
        return np.asarray(coco_mask.decode(rle)).astype(bool)


def convert(source: Path, out: Path, *options: str, code: int = 0) -> dict[str, Any]:
    """Run ``segtrain convert``, and return the json it wrote."""
    assert main(["convert", str(source), str(out), *options]) == code
    content: dict[str, Any] = json.loads(out.read_text())
    return content


def plane_of(annotation: Mapping[str, Any], size: tuple[int, int]) -> Plane:
    """Decode a mask of a COCO json by pycocotools."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    return _decoded(segmentation)


def objects(content: Mapping[str, Any]) -> dict[str, list[tuple[str, Plane]]]:
    """Class and mask of each object, by the file name of its image; checks ids, boxes and areas on the way."""
    images = {image["id"]: image for image in content["images"]}
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert list(images) == list(range(1, len(images) + 1))
    assert list(names) == list(range(1, len(names) + 1))
    assert [entry["id"] for entry in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))
    found: dict[str, list[tuple[str, Plane]]] = {image["file_name"]: [] for image in images.values()}
    for entry in content["annotations"]:
        image = images[entry["image_id"]]
        plane = plane_of(entry, (image["height"], image["width"]))
        rows, columns = np.nonzero(plane)
        x, y = columns.min(), rows.min()
        assert entry["bbox"] == [x, y, columns.max() + 1 - x, rows.max() + 1 - y]
        assert entry["area"] == plane.sum()
        found[image["file_name"]].append((names[entry["category_id"]], plane))
    return found


def assert_equal(found: Sequence[tuple[str, Plane]], expected: Sequence[tuple[str, Plane]]) -> None:
    """Compare objects in their order, pixel by pixel."""
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (name, plane), (_, wanted) in zip(found, expected, strict=True):
        assert (plane == wanted).all(), f"{name}: {(plane != wanted).sum()} pixels differ"
