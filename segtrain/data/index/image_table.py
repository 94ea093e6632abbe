"""The images of a COCO file as a table."""

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from segtrain.data.findings import Findings
from segtrain.data.index.coco_file import RawFile
from segtrain.data.index.entries import EntryReader, FileImage
from segtrain.data.index.ids import Ids, without_repetitions
from segtrain.data.shared import SharedArray

# Larger planes would overflow the 32-bit integers of COCO's run-length code.
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


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image of the file.

    Attributes:
        id: the file's own.
        file_name: relative to the image folder.
        height: in pixels.
        width: in pixels.
        difficulty: what a synthetic file says about the image.
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
        vocabulary: of difficulties.
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
        """Where the images of these ids stand in the table.

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


def read_images(file: RawFile, findings: Findings) -> tuple[ImageTable, Ids]:
    """The usable images of a file, and what their ids are.

    Args:
        file: as it lies on disk.
        findings: receives what is wrong with the others.

    Returns:
        The table; and the ids, whose places are those of the table.
    """
    entries, blank = EntryReader(FileImage, "images", findings).read(file.images)
    places = list(range(len(entries)))
    if blank or not _are_plain(entries):
        objects = (place for place in places if place not in set(blank))
        places = [place for place in objects if _is_usable(entries[place], place, findings)]
    identifiers, file_names = [entries[place].id for place in places], [entries[place].file_name for place in places]
    places = without_repetitions(places, identifiers, file_names, "image", findings)
    kept = [entries[place] for place in places]
    ids = Ids([entry.id for entry in kept], "image", findings)
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
    """Whether all entries are usable without a doubt; those of most files are."""
    names, sides = [entry.file_name for entry in entries], [side for e in entries for side in (e.height, e.width)]
    if not (set(map(type, names)) <= {str} and set(map(type, sides)) <= {int} and all(names)):
        return False
    return _is_utf8("".join(names)) and min(sides) > 0 and max(sides) ** 2 < MAX_PIXELS


def _is_usable(entry: FileImage, place: int, findings: Findings) -> bool:
    name, height, width = entry.file_name, entry.height, entry.width
    if not isinstance(name, str) or not _is_utf8(name):
        findings.add("wrong-type", f"images[{place}].file_name is {_said(name)}, and must name a file")
    elif not (_is_length(height) and _is_length(width) and height * width < MAX_PIXELS):
        stated = f"height {_said(height)} and width {_said(width)}"
        findings.add("wrong-type", f"images[{place}] (image {_said(entry.id)}) has {stated}; give its size in pixels")
    else:
        return True
    return False


def _is_length(value: Any) -> bool:
    """Whole pixels, though some exporters write 480.0."""
    return type(value) in (int, float) and 0 < value < MAX_PIXELS and value == int(value)


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode("utf-8"))
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _said(value: Any) -> str:
    return "missing" if value is None else reprlib.repr(value)
