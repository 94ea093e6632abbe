"""Random validation splits: groups of images by a field, the draw, and COCO files of either side."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.check.copies import join_groups
from segtrain.data.coco.ids import Ids, as_whole_number
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.json_file import decode_leniently, read_strictly
from segtrain.data.coco.record_tables import names_of_files
from segtrain.data.stratification import stratified, stratified_folds
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically

logger = logging.getLogger(__name__)
T = TypeVar("T")
_FIELDS_LISTED = 20
_Ints = npt.NDArray[np.int64]


class _Images(msgspec.Struct):
    images: list[msgspec.Raw]


def image_field(path: Path, field: str, places: Sequence[int]) -> list[str | float]:
    """Read the values of a field of a file's images.

    Args:
        path: COCO json.
        field: a key of the entries of ``images``; ``extra.patient`` is the key ``patient`` within ``extra``.
        places: positions of the entries to read.

    Returns:
        Value of each of these entries.

    Raises:
        SegtrainError: no image has the field, an image lacks it, or a value is neither text nor a number.
    """
    raws = _decode(path, read_strictly(path)[0], _Images).images
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

    Entries are copied byte by byte, and both files hold everything but images and annotations. Annotations follow
    their image; those of an unknown image go to the training file.

    Args:
        source: COCO json.
        val: positions in ``images`` of the validation images; all others are training images.
        folder: folder of the two files; created if it does not exist.

    Raises:
        SegtrainError: the file is not COCO json.
    """
    root = _decode(source, read_strictly(source)[0], dict[str, msgspec.Raw])
    images, names = (_read_key(source, root["images"], key) for key in ("id", "file_name"))
    originals = _originals(images, names)
    chosen = {originals[position] for position in val}
    ids = Ids(images, "image", Issues())
    ids.take_names(lambda: names_of_files(names))
    owners, _ = ids.find_all(_read_key(source, root["annotations"], "image_id"))
    sides = {
        "images": [position in chosen for position in originals],
        "annotations": [owner >= 0 and originals[owner] in chosen for owner in owners.tolist()],
    }
    for name, side in (("train", False), ("val", True)):
        write_atomically(folder / f"{name}.json", _assemble(source, root, sides, side))


def _assemble(source: Path, root: Mapping[str, msgspec.Raw], sides: Mapping[str, list[bool]], side: bool) -> bytes:
    """Write the file's content with those entries of each list that belong to this side."""
    parts: list[bytes | msgspec.Raw] = []
    for key, value in root.items():
        parts += [b",\n" if parts else b"{", msgspec.json.encode(key), b": "]
        if key in sides:
            entries = _decode(source, value, list[msgspec.Raw])
            kept = (entry for entry, its in zip(entries, sides[key], strict=True) if its is side)
            parts.append(b"[")
            # Joined only once, at the end: the lists are most of the file.
            for number, entry in enumerate(kept):
                parts += [b",\n", entry] if number else [entry]
            parts.append(b"]")
        else:
            parts.append(value)
    return b"".join([*parts, b"}\n"])


def _originals(identifiers: Sequence[Any], names: Sequence[Any]) -> list[int]:
    """Find the position of the image that each one repeats, or its own; both must be in the same split."""
    first: dict[str, int] = {}
    keys = (repr(pair) for pair in zip(identifiers, names, strict=True))
    return [first.setdefault(key, position) for position, key in enumerate(keys)]


def _read_key(path: Path, entries: msgspec.Raw, key: str) -> list[Any]:
    """Read one key of each entry; None for entries that are no objects."""
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
    """Return the value at a dotted path; None if there is none."""
    key, _, rest = field.partition(".")
    value = entry.get(key)
    if not rest:
        return value
    return _value(value, rest) if isinstance(value, Mapping) else None


