"""Reader of labelme's files: a json for each image.

Shapes are polygons, rectangles and circles in pixels, and masks: a PNG in base64 within the box of two points, the
second of which belongs to it. Shapes of one label and ``group_id`` are one object.
"""

import base64
import binascii
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from segtrain.convert.label_files import image_size, number, objects_of, pairs, read_json, require_object
from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size, bitmap, ellipse, flat, rectangle
from segtrain.convert.picture_files import PictureFiles, picture_size, require_found
from segtrain.errors import SegtrainError
from segtrain.masks import encode_crop


def read_labelme(request: Request) -> Labels:
    """Read a folder of labelme's files, or one of them.

    Args:
        request: source, image folder and tally.

    Raises:
        SegtrainError: a file cannot be read, or no image is found.
    """
    source = request.source
    paths = [source] if source.is_file() else sorted(source.rglob("*.json"))
    pictures = PictureFiles.of(request)
    images, missing = list[LabelledImage](), list[str]()
    for path in request.shown("reading labelme's files", paths):
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
    picture = pictures.find(name, path.parent) or pictures.find(path.stem, path.parent)
    content = None
    if picture is None:
        content = _embedded(document)
        if content is None:
            return None
        picture = path.with_name(Path(name.replace("\\", "/")).name)
    size = image_size(document.get("imageHeight"), document.get("imageWidth"))
    if size is None and content is None:
        size = picture_size(picture, request.tally)
    if size is None:
        raise SegtrainError(f"{path}: states no imageHeight and imageWidth; save it again with labelme")
    objects = []
    for place, shape in objects_of(document["shapes"]):
        origin = f"{path.name}, shape {place + 1}"
        try:
            if (found := _object(shape, origin, size, request)) is not None:
                objects.append(found)
        except ValueError as error:
            request.tally.add("left out", "shapes that cannot be read", f"{origin} ({error})")
    return LabelledImage(picture, size, objects, content=content)


def _object(shape: dict[str, Any], origin: str, size: Size, request: Request) -> LabelledObject | None:
    points, kind = pairs(shape.get("points")), shape.get("shape_type") or "polygon"
    flags = shape.get("flags")
    attributes = {key: value for key, value in flags.items() if value} if isinstance(flags, dict) else {}
    crowd = attributes.pop("iscrowd", False) is True  # as this package writes regions to ignore
    group = _group(shape.get("group_id"))
    label = LabelledObject(str(shape.get("label")), origin, group=group, iscrowd=crowd, attributes=attributes)
    if kind == "polygon":
        return replace(label, polygons=[flat(points)])
    if kind == "mask" and points:
        left, top = map(int, points[0])
        return replace(label, mask=encode_crop(bitmap(shape.get("mask")), left, top, size))
    if kind == "rectangle" and len(points) in (2, 4):
        return replace(label, polygons=[rectangle(*points[0], *points[1]) if len(points) == 2 else flat(points)])
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


def _embedded(document: dict[str, Any]) -> bytes | None:
    try:
        return base64.b64decode(document["imageData"], validate=True) if document.get("imageData") else None
    except (binascii.Error, TypeError, ValueError):
        return None
