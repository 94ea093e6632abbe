"""Annotations as a table: mended, rasterised, and ordered by image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.data.coco_file import FileAnnotation, FileImage, describe
from segtrain.masks import Rle
from segtrain.segmentations import from_segmentation

_ROW = np.dtype(
    [
        ("image", np.int64),  # position of the image in the index
        ("number", np.int64),  # position of the annotation in the file, from 1
        ("label", np.int64),  # 1..K
        ("area", np.float64),  # pixels
        ("bbox", np.float64, 4),  # xywh in pixels
        ("crowd", np.bool_),  # a region to ignore
        ("usable", np.bool_),  # it has a mask; the others are dropped, and only counted
        ("repaired", np.bool_),  # usable, but something had to be mended
        ("start", np.int64),  # where the mask's run-length string lies in the code
        ("stop", np.int64),
    ]
)
# Beyond any image, and below where whole numbers lose their meaning as floats.
_HUGE = 1e15

_polygons = msgspec.json.Decoder(list[list[float]])
_parts = msgspec.json.Decoder(list[msgspec.Raw])
_part = msgspec.json.Decoder(list[float])


@dataclass(frozen=True, eq=False)
class AnnotationTable:
    """All annotations of a COCO file.

    One array and one byte string instead of objects: 860,000 annotations stay small, and forked workers share them,
    since nobody touches reference counts inside.

    Attributes:
        rows: (N,) structured array, one row an annotation, ``image`` not decreasing.
        code: the run-length strings of all masks, one after the other.
    """

    rows: npt.NDArray[np.void]
    code: bytes

    def of_image(self, image: int) -> npt.NDArray[np.void]:
        """The usable rows of the image at this position, in file order."""
        first, last = np.searchsorted(self.rows["image"], [image, image + 1])
        rows = self.rows[first:last]
        usable: npt.NDArray[np.void] = rows[rows["usable"]]
        return usable

    def rle(self, row: np.void, size: tuple[int, int]) -> Rle:
        """The mask of a row, whose image has this (H, W)."""
        return Rle(size=list(size), counts=self.code[row["start"] : row["stop"]].decode("ascii"))

    def of_images(self, images: Sequence[int]) -> "AnnotationTable":
        """The annotations of the images at these increasing positions, which become 0, 1, 2, ..."""
        rows = self.rows[np.isin(self.rows["image"], images)]
        rows["image"] = np.searchsorted(images, rows["image"])
        return AnnotationTable(rows, self.code)


def tabulate(
    annotations: Sequence[FileAnnotation], images: Sequence[FileImage], label_of: Mapping[int, int]
) -> tuple[AnnotationTable, list[str]]:
    """Rasterise every annotation, mend what can be mended, and mark the rest as dropped.

    Args:
        annotations: as in the file; their image and category ids are known.
        images: as in the file; their order gives the images' positions.
        label_of: 1..K by category id.

    Returns:
        The table, and one line for each dropped annotation.
    """
    position = {image.id: place for place, image in enumerate(images)}
    # Filled in place: a list of rows would be several times larger than the table.
    rows = np.zeros(len(annotations), dtype=_ROW)
    codes = bytearray()
    dropped: list[str] = []
    for number, annotation in enumerate(annotations, start=1):
        place = position[annotation.image_id]
        stated = annotation.iscrowd in (0, 1)
        area, bbox, code, repaired = 0.0, [0.0] * 4, b"", False
        try:
            rle, cut = _rasterise(bytes(annotation.segmentation), (int(images[place].height), int(images[place].width)))
            area, bbox, mended = _measure(annotation, rle)
            code, repaired = rle["counts"].encode("ascii"), cut or mended or not stated
        except ValueError as error:
            dropped.append(f"{describe(annotation, number)}: {error}")
        label, crowd = label_of[annotation.category_id], stated and bool(annotation.iscrowd)
        start, stop = len(codes), len(codes) + len(code)
        rows[number - 1] = (place, number, label, area, bbox, crowd, bool(code), repaired, start, stop)
        codes += code
    return AnnotationTable(rows[np.argsort(rows["image"], kind="stable")], bytes(codes)), dropped


def _rasterise(segmentation: bytes, size: tuple[int, int]) -> tuple[Rle, bool]:
    """The mask of a json segmentation, and whether bad polygons were left out of it.

    Raises:
        ValueError: there is no mask in it.
    """
    if not segmentation.startswith(b"["):
        return from_segmentation(msgspec.json.decode(segmentation), size), False
    try:
        return from_segmentation(_polygons.decode(segmentation), size), False
    except ValueError:
        good = [polygon for part in _parts.decode(segmentation) if (polygon := _polygon(bytes(part), size))]
        if not good:
            raise
        return from_segmentation(good, size), True


def _polygon(part: bytes, size: tuple[int, int]) -> list[float] | None:
    """One polygon by itself, or None if it cannot be drawn."""
    try:
        polygon = _part.decode(part)
        from_segmentation([polygon], size)
    except ValueError:
        return None
    return polygon


def _measure(annotation: FileAnnotation, rle: Rle) -> tuple[float, list[float], bool]:
    """The annotation's own area and xywh box; whether one was missing or impossible, and taken from the mask instead.

    A valid value is never touched: COCO's areas come from the polygons, and decide what is small, medium and large.

    Raises:
        ValueError: the mask has no pixel.
    """
    pixels = int(masks.area([rle])[0])
    if pixels == 0:
        raise ValueError("the mask has no pixel inside the image")
    area, bbox = annotation.area, annotation.bbox
    area_known = _is_length(area)
    bbox_known = (
        isinstance(bbox, list)
        and len(bbox) == 4
        and all(_is_number(v) for v in bbox[:2])
        and all(_is_length(v) for v in bbox[2:])
    )
    if not bbox_known:
        x0, y0, x1, y1 = masks.boxes([rle])[0].tolist()
        bbox = [x0, y0, x1 - x0, y1 - y0]
    return float(area) if area_known else float(pixels), bbox, not (area_known and bbox_known)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def _is_length(value: object) -> TypeGuard[float]:
    return _is_number(value) and value > 0
