"""Reader of Supervisely's projects: ``DATASET/ann/IMAGE.json`` beside ``DATASET/img/IMAGE``, and ``meta.json``.

Bitmaps are PNGs, packed by zlib and in base64, with the place of their upper left pixel; polygons have an outline and
holes; the corners of a rectangle belong to it.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from segtrain.convert.label_files import (
    entries_of,
    image_size,
    label_files,
    left_out_if_broken,
    pairs,
    read_json,
    require_object,
)
from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size, bitmap, flat, rectangle, without_holes
from segtrain.convert.picture_files import PictureFiles, picture_size, require_found
from segtrain.masks import encode_crop

_OF_PROJECTS = ("meta.json", "key_id_map.json", "obj_class_to_machine_color.json")


def read_supervisely(request: Request) -> Labels:
    """Read a project, a data set of one, or a single file.

    Args:
        request: source, image folder and tally.

    Raises:
        SegtrainError: a file cannot be read, or no image is found.
    """
    paths = label_files(request.source, ".json")
    paths = [path for path in paths if path.parent.name == "ann"] or paths
    pictures = PictureFiles.of(request)
    images, missing = list[LabelledImage](), list[str]()
    for path in request.shown("reading Supervisely's files", paths):
        document = require_object(read_json(path), path, "the file")
        if "objects" not in document:
            if path.name not in _OF_PROJECTS:
                request.tally.add("left out", "json files without objects", path.name)
            continue
        name = path.name.removesuffix(".json")
        match = pictures.find(name, path, [path.parent.parent / "img"], alone=True)
        size = _size(document.get("size"))
        if size is None and match is not None:
            size = picture_size(match.path, request.tally)
        if match is None or size is None:
            missing.append(name)
        else:
            objects = list(_objects(document["objects"], path, size, request))
            images.append(LabelledImage(match.path, size, objects, path, match.by_name))
    require_found(images, request, missing)
    return Labels(images, _classes(request.source))


def _objects(entries: Any, path: Path, size: Size, request: Request) -> Iterator[LabelledObject]:
    for place, entry in enumerate(entries_of(entries), 1):
        origin = f"{path.name}, object {place}"
        with left_out_if_broken(request.tally, "objects", origin):
            if (found := _object(entry, origin, size, request)) is not None:
                yield found


def _size(value: Any) -> Size | None:
    return image_size(value.get("height"), value.get("width")) if isinstance(value, Mapping) else None


def _classes(source: Path) -> list[str] | None:
    """Read the classes that a project states."""
    path = source / "meta.json"
    if not path.is_file():
        return None
    classes = require_object(read_json(path), path, "the file").get("classes")
    return [str(entry["title"]) for entry in entries_of(classes) if isinstance(entry, dict) and "title" in entry]


def _object(entry: Mapping[str, Any], origin: str, size: Size, request: Request) -> LabelledObject | None:
    label = LabelledObject(str(entry["classTitle"]), origin)
    kind = entry.get("geometryType") or ("bitmap" if entry.get("bitmap") else "polygon")
    if kind == "bitmap":
        (left, top), *_ = pairs([entry["bitmap"]["origin"]])
        crop = bitmap(entry["bitmap"]["data"], zlib.decompress)
        return replace(label, mask=encode_crop(crop, int(left), int(top), size))
    if kind in ("polygon", "rectangle"):
        points = pairs(entry["points"]["exterior"])
        if kind == "rectangle":
            (x0, y0), (x1, y1) = points
            outline = rectangle(min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1)
            return replace(label, polygons=[outline])
        holes = [flat(pairs(hole)) for hole in entry["points"].get("interior") or ()]
        if holes:
            return replace(label, mask=without_holes(flat(points), holes, size))
        return replace(label, polygons=[flat(points)])
    request.tally.add("left out", f"objects that are no area: {kind}", origin)
    return None
