"""Annotations as a table: rows of fixed width, ordered by image, and one buffer with what is seldom needed, as text."""

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.index.image_table import ImageTable
from segtrain.data.shared import SharedArray
from segtrain.io import printable

ROW = np.dtype(
    [
        ("image", np.int32),  # place of the image in the table; -1 for none
        ("label", np.int32),  # 1..K; 0 for none
        ("number", np.int64),  # place of the annotation in the file, from 1
        ("id", np.int64),  # the file's own; -1 where that is no whole number
        ("area", np.float64),  # pixels; nan where the file states none that can be
        ("crowd", np.bool_),  # a region to ignore
        ("usable", np.bool_),  # False: dropped, and only counted
        ("repaired", np.bool_),  # usable, but something had to be mended
        ("plain", np.bool_),  # the segmentation is known to be a compressed run-length mask without any fault
        ("start", np.int64),  # where the segmentation lies in the text, ...
        ("box", np.int64),  # ... where the box begins, one byte behind it, ...
        ("stop", np.int64),  # ... and where that ends
    ]
)
HUGE = 1e15  # beyond any image, and below where whole numbers lose their meaning as floats


@dataclass(frozen=True, eq=False)
class AnnotationTable:
    """All annotations of a COCO file.

    Attributes:
        shared_rows: (N,) structured array, one row an annotation, ``image`` not decreasing.
        starts: (images + 1,) int64, the first row of each image, and the end.
        text: (bytes,) uint8, the segmentations and boxes as the file has them.
    """

    shared_rows: SharedArray
    starts: SharedArray
    text: SharedArray

    @classmethod
    def of(cls, rows: npt.NDArray[np.void], images: int, text: SharedArray) -> "AnnotationTable":
        """The table of these ordered rows of so many images."""
        first = int(np.searchsorted(rows["image"], 0))  # behind those without an image
        counts = np.bincount(rows["image"][first:], minlength=images)
        starts = first + np.concatenate([[0], np.cumsum(counts)])
        return cls(SharedArray(rows), SharedArray(starts), text)

    @property
    def rows(self) -> npt.NDArray[np.void]:
        """(N,) structured array, see ``ROW``."""
        return self.shared_rows.array

    def of_image(self, image: int) -> npt.NDArray[np.void]:
        """The usable rows of the image at this place, in file order."""
        rows = self.rows[self.starts.array[image] : self.starts.array[image + 1]]
        usable: npt.NDArray[np.void] = rows[rows["usable"]]
        return usable

    def segmentations(self, rows: npt.NDArray[np.void]) -> list[memoryview]:
        """The json of each row's segmentation; empty for one that has none."""
        text = self.text.array.data
        return [text[a : b - 1] for a, b in zip(rows["start"].tolist(), rows["box"].tolist(), strict=True)]

    def box(self, row: np.void) -> bytes:
        """The json of a row's box; empty if it has none."""
        return self.text.array[row["box"] : row["stop"]].tobytes()

    def of_images(self, places: npt.NDArray[np.int64]) -> "AnnotationTable":
        """The annotations of the images at these increasing places, which become 0, 1, 2, ..."""
        rows = self.rows[np.isin(self.rows["image"], places)]
        rows["image"] = np.searchsorted(places, rows["image"])
        return AnnotationTable.of(rows, len(places), self.text)

    def with_rows(self, rows: npt.NDArray[np.void]) -> "AnnotationTable":
        """The same annotations, about which more is known now."""
        return AnnotationTable(SharedArray(rows), self.starts, self.text)


def name_of(row: np.void, images: ImageTable | None = None) -> str:
    """What messages call an annotation: its id, or its place (from 1) if that is no whole number.

    Args:
        row: of a table.
        images: to name the image file as well.
    """
    name = f"annotation {row['id']}" if row["id"] != -1 else f"annotation number {row['number']}"
    if images is None or row["image"] < 0:
        return name
    return f"{printable(images[int(row['image'])].file_name)}, {name}"


def decode_box(text: bytes, size: tuple[int, int]) -> list[float] | None:
    """The xywh box of a row, in pixels; None if there is none that can be.

    Args:
        text: json.
        size: (H, W) of the image; a box can be if it has a positive size and shares a part of it.
    """
    try:
        x, y, width, height = _box.decode(text)
    except (ValueError, RecursionError):
        return None
    if not (max(abs(x), abs(y), width, height) < HUGE and width > 0 and height > 0):
        return None
    if x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        return None
    return [x, y, width, height]


_box = msgspec.json.Decoder(tuple[float, float, float, float])
