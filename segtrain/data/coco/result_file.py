"""Reader of COCO result files: the detections of any tool."""

import reprlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from segtrain.data.coco.index import MergedEntry
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.coco.result_ids import (
    AS_WRITTEN,
    Matched,
    ResultIds,
    match_images,
    match_record_categories,
    some,
    typed,
    without_other_images,
)
from segtrain.data.coco.result_records import ResultContent, ResultRecord, read_result_file
from segtrain.errors import SegtrainError
from segtrain.masks import Rle
from segtrain.masks.forms import usual_box, usual_form, usual_number
from segtrain.masks.parse import are_compressed, from_segmentation
from segtrain.records import NO_CATEGORY, BoxPrediction, Category, Prediction

_SAMPLE = 500  # records


class WrittenMask(NamedTuple):
    """Mask of a record as it is written, with its box; None without one."""

    image_id: int
    segmentation: Any
    bbox: Any


@dataclass(frozen=True)
class ResultFile:
    """Detections of a result file, in its order.

    Attributes:
        masks: record of each detection's mask; None if the file holds boxes only.
        boxes: record of each detection's box, as given; None if the file holds masks only.
        class_aware: False if every record has the category id -1.
        polygons: True if any mask is given as polygons.
        notes: lines on values that were read in another sense than they are written.
        sample: masks of some of the records, as they are written.
        score_threshold: operating point of the scores that the file states; None if it states none.
    """

    masks: list[Prediction] | None
    boxes: list[BoxPrediction] | None
    class_aware: bool
    polygons: bool = False
    notes: list[str] = field(default_factory=list)
    sample: list[WrittenMask] = field(default_factory=list, compare=False)
    score_threshold: float | None = None


