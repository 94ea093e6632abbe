"""What programs require of files that they import, after their published formats and readers."""

from collections.abc import Mapping
from typing import Any

OBJECT_TYPES = {"annotation", "detection", "cell", "tile", "tmaCore", "root"}  # of QuPath


def require_cvat(content: Mapping[str, Any]) -> None:
    """Check a COCO file as Datumaro reads it for CVAT: each field is there, of its exact type; 0 is no category."""
    for category in content["categories"]:
        assert type(category["id"]) is int
        assert category["id"] > 0
        assert isinstance(category["name"], str)
    sizes = {}
    for image in content["images"]:
        assert all(type(image[key]) is int for key in ("id", "height", "width"))
        assert isinstance(image["file_name"], str)
        sizes[image["id"]] = [image["height"], image["width"]]
    known = {category["id"] for category in content["categories"]}
    numbers = [entry["id"] for entry in content["annotations"]]
    assert len(set(numbers)) == len(numbers)
    for entry in content["annotations"]:
        assert all(type(entry[key]) is int for key in ("id", "image_id", "category_id", "iscrowd"))
        assert entry["category_id"] in known
        assert isinstance(entry["score"], int | float)
        assert [isinstance(side, int | float) for side in entry["bbox"]] == [True] * 4
        shape = entry["segmentation"]
        if isinstance(shape, dict):
            assert shape["size"] == sizes[entry["image_id"]]
            assert isinstance(shape["counts"], str)
        else:
            assert all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in shape)


def require_label_studio(content: Mapping[str, Any]) -> None:
    """Check a COCO file as Label Studio's converter reads it: the first polygon of each object is the whole object."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    for entry in content["annotations"]:
        assert entry["iscrowd"] == 0  # others count as run lengths
        (polygon,) = entry["segmentation"]
        width, height = sizes[entry["image_id"]]
        assert all(0 <= x <= width for x in polygon[::2])
        assert all(0 <= y <= height for y in polygon[1::2])


def require_qupath(content: Mapping[str, Any]) -> None:
    """Check a GeoJSON file as QuPath reads it: a list of features with geometry, type, class and measurements."""
    assert content["type"] == "FeatureCollection"
    for feature in content["features"]:
        assert feature["type"] == "Feature"
        assert feature["geometry"]["type"] in ("Polygon", "MultiPolygon")
        about = feature["properties"]
        assert about["objectType"] in OBJECT_TYPES
        assert isinstance(about["name"], str)
        assert isinstance(about["classification"]["name"], str)
        assert [0 <= part <= 255 and type(part) is int for part in about["classification"]["color"]] == [True] * 3
        assert all(isinstance(value, int | float) for value in about["measurements"].values())
        rings = feature["geometry"]["coordinates"]
        for part in [rings] if feature["geometry"]["type"] == "Polygon" else rings:
            for ring in part:
                assert ring[0] == ring[-1]
                assert len(ring) >= 4
