"""COCO files in other forms than json with three lists: encodings, compression, objects keyed by id."""

import gzip
import json
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from segtrain.data.coco.ids import as_whole_number

# The lists, and the first characters of the values of an object that replaces a list.
_LISTS = {"images": {b"{"}, "annotations": {b"{", b"["}, "categories": {b"{", b'"'}}
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # those of UTF-32 begin or end with them
_GZIP = b"\x1f\x8b"
_STRING_OR_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[\]}])', re.DOTALL)
_FILE_NAME = re.compile(r".*\.\w{1,5}", re.DOTALL)

# First bytes of other kinds of files, and the remedy of each.
_OTHER_CONTENT: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer: run git lfs pull"),
    (b"<!doctype html", "a HTML page, as a failed download leaves it: download it again"),
    (b"<html", "a HTML page, as a failed download leaves it: download it again"),
    (b"{'", "text of Python: write it with json.dump"),
    (b"[{'", "text of Python: write it with json.dump"),
    (b"<", "XML: export the annotations as COCO json"),
    (b"pk\x03\x04", "a zip archive: unpack it, and give the json in it"),
    (b"\x89png", "a picture: give the COCO json"),
    (b"\xff\xd8\xff", "a picture: give the COCO json"),
)
# Keys that identify json files which `segtrain convert` does not read.
_OTHER_KEYS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"image", "annotations"}), "a file for one image, as Segment Anything's data set has them"),
    (frozenset({"data", "annotations"}), "an export of Label Studio: export the labels as COCO there"),
    (frozenset({"file_name", "annotations"}), "a list of Detectron2's records, which names no categories"),
    (frozenset({"image_id", "score"}), "a result file, not the annotations"),
)


def strict_json(content: bytes, reason: Exception) -> tuple[bytes, list[str]]:
    """Convert a file to json in UTF-8 that every parser reads.

    Args:
        content: content of the file.
        reason: error of the strict parser.

    Returns:
        The json, with text in place of NaN, infinities and numbers beyond 64-bit floats, and question marks in place of
        lone surrogates; and the forms that it had.

    Raises:
        ValueError: the content cannot be read; the message ends with the remedy.

    >>> strict_json(b'{"a": [1, NaN,]}', ValueError())
    (b'{"a": [1, "NaN"]}', ['commas before closing brackets', 'NaN or Infinity, which json does not have'])
    """
    forms: list[str] = []
    if content[:2] == _GZIP:
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"a gzip file that cannot be unpacked ({error}); copy it again") from error
        forms.append("compressed by gzip")
    if content[:2] in _UTF16_MARKS or b"\0" in content[:4]:
        forms.append("encoded in UTF-16 or UTF-32")
    odd: set[str] = set()
    try:
        text = content.removeprefix(_UTF8_MARK).decode(json.detect_encoding(content), "surrogatepass")
        try:
            value = loads(text, odd.add)
        except json.JSONDecodeError:
            odd.clear()
            value = loads(_STRING_OR_TRAILING_COMMA.sub(r"\1", text), odd.add)
            forms.append("commas before closing brackets")
        if odd:
            forms.append("NaN or Infinity, which json does not have")
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), forms  # UTF-8 has no lone surrogates
    except (ValueError, RecursionError):
        raise ValueError(_describe_content(content, reason)) from reason


def loads(text: str | bytes, found: Callable[[str], None] = lambda _: None) -> Any:
    """Decode json; numbers that are not finite in Python become text.

    Args:
        text: json, which may hold NaN and infinities.
        found: called with each NaN and infinity.
    """

    def constant(name: str) -> str:
        found(name)
        return name

    return json.loads(text, parse_constant=constant, parse_float=_finite, parse_int=_short)


