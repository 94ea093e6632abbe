"""Label files: their content as json, and their values as numbers."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from segtrain.data.coco.file_forms import strict_json
from segtrain.errors import SegtrainError


def read_json(path: Path) -> Any:
    """Read a json file, also with a byte-order mark, in UTF-16, or with trailing commas.

    Raises:
        SegtrainError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SegtrainError(f"{path}: cannot read the labels ({error.strerror}); check the path") from error
    try:
        return msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:
        try:
            return json.loads(strict_json(content, error)[0])
        except (ValueError, RecursionError) as refusal:
            raise SegtrainError(f"{path}: {refusal}") from error


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        SegtrainError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise SegtrainError(f"{path}: cannot read the labels ({error.strerror}); check the path") from error


def require_object(value: Any, path: Path, what: str) -> dict[str, Any]:
    """Check that a value is a json object.

    Raises:
        SegtrainError: it is none.
    """
    if not isinstance(value, dict):
        raise SegtrainError(f"{path}: {what} is no json object; export the labels again")
    return value


def objects_of(value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the json objects of a list, or the values of an object, with their positions."""
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for place, entry in enumerate(entries):
        if isinstance(entry, dict):
            yield place, entry


def number(value: Any) -> float:
    """Convert a finite number, also one written as text.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r:.40} is no number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r:.40} is no number") from None
    if not math.isfinite(found):
        raise ValueError(f"{value} is no finite number")
    return found


def pairs(value: Any) -> list[tuple[float, float]]:
    """Convert a list of points [x, y].

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, list) or not all(isinstance(point, list) and len(point) >= 2 for point in value):
        raise ValueError("its points are no list of [x, y]")
    return [(number(point[0]), number(point[1])) for point in value]


def image_size(height: Any, width: Any) -> tuple[int, int] | None:
    """Convert a stated size to (H, W); None if it is none."""
    try:
        size = int(number(height)), int(number(width))
    except ValueError:
        return None
    return size if min(size) > 0 else None


def only_file(request_source: Path, endings: Sequence[str], what: str) -> Path:
    """Return the label file that a source is, or that a folder holds.

    Args:
        request_source: file or folder.
        endings: endings of such files.
        what: what the file is, for the error.

    Raises:
        SegtrainError: the folder holds none, or several.
    """
    if request_source.is_file():
        return request_source
    found = sorted(path for path in request_source.rglob("*") if path.suffix.lower() in endings and path.is_file())
    if len(found) != 1:
        many = f"{len(found)} files that may be it, such as {found[0].name}" if found else "no such file"
        raise SegtrainError(f"{request_source}: holds {many}; give the path of {what}")
    return found[0]
