"""Reader of the VGG Image Annotator 2: projects and annotations as json, regions in lists or objects, and csv."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segtrain.convert.label_files import (
    entries_of,
    left_out_if_broken,
    number,
    one_in_each_folder,
    read_json,
    read_text,
    require_object,
)
from segtrain.convert.labelled import NO_CLASS, LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size, ellipse, flat, rectangle
from segtrain.convert.picture_files import PictureFiles, picture_size, require_found
from segtrain.data.foreign.label_kinds import is_via
from segtrain.data.layouts import part_of_file
from segtrain.errors import SegtrainError

# Attributes of regions that hold the class, the likeliest first; otherwise it is the one that most regions have.
_CLASS_ATTRIBUTES = ("class", "class_name", "category", "label", "name", "type", "object", "species")
Region = Mapping[str, Any]


def read_via(request: Request) -> Labels:
    """Read a json or csv file of the VGG Image Annotator, or one in each of several folders.

    Args:
        request: source, image folder and tally.

    Raises:
        SegtrainError: a file cannot be read, or no image is found.
    """
    what = "the file that VIA has saved"
    paths = one_in_each_folder(request.source, (".json", ".csv"), is_via, what, request.tally)
    files = {path: _of_csv(path) if path.suffix.lower() == ".csv" else _of_json(path) for path in paths}
    regions = [region for entries in files.values() for own in entries.values() for region in own]
    attribute = _class_attribute(regions, request, paths[0])
    unnamed = request.only_class if attribute is None else NO_CLASS
    pictures = PictureFiles.of(request)
    images, missing = list[LabelledImage](), list[str]()
    wanted = [(path, name, own) for path, entries in files.items() for name, own in entries.items()]
    for path, name, own in request.shown("reading VIA's regions", wanted):
        part = part_of_file(path.name)
        match = pictures.find(name, path, part=part)
        if match is None:
            missing.append(name)
        elif (size := picture_size(match.path, request.tally)) is not None:
            objects = list(_objects(own, name, attribute, unnamed, size, request))
            images.append(LabelledImage(match.path, size, objects, path, match.by_name, part))
    require_found(images, request, missing)
    return Labels(images)


def _objects(
    regions: Sequence[Region], name: str, attribute: str | None, unnamed: str, size: Size, request: Request
) -> Iterator[LabelledObject]:
    for place, region in enumerate(regions, 1):
        origin = f"{name}, region {place}"
        with left_out_if_broken(request.tally, "regions", origin):
            kind = _class_of(_attributes(region).get(attribute or ""))
            if not kind:
                request.tally.add("note", f"regions without a class, taken as {unnamed}", origin)
            label = LabelledObject(kind or unnamed, origin)
            if (found := _object(region["shape_attributes"], label, size, request)) is not None:
                yield found


def _of_json(path: Path) -> dict[str, list[Region]]:
    """Return the regions of each image by its name."""
    document = require_object(read_json(path), path, "the file")
    entries = document.get("_via_img_metadata", document)
    found: dict[str, list[Region]] = {}
    for entry in entries_of(entries):
        if isinstance(entry, dict) and "filename" in entry:
            found.setdefault(str(entry["filename"]), []).extend(entries_of(entry.get("regions")))
    if not found:
        raise SegtrainError(f"{path}: names no images; save the project or the annotations again with VIA 2")
    return found


def _of_csv(path: Path) -> dict[str, list[Region]]:
    found: dict[str, list[Region]] = {}
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
    limit = csv.field_size_limit(2**31 - 1)  # a polygon may be longer than the module permits by itself
    try:
        for row in rows:
            name = row.get("filename") or row.get("#filename")
            keys = ("region_shape_attributes", "region_attributes")
            shape, attributes = (json.loads(row.get(key) or "{}") for key in keys)
            if name:
                regions = found.setdefault(name, [])
                if shape:
                    regions.append({"shape_attributes": shape, "region_attributes": attributes})
    except (ValueError, RecursionError, csv.Error) as error:
        raise SegtrainError(f"{path}: line {rows.line_num} cannot be read ({error}); export the csv again") from error
    finally:
        csv.field_size_limit(limit)
    if not found:
        raise SegtrainError(f"{path}: no csv of VIA; it has the columns filename and region_shape_attributes")
    return found


def _class_attribute(regions: Sequence[Region], request: Request, path: Path) -> str | None:
    """Choose the attribute of regions that holds the class."""
    counts = Counter(key for region in regions for key in _attributes(region))
    if not counts:
        return None
    names = {key.lower(): key for key in reversed(counts)}
    known = next((names[name] for name in _CLASS_ATTRIBUTES if name in names), None)
    chosen = known if known is not None else counts.most_common(1)[0][0]
    if len(counts) > 1:
        others = ", ".join(key for key in counts if key != chosen)
        request.tally.add("note", f"the class is the attribute {chosen} of a region, not {others}", path.name)
    return chosen


def _attributes(region: Region) -> Mapping[str, Any]:
    """Return the attributes of a region; none where other values stand in their place."""
    found = region.get("region_attributes") if isinstance(region, dict) else None
    return found if isinstance(found, dict) else {}


def _object(shape: Mapping[str, Any], label: LabelledObject, size: Size, request: Request) -> LabelledObject | None:
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
    request.tally.add("left out", f"regions that are no area: {kind}", label.origin)
    return None


def _class_of(value: Any) -> str:
    """Return the class that an attribute states: a text, or the options that are ticked; empty for none."""
    if isinstance(value, dict):
        return "+".join(key for key, ticked in value.items() if ticked)
    if isinstance(value, list):
        return "+".join(map(str, value))
    return "" if value is None else str(value)
