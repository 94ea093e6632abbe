"""Tables of the images and annotations of a COCO file, and the masks of their annotations."""

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.coco.ids import Ids, without_repetitions
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.json_file import EntryReader, FileImage, RawFile, decode_leniently
from segtrain.data.coco.shared_array import SharedArray
from segtrain.io import printable
from segtrain.masks import Rle
from segtrain.masks.parse import SegmentationError, from_drawable

_rle = msgspec.json.Decoder(Rle)
_polygons = msgspec.json.Decoder(list[list[float]])
# Larger planes would overflow the 32-bit integers of COCO's run-length code.
_parts = msgspec.json.Decoder(list[msgspec.Raw])
MAX_PIXELS = 2**31
_ROW = np.dtype(
    [
        ("id", np.int64),
        ("height", np.int32),
        ("width", np.int32),
        ("entry", np.int32),  # place in the file's list
        ("difficulty", np.int16),  # place in the vocabulary; -1 for none
        ("name_start", np.int64),  # where the file name lies in the names
        ("name_stop", np.int64),
    ]
)
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
_box = msgspec.json.Decoder(tuple[float, float, float, float])


def decode_segmentation(text: bytes | memoryview) -> Any:
    """The value of a segmentation's json; what is wrong in it stays visible, and nothing is raised.

    Args:
        text: strict json, or empty.
    """
    if text[:1] != b"[":
        return decode_leniently(bytes(text))
    try:
        return _polygons.decode(text)
    except (ValueError, RecursionError):
        return [decode_leniently(bytes(part)) for part in _parts.decode(text)]


def decode_plain(text: bytes | memoryview) -> Rle:
    """The mask of a segmentation's json that is known to be a compressed run-length mask without any fault."""
    return _rle.decode(text)


def draw(text: bytes | memoryview, size: tuple[int, int]) -> tuple[Rle, list[SegmentationError]]:
    """The mask of a segmentation's json; see ``from_drawable``."""
    return from_drawable(decode_segmentation(text), size)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image of the file.

    Attributes:
        id: the file's own.
        file_name: relative to the image folder.
        height: in pixels.
        width: in pixels.
        difficulty: difficulty of the image that a drawn data set states.
    """

    id: int
    file_name: str
    height: int
    width: int
    difficulty: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.height, self.width


class ImageTable(Sequence[ImageInfo]):
    """Images in file order; arrays instead of objects, so that loader workers share them.

    Args:
        rows: (N,) structured array.
        names: UTF-8 text that holds all file names.
        vocabulary: names of difficulties.
    """

    def __init__(self, rows: SharedArray, names: SharedArray, vocabulary: Sequence[str]) -> None:
        self._rows, self._names, self._vocabulary = rows, names, list(vocabulary)

    @property
    def rows(self) -> npt.NDArray[np.void]:
        """(N,) structured array: ``id``, ``height``, ``width``, ``entry`` (place in the file's list), ..."""
        return self._rows.array

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> ImageInfo: ...
    @overload
    def __getitem__(self, place: slice) -> list[ImageInfo]: ...
    def __getitem__(self, place: int | slice) -> ImageInfo | list[ImageInfo]:
        if isinstance(place, slice):
            return [self[i] for i in range(len(self))[place]]
        row = self.rows[place]
        name = self._names.array[row["name_start"] : row["name_stop"]].tobytes().decode("utf-8")
        difficulty = self._vocabulary[row["difficulty"]] if row["difficulty"] >= 0 else None
        return ImageInfo(int(row["id"]), name, int(row["height"]), int(row["width"]), difficulty)

    def places(self, image_ids: Iterable[int]) -> npt.NDArray[np.int64]:
        """Find the rows of images by their ids.

        Raises:
            KeyError: there is no such image.
        """
        wanted = np.fromiter(image_ids, dtype=np.int64)
        ids = self.rows["id"]
        order = self._order
        spot = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
        found = order[spot]
        if unknown := wanted[ids[found] != wanted].tolist():
            raise KeyError(unknown[0])
        return found

    def subset(self, places: npt.NDArray[np.int64]) -> "ImageTable":
        """The images at these places; their names stay shared."""
        return ImageTable(SharedArray(self.rows[places]), self._names, self._vocabulary)

    @cached_property
    def _order(self) -> npt.NDArray[np.int64]:
        return np.argsort(self.rows["id"], kind="stable")


def read_images(file: RawFile, issues: Issues) -> tuple[ImageTable, Ids]:
    """The usable images of a file, and what their ids are.

    Args:
        file: the file on disk.
        issues: receives what is wrong with the others.

    Returns:
        The table; and the ids, whose places are those of the table.
    """
    entries, blank = EntryReader(FileImage, "images", issues).read(file.images)
    places = list(range(len(entries)))
    if blank or not _are_plain(entries):
        objects = (place for place in places if place not in set(blank))
        places = [place for place in objects if _is_usable(entries[place], place, issues)]
    identifiers, file_names = [entries[place].id for place in places], [entries[place].file_name for place in places]
    places = without_repetitions(places, identifiers, file_names, "image", issues)
    kept = [entries[place] for place in places]
    ids = Ids([entry.id for entry in kept], "image", issues)
    names = [entry.file_name.encode("utf-8") for entry in kept]
    words = [entry.difficulty if isinstance(entry.difficulty, str) else None for entry in kept]
    vocabulary = sorted({word for word in words if word is not None})[: np.iinfo(np.int16).max]
    place_of: dict[str | None, int] = {word: place for place, word in enumerate(vocabulary)}
    rows = np.zeros(len(kept), dtype=_ROW)
    rows["id"] = ids.values
    rows["entry"] = places
    rows["height"] = [int(entry.height) for entry in kept]
    rows["width"] = [int(entry.width) for entry in kept]
    rows["difficulty"] = [place_of.get(word, -1) for word in words]
    rows["name_stop"] = np.cumsum([len(name) for name in names])
    rows["name_start"][1:] = rows["name_stop"][:-1]
    text = np.frombuffer(b"".join(names), dtype=np.uint8)
    return ImageTable(SharedArray(rows), SharedArray(text), vocabulary), ids


def _are_plain(entries: Sequence[FileImage]) -> bool:
    """True if all entries are valid, as in most files."""
    names, sides = [entry.file_name for entry in entries], [side for e in entries for side in (e.height, e.width)]
    if not (set(map(type, names)) <= {str} and set(map(type, sides)) <= {int} and all(names)):
        return False
    return _is_utf8("".join(names)) and min(sides) > 0 and max(sides) ** 2 < MAX_PIXELS


def _is_usable(entry: FileImage, place: int, issues: Issues) -> bool:
    name, height, width = entry.file_name, entry.height, entry.width
    if not isinstance(name, str) or not _is_utf8(name):
        issues.add("wrong-type", f"images[{place}].file_name is {_said(name)}, and must name a file")
    elif not (_is_length(height) and _is_length(width) and height * width < MAX_PIXELS):
        stated = f"height {_said(height)} and width {_said(width)}"
        issues.add("wrong-type", f"images[{place}] (image {_said(entry.id)}) has {stated}; give its size in pixels")
    else:
        return True
    return False


def _is_length(value: Any) -> bool:
    """Convert a size to whole pixels; some exporters write 480.0."""
    return type(value) in (int, float) and 0 < value < MAX_PIXELS and value == int(value)


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode("utf-8"))
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _said(value: Any) -> str:
    return "missing" if value is None else reprlib.repr(value)


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
    """Name an annotation in messages: by its id, or by its place (from 1) if the id is no whole number.

    Args:
        row: row of an annotation table.
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
