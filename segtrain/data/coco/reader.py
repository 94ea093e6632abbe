"""Reader of COCO annotation files: from json to an index whose masks are decoded when they are used."""

import gc
import reprlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segtrain.data.coco.category_table import name_categories, read_categories
from segtrain.data.coco.ids import Ids, as_whole_number
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.json_file import (
    EntryReader,
    FileAnnotation,
    FileError,
    RawFile,
    open_in_pieces,
    read_coco_file,
    read_pieces,
)
from segtrain.data.coco.record_tables import HUGE, ROW, AnnotationTable, ImageTable, SizeOf, name_of, read_images
from segtrain.data.coco.rules import COCO_RULES, AnnotationRules, apply_rules
from segtrain.data.coco.shared_array import SharedArray
from segtrain.masks.forms import usual_number

_BATCH = 4_000  # entries that are decoded at a time
_GAP = b"\0"  # separator; does not occur in json
_INT32, _INT64 = 2**31, 2**63


def read_annotations(
    file: RawFile, images: ImageTable, image_ids: Ids, category_ids: Ids, issues: Issues
) -> AnnotationTable:
    """Build the table of a file's annotations.

    Args:
        file: content of the file; it is consumed, as its buffer becomes the table's text.
        images: images of the file.
        image_ids: ids of the images.
        category_ids: ids of the categories, increasing; the first has label 1.
        issues: receives the issues of the annotations.

    Raises:
        ValueError: the file is read in pieces, and one of them is no list of objects.
    """
    parts: list[npt.NDArray[np.void]] = []
    written = 0
    for entries, blank in _batches(file, issues):
        part = np.zeros(len(entries), dtype=ROW)
        part["number"] = np.arange(1, len(part) + 1) + sum(map(len, parts))
        part["usable"] = True
        part["usable"][blank] = False
        odd = _fill_ids(part, entries, issues)
        odd += _fill_references(part, entries, images, image_ids, category_ids, issues)
        for _, message in sorted(odd, key=itemgetter(0)):  # messages are in file order, however the file is read
            issues.add("id-not-integer", message)
        _fill_values(part, entries, images, issues)
        # In place: the text is shorter than the entries that it comes from, as one byte replaces keys and commas.
        text = _joined(entries)
        file.buffer[written : written + len(text)] = text
        _fill_places(part, text, written)
        written += len(text)
        parts.append(part)
    rows = np.concatenate([np.zeros(0, dtype=ROW), *parts])
    _check_ids(rows, images, issues)
    file.annotations, file.images, file.categories = [], [], []  # they are views of the buffer, which is resized now
    if file.buffer.flags.owndata:
        file.buffer.resize(written, refcheck=False)
    images_in_order = np.ascontiguousarray(rows["image"])
    in_order = (images_in_order[1:] >= images_in_order[:-1]).all()
    ordered = rows if in_order else rows.take(np.argsort(images_in_order, kind="stable"))
    return AnnotationTable.of(ordered, len(images), SharedArray(file.buffer[:written]))


def _batches(file: RawFile, issues: Issues) -> Iterator[tuple[list[FileAnnotation], list[int]]]:
    """Yield the annotations, some thousands at a time, and the indices of blank ones."""
    if file.pieces is not None:
        for entries in read_pieces(file.path, *file.pieces):
            yield entries, []
        return
    reader = EntryReader(FileAnnotation, "annotations", issues)
    for first in range(0, len(file.annotations), _BATCH):
        yield reader.read(file.annotations[first : first + _BATCH], first)


def _fill_ids(rows: npt.NDArray[np.void], entries: Sequence[FileAnnotation], issues: Issues) -> list[tuple[int, str]]:
    """Fill in the ids; return the indices of those that are no whole numbers, with a message for each."""
    odd: list[tuple[int, str]] = []
    ids = [entry.id for entry in entries]
    if set(map(type, ids)) <= {int}:
        try:
            rows["id"] = np.array(ids, dtype=np.int64)
            return odd
        except OverflowError:
            pass
    for place, (row, value) in enumerate(zip(rows, ids, strict=True)):
        number = as_whole_number(value)
        known = number is not None and -_INT64 <= number < _INT64
        row["id"] = number if known else -1
        if type(value) is not int and row["usable"]:
            text = "has no id" if value is None else f"has the id {reprlib.repr(value)}"
            odd.append((place, f"annotation number {row['number']} {text}"))
        elif not known and row["usable"]:
            issues.add("id-beyond-int32", f"annotation number {row['number']} has the id {reprlib.repr(value)}")
    return odd


def _fill_references(
    rows: npt.NDArray[np.void],
    entries: Sequence[FileAnnotation],
    images: ImageTable,
    image_ids: Ids,
    category_ids: Ids,
    issues: Issues,
) -> list[tuple[int, str]]:
    """Fill in images and labels; return the indices of ids that are no whole numbers, with a message for each."""
    odd: list[tuple[int, str]] = []
    known = rows["usable"].copy()
    image, category = [entry.image_id for entry in entries], [entry.category_id for entry in entries]
    for field, kind, named, ids, offset in (
        ("image", "image", image, image_ids, 0),
        ("label", "category", category, category_ids, 1),
    ):
        places, plain = ids.find_all(named)
        rows[field] = places + offset
        for place in np.flatnonzero(known & (places < 0)).tolist():
            said = f"no {kind}" if named[place] is None else f"the unknown {kind} {reprlib.repr(named[place])}"
            issues.add(f"unknown-{kind}", f"{name_of(rows[place], images)} names {said}")
        for place, value in () if plain else enumerate(named):
            if type(value) is not int and places[place] >= 0:
                odd.append((place, f"{name_of(rows[place], images)} names {kind} {reprlib.repr(value)}"))
        rows["usable"] &= places >= 0
    return odd