def load_results(
    path: Path,
    *,
    images: Sequence[ImageInfo],
    categories: Sequence[Category],
    ids: ResultIds = AS_WRITTEN,
    merged: Sequence[MergedEntry] = (),
) -> ResultFile:
    """Read and check a COCO result file: a JSON list of records with masks, boxes or both.

    A whole COCO file whose annotations have scores is read as well. Images and categories that the records name by file
    name or by name, not by id, are found by these.

    Args:
        path: path of the file; its masks may be compressed or uncompressed run lengths, or polygons.
        images: images that records may belong to.
        categories: categories that records may have; or all records have -1, or one more than the largest id.
        ids: meaning of the file's ids, as far as it is known.
        merged: entries of the annotations that are no images of their own.

    Raises:
        SegtrainError: the file is no such list, or a record is broken or has an unknown id.
    """
    content, notes = _with_merged_images(read_result_file(path), images, merged)
    try:
        content, left_out = without_other_images(content, images, ids)
    except SegtrainError as error:
        raise SegtrainError(f"{path}: {error}") from error
    notes += left_out
    records = content.records
    if not records:
        return ResultFile(masks=[], boxes=None, class_aware=True, notes=notes, score_threshold=content.score_threshold)
    try:
        matched_images = match_images(content, images, ids)
        matched_categories = match_record_categories(content, categories, ids)
    except SegtrainError as error:
        raise SegtrainError(f"{path}: {error}") from error
    sizes = {image.id: image.size for image in images}
    forms: Counter[str] = Counter()
    first = records[0]
    mask_records: list[Prediction] = []
    box_records: list[BoxPrediction] = []
    own_sizes = [None if image_id is None else sizes[image_id] for image_id in matched_images.ids]
    compressed = are_compressed([record.segmentation for record in records], own_sizes)
    for number, record in enumerate(records):
        try:
            image_id, category_id = matched_images.ids[number], matched_categories.ids[number]
            if image_id is None:
                raise ValueError(_unknown_image(record, content, matched_images, images, path))
            if category_id is None:
                raise ValueError(_unknown_category(record, content, matched_categories, categories, path))
            score = _score(record, content, forms)
            if (record.has_mask, record.has_box) != (first.has_mask, first.has_box):
                raise ValueError("segmentation and bbox must be in all records or in none, and record 1 differs")
            if not record.has_mask and not record.has_box:
                raise ValueError("there is neither segmentation nor bbox")
            if record.has_mask:
                rle = record.segmentation if compressed[number] else _mask(record, sizes[image_id], forms)
                mask_records.append(
                    {"image_id": image_id, "category_id": category_id, "segmentation": rle, "score": score}
                )
            if record.has_box:
                bbox = _xywh(record.bbox, forms)
                box_records.append({"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score})
        except ValueError as error:
            culprit = f"{path}: record {number + 1} (image {reprlib.repr(record.image_id)})"
            raise SegtrainError(f"{culprit}: {error}; correct the record or leave it out") from error
    read_as = [f"{count:,} of {len(records):,} records have {form}" for form, count in forms.items()]
    return ResultFile(
        mask_records if first.has_mask else None,
        box_records if first.has_box else None,
        matched_categories.ids[0] != NO_CATEGORY,
        first.has_mask and any(isinstance(record.segmentation, list) for record in records),
        [*notes, *matched_images.notes, *matched_categories.notes, *read_as],
        _sample(records, matched_images) if first.has_mask else [],
        content.score_threshold,
    )


def _sample(records: Sequence[ResultRecord], images: Matched) -> list[WrittenMask]:
    """Choose records evenly over the file."""
    return [
        WrittenMask(identifier, record.segmentation, record.bbox)
        for record, identifier in list(zip(records, images.ids, strict=True))[:: -(-len(records) // _SAMPLE)]
        if identifier is not None
    ]


def _with_merged_images(
    content: ResultContent, images: Sequence[ImageInfo], merged: Sequence[MergedEntry]
) -> tuple[ResultContent, list[str]]:
    """Give records of a merged entry the id of its image; they are left out if that one has records of its own."""
    known = {image.id for image in images}
    image_of = {own.id: own.image_id for own in merged if own.id not in known}
    given = [record.image_id if type(record.image_id) is int else None for record in content.records]
    if not image_of.keys() & set(given):
        return content, []
    records, moved = [], 0
    for record, identifier in zip(content.records, given, strict=True):
        if identifier not in image_of:
            records.append(record)
        elif image_of[identifier] not in given:
            records.append(msgspec.structs.replace(record, image_id=image_of[identifier]))
            moved += 1
    note = "images that the annotations list under several ids are one image"
    left_out = len(given) - len(records)
    counts = f"{moved:,} records moved to it, {left_out:,} left out as it has records under its first id"
    return replace(content, records=records), [f"{note}: {counts}"]


def _unknown_image(
    record: ResultRecord, content: ResultContent, matched: Matched, images: Sequence[ImageInfo], path: Path
) -> str:
    named = isinstance(record.image_id, str)
    known: list[Any] = [image.file_name for image in images] if named else sorted(image.id for image in images)
    counted = _count_unknown("image", [one.image_id for one in content.records], matched, known)
    return f"no such image in the annotations: {counted}{_proposed(matched, path)}"


def _unknown_category(
    record: ResultRecord, content: ResultContent, matched: Matched, categories: Sequence[Category], path: Path
) -> str:
    given = [one.category_id if one.category_id is not None else one.category_name for one in content.records]
    without = NO_CATEGORY in (content.records[0].category_id, record.category_id)
    counted = _count_unknown("category", given, matched, [category.id for category in categories])
    return (
        f"no such category in the annotations: {reprlib.repr(record.category_id)} ({NO_CATEGORY} stands for none, in "
        f"all records){'' if without else f': {counted}{_proposed(matched, path)}'}"
    )


def _count_unknown(what: str, given: Sequence[Any], matched: Matched, known: Sequence[Any]) -> str:
    """Describe unknown ids: their number, and examples of both sides."""
    unknown = [value for value, found in zip(given, matched.ids, strict=True) if found is None]
    have = f"have unknown {what} ids" if len(unknown) > 1 else f"has an unknown {what} id"
    return f"{len(unknown):,} of {len(given):,} records {have} ({some(unknown)}); the annotations have {some(known)}"


def _proposed(matched: Matched, path: Path) -> str:
    return f"; {typed(path, matched.hint)} would fit" if matched.hint else ""


def _score(record: ResultRecord, content: ResultContent, forms: Counter[str]) -> float:
    """Read a finite score.

    Raises:
        ValueError: there is none, or it is no finite number.
    """
    value = record.score
    if value is None and record.confidence is not None:
        value = record.confidence
        forms["a confidence in place of a score"] += 1
    if isinstance(value, str | list) and (number := usual_number(value)) is not None:
        forms["a score as text or in a list"] += 1
        value = number
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    if all(one.score is None for one in content.records):
        raise ValueError("no record has a score: these are annotations; give the detections, each with its score")
    raise ValueError(f"score must be a finite number, not {reprlib.repr(value)}")


def _mask(record: ResultRecord, size: tuple[int, int], forms: Counter[str]) -> Rle:
    segmentation, form = usual_form(record.segmentation, size, usual_box(record.bbox))
    if form is not None:
        forms[f"a segmentation in another form than COCO's ({form})"] += 1
    return from_segmentation(segmentation, size)


def _xywh(value: Any, forms: Counter[str]) -> list[float]:
    """Read a box.

    Raises:
        ValueError: it is none, or has a negative side.
    """
    box = usual_box(value)
    if box is None:
        raise ValueError(f"bbox must be [x, y, width, height] of finite numbers, not {reprlib.repr(value)}")
    if box != value:
        forms["a box in another form than [x, y, width, height]"] += 1
    if box[2] < 0 or box[3] < 0:
        raise ValueError(f"bbox has a negative width or height: {reprlib.repr(value)}")
    return box
