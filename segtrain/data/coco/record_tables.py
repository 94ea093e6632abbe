"""Tables of the images and annotations of a COCO file, and the masks of their annotations."""

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, overload

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.arrays import FloatArray
from segtrain.data.coco.ids import Ids, without_repetitions
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.json_file import EntryReader, FileImage, RawFile, decode_leniently
from segtrain.data.coco.shared_array import SharedArray
from segtrain.errors import SegtrainError
from segtrain.io import printable
from segtrain.masks import Rle, from_box
from segtrain.masks.forms import usual_box, usual_form, usual_number
from segtrain.masks.parse import Rings, SegmentationError, from_drawable

SizeOf = Callable[[str], tuple[int, int]]
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
        ("entry", np.int32),  # position in the file's list
        ("difficulty", np.int16),  # index into the vocabulary; -1 for none
        ("name_start", np.int64),  # first byte of the file name in the names
        ("name_stop", np.int64),  # byte after the file name
    ]
)
ROW = np.dtype(
    [
        ("image", np.int32),  # index of the image in its table; -1 for none
        ("label", np.int32),  # 1..K; 0 for none
        ("number", np.int64),  # position of the annotation in the file, from 1
        ("id", np.int64),  # id in the file; -1 where that is no whole number
        ("area", np.float64),  # pixels; nan where the file states no valid area
        ("crowd", np.bool_),  # a region to ignore
        ("boxed", np.bool_),  # the file gives no mask, and the box stands for it
        ("usable", np.bool_),  # False for an annotation that is dropped, and only counted
        ("repaired", np.bool_),  # usable, but a value was repaired
        ("plain", np.bool_),  # the segmentation is known to be a valid compressed run-length mask
        ("start", np.int64),  # first byte of the segmentation in the text
        ("box", np.int64),  # first byte of the box, two bytes after the last one of the segmentation
        ("stop", np.int64),  # byte after the box
    ]
)
HUGE = 1e15  # larger than any image, and small enough for floats to represent whole numbers exactly
_box = msgspec.json.Decoder(tuple[float, float, float, float])
_boxes = msgspec.json.Decoder(list[tuple[float, float, float, float] | None])