def _fill_values(
    rows: npt.NDArray[np.void], entries: Sequence[FileAnnotation], images: ImageTable, issues: Issues
) -> None:
    areas, crowds = [entry.area for entry in entries], [entry.iscrowd for entry in entries]
    odd_areas: npt.NDArray[np.bool_] = np.zeros(len(areas), dtype=np.bool_)
    if set(map(type, areas)) <= {float}:
        stated_areas = np.array(areas, dtype=np.float64)
        rows["area"] = np.where((stated_areas > 0) & (stated_areas < HUGE), stated_areas, np.nan)
    else:
        numbers = [usual_number(area) for area in areas]
        rows["area"] = [np.nan if a is None or not 0 < a < HUGE else a for a in numbers]
        odd_areas = np.array([type(area) not in (float, int) for area in areas]) & ~np.isnan(rows["area"])
        issues.extend("area-form", np.flatnonzero(rows["usable"] & odd_areas), lambda place: (
            f"{name_of(rows[place], images)}: {reprlib.repr(areas[place])}"
        ))  # fmt: skip
    for place in np.flatnonzero(rows["usable"] & np.isnan(rows["area"])).tolist():
        kind = "area-missing" if areas[place] is None else "area-invalid"
        text = "" if areas[place] is None else f": {reprlib.repr(areas[place])}"
        issues.add(kind, f"{name_of(rows[place], images)}{text}")
    stated = np.ones(len(crowds), dtype=np.bool_)
    if not (set(map(type, crowds)) <= {int, bool} and set(crowds) <= {0, 1}):
        stated[:] = [type(crowd) in (int, bool, float) and crowd in (0, 1) for crowd in crowds]
    rows["crowd"] = crowds if stated.all() else list(map(_is_crowd, crowds))
    issues.extend("crowd-missing", np.flatnonzero(rows["usable"] & ~stated), lambda place: (
        f"{name_of(rows[place], images)}{'' if crowds[place] is None else f': {reprlib.repr(crowds[place])}'}"
    ))  # fmt: skip
    rows["repaired"] = ~stated | odd_areas | np.isnan(rows["area"])


def _is_crowd(value: Any) -> bool:
    """Interpret ``iscrowd``: any number but 0 means a crowd, also as text; so does true."""
    return value is True or as_whole_number(value) not in (None, 0)


def _joined(entries: Sequence[FileAnnotation]) -> npt.NDArray[np.uint8]:
    """Concatenate the segmentation and the box of each entry, with a separator between all of them."""
    texts: list[Any] = [b""] * (2 * len(entries))
    texts[0::2] = [entry.segmentation for entry in entries]
    texts[1::2] = [entry.bbox for entry in entries]
    return np.frombuffer(_GAP.join(texts), dtype=np.uint8)


def _fill_places(rows: npt.NDArray[np.void], text: npt.NDArray[np.uint8], offset: int) -> None:
    gaps = np.flatnonzero(text == _GAP[0])
    rows["box"] = offset + gaps[0::2] + 1
    rows["stop"] = offset + np.append(gaps[1::2], len(text))
    rows["start"][:1] = offset
    rows["start"][1:] = rows["stop"][:-1] + 1


def _check_ids(rows: npt.NDArray[np.void], images: ImageTable, issues: Issues) -> None:
    ids = rows["id"]
    issues.extend("annotation-id-zero", rows[ids == 0], lambda row: name_of(row, images))
    beyond = rows[(ids >= _INT32) | (ids < -_INT32)]
    issues.extend("id-beyond-int32", beyond, lambda row: name_of(row, images))
    if (np.diff(ids) > 0).all():
        return
    _, first, counts = np.unique(ids, return_index=True, return_counts=True)
    for place, times in zip(first[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
        if ids[place] != -1:
            issues.add("duplicate-annotation-id", f"{name_of(rows[place], images)} occurs {times} times", times - 1)


def read_index(path: Path, rules: AnnotationRules = COCO_RULES, size_of: SizeOf | None = None) -> CocoIndex:
    """Read a COCO json file; its structure is checked and repaired, its masks stay text until they are used.

    Args:
        path: path of the file.
        rules: rules of reading annotations.
        size_of: returns the (H, W) of an image file by its name, for images whose size the json does not state.

    Raises:
        FileError: the file cannot be used at all.
    """
    with _without_garbage_collection():
        if (file := open_in_pieces(path)) is not None:
            try:
                return _tabulate(file, rules, size_of)
            except (ValueError, RecursionError, OSError):
                del file  # fall back to the tolerant reader
        return _tabulate(read_coco_file(path), rules, size_of)


def _tabulate(file: RawFile, rules: AnnotationRules, size_of: SizeOf | None) -> CocoIndex:
    issues = Issues()
    for form in file.forms:
        issues.add("file-form", form)
    for note in file.joined:
        issues.add("files-joined", str(note))
    images, image_ids = read_images(file, issues, size_of)
    if not len(images):
        raise FileError("wrong-type", file.path, f"no image can be used ({issues['wrong-type'].examples[0]})")
    entries = read_categories(file, issues)
    if not entries.places:
        raise FileError("wrong-type", file.path, "no category can be used (categories[0] is no object)")
    annotations = read_annotations(file, images, image_ids, entries.ids, issues)
    categories, annotations = name_categories(entries, annotations, issues)
    annotations = apply_rules(annotations, images, rules)
    return CocoIndex(file.path, categories, images, annotations, issues, rules)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Disable garbage collection: with millions of objects it takes a fifth of the time, and they form no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
