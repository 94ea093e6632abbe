"""What splits need of a COCO json beyond the index: fields of its images, and parts of it as files of their own."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from segtrain.data.findings import Findings
from segtrain.data.index.coco_file import read_strictly
from segtrain.data.index.entries import decode_leniently
from segtrain.data.index.ids import Ids
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically

logger = logging.getLogger(__name__)
T = TypeVar("T")
_FIELDS_LISTED = 20


class _Images(msgspec.Struct):
    images: list[msgspec.Raw]


def image_field(path: Path, field: str, places: Sequence[int]) -> list[str | float]:
    """The values of a field of a file's images.

    Args:
        path: COCO json.
        field: a key of the entries of ``images``; ``extra.patient`` is the key ``patient`` within ``extra``.
        places: of the entries that count.

    Returns:
        One value for each of these.

    Raises:
        SegtrainError: no image has the field, one lacks it, or one has something else there than text or a number.
    """
    raws = _decode(path, read_strictly(path), _Images).images
    entries = [_decode(path, raws[place], dict[str, Any]) for place in places]
    values = [_value(entry, field) for entry in entries]
    missing = [entry for entry, value in zip(entries, values, strict=True) if value is None]
    if len(missing) == len(entries):
        there = sorted({name for entry in entries for name in _fields(entry)})
        more = ", ..." if len(there) > _FIELDS_LISTED else ""
        raise SegtrainError(
            f"{path}: no image has the field {field!r} that data.split_by names; there are "
            f"{', '.join(there[:_FIELDS_LISTED])}{more}"
        )
    if missing:
        raise SegtrainError(
            f"{path}: image {missing[0].get('id')} has no {field!r}, which data.split_by names ({len(missing)} of "
            f"{len(entries)} images lack it); add it to the json"
        )
    for entry, value in zip(entries, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise SegtrainError(
                f"{path}: the {field!r} of image {entry.get('id')} is neither text nor a number, as data.split_by "
                "needs it; correct it, or choose another field"
            )
    return values


def write_split(source: Path, val: Collection[int], folder: Path) -> None:
    """Write a split of a file as two complete COCO files, ``train.json`` and ``val.json``.

    Entries keep every byte, and everything but images and annotations stands in both. Annotations follow their image;
    those of an image that is not listed stay with the training images.

    Args:
        source: COCO json.
        val: positions in its ``images`` of those that validation takes; training takes the others.
        folder: made if it is not there.

    Raises:
        SegtrainError: the file is not COCO json any more.
    """
    root = _decode(source, read_strictly(source), dict[str, msgspec.Raw])
    images, names = (_read_key(source, root["images"], key) for key in ("id", "file_name"))
    chosen = frozenset(val)
    owners, _ = Ids(images, "image", Findings()).find_all(_read_key(source, root["annotations"], "image_id"))
    sides = {
        "images": [position in chosen for position in _originals(images, names)],
        "annotations": [owner in chosen for owner in owners.tolist()],
    }
    for name, side in (("train", False), ("val", True)):
        write_atomically(folder / f"{name}.json", _assemble(source, root, sides, side))


def _assemble(source: Path, root: Mapping[str, msgspec.Raw], sides: Mapping[str, list[bool]], side: bool) -> bytes:
    """The file with those entries of each list that are on this side."""
    parts: list[bytes | msgspec.Raw] = []
    for key, value in root.items():
        parts += [b",\n" if parts else b"{", msgspec.json.encode(key), b": "]
        if key in sides:
            entries = _decode(source, value, list[msgspec.Raw])
            kept = (entry for entry, its in zip(entries, sides[key], strict=True) if its is side)
            parts.append(b"[")
            # Joined but once, at the end: the lists are most of the file.
            for number, entry in enumerate(kept):
                parts += [b",\n", entry] if number else [entry]
            parts.append(b"]")
        else:
            parts.append(value)
    return b"".join([*parts, b"}\n"])


def _originals(identifiers: Sequence[Any], names: Sequence[Any]) -> list[int]:
    """For each image its own position, or that of the one it repeats: both go the same way, or it would be a leak."""
    first: dict[str, int] = {}
    keys = (repr(pair) for pair in zip(identifiers, names, strict=True))
    return [first.setdefault(key, position) for position, key in enumerate(keys)]


def _read_key(path: Path, entries: msgspec.Raw, key: str) -> list[Any]:
    """A key of each entry; of what is no object, None."""
    kind = msgspec.defstruct("_Entry", [(key, msgspec.Raw, msgspec.Raw(b""))], gc=False)
    decoder = msgspec.json.Decoder(kind)
    found = []
    for entry in _decode(path, entries, list[msgspec.Raw]):
        try:
            found.append(decode_leniently(bytes(getattr(decoder.decode(entry), key))))
        except (ValueError, RecursionError):
            found.append(None)
    return found


def _decode(path: Path, content: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:
        raise SegtrainError(f"{path}: cannot be split ({error}); export it again as COCO json") from error


def _value(entry: Mapping[str, Any], field: str) -> Any:
    """What stands at a dotted path; None if nothing does."""
    key, _, rest = field.partition(".")
    value = entry.get(key)
    if not rest:
        return value
    return _value(value, rest) if isinstance(value, Mapping) else None


def _fields(entry: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted paths of everything that ``_value`` finds."""
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