def decode_segmentation(text: bytes | memoryview) -> Any:
    """Decode the json of a segmentation; never raises, parts that cannot be decoded stay text.

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
    """Decode the json of a segmentation that is known to be a valid compressed run-length mask."""
    return _rle.decode(text)


def decode_usual(text: bytes | memoryview, size: tuple[int, int], box: bytes) -> tuple[Any, str | None]:
    """Decode the json of a segmentation, and rewrite it in COCO's form; see ``usual_form``.

    Args:
        text: json of the segmentation.
        size: (H, W) of the image.
        box: json of the annotation's box.
    """
    segmentation = decode_segmentation(text)
    return usual_form(segmentation, size, decode_box(box, size) if isinstance(segmentation, dict) else None)


def draw(
    text: bytes | memoryview, size: tuple[int, int], box: bytes, rings: Rings = "union"
) -> tuple[Rle, list[SegmentationError]]:
    """Decode and rasterise the json of a segmentation; see ``decode_usual`` and ``from_drawable``.

    Args:
        text: json of the segmentation.
        size: (H, W) of the image.
        box: json of the annotation's box.
        rings: treatment of several polygons, "union" or "even_odd".

    Returns:
        The mask, and the errors of the polygons that were left out.

    Raises:
        SegmentationError: nothing can be drawn.
    """
    return from_drawable(decode_usual(text, size, box)[0], size, rings)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Image of an annotation file.

    Attributes:
        id: id in the file, or its replacement where the file has no valid one.
        file_name: path relative to the image folder.
        height: height in pixels.
        width: width in pixels.
        difficulty: difficulty of the image, in drawn data sets; None in others.
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
    """Images in file order, stored as arrays that loader workers share.

    Args:
        rows: (N,) structured array.
        names: UTF-8 text that holds all file names.
        vocabulary: names of difficulties.
    """

    def __init__(self, rows: SharedArray, names: SharedArray, vocabulary: Sequence[str]) -> None:
        self._rows, self._names, self._vocabulary = rows, names, list(vocabulary)

    @property
    def rows(self) -> npt.NDArray[np.void]:
        """Structured array (N,): ``id``, ``height``, ``width``, ``entry`` (position in the file's list), ..."""
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

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) of all images."""
        return list(zip(self.rows["height"].tolist(), self.rows["width"].tolist(), strict=True))

    def names(self) -> list[str]:
        """Return the file names of all images."""
        text, rows = self._names.array.tobytes(), self.rows
        spans = zip(rows["name_start"].tolist(), rows["name_stop"].tolist(), strict=True)
        return [text[start:stop].decode("utf-8") for start, stop in spans]

    def with_names(self, names: Mapping[int, str]) -> "ImageTable":
        """Return the table with other file names for some images, by their index."""
        rows, new = self.rows.copy(), [name.encode("utf-8") for name in names.values()]
        text = np.frombuffer(b"".join([self._names.array.tobytes(), *new]), dtype=np.uint8)
        ends = len(self._names.array) + np.cumsum([len(name) for name in new])
        rows["name_start"][list(names)] = ends - [len(name) for name in new]
        rows["name_stop"][list(names)] = ends
        return ImageTable(SharedArray(rows), SharedArray(text), self._vocabulary)

    def with_sizes(self, sizes: Mapping[int, tuple[int, int]]) -> "ImageTable":
        """Return the table with another (H, W) for some images, by their index."""
        rows, places = self.rows.copy(), list(sizes)
        rows["height"][places], rows["width"][places] = np.array([*sizes.values()]).T
        return ImageTable(SharedArray(rows), self._names, self._vocabulary)

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
        """Select images by their indices; the text of their names stays shared."""
        return ImageTable(SharedArray(self.rows[places]), self._names, self._vocabulary)

    @cached_property
    def _order(self) -> npt.NDArray[np.int64]:
        return np.argsort(self.rows["id"], kind="stable")


def read_images(file: RawFile, issues: Issues, size_of: SizeOf | None = None) -> tuple[ImageTable, Ids]:
    """Read the usable images of a file, and their ids.

    Args:
        file: content of the file.
        issues: receives the issues of the images.
        size_of: returns the (H, W) of an image file by its name, for entries without a size; None without files.

    Returns:
        The table, and the ids in the same order.
    """
    entries, blank = EntryReader(FileImage, "images", issues).read(file.images)
    places = list(range(len(entries)))
    if blank or not _are_plain(entries):
        objects = (place for place in places if place not in set(blank))
        places = [place for place in objects if _is_usable(entries[place], place, issues, size_of)]
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
    table = ImageTable(SharedArray(rows), SharedArray(text), vocabulary)
    ids.take_names(lambda: names_of_files(table.names()))
    return table, ids


def names_of_files(names: Sequence[Any]) -> Iterator[tuple[str, int]]:
    """Yield how annotations may name the file of each image: as the image does, without folders, without extension.

    >>> list(names_of_files(["a/7.png", None]))
    [('a/7.png', 0), ('7.png', 0), ('7', 0)]
    """
    for place, name in enumerate(names):
        if isinstance(name, str):
            path = PurePosixPath(name.replace("\\", "/"))
            yield from ((one, place) for one in (name, path.name, path.stem))


def _are_plain(entries: Sequence[FileImage]) -> bool:
    """Return True if all entries are valid, as in most files."""
    names, sides = [entry.file_name for entry in entries], [side for e in entries for side in (e.height, e.width)]
    if not (set(map(type, names)) <= {str} and set(map(type, sides)) <= {int} and all(names)):
        return False
    return _is_utf8("".join(names)) and min(sides) > 0 and max(sides) ** 2 < MAX_PIXELS


def _is_usable(entry: FileImage, place: int, issues: Issues, size_of: SizeOf | None) -> bool:
    """Return True for an entry with a name and a size; a missing size is filled in from the image file."""
    if entry.file_name is None and isinstance(entry.coco_url, str):  # as in LVIS
        entry.file_name = "/".join(entry.coco_url.partition("://")[2].split("/")[1:]) or None
        issues.add("image-url-only", f"images[{place}] (image {_said(entry.id)}): {_said(entry.file_name)}")
    name, stated = entry.file_name, f"height {_said(entry.height)} and width {_said(entry.width)}"
    if not isinstance(name, str) or not _is_utf8(name):
        issues.add("wrong-type", f"images[{place}].file_name is {_said(name)}, and must name a file")
        return False
    where, why = f"images[{place}] (image {_said(entry.id)})", "give its size in pixels"
    height, width = usual_number(entry.height), usual_number(entry.width)
    if not height or not width:
        height, width, why = _size_of_file(name, height or 0, width or 0, size_of)
        if height:
            issues.add("size-missing", f"{where} has {stated}")
    elif {type(entry.height), type(entry.width)} - {int, float}:
        issues.add("size-form", f"{where} has {stated}")
    if _is_length(height) and _is_length(width) and height * width < MAX_PIXELS:
        entry.height, entry.width = height, width
        return True
    issues.add("wrong-type", f"{where} has {stated}; {why}")
    return False


def _size_of_file(name: str, height: float, width: float, size_of: SizeOf | None) -> tuple[float, float, str]:
    """Read the size of an image, of which at most one side is known; 0, 0 and a remedy if that is not possible."""
    if size_of is None:
        return 0, 0, "give its size in pixels, or the image folder"
    try:
        found = size_of(name)
    except SegtrainError as error:
        return 0, 0, f"its file does not tell its size either: {error}"
    if height not in (0, found[0]) or width not in (0, found[1]):
        return 0, 0, f"its file is {found[0]} high and {found[1]} wide"
    return *found, ""


def _is_length(value: Any) -> bool:
    """Return True for a valid size in whole pixels; some exporters write 480.0."""
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
    """Annotations of a COCO file.

    Attributes:
        shared_rows: (N,) structured array with a row for each annotation, ``image`` not decreasing.
        starts: (images + 1,) int64 index of the first row of each image, then the number of rows.
        text: (bytes,) uint8 json of the segmentations and boxes, as in the file.
    """

    shared_rows: SharedArray
    starts: SharedArray
    text: SharedArray

    @classmethod
    def of(cls, rows: npt.NDArray[np.void], images: int, text: SharedArray) -> "AnnotationTable":
        """Build the table from rows in the order of their images."""
        first = int(np.searchsorted(rows["image"], 0))  # rows without an image come first
        counts = np.bincount(rows["image"][first:], minlength=images)
        starts = first + np.concatenate([[0], np.cumsum(counts)])
        return cls(SharedArray(rows), SharedArray(starts), text)

    @property
    def rows(self) -> npt.NDArray[np.void]:
        """Structured array (N,), see ``ROW``."""
        return self.shared_rows.array

    def of_image(self, image: int) -> npt.NDArray[np.void]:
        """Select the usable rows of an image, in file order."""
        rows = self.rows[self.starts.array[image] : self.starts.array[image + 1]]
        usable: npt.NDArray[np.void] = rows[rows["usable"]]
        return usable

    def segmentations(self, rows: npt.NDArray[np.void]) -> list[memoryview]:
        """Return the json of each row's segmentation; empty for a row without one."""
        text = self.text.array.data
        return [text[a : b - 1] for a, b in zip(rows["start"].tolist(), rows["box"].tolist(), strict=True)]

    def box(self, row: np.void) -> bytes:
        """Return the json of a row's box; empty if it has none."""
        return self.text.array[row["box"] : row["stop"]].tobytes()

    def valid_boxes(self, rows: npt.NDArray[np.void], images: ImageTable) -> FloatArray:
        """Decode the xywh boxes of many rows, see ``decode_box``.

        Args:
            rows: rows with an image.
            images: table of the images.

        Returns:
            (N, 4) boxes in pixels; nan for a row without a valid one.
        """
        text = self.text.array.data
        texts = [bytes(text[a:b]) for a, b in zip(rows["box"].tolist(), rows["stop"].tolist(), strict=True)]
        numbers: Sequence[Sequence[float] | None]
        try:
            numbers = _boxes.decode(b"[%s]" % b",".join([own or b"null" for own in texts]))
        except (ValueError, RecursionError):  # some are in another form
            numbers = list(map(box_numbers, texts))
        boxes = np.array([[np.nan] * 4 if own is None else own for own in numbers], dtype=np.float64).reshape(-1, 4)
        heights, widths = (images.rows[side][rows["image"]] for side in ("height", "width"))
        boxes[~_is_valid(boxes.T, heights, widths)] = np.nan
        return boxes

    def mask_of_box(self, row: np.void, size: tuple[int, int]) -> Rle:
        """Draw the box of a row that is ``boxed``, in an image of this (H, W)."""
        box = decode_box(self.box(row), size)
        assert box is not None
        return from_box(box, size)

    def of_images(self, places: npt.NDArray[np.int64]) -> "AnnotationTable":
        """Select the annotations of some images, given by increasing indices, which become 0, 1, 2, ..."""
        rows = self.rows[np.isin(self.rows["image"], places)]
        rows["image"] = np.searchsorted(places, rows["image"])
        return AnnotationTable.of(rows, len(places), self.text)

    def with_rows(self, rows: npt.NDArray[np.void]) -> "AnnotationTable":
        """Return the table with updated rows of the same annotations."""
        return AnnotationTable(SharedArray(rows), self.starts, self.text)


