"""Writer of labelme's files: a json for each image, which names the image by a relative path."""

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from segtrain.convert.coco_writer import DrawnObject, drawn_objects
from segtrain.convert.labelled import LabelledImage, Tally
from segtrain.convert.picture_files import common_folder
from segtrain.io import write_atomically
from segtrain.masks import decode_crop

_VERSION = "5.5.0"  # of labelme, whose form this is; the first with masks was 5.3


def write_labelme(
    parts: Mapping[str, Sequence[LabelledImage]], categories: Sequence[str], out: Path, tally: Tally
) -> None:
    """Write a json for each image: polygons as they are, grouped if an object has several, other masks as pictures.

    Args:
        parts: images with their objects by the part of the data; "" for one part alone.
        categories: names of all classes.
        out: folder that is written.
        tally: receives what cannot be said in the format.

    Raises:
        OSError: a file cannot be written.
    """
    images = [image for own in parts.values() for image in own]
    folder = common_folder([image.path for image in images])
    for image in images:
        path = out / image.path.absolute().relative_to(folder).with_suffix(".json")
        shapes = [
            shape
            for number, each in enumerate(drawn_objects(image, tally), 1)
            for shape in _shapes(each, number, tally)
        ]
        document: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": Path(os.path.relpath(image.path.absolute(), path.absolute().parent)).as_posix(),
            "imageData": None,
            "imageHeight": image.size[0],
            "imageWidth": image.size[1],
        }
        write_atomically(path, msgspec.json.encode(document))


def _shapes(each: DrawnObject, number: int, tally: Tally) -> Iterator[dict[str, Any]]:
    group = number if len(each.polygons) > 1 else None
    flags = {"iscrowd": True} if each.label.iscrowd else {}
    common = {"label": each.label.category, "group_id": group, "description": "", "flags": flags}
    for polygon in each.polygons:
        points = [list(point) for point in zip(polygon[::2], polygon[1::2], strict=True)]
        yield {**common, "points": points, "shape_type": "polygon", "mask": None}
    if each.mask is None:
        tally.add("left out", "boxes without a mask; labelme's rectangles would be masks", each.label.origin)
    elif not each.polygons:
        crop, x, y = decode_crop(each.mask)
        stream = BytesIO()
        Image.fromarray(crop * np.uint8(255)).save(stream, "PNG")
        height, width = crop.shape
        points = [[float(x), float(y)], [float(x + width - 1), float(y + height - 1)]]
        picture = base64.b64encode(stream.getvalue()).decode("ascii")
        yield {**common, "points": points, "shape_type": "mask", "mask": picture}
