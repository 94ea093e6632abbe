"""Reader of the VGG Image Annotator 2: projects and annotations as json, regions in lists or objects, and csv."""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segtrain.convert.label_files import number, objects_of, only_file, read_json, read_text, require_object
from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size, ellipse, flat, rectangle
from segtrain.convert.picture_files import PictureFiles, picture_size, require_found
from segtrain.errors import SegtrainError

# Attributes of regions that hold the class, the likeliest first; otherwise it is the one that most regions have.
_CLASS_ATTRIBUTES = ("class", "class_name", "category", "label", "name", "type", "object", "species")
Region = Mapping[str, Any]


def read_via(request: Request) -> Labels:
    """Read a json or csv file of the VGG Image Annotator.

    Args:
        request: source, image folder and tally.

    Raises:
        SegtrainError: the file cannot be read, or no image is found.
    """
    path = only_file(request.source, (".json", ".csv"), "the file that VIA has saved")
    entries = _of_csv(path) if path.suffix.lower() == ".csv" else _of_json(path)
    attribute = _class_attribute([region for regions in entries.values() for region in regions], request, path)
    pictures = PictureFiles.of(request)
    images, missing = list[LabelledImage](), list[str]()
    for name, regions in request.shown("reading VIA's regions", list(entries.items())):
        picture = pictures.find(name, path.parent)
        if picture is None:
            missing.append(name)
        elif (size := picture_size(picture, request.tally)) is not None:
            objects = []
            for place, region in enumerate(regions, 1):
                origin = f"{name}, region {place}"
                try:
                    if (found := _object(region, attribute, origin, size, request)) is not None:
                        objects.append(found)
                except (ValueError, KeyError, TypeError) as error:
                    request.tally.add("left out", "regions that cannot be read", f"{origin} ({error})")
            images.append(LabelledImage(picture, size, objects))
    require_found(images, request, missing)
    return Labels(images)


def _of_json(path: Path) -> dict[str, list[Region]]:
    """Return the regions of each image by its name."""
    document = require_object(read_json(path), path, "the file")
    entries = document.get("_via_img_metadata", document)
    found: dict[str, list[Region]] = {}
    for _, entry in objects_of(entries):
        if "filename" in entry:
            found.setdefault(str(entry["filename"]), []).extend(
                region for _, region in objects_of(entry.get("regions"))
            )
    if not found:
        raise SegtrainError(f"{path}: names no images; save the project or the annotations again with VIA 2")
    return found


def _of_csv(path: Path) -> dict[str, list[Region]]:
    found: dict[str, list[Region]] = {}
    for place, row in enumerate(csv.DictReader(read_text(path).splitlines()), 2):
        name = row.get("filename") or row.get("#filename")
        try:
            keys = ("region_shape_attributes", "region_attributes")
            shape, attributes = (json.loads(row.get(key) or "{}") for key in keys)
        except ValueError as error:
            raise SegtrainError(f"{path}: line {place} cannot be read ({error}); export the csv again") from error
        if name:
            regions = found.setdefault(name, [])
            if shape:
                regions.append({"shape_attributes": shape, "region_attributes": attributes})
    if not found:
        raise SegtrainError(f"{path}: no csv of VIA; it has the columns filename and region_shape_attributes")
    return found


def _class_attribute(regions: Sequence[Region], request: Request, path: Path) -> str | None:
    """Choose the attribute of regions that holds the class."""
    counts = Counter(key for region in regions for key in (region.get("region_attributes") or {}))
    if not counts:
        return None
    names = {key.lower(): key for key in reversed(counts)}
    known = next((names[name] for name in _CLASS_ATTRIBUTES if name in names), None)
    chosen = str(known if known is not None else counts.most_common(1)[0][0])
    if len(counts) > 1:
        others = ", ".join(key for key in counts if key != chosen)
        request.tally.add("note", f"the class is the attribute {chosen} of a region, not {others}", path.name)
    return chosen


def _object(region: Region, attribute: str | None, origin: str, size: Size, request: Request) -> LabelledObject | None:
    shape = region["shape_attributes"]
    attributes = region.get("region_attributes") or {}
    label = LabelledObject(_class_of(attributes.get(attribute), origin, request), origin)
    kind = shape["name"]
    if kind in ("polygon", "polyline"):
        points = zip(map(number, shape["all_points_x"]), map(number, shape["all_points_y"]), strict=True)
        return replace(label, polygons=[flat(points)])
    if kind == "rect":
        x, y, width, height = (number(shape[key]) for key in ("x", "y", "width", "height"))
        return replace(label, polygons=[rectangle(x, y, x + width, y + height)])
    if kind in ("circle", "ellipse"):
        x, y = number(shape["cx"]), number(shape["cy"])
        radii = ("r", "r") if kind == "circle" else ("rx", "ry")
        radius_x, radius_y = (number(shape[key]) for key in radii)
        degrees = math.degrees(number(shape.get("theta", 0)))
        return replace(label, mask=ellipse(x, y, radius_x, radius_y, size, degrees))
    request.tally.add("left out", f"regions that are no area: {kind}", origin)
    return None


def _class_of(value: Any, origin: str, request: Request) -> str:
    """Return the class that an attribute states: a text, or the options that are ticked."""
    if isinstance(value, dict):
        value = "+".join(_ticked(value))
    if value in (None, ""):
        request.tally.add("note", f"regions without a class, taken as {request.only_class}", origin)
        return request.only_class
    return str(value)


def _ticked(options: Mapping[str, Any]) -> Iterator[str]:
    yield from (key for key, ticked in options.items() if ticked)
