"""Reader of COCO result files: the detections of any tool."""

import json
import reprlib
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from segtrain.errors import SegtrainError
from segtrain.masks.parse import from_segmentation
from segtrain.records import NO_CATEGORY, BoxPrediction, Prediction


@dataclass(frozen=True)
class ResultFile:
    """Detections of a result file, in its order.

    Attributes:
        masks: record of each detection's mask; None if the file holds boxes only.
        boxes: record of each detection's box, as given; None if the file holds masks only.
        class_aware: False if every record has the category id -1.
        polygons: True if any mask is given as polygons.
    """

    masks: list[Prediction] | None
    boxes: list[BoxPrediction] | None
    class_aware: bool
    polygons: bool = False


def load_results(
    path: Path,
    *,
    image_ids: Collection[int],
    category_ids: Collection[int],
    sizes: Mapping[int, tuple[int, int]],
) -> ResultFile:
    """Read and check a COCO result file: a JSON list of records with masks, boxes or both.

    Args:
        path: path of the file; its masks may be compressed or uncompressed run lengths, or polygons.
        image_ids: ids of the images that records may belong to.
        category_ids: category ids that records may have; or all records have -1.
        sizes: image id -> (H, W).

    Raises:
        SegtrainError: the file is no such list, or a record is broken or has an unknown id.
    """
    records = _read(path)
    if not records:
        return ResultFile(masks=[], boxes=None, class_aware=True)
    first = records[0]
    class_aware = first.category_id != NO_CATEGORY
    known_images = frozenset(image_ids)
    known_categories = frozenset(category_ids if class_aware else [NO_CATEGORY])
    mask_records: list[Prediction] = []
    box_records: list[BoxPrediction] = []
    for number, record in enumerate(records, start=1):
        try:
            image_id, category_id = _known_ids(record, known_images, known_categories, records)
            score = _number(record.score, "score")
            if (record.has_mask, record.has_box) != (first.has_mask, first.has_box):
                raise ValueError("segmentation and bbox must be in all records or in none, and record 1 differs")
            if not record.has_mask and not record.has_box:
                raise ValueError("there is neither segmentation nor bbox")
            if record.has_mask:
                rle = from_segmentation(record.segmentation, sizes[image_id])
                mask_records.append(
                    {"image_id": image_id, "category_id": category_id, "segmentation": rle, "score": score}
                )
            if record.has_box:
                bbox = _xywh(record.bbox)
                box_records.append({"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score})
        except ValueError as error:
            culprit = f"{path}: record {number} (image {reprlib.repr(record.image_id)})"
            raise SegtrainError(f"{culprit}: {error}; correct the record or leave it out") from error
    return ResultFile(
        mask_records if first.has_mask else None,
        box_records if first.has_box else None,
        class_aware,
        first.has_mask and any(isinstance(record.segmentation, list) for record in records),
    )


class _Record(msgspec.Struct, gc=False):
    """Unchecked record of a result file."""

    image_id: Any = None
    category_id: Any = None
    segmentation: Any = None
    bbox: Any = None
    score: Any = None

    # Some tools write an empty list for what they do not have.
    @property
    def has_mask(self) -> bool:
        return self.segmentation not in (None, [])

    @property
    def has_box(self) -> bool:
        return self.bbox not in (None, [])


def _read(path: Path) -> list[_Record]:
    try:
        return _parse(path.read_bytes())
    except OSError as error:
        raise SegtrainError(f"{path}: cannot read the predictions ({error.strerror}); check the path") from error
    except msgspec.ValidationError as error:
        raise SegtrainError(
            f"{path}: not a COCO result file, which is a list of records; write the predictions again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SegtrainError(f"{path}: not a JSON file ({error}); write the predictions again") from error


def _parse(content: bytes) -> list[_Record]:
    try:
        return msgspec.json.decode(content, type=list[_Record])
    except msgspec.DecodeError:  # also of a wrong type, which is noticed before the rest of the file is read
        # NaN is no JSON, yet Python writes it: the lenient parser reads on, so that the record can be named.
        return msgspec.convert(json.loads(content), type=list[_Record])


def _known_ids(
    record: _Record, images: Collection[int], categories: Collection[int], every: Sequence[_Record]
) -> tuple[int, int]:
    if not _is_known(record.image_id, images):
        counted = _unknown("image", [one.image_id for one in every], images)
        raise ValueError(f"no such image in the annotations: {counted}")
    if not _is_known(record.category_id, categories):
        counted = _unknown("category", [one.category_id for one in every], categories)
        raise ValueError(
            f"no such category in the annotations: {reprlib.repr(record.category_id)} "
            f"({NO_CATEGORY} stands for none, in all records){'' if NO_CATEGORY in categories else f': {counted}'}"
        )
    return record.image_id, record.category_id


def _is_known(value: Any, known: Collection[int]) -> bool:
    # `type` because True == 1 in Python, and because a list cannot be looked up.
    return type(value) is int and value in known


def _unknown(what: str, given: Sequence[Any], known: Collection[int]) -> str:
    """Describe unknown ids: their number, examples of both sides, and a remedy if the ids count from 0 instead of 1."""
    unknown = [value for value in given if not _is_known(value, known)]
    have = f"have unknown {what} ids" if len(unknown) > 1 else f"has an unknown {what} id"
    from_zero = all(type(value) is int and value + 1 in known for value in given)
    return (
        f"{len(unknown):,} of {len(given):,} records {have} ({_some(unknown)}); the annotations have "
        f"{_some(sorted(known))}{', and every id + 1 would fit' if from_zero else ''}"
    )


def _some(values: Sequence[Any]) -> str:
    shown = list(dict.fromkeys(map(reprlib.repr, values)))
    return ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "")


def _number(value: object, name: str) -> float:
    """Convert a value to a finite number.

    Raises:
        ValueError: the value is not a finite number.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    raise ValueError(f"{name} must be a finite number, not {reprlib.repr(value)}")


def _xywh(value: object) -> list[float]:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"bbox must be [x, y, width, height], not {reprlib.repr(value)}")
    x, y, width, height = (_number(v, "each number of bbox") for v in value)
    if width < 0 or height < 0:
        raise ValueError(f"bbox has a negative width or height: {reprlib.repr(value)}")
    return [x, y, width, height]
