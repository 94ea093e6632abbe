"""Label files: listed, read as json or text, and their values as numbers."""

import json
import math
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from segtrain.convert.labelled import Tally
from segtrain.data.coco.file_forms import strict_json
from segtrain.data.foreign.glance import read_keys
from segtrain.data.foreign.source_files import source_files
from segtrain.errors import SegtrainError

_LARGEST = 10**9  # of numbers: places and sizes in pixels, ids of classes
# What values of other kinds than a format has lead to.
_BROKEN = (
    ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError, struct.error, zlib.error,
)  # fmt: skip
_MOST_PIXELS = 2**32  # run lengths count in 32 bits


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


def json_keys(path: Path) -> Collection[str]:
    """Return the keys of a json file, which may be in one of the forms of `read_json`; none if it is no object.

    Raises:
        SegtrainError: it cannot be read.
    """
    if found := read_keys(path):
        return found.keys()
    value = read_json(path)
    return value.keys() if isinstance(value, dict) else ()


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


def entries_of(value: Any) -> list[Any]:
    """Return the entries of a list, or the values of an object; a single other value is an entry by itself.

    >>> entries_of({"a": 1, "b": {}}), entries_of(None), entries_of(7)
    ([1, {}], [], [7])
    """
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [] if value is None else [value]


def number(value: Any) -> float:
    """Convert a number, also one written as text.

    Raises:
        ValueError: it is none, not finite, or too large for an image.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r:.40} is no number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r:.40} is no number") from None
    if not math.isfinite(found):
        raise ValueError(f"{value} is no finite number")
    if abs(found) > _LARGEST:
        raise ValueError(f"{found:g} is too large")
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
    """Convert a stated size to (H, W); None if it is none, or larger than an image can be."""
    try:
        size = int(number(height)), int(number(width))
    except ValueError:
        return None
    return size if min(size) > 0 and size[0] * size[1] < _MOST_PIXELS else None


def label_files(source: Path, *endings: str) -> list[Path]:
    """List the label files of a source: itself, or those of such endings in a folder, without hidden ones.

    Args:
        source: file or folder.
        *endings: endings of the names, in lower case.

    Raises:
        SegtrainError: a folder cannot be read.
    """
    return [source] if source.is_file() else [source / name for name in source_files(source, *endings)]


def one_in_each_folder(
    source: Path, endings: Sequence[str], is_it: Callable[[Path], bool], what: str, tally: Tally
) -> list[Path]:
    """List the label files of a source of which a folder has one, for all its images.

    Args:
        source: file or folder.
        endings: endings of such files, in lower case.
        is_it: returns True for a file that is one by its content.
        what: what the file is, for the error.
        tally: receives other files with such endings.

    Raises:
        SegtrainError: there is none, or a folder holds several.
    """
    if source.is_file():
        return [source]
    found = those_that_are(label_files(source, *endings), is_it, what, tally)
    if not found:
        raise SegtrainError(f"{source}: holds no such file; give the path of {what}")
    known: dict[Path, Path] = {}
    for path in found:
        if (other := known.setdefault(path.parent, path)) is not path:
            names = f"{other.relative_to(source).as_posix()} and {path.relative_to(source).as_posix()}"
            raise SegtrainError(f"{source}: {names} are for the same images; give the path of {what}")
    return found


def those_that_are(paths: Sequence[Path], is_it: Callable[[Path], bool], what: str, tally: Tally) -> list[Path]:
    """Return the files that are of a kind by their content; others are counted.

    Args:
        paths: files.
        is_it: returns True for a file of the kind.
        what: what the files are.
        tally: receives the others.

    Raises:
        SegtrainError: a json among the others is damaged, so that nobody can tell what it is.
    """
    found = []
    for path in paths:
        if is_it(path):
            found.append(path)
        else:
            if path.suffix.lower() == ".json":
                json_keys(path)
            tally.add("left out", f"files that are not {what}", path.name)
    return found


@contextmanager
def left_out_if_broken(tally: Tally, what: str, origin: str) -> Iterator[None]:
    """Count what cannot be read as left out, as a context.

    Args:
        tally: receives it.
        what: kind of the things that are read, such as "shapes".
        origin: place of this one.
    """
    try:
        yield
    except _BROKEN as error:
        tally.add("left out", f"{what} that cannot be read", f"{origin} ({_reason(error)})")


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]}"
    if isinstance(error, TypeError | AttributeError | LookupError):
        return "its values are of other types than those of the format"
    if isinstance(error, ArithmeticError):
        return "a number is not finite, or too large"
    return str(error)
