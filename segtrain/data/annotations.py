"""Annotations as a table: rows of fixed width, ordered by image, and one buffer with what is seldom needed, as text."""

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.coco_file import EntryReader, FileAnnotation, RawFile, batches
from segtrain.data.findings import Findings
from segtrain.data.ids import Ids, as_whole_number
from segtrain.data.image_table import ImageTable
from segtrain.data.shared import SharedArray

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
        ("start", np.int64),  # where the segmentation lies in the text, ...
        ("box", np.int64),  # ... where the box begins, one byte behind it, ...
        ("stop", np.int64),  # ... and where that ends
    ]
)
_BATCH = 20_000  # entries that are objects at a time
_GAP = b"\0"  # not in any json
_INT32, _INT64 = 2**31, 2**63
_HUGE = 1e15  # beyond any image, and below where whole numbers lose their meaning as floats


@dataclass(frozen=True, eq=False)
class AnnotationTable:
    """All annotations of a COCO file.

    Attributes:
        shared_rows: (N,) structured array, one row an annotation, ``image`` not decreasing.
        text: (bytes,) uint8, the segmentations and boxes as the file has them.
    """

    shared_rows: SharedArray
    text: SharedArray

    @property
    def rows(self) -> npt.NDArray[np.void]:
        """(N,) structured array, see ``ROW``."""
        return self.shared_rows.array

    def of_image(self, image: int) -> npt.NDArray[np.void]:
        """The usable rows of the image at this place, in file order."""
        first, last = np.searchsorted(self.rows["image"], [image, image + 1])
        rows = self.rows[first:last]
        usable: npt.NDArray[np.void] = rows[rows["usable"]]
        return usable

    def segmentation(self, row: np.void) -> bytes:
        """The json of a row's segmentation; empty if it has none."""
        return self.text.array[row["start"] : row["box"] - 1].tobytes()

    def box(self, row: np.void) -> bytes:
        """The json of a row's box; empty if it has none."""
        return self.text.array[row["box"] : row["stop"]].tobytes()

    def of_images(self, places: npt.NDArray[np.int64]) -> "AnnotationTable":
        """The annotations of the images at these increasing places, which become 0, 1, 2, ..."""
        rows = self.rows[np.isin(self.rows["image"], places)]
        rows["image"] = np.searchsorted(places, rows["image"])
        return AnnotationTable(SharedArray(rows), self.text)

    def with_rows(self, rows: npt.NDArray[np.void]) -> "AnnotationTable":
        """The same text behind other rows."""
        return AnnotationTable(SharedArray(rows), self.text)


def name_of(row: np.void, images: ImageTable | None = None) -> str:
    """What messages call an annotation: its id, or its place (from 1) if that is no whole number.

    Args:
        row: of a table.
        images: to name the image file as well.
    """
    name = f"annotation {row['id']}" if row["id"] != -1 else f"annotation number {row['number']}"
    return f"{images[int(row['image'])].file_name}, {name}" if images is not None and row["image"] >= 0 else name


def read_annotations(
    file: RawFile, images: ImageTable, image_ids: Ids, category_ids: Ids, findings: Findings
) -> AnnotationTable:
    """Tabulate the annotations of a file. Takes the file apart: its buffer becomes the table's text.

    Args:
        file: as it lies on disk; nothing else of it may be read afterwards.
        images: of the file.
        image_ids: theirs.
        category_ids: of the categories by increasing id; place 0 has label 1.
        findings: receives what is wrong.
    """
    reader = EntryReader(FileAnnotation, "annotations", findings)
    rows = np.zeros(len(file.annotations), dtype=ROW)
    rows["number"] = np.arange(1, len(rows) + 1)
    written = 0
    for first, raws in batches(file.annotations, _BATCH):
        entries = reader.read(raws, first)
        known = [entry if entry is not None else FileAnnotation() for entry in entries]
        part = rows[first : first + len(raws)]
        part["usable"] = [entry is not None for entry in entries]
        _fill_ids(part, known, findings)
        _fill_references(part, known, image_ids, category_ids, findings)
        _fill_values(part, known, images, findings)
        # Over the text that these entries came from. It fits: a gap of two bytes replaces keys, or a comma.
        texts = [raw for entry in known for raw in (entry.segmentation, entry.bbox)]
        text = np.frombuffer(_GAP.join(texts), dtype=np.uint8)
        file.buffer[written : written + len(text)] = text
        _fill_places(part, text, written)
        written += len(text)
    _check_ids(rows, images, findings)
    file.annotations, file.images, file.categories = [], [], []  # views of the buffer, which is cut now
    file.buffer.resize(written, refcheck=False)
    ordered = rows if (np.diff(rows["image"]) >= 0).all() else rows[np.argsort(rows["image"], kind="stable")]
    return AnnotationTable(SharedArray(ordered), SharedArray(file.buffer))


