"""Corrected copies of COCO files."""

import json
import reprlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import FRAME_ERRORS, ISSUE_TYPES
from segtrain.data.coco.joined_files import JOINED
from segtrain.data.coco.json_file import read_document
from segtrain.data.coco.record_tables import decode_box, decode_usual, draw, name_of
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically
from segtrain.masks.parse import SegmentationError, drawable_polygons, lacks_mask

Entry = dict[str, Any]
_INT32 = 2**31 - 1
Rows = npt.NDArray[np.void]


@dataclass(frozen=True)
class FixedCopy:
    """Corrected copy of a COCO file.

    Attributes:
        path: path of the copy.
        log: path of the list of all differences.
        annotations: number of annotations in the copy.
        all_annotations: number of annotations in the original file.
        images: number of images in the copy.
        all_images: number of images in the original file.
    """

    path: Path
    log: Path
    annotations: int
    all_annotations: int
    images: int
    all_images: int

    def __str__(self) -> str:
        """Return one line with the numbers of annotations and images that the copy keeps."""
        if (self.annotations, self.images) == (self.all_annotations, self.all_images):
            kept = f"all {_many(self.annotations, 'annotation')} and {_many(self.images, 'image')} kept"
            return f"Corrected: {self.path}, {kept} (what differs: {self.log})"
        return (
            f"Written: {self.path}, with {self.annotations:,} of {_many(self.all_annotations, 'annotation')} and "
            f"{self.images:,} of {_many(self.all_images, 'image')}; the others are left out (why: {self.log})"
        )


def write_fixed(index: CocoIndex, lost_images: Mapping[int, str], out: Path) -> FixedCopy:
    """Write a copy of the json without unusable entries, and a log of all differences.

    Annotations are numbered from 1; ids of images and categories are kept unless they are 0, no whole numbers, or used
    by an earlier entry. Unknown keys are kept.

    Args:
        index: index of the file, checked.
        lost_images: problem of each image that cannot be used, by its id in the index.
        out: path of the new file; the log is written beside it.

    Raises:
        SegtrainError: one of the two files exists already; or no image can be used, or none of the annotations; or
            masks are in another frame than their images.
    """
    log = require_free(out, index.path)
    if unsolved := [issue for kind in FRAME_ERRORS for issue in index.issues[kind].examples]:
        raise SegtrainError(f"{index.path}: {unsolved[0]}; no corrected copy is written")
    kept = [place for place, image in enumerate(index.images) if image.id not in lost_images]
    if not kept:
        raise SegtrainError(
            f"{index.path}: no image can be used ({next(iter(lost_images.values()))}); nothing is written"
        )
    document, forms = read_document(index.path)
    lines = [f"{index.path} -> {out}", *(f"the file had another form: {form}" for form in forms)]
    for kind in ("frame-corrected", "witnesses-replaced"):
        lines += [f"{ISSUE_TYPES[kind].title}: {example}" for example in index.issues[kind].examples]
    image_ids = _new_ids("image", index.images.rows["id"].tolist())
    category_ids = _new_ids("category", [category.id for category in index.categories])
    images = [_image(index, place, document["images"], image_ids, lines) for place in kept]
    categories = [_category(index, label, document["categories"], category_ids, lines) for label in category_ids]
    lines += [f"image {identifier} is left out: {reason}" for identifier, reason in lost_images.items()]
    lines += _unused("image", document["images"], index.images.rows["entry"].tolist())
    lines += _unused("category", document["categories"], [category.entry for category in index.categories])
    annotations = list(_annotations(index, document["annotations"], set(kept), image_ids, category_ids, lines))
    entries = len(document["annotations"])
    if entries and not annotations:
        raise SegtrainError(
            f"{index.path}: none of its {_many(entries, 'annotation')} can be used, so no copy is written"
        )
    document.pop(JOINED, None)
    fixed = {**document, "images": images, "categories": categories, "annotations": annotations}
    write_atomically(out, _encode(fixed))
    write_atomically(log, "\n".join(lines) + "\n")
    return FixedCopy(out, log, len(annotations), entries, len(images), len(document["images"]))


def require_free(out: Path, source: Path) -> Path:
    """Check that a corrected copy would replace no file.

    Args:
        out: path of the copy.
        source: path of the original file.

    Returns:
        Path of its log.

    Raises:
        SegtrainError: one of the two files exists already.
    """
    log = out.with_name(f"{out.stem}.log" if out.suffix.lower() == ".json" else f"{out.name}.log") if out.name else out
    for path in (out, log):
        if path.exists() or path.resolve() == source.resolve():
            raise SegtrainError(f"{path}: exists already, and nothing is changed in place; choose another name")
    return log


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _new_ids(kind: str, ids: list[int]) -> dict[int, int]:
    """Choose the ids to write, in the order of the entries; 0 is replaced."""
    highest, taken = max(ids, default=0), set(ids)
    free = (n for n in count(highest + 1 if 0 <= highest < _INT32 else 1) if n not in taken)
    return {place: identifier if identifier else next(free) for place, identifier in enumerate(ids)}


def _image(index: CocoIndex, place: int, entries: list[Entry], ids: Mapping[int, int], lines: list[str]) -> Entry:
    row = index.images.rows[place]
    new: Entry = {"id": ids[place], "height": int(row["height"]), "width": int(row["width"])}
    new["file_name"] = index.images[place].file_name
    return _changed(entries[row["entry"]], new, f"image entry {row['entry'] + 1}", lines)