def _fields(entry: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted paths of all fields that ``_value`` can read."""
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def draw_validation_ids(
    index: CocoIndex, fraction: float, seed: int, split_by: str | None, copies: _Ints | None = None
) -> set[int]:
    """Draw the ids of about a fraction of the images and of each category's objects; see ``stratified``.

    Args:
        index: index of the whole file.
        fraction: share of the validation split, in (0, 1).
        seed: seed of the draw, not negative.
        split_by: field of the file's images; images with the same value stay in one split. None to draw each image by
            itself.
        copies: (N,) group of each image; images of a group stay in one split. None if no image is a copy of another.

    Raises:
        SegtrainError: the fraction leaves one side empty, or the groups do not divide the images.
    """
    if not 0 < fraction < 1:
        raise SegtrainError(f"data.val_fraction={fraction} lies outside (0, 1); give a share such as 0.2")
    if not 0 < round(fraction * len(index.images)) < len(index.images):
        raise SegtrainError(
            f"data.val_fraction={fraction} leaves one split of {index.path} ({len(index.images)} images) empty; "
            "change it, or give data.val_annotations"
        )
    ids = index.images.rows["id"].astype(np.int64)
    groups = _units(index, "data.val_fraction leaves one split empty", split_by, copies)
    chosen = stratified(index.category_counts(), ids, fraction, seed, groups)
    return set(ids[chosen].tolist())


def draw_fold_ids(
    index: CocoIndex, folds: int, fold: int, seed: int, split_by: str | None, copies: _Ints | None = None
) -> set[int]:
    """Draw the ids of the images of one fold of a cross-validation; see ``stratified_folds``.

    Args:
        index: index of the whole file.
        folds: number of folds, at least 2.
        fold: number of the fold, from 0.
        seed: seed of the draw, not negative; the folds of one seed are disjoint, and hold all images together.
        split_by: field of the file's images; images with the same value stay in one fold. None to draw each image by
            itself.
        copies: (N,) group of each image; images of a group stay in one fold. None if no image is a copy of another.

    Raises:
        SegtrainError: there are more folds than images, or groups of images.
    """
    ids = index.images.rows["id"].astype(np.int64)
    groups = _units(index, f"data.folds={folds} has nothing to divide", split_by, copies)
    units = len(ids) if groups is None else len(np.unique(groups))
    if units < folds:
        among = "images" if groups is None else "groups of images, by data.split_by or as copies of one picture"
        raise SegtrainError(f"{index.path}: data.folds={folds} is more than its {units} {among}; give fewer folds")
    number = stratified_folds(index.category_counts(), ids, folds, seed, groups)
    return set(ids[number == fold].tolist())


def _units(index: CocoIndex, consequence: str, split_by: str | None, copies: _Ints | None) -> _Ints | None:
    """Number the group of each image, whose images stay together; None where each image is drawn by itself.

    Args:
        index: index of the whole file.
        consequence: consequence of a single group, for the error.
        split_by: field of the file's images that groups them; None for no field.
        copies: (N,) group of each image; None if no image is a copy of another.

    Raises:
        SegtrainError: there is a single group.
    """
    groups = copies if split_by is None else groups_by_field(index, split_by)
    if split_by is not None and copies is not None:
        assert groups is not None
        groups = join_groups([groups.tolist(), copies.tolist()])
    if groups is not None and len(np.unique(groups)) < 2:
        raise SegtrainError(
            f"{index.path}: all images are connected, as copies of one picture or by data.split_by, so "
            f"{consequence}; give data.val_annotations"
        )
    return groups


def require_known_ids(index: CocoIndex, ids: Collection[int]) -> set[int]:
    """Check that the file holds all images of a split that was drawn before, and return their ids.

    Raises:
        SegtrainError: the file lacks some of them.
    """
    unknown = set(ids) - set(index.images.rows["id"].tolist())
    if unknown:
        raise SegtrainError(
            f"{index.path}: lacks {len(unknown)} of the {len(ids)} validation images of the checkpoint, first id "
            f"{min(unknown)}; give the file that it was trained on, or data.val_annotations"
        )
    return set(ids)


def groups_by_field(index: CocoIndex, field: str) -> npt.NDArray[np.int64]:
    """Number the groups of images with the same value of a field.

    Args:
        index: the images.
        field: a key of the entries of the file's ``images``; ``extra.patient`` is the key ``patient`` within ``extra``.

    Returns:
        (N,), from 0 in the order of the images.

    Raises:
        SegtrainError: an image lacks the field, or all have the same value.
    """
    number: dict[str | float, int] = {}
    groups = [
        number.setdefault(as_whole_number(value) or value, len(number))  # 1, 1.0 and "1" are the same patient
        for value in image_field(index.path, field, index.images.rows["entry"].tolist())
    ]
    if len(number) < 2:
        raise SegtrainError(
            f"{index.path}: all images have the {field} {next(iter(number))!r}, so data.split_by={field} leaves one "
            "split empty; choose another field, or give data.val_annotations"
        )
    return np.array(groups)
