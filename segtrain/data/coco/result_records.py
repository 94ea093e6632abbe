"""Unchecked records of a result file: a list of records, or a whole COCO file whose annotations have scores."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from segtrain.errors import SegtrainError


class ResultRecord(msgspec.Struct, gc=False):
    """Unchecked record of a result file; some tools write ``confidence`` for the score, ``category`` for the name."""

    image_id: Any = None
    file_name: Any = None
    category_id: Any = None
    category_name: Any = None
    category: Any = None
    segmentation: Any = None
    bbox: Any = None
    score: Any = None
    confidence: Any = None

    # Some tools write an empty list for what they do not have.
    @property
    def has_mask(self) -> bool:
        """True if there is a segmentation."""
        return self.segmentation not in (None, [])

    @property
    def has_box(self) -> bool:
        """True if there is a box."""
        return self.bbox not in (None, [])


@dataclass(frozen=True)
class ResultContent:
    """Content of a result file.

    Attributes:
        records: detections in the order of the file.
        file_names: file name of each image by its id in the file, if the file lists images.
        category_names: name of each category by its id in the file, if the file lists categories.
        score_threshold: operating point of the scores that ``info.score_threshold`` states, as those of
            ``segtrain predict`` do; None if the file states none.
    """

    records: list[ResultRecord]
    file_names: dict[int | str, str] = field(default_factory=dict)
    category_names: dict[int | str, str] = field(default_factory=dict)
    score_threshold: float | None = None


def read_result_file(path: Path) -> ResultContent:
    """Read a result file without checking the records.

    Raises:
        SegtrainError: the file cannot be read, or is neither a list of records nor a COCO file.
    """
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


def _parse(content: bytes) -> ResultContent:
    try:
        return ResultContent(msgspec.json.decode(content, type=list[ResultRecord]))
    except msgspec.DecodeError:  # also of a wrong type, which is noticed before the rest of the file is read
        # NaN is no JSON, yet Python writes it: the lenient parser reads on, so that the record can be named.
        value = json.loads(content)
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):
        return ResultContent(
            msgspec.convert(value["annotations"], type=list[ResultRecord]),
            _names_by_id(value.get("images"), "file_name"),
            _names_by_id(value.get("categories"), "name"),
            _stated_threshold(value.get("info")),
        )
    return ResultContent(msgspec.convert(value, type=list[ResultRecord]))


def _stated_threshold(info: Any) -> float | None:
    value = info.get("score_threshold") if isinstance(info, dict) else None
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _names_by_id(entries: Any, key: str) -> dict[int | str, str]:
    """Collect the names of the entries of a COCO file's list; entries without id or name are left out."""
    found: dict[int | str, str] = {}
    for entry in entries if isinstance(entries, list) else ():
        identifier, name = (entry.get("id"), entry.get(key)) if isinstance(entry, dict) else (None, None)
        if isinstance(identifier, int | str) and isinstance(name, str):
            found[identifier] = name
    return found
