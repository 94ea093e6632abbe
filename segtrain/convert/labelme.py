"""Reader of labelme's files: a json for each image.

Shapes are polygons, rectangles (turned ones too) and circles in pixels, and masks: a PNG in base64 within the box of
two points, the second of which belongs to it. Shapes of one label and ``group_id`` are one object.
"""

import base64
import binascii
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from segtrain.convert.label_files import (
    entries_of,
    image_size,
    label_files,
    left_out_if_broken,
    number,
    pairs,
    read_json,
    require_object,
)
from segtrain.convert.labelled import NO_CLASS, HeldFile, LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size, bitmap, ellipse, flat, rectangle
from segtrain.convert.picture_files import Match, PictureFiles, picture_size, require_found
from segtrain.data.images.names.name_forms import plain_path
from segtrain.errors import SegtrainError
from segtrain.masks import encode_crop

# Rectangles that may be turned: of labelme since 2026, and of X-AnyLabeling, which writes the same format.
_OF_CORNERS = ("rectangle", "oriented_rectangle", "rotation")


def read_labelme(request: Request) -> Labels:
    """Read a folder of labelme's files, or one of them.

    Args:
        request: source, image folder and tally.

    Raises:
        SegtrainError: a file cannot be read, or no image is found.
    """
    pictures = PictureFiles.of(request)
    images, missing = list[LabelledImage](), list[str]()
    for path in request.shown("reading labelme's files", label_files(request.source, ".json")):
        document = require_object(read_json(path), path, "the file")
        if "shapes" not in document:
            request.tally.add("left out", "json files that are not labelme's", path.name)
        elif (image := _image(path, document, pictures, request)) is not None:
            images.append(image)
        else:
            missing.append(f"{document.get('imagePath')} of {path.name}")
    require_found(images, request, missing)
    return Labels(images)


def _image(path: Path, document: dict[str, Any], pictures: PictureFiles, request: Request) -> LabelledImage | None:
    name = str(document.get("imagePath") or path.stem)
    size = image_size(document.get("imageHeight"), document.get("imageWidth"))
    match = _match(name, path, pictures, lenient=bool(document.get("imageData")))
    held = None
    if (match is None or match.by_name) and _embedded(document) is not None:
        held = HeldFile(path.with_name(_file_name(name, path)), partial(_read_embedded, path))
        if match is not None and size != picture_size(match.path, request.tally):
            match = None  # another picture of this name
    if match is None and held is None:
        return None
    if size is None and match is not None:
        size = picture_size(match.path, request.tally)
    if size is None:
        raise SegtrainError(f"{path}: states no imageHeight and imageWidth; save it again with labelme")
    objects = list(_objects(document["shapes"], path, size, request))
    if match is not None:
        return LabelledImage(match.path, size, objects, path, match.by_name, held=held)
    assert held is not None
    return LabelledImage(held.path, size, objects, path, held=held)


def _file_name(name: str, path: Path) -> str:
    """Return the name for an image that a json holds: the one that is stated, if it can be that of a file."""
    stated = PurePosixPath(plain_path(name)).name
    return stated if stated and stated.isprintable() else path.stem


def _match(name: str, path: Path, pictures: PictureFiles, *, lenient: bool) -> Match | None:
    """Find the image by the name that is stated, else by that of the json."""
    try:
        return pictures.find(name, path, alone=True) or pictures.find(path.stem, path, alone=True)
    except SegtrainError:
        if lenient:  # the json holds the image that is meant
            return None
        raise


def _objects(shapes: Any, path: Path, size: Size, request: Request) -> Iterator[LabelledObject]:
    for place, shape in enumerate(entries_of(shapes), 1):
        origin = f"{path.name}, shape {place}"
        with left_out_if_broken(request.tally, "shapes", origin):
            if (found := _object(shape, origin, size, request)) is not None:
                yield found


def _object(shape: dict[str, Any], origin: str, size: Size, request: Request) -> LabelledObject | None:
    points, kind = pairs(shape.get("points")), shape.get("shape_type") or "polygon"
    attributes = _attributes(shape)
    crowd = attributes.pop("iscrowd", False) is True  # as this package writes regions to ignore
    group = _group(shape.get("group_id"))
    if (name := shape.get("label")) in (None, ""):
        request.tally.add("note", f"shapes without a label, taken as {NO_CLASS}", origin)
        name = NO_CLASS
    label = LabelledObject(str(name), origin, group=group, iscrowd=crowd, attributes=attributes)
    if kind == "polygon":
        return replace(label, polygons=[flat(points)])
    if kind == "mask" and points:
        left, top = map(round, points[0])  # a mask that was moved may lie between pixels
        return replace(label, mask=encode_crop(bitmap(shape.get("mask")), left, top, size))
    if kind == "rectangle" and len(points) == 2:
        return replace(label, polygons=[rectangle(*points[0], *points[1])])
    if kind in _OF_CORNERS and len(points) == 4:
        return replace(label, polygons=[flat(points)])
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        return replace(label, mask=ellipse(x, y, radius, radius, size))
    request.tally.add("left out", f"shapes that are no area: {kind}", origin)
    return None


def _group(value: Any) -> float | str | None:
    try:
        return None if value is None else number(value)
    except ValueError:
        return str(value)


def _attributes(shape: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that are set, and further attributes as this package writes them."""
    found: dict[str, Any] = {}
    for key in ("flags", "attributes"):
        values = shape.get(key)
        found |= {name: value for name, value in values.items() if value} if isinstance(values, dict) else {}
    return found | ({"description": shape["description"]} if shape.get("description") else {})


def _embedded(document: dict[str, Any]) -> bytes | None:
    """Return the image file that a json holds; None if there is none, or it cannot be read."""
    try:
        return base64.b64decode(document["imageData"], validate=True) if document.get("imageData") else None
    except (binascii.Error, TypeError, ValueError):
        return None


def _read_embedded(path: Path) -> bytes:
    content = _embedded(read_json(path))
    if content is None:
        raise SegtrainError(f"{path}: was changed while it was read; convert it again")
    return content
