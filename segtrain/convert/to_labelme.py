"""Writer of labelme's files: a json for each image, which names the image by a relative path."""

import base64
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from segtrain.convert.labelled import LabelledImage, Tally
from segtrain.convert.outputs import named_outputs
from segtrain.convert.preparation import DrawnObject, drawn_objects
from segtrain.io import write_atomically
from segtrain.masks import decode_crop

_VERSION = "5.5.0"  # of labelme, whose form this is; the first with masks was 5.3


def write_labelme(
    parts: Mapping[str, Sequence[LabelledImage]], categories: Sequence[str], out: Path, tally: Tally
) -> Callable[[], None]:
    """Prepare a json for each image: polygons as they are, grouped if an object has several, other masks as pictures.

    Args:
        parts: images with their objects by the part of the data; "" for one part alone.
        categories: names of all classes.
        out: folder that is written.
        tally: receives what cannot be said in the format.

    Returns:
        Function that writes the files.

    Raises:
        SegtrainError: two images would share a file, or a name would be too long.
    """
    images = [image for own in parts.values() for image in own]
    named = named_outputs(images, lambda name: name.with_suffix(".json"))

    def write() -> None:
        for image, name in named:
            write_atomically(out / name, msgspec.json.encode(_document(image, out / name, tally)))

    return write


def _document(image: LabelledImage, path: Path, tally: Tally) -> dict[str, Any]:
    drawn = enumerate(drawn_objects(image, tally), 1)
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": [shape for number, each in drawn for shape in _shapes(each, number, tally)],
        "imagePath": Path(os.path.relpath(image.path.absolute(), path.absolute().parent)).as_posix(),
        "imageData": None,
        "imageHeight": image.size[0],
        "imageWidth": image.size[1],
    }


def _shapes(each: DrawnObject, number: int, tally: Tally) -> Iterator[dict[str, Any]]:
    group = number if len(each.polygons) > 1 else None
    others = dict(each.label.attributes)
    description = str(others.pop("description", ""))
    flags = {key: others.pop(key) for key, value in each.label.attributes.items() if isinstance(value, bool)}
    flags |= {"iscrowd": True} if each.label.iscrowd else {}
    common = {"label": each.label.category, "group_id": group, "description": description, "flags": flags}
    common |= {"attributes": others} if others else {}  # labelme keeps keys that it does not know
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
