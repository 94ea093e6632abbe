"""Writer of label maps, named as Cellpose names them: ``a_masks.png`` for ``a.jpg``."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from segtrain.arrays import IntArray
from segtrain.convert.labelled import LabelledImage, Tally
from segtrain.convert.outlines import Size
from segtrain.convert.outputs import named_outputs
from segtrain.convert.preparation import DrawnObject, drawn_objects
from segtrain.io import write_atomically
from segtrain.masks import area, decode_crops

_MOST = 2**16 - 1  # objects that 16 bits can number


def write_label_maps(
    parts: Mapping[str, Sequence[LabelledImage]], categories: Sequence[str], out: Path, tally: Tally
) -> Callable[[], None]:
    """Prepare a label map for each image: PNG of 16 bits, or TIFF of 32 bits for more than 65,535 objects.

    Args:
        parts: images with their objects by the part of the data; "" for one part alone.
        categories: names of all classes, which the maps do not say.
        out: folder that is written.
        tally: receives what cannot be said in the format.

    Returns:
        Function that writes the files.

    Raises:
        SegtrainError: two images would share a file, or a name would be too long.
    """
    images = [image for own in parts.values() for image in own]
    named = named_outputs(images, lambda name: name.with_name(f"{name.stem}_masks.png"))

    def write() -> None:
        for image, name in named:
            _write(image, categories, out / name, tally)

    return write


def _write(image: LabelledImage, categories: Sequence[str], path: Path, tally: Tally) -> None:
    drawn = [each for each in drawn_objects(image, tally) if _has_place(each, tally)]
    if len(categories) > 1:
        tally.add("left out", "names of classes, which label maps do not hold", image.path.name)
    plane = _draw(drawn, image.size, image.path.name, tally)
    deep = len(drawn) > _MOST
    stream = BytesIO()
    Image.fromarray(plane.astype(np.int32 if deep else np.uint16)).save(stream, "TIFF" if deep else "PNG")
    write_atomically(path.with_suffix(".tif") if deep else path, stream.getvalue())


def _has_place(each: DrawnObject, tally: Tally) -> bool:
    if each.mask is None or each.label.iscrowd:
        what = "boxes without a mask" if each.mask is None else "regions to ignore"
        tally.add("left out", f"{what}, which label maps do not hold", each.label.origin)
        return False
    if each.label.attributes:
        tally.add("left out", "attributes of objects, which label maps do not hold", each.label.origin)
    return True


def _draw(drawn: Sequence[DrawnObject], size: Size, name: str, tally: Tally) -> IntArray:
    """Draw the objects, the smaller ones over the larger ones."""
    plane = np.zeros(size, dtype=np.int64)
    masks = [each.mask for each in drawn if each.mask is not None]
    crops = list(decode_crops(masks)) if masks else []
    for place in np.argsort(-area(masks), kind="stable").tolist():
        crop, x, y = crops[place]
        plane[y : y + crop.shape[0], x : x + crop.shape[1]][crop != 0] = place + 1
    if np.count_nonzero(plane) != area(masks).sum():
        tally.add("left out", "pixels of overlaps, which the smaller object keeps", name)
    return plane