def _fill_ids(rows: npt.NDArray[np.void], entries: Sequence[FileAnnotation], findings: Findings) -> None:
    ids = [entry.id for entry in entries]
    if set(map(type, ids)) <= {int} and -_INT64 <= min(ids, default=0) <= max(ids, default=0) < _INT64:
        rows["id"] = ids
        return
    for row, value in zip(rows, ids, strict=True):
        number = as_whole_number(value)
        row["id"] = number if number is not None and -_INT64 <= number < _INT64 else -1
        if type(value) is not int and row["usable"]:
            text = "has no id" if value is None else f"has the id {reprlib.repr(value)}"
            findings.add("id-not-integer", f"annotation number {row['number']} {text}")
        elif row["id"] == -1 and row["usable"]:
            findings.add("id-beyond-int32", f"annotation number {row['number']} has the id {reprlib.repr(value)}")


def _fill_references(
    rows: npt.NDArray[np.void],
    entries: Sequence[FileAnnotation],
    image_ids: Ids,
    category_ids: Ids,
    findings: Findings,
) -> None:
    known = rows["usable"].copy()
    for field, kind, ids, offset in (("image", "image", image_ids, 0), ("label", "category", category_ids, 1)):
        named = [getattr(entry, f"{kind}_id") for entry in entries]
        places, plain = ids.find_all(named)
        rows[field] = places + offset
        for place in np.flatnonzero(known & (places < 0)).tolist():
            said = f"no {kind}" if named[place] is None else f"the unknown {kind} {reprlib.repr(named[place])}"
            findings.add(f"unknown-{kind}", f"{name_of(rows[place])} names {said}")
        for place, value in () if plain else enumerate(named):
            if type(value) is not int and places[place] >= 0:
                findings.add("id-not-integer", f"{name_of(rows[place])} names {kind} {reprlib.repr(value)}")
        rows["usable"] &= places >= 0


def _fill_values(
    rows: npt.NDArray[np.void], entries: Sequence[FileAnnotation], images: ImageTable, findings: Findings
) -> None:
    areas, crowds = [entry.area for entry in entries], [entry.iscrowd for entry in entries]
    numbers = set(map(type, areas)) <= {float, int}
    all_good = numbers and 0 < min(areas) <= max(areas) < _HUGE
    rows["area"] = areas if all_good else [a if type(a) in (float, int) and 0 < a < _HUGE else np.nan for a in areas]
    for place in np.flatnonzero(rows["usable"] & np.isnan(rows["area"])).tolist():
        kind = "area-missing" if areas[place] is None else "area-invalid"
        text = "" if areas[place] is None else f": {reprlib.repr(areas[place])}"
        findings.add(kind, f"{name_of(rows[place], images)}{text}")
    stated = np.ones(len(crowds), dtype=np.bool_)
    if not (set(map(type, crowds)) <= {int, bool} and set(crowds) <= {0, 1}):
        stated[:] = [type(crowd) in (int, bool, float) and crowd in (0, 1) for crowd in crowds]
    rows["crowd"] = crowds if stated.all() else [bool(c) and s for c, s in zip(crowds, stated.tolist(), strict=True)]
    findings.extend("crowd-missing", np.flatnonzero(rows["usable"] & ~stated), lambda place: (
        f"{name_of(rows[place], images)}{'' if crowds[place] is None else f': {reprlib.repr(crowds[place])}'}"
    ))  # fmt: skip
    rows["repaired"] = ~stated | np.isnan(rows["area"])


def _fill_places(rows: npt.NDArray[np.void], text: npt.NDArray[np.uint8], offset: int) -> None:
    gaps = np.flatnonzero(text == _GAP[0])
    rows["box"] = offset + gaps[0::2] + 1
    rows["stop"] = offset + np.append(gaps[1::2], len(text))
    rows["start"][:1] = offset
    rows["start"][1:] = rows["stop"][:-1] + 1


def _check_ids(rows: npt.NDArray[np.void], images: ImageTable, findings: Findings) -> None:
    ids = rows["id"]
    findings.extend("annotation-id-zero", rows[ids == 0], lambda row: name_of(row, images))
    beyond = rows[(ids >= _INT32) | (ids < -_INT32)]
    findings.extend("id-beyond-int32", beyond, lambda row: name_of(row, images))
    _, first, counts = np.unique(ids, return_index=True, return_counts=True)
    for place, times in zip(first[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
        if ids[place] != -1:
            findings.add("duplicate-annotation-id", f"{name_of(rows[place], images)} occurs {times} times", times - 1)


def decode_box(text: bytes) -> list[float] | None:
    """The xywh box of a row, in pixels; None if there is none that can be: four finite numbers of positive size."""
    try:
        x, y, width, height = _box.decode(text)
    except (ValueError, RecursionError):
        return None
    if not (max(abs(x), abs(y), width, height) < _HUGE and width > 0 and height > 0):
        return None
    return [x, y, width, height]


_box = msgspec.json.Decoder(tuple[float, float, float, float])