def _short(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # Python limits the number of digits
        return text


def _finite(text: str) -> float | str:
    return value if math.isfinite(value := float(text)) else text


def _describe_content(content: bytes, reason: Exception) -> str:
    start = content[:200].removeprefix(_UTF8_MARK).lstrip().lower()
    for beginning, description in _OTHER_CONTENT:
        if start.startswith(beginning):
            return f"not a json file, but {description}"
    return f"not a json file ({reason}); export it again"


def three_lists(content: bytes) -> tuple[bytes, list[str]]:
    """Rewrite json that has objects keyed by id in place of lists; other content is returned as it is.

    An entry without an id has its key as its id; annotations may also be grouped, each list under the id of its image.

    Args:
        content: strict json.

    Returns:
        The json with lists, and the forms that it had; none if it is unchanged.

    >>> three_lists(b'{"images": {"7": {"file_name": "a.png"}}, "annotations": [], "categories": []}')[0]
    b'{"images":[{"id":7,"file_name":"a.png"}],"annotations":[],"categories":[]}'
    """
    forms: list[str] = []
    try:
        if content.lstrip()[:1] == b"[":
            (root,) = msgspec.json.decode(content, type=list[dict[str, msgspec.Raw]])
            if not set(_LISTS) <= set(root):
                return content, []
            forms.append("a list around the object")
        else:
            root = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return content, []
    rewritten: dict[str, Any] = dict(root)
    for name, starts in _LISTS.items():
        if name in root and _start(root[name]) == b"{":
            keyed = msgspec.json.decode(root[name], type=dict[str, msgspec.Raw])
            if {_start(entry) for entry in keyed.values()} <= starts:
                rewritten[name] = list(_entries(name, keyed))
                forms.append(f"{name} as an object keyed by id")
    return (msgspec.json.encode(rewritten), forms) if forms else (content, [])


def _start(value: msgspec.Raw) -> bytes:
    return memoryview(value)[:1].tobytes()


class _Keys(msgspec.Struct):
    """Fields of an entry that its key may stand for."""

    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    image_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    file_name: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def _entries(name: str, keyed: Mapping[str, msgspec.Raw]) -> list[Any]:
    """List the entries of an object, with fields added that only their keys state."""
    found: list[Any] = []
    for key, entry in keyed.items():
        start = _start(entry)
        number = as_whole_number(key)
        identifier = key if number is None else number
        if start == b"[":
            grouped = msgspec.json.decode(entry, type=list[msgspec.Raw])
            found += [_with_fields(part, {"image_id": identifier}) for part in grouped]
        elif start == b'"':
            found.append({"id": identifier, "name": entry})
        else:
            is_name = name == "images" and number is None and _FILE_NAME.fullmatch(key) is not None
            found.append(_with_fields(entry, {"id": identifier} | ({"file_name": key} if is_name else {})))
    return found


def _with_fields(entry: msgspec.Raw, fields: Mapping[str, Any]) -> Any:
    """Add the fields that an entry lacks."""
    try:
        present = msgspec.json.decode(entry, type=_Keys)
    except (ValueError, RecursionError):
        return entry
    missing = {key: value for key, value in fields.items() if getattr(present, key) is msgspec.UNSET}
    return {**missing, **msgspec.json.decode(entry, type=dict[str, msgspec.Raw])} if missing else entry


def _is_object(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return False
    return True


def describe_structure(content: bytes) -> str | None:
    """Name the tool or kind of a json file that is no COCO file; None if it is not known.

    >>> describe_structure(b'[{"data": {"image": "a.png"}, "annotations": []}]')
    'an export of Label Studio: export the labels as COCO there'
    """
    try:
        root = msgspec.json.decode(content)
    except (ValueError, RecursionError):
        lines = content.split(b"\n", 2)
        return "one json in each line" if len(lines) > 1 and all(map(_is_object, lines[:2])) else None
    examples: Sequence[Any] = (
        root if isinstance(root, list) else [root, *root.values()] if isinstance(root, dict) else []
    )
    for example in examples[:2]:
        if isinstance(example, dict):
            for keys, description in _OTHER_KEYS:
                if keys <= set(example) and not set(_LISTS) <= set(example):
                    return description
    return None
