"""Reader of CVAT for images 1.1: an XML with polygons, masks, boxes and ellipses.

Runs of a mask go along the rows of its box, beginning with a run of background. Shapes of one label and ``group_id``
are one object.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from segtrain.convert.label_files import image_size, left_out_if_broken, number, one_in_each_folder
from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size, ellipse, flat, rectangle
from segtrain.convert.picture_files import PictureFiles, picture_size, require_found
from segtrain.data.foreign.label_kinds import is_cvat_xml
from segtrain.data.layouts import part_of, part_of_file
from segtrain.errors import SegtrainError
from segtrain.masks import Rle, encode_crop

_NO_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")


def read_cvat(request: Request) -> Labels:
    """Read an XML of CVAT for images.

    Args:
        request: source, image folder and tally.

    Raises:
        SegtrainError: the file cannot be read, is of CVAT for video, or no image is found.
    """
    paths = one_in_each_folder(request.source, (".xml",), is_cvat_xml, "CVAT's annotations.xml", request.tally)
    pictures = PictureFiles.of(request)
    names, images, missing = list[str](), list[LabelledImage](), list[str]()
    for path in paths:
        try:
            for _, element in ElementTree.iterparse(path, ("end",)):
                if element.tag == "track":
                    raise SegtrainError(f"{path}: CVAT for video; export the task as CVAT for images 1.1")
                if element.tag == "label" and (name := element.findtext("name")):
                    names.append(name)
                if element.tag == "image":
                    image = _image(element, path, pictures, request)
                    if image is None:
                        missing.append(element.get("name", ""))
                    else:
                        images.append(image)
                    element.clear()
        except (ElementTree.ParseError, OSError) as error:
            raise SegtrainError(f"{path}: cannot be read as XML ({error}); export it again") from error
    require_found(images, request, missing)
    used = {each.category for image in images for each in image.objects}
    stated = list(dict.fromkeys(names))
    return Labels(images, [name for name in stated if name in used] or None, [n for n in stated if n not in used])


def _image(element: ElementTree.Element, path: Path, pictures: PictureFiles, request: Request) -> LabelledImage | None:
    name, subset = element.get("name", ""), element.get("subset")
    places = [path.parent / "images", path.parent]
    places = [path.parent / "images" / subset, path.parent / subset, *places] if subset else places
    part = part_of(subset) if subset else part_of_file(path.name)
    match = pictures.find(name, path, places, part=part)
    if match is None:
        return None
    size = image_size(element.get("height"), element.get("width")) or picture_size(match.path, request.tally)
    if size is None:
        return None
    objects = list(_objects(element, name, size, request))
    return LabelledImage(match.path, size, objects, path, match.by_name, subset or part)


def _objects(element: ElementTree.Element, name: str, size: Size, request: Request) -> Iterator[LabelledObject]:
    for place, shape in enumerate(element, 1):
        origin = f"{name}, shape {place}"
        if shape.tag in _NO_AREA:
            request.tally.add("left out", f"shapes that are no area: {shape.tag}", origin)
            continue
        with left_out_if_broken(request.tally, "shapes", origin):
            yield _object(shape, origin, size)


def _object(shape: ElementTree.Element, origin: str, size: Size) -> LabelledObject:
    values = shape.attrib
    label = LabelledObject(values["label"], origin, group=values.get("group_id"), attributes=dict(_attributes(shape)))
    turned = number(values.get("rotation", 0))
    if shape.tag == "polygon":
        points = [point.split(",") for point in values["points"].split(";")]
        return replace(label, polygons=[flat((number(x), number(y)) for x, y in points)])
    if shape.tag == "box":
        x0, y0, x1, y1 = (number(values[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        return replace(label, polygons=[rectangle(x0, y0, x1, y1, turned)])
    if shape.tag == "ellipse":
        x, y, radius_x, radius_y = (number(values[key]) for key in ("cx", "cy", "rx", "ry"))
        return replace(label, mask=ellipse(x, y, radius_x, radius_y, size, turned))
    if shape.tag == "mask":
        return replace(label, mask=_mask(values, size))
    raise ValueError(f"{shape.tag} is not known")


def _mask(values: Mapping[str, str], size: Size) -> Rle:
    left, top, width, height = (int(number(values[key])) for key in ("left", "top", "width", "height"))
    if width > size[1] or height > size[0]:
        raise ValueError(f"its box of {width}x{height} is larger than the image")
    runs = np.array([int(number(run)) for run in values["rle"].split(",")])
    if (runs < 0).any() or runs.sum() > width * height:
        raise ValueError(f"its runs do not fill the box of {width}x{height}")
    crop = np.zeros(width * height, dtype=np.uint8)
    filled = np.repeat(np.arange(len(runs)) % 2, runs)
    crop[: len(filled)] = filled
    return encode_crop(crop.reshape(height, width), left, top, size)


def _attributes(shape: ElementTree.Element) -> Iterator[tuple[str, Any]]:
    if shape.get("occluded") == "1":
        yield "occluded", True
    if shape.get("z_order", "0") != "0":
        yield "z_order", int(number(shape.get("z_order")))
    for attribute in shape.iter("attribute"):
        if attribute.text:
            yield attribute.get("name", ""), attribute.text