def _category(index: CocoIndex, place: int, entries: list[Entry], ids: Mapping[int, int], lines: list[str]) -> Entry:
    category = index.categories[place]
    new = {"id": ids[place], "name": category.name}
    return _changed(entries[category.entry], new, f"category entry {category.entry + 1}", lines)


def _changed(entry: Entry, new: Entry, where: str, lines: list[str]) -> Entry:
    """Return an entry with new values, and log those that differ."""
    for key, value in new.items():
        old = entry.get(key)
        if old != value or type(old) is bool:
            lines.append(f"{where}: {key} {'missing' if old is None else _said(old)} -> {_said(value)}")
    return {**entry, **new}


def _said(value: Any) -> str:
    return " ".join(reprlib.repr(value).split())


def _unused(kind: str, entries: list[Entry], used: Collection[int]) -> list[str]:
    """Yield a line of the log for each entry that is in no table."""
    lost = sorted(set(range(len(entries))) - set(used))
    return [f"{kind} entry {place + 1} is left out: it cannot be used, or repeats another" for place in lost]


def _annotations(
    index: CocoIndex,
    entries: list[Entry],
    kept_images: Collection[int],
    image_ids: Mapping[int, int],
    category_ids: Mapping[int, int],
    lines: list[str],
) -> Iterator[Entry]:
    rows = index.annotations.rows
    numbers = count(1)
    for spot in np.argsort(rows["number"]).tolist():
        row, alone = rows[spot], rows[spot : spot + 1]
        place = int(row["image"])
        if not row["usable"] or place not in kept_images:
            reason = "its image is left out" if row["usable"] else _reason(index, alone)
            lines.append(f"{name_of(row)} (entry {row['number']}) is left out: {reason}")
            continue
        entry = entries[row["number"] - 1]
        new = {"id": next(numbers), "image_id": image_ids[place], "category_id": category_ids[row["label"] - 1]}
        new |= _integer_size(entry) | (_mended(index, alone, entry) if row["repaired"] else {})
        new |= _chosen(index, alone, entry)
        yield _changed(entry, new, f"annotation entry {row['number']}", lines)


def _integer_size(entry: Entry) -> Entry:
    """Convert a segmentation whose size is written as floats, which pycocotools rejects."""
    segmentation: Any = entry.get("segmentation")
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    if not isinstance(size, list) or float not in map(type, size):
        return {}
    return {"segmentation": {**segmentation, "size": [int(side) for side in size]}}


def _mended(index: CocoIndex, alone: Rows, entry: Entry) -> Entry:
    """Return the content of a repaired annotation; valid values are unchanged."""
    image = index.images[int(alone["image"][0])]
    (truth,) = index.truths_of(alone, image)
    mended: Entry = {"area": truth["area"], "bbox": truth["bbox"], "iscrowd": truth["iscrowd"]}
    text, box = index.annotations.segmentations(alone)[0], index.annotations.box(alone[0])
    segmentation, form = decode_usual(text, image.size, box)
    if isinstance(segmentation, list):
        mended["segmentation"] = drawable_polygons(segmentation, image.size)[0]
    elif form is not None or (index.issues["frame-corrected"].count and segmentation != entry.get("segmentation")):
        mended["segmentation"] = segmentation
    return mended


def _chosen(index: CocoIndex, alone: Rows, entry: Entry) -> Entry:
    """Return the values of an annotation that the rules change; none if it is read as COCO defines."""
    image, rules = index.images[int(alone["image"][0])], index.rules
    new: Entry = {}
    if rules.crowd == "objects" and entry.get("iscrowd"):
        new["iscrowd"] = int(alone["crowd"][0])
    text, box = index.annotations.segmentations(alone)[0], index.annotations.box(alone[0])
    if alone["boxed"][0]:
        x, y, width, height = decode_box(box, image.size) or [0.0] * 4
        new["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
        new["iscrowd"] = int(alone["crowd"][0])
    elif rules.rings == "even_odd" and not alone["plain"][0]:
        mask = draw(text, image.size, box, rules.rings)[0]
        if mask != draw(text, image.size, box)[0]:
            new["segmentation"] = mask
    return new


def _reason(index: CocoIndex, alone: Rows) -> str:
    place = int(alone["image"][0])
    if place < 0 and alone["label"][0] < 1 and alone["start"][0] == alone["box"][0] - 1 == alone["stop"][0] - 1:
        return "it is no annotation"
    if place < 0 or alone["label"][0] < 1:
        return "its image or category is not listed"
    try:
        box = index.annotations.box(alone[0])
        draw(index.annotations.segmentations(alone)[0], index.images[place].size, box)
    except SegmentationError as error:
        segmentation = decode_usual(index.annotations.segmentations(alone)[0], index.images[place].size, box)[0]
        if lacks_mask(segmentation) and decode_box(box, index.images[place].size):
            return "it has a box and no mask"
        return str(error)
    return "its mask covers no pixel of the image"


def _encode(document: Entry) -> bytes:
    try:
        return msgspec.json.encode(document)
    except (ValueError, OverflowError):  # half surrogates, huge numbers
        return json.dumps(document).encode("ascii")