def name_of(row: np.void, images: ImageTable | None = None) -> str:
    """Name an annotation in messages: by its id, or by its position (from 1) if the id is no whole number.

    Args:
        row: row of an annotation table.
        images: table of the images, to name the image file as well.
    """
    name = f"annotation {row['id']}" if row["id"] != -1 else f"annotation number {row['number']}"
    if images is None or row["image"] < 0:
        return name
    return f"{printable(images[int(row['image'])].file_name)}, {name}"


def has_usual_box(text: bytes) -> bool:
    """Return True if the json of a box is a list of four numbers."""
    try:
        _box.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def box_numbers(text: bytes) -> Sequence[float] | None:
    """Decode the four numbers of a box, in any form that ``usual_box`` knows; None if it is none.

    Args:
        text: json of the box.

    >>> box_numbers(b'["1", 2, 3, -4]')
    [1.0, 2.0, 3.0, -4.0]
    """
    try:
        return _box.decode(text)
    except (ValueError, RecursionError):
        return usual_box(decode_leniently(text))


def decode_box(text: bytes, size: tuple[int, int]) -> list[float] | None:
    """Decode the xywh box of a row, in pixels, in any form that ``usual_box`` knows; None if it has no valid box.

    Args:
        text: json of the box.
        size: (H, W) of the image; a valid box has a positive size and overlaps the image.

    >>> decode_box(b"[1, 2, 3, 4]", (10, 10)), decode_box(b"[20, 2, 3, 4]", (10, 10))
    ([1.0, 2.0, 3.0, 4.0], None)
    """
    if (numbers := box_numbers(text)) is None:
        return None
    return list(numbers) if _is_valid(numbers, *size) else None


def _is_valid(box: Any, image_height: Any, image_width: Any) -> Any:
    """Return True for an xywh box of positive size that overlaps its image; of columns of boxes an array."""
    x, y, width, height = box
    finite = (abs(x) < HUGE) & (abs(y) < HUGE) & (width < HUGE) & (height < HUGE)
    overlaps = (x < image_width) & (y < image_height) & (x + width > 0) & (y + height > 0)
    return finite & (width > 0) & (height > 0) & overlaps
