"""Several COCO files of one data set, joined to one file in the user's cache."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

import segtrain
from segtrain.data.coco.ids import as_whole_number
from segtrain.data.coco.json_file import decode_leniently, read_coco_file, read_document
from segtrain.data.coco.shard_annotations import shard_annotations
from segtrain.data.storage.address import Address, Location, locate
from segtrain.data.storage.local_copies import local_copy
from segtrain.data.storage.tar_shards import is_shards
from segtrain.errors import SegtrainError
from segtrain.io import cache_folder, write_atomically

AnnotationFiles = str | Path | Address | Sequence[str | Path | Address]
Fields = dict[str, Any]  # json texts, and new values
_NO_MASK = (b"", b"null", b"[]", b"[[]]")
_KEPT = 20  # joined files; those that were not used for the longest time go
# Files beside annotations that belong to them: the ranges of intensities of a drawn split.
KEPT_BESIDE = ("segtrain_intensity.json",)
JOINED = "segtrain_joined"
_LISTS = ("images", "annotations", "categories")
_SIDES = ("height", "width")
_LONGEST_NAME = 60  # characters of a joined file's name


def annotation_file(given: AnnotationFiles, root: Location = Path()) -> Path:
    """Return the path of a data set's annotations; remote files are copied, and several files joined to one first.

    Images of one file name are one image, categories of one name one category. Ids that occur in several files are
    replaced in all but the first. The joined file is written into the user's cache, and again when one of them changes.

    Args:
        given: path or address of a file, or those of several.
        root: folder that they are relative to, or its address.

    Raises:
        SegtrainError: one of several files is missing, or cannot be used at all; a remote one cannot be transferred; or
            the cache cannot be written.
    """
    if isinstance(given, str | Path | Address):
        return _local_file(given, root)
    paths = [_local_file(path, root) for path in given]
    if not paths:
        raise SegtrainError("the list of annotation files is empty; give the path of a COCO json")
    if len(paths) == 1:
        return paths[0]
    for path in paths:
        if not path.is_file():
            raise SegtrainError(f"{path}: no such file; give the paths of COCO json files")
    stamps = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    key = hashlib.sha256(json.dumps([segtrain.__version__, stamps]).encode("ascii")).hexdigest()[:16]
    name = "+".join(path.stem for path in paths)[:_LONGEST_NAME]
    joined = cache_folder() / "joined" / key / f"{name}.json"
    try:
        if joined.is_file():
            joined.parent.touch()
        else:
            write_atomically(joined, join_files(paths))
            _forget_oldest(joined.parents[1])
    except OSError as error:
        reason = f"{joined}: cannot write the joined annotations ({error.strerror})"
        raise SegtrainError(f"{reason}; set XDG_CACHE_HOME to another folder, or join the files yourself") from error
    return joined


def _local_file(given: str | Path | Address, root: Location) -> Path:
    location = locate(given, root)
    if is_shards(location):
        return shard_annotations(location)
    return local_copy(location, *KEPT_BESIDE) if isinstance(location, Address) else location


def join_files(paths: Sequence[Path]) -> bytes:
    """Join COCO files; see ``annotation_file``.

    Args:
        paths: paths of the files; of keys beside the three lists, those of the first file are kept.

    Returns:
        Json of the joined file; its key ``segtrain_joined`` says what was done.

    Raises:
        FileError: a file cannot be used at all.
    """
    notes = [f"{len(paths)} files: {', '.join(path.name for path in paths)}"]
    images, categories = _Entries("image", "file_name"), _Entries("category", "name")
    annotations = _Entries("annotation")
    for path in paths:
        file = read_coco_file(path)
        notes += [f"{path.name} had another form: {form}" for form in file.forms]
        image_of, category_of = images.add(file.images), categories.add(file.categories)
        new_of = {"image_id": image_of, "category_id": category_of}
        annotations.add(file.annotations, partial(_refer, new_of=new_of, file=path.name))
        notes += [f"{path.name}: {note}" for own in (images, categories, annotations) for note in own.told()]
    rest = {key: value for key, value in read_document(paths[0])[0].items() if key not in _LISTS}
    lists = zip(_LISTS, (images.entries, annotations.entries, categories.entries), strict=True)
    return msgspec.json.encode({**rest, JOINED: notes, **dict(lists)})


class _Entries:
    """Entries of a list, collected from several files.

    Args:
        kind: kind of the entries.
        name_key: field whose value identifies the same entry in several files; None to keep all entries.
    """

    def __init__(self, kind: str, name_key: str | None = None) -> None:
        self.entries: list[Fields | msgspec.Raw] = []
        self._kind, self._name_key = kind, name_key
        self._taken: set[Any] = set()
        self._named: dict[str, list[tuple[Any, Fields]]] = {}
        self._drawn: set[tuple[Any, ...]] = set()
        self._same = self._renumbered = 0

    def add(self, raws: Sequence[msgspec.Raw], change: Callable[[Fields], None] = lambda entry: None) -> dict[Any, Any]:
        """Add the entries of one more file.

        Args:
            raws: json texts of the entries.
            change: applied to each entry.

        Returns:
            Id in the joined file by id in this file.
        """
        found = [_decode_fields(raw) for raw in raws]
        keys = [None if isinstance(entry, msgspec.Raw) else _id_of(entry) for entry in found]
        free = count(max((key for key in {*keys, *self._taken} if isinstance(key, int)), default=0) + 1)
        new_of: dict[Any, Any] = {}
        own: dict[str, list[tuple[Any, Fields]]] = {}
        own_drawn: set[tuple[Any, ...]] = set()
        for key, entry in zip(keys, found, strict=True):
            if isinstance(entry, msgspec.Raw):  # no object; named when the joined file is read
                self.entries.append(entry)
                continue
            name = decode_leniently(bytes(entry.get(self._name_key, b""))) if self._name_key else None
            if isinstance(name, str) and (same := self._same_as(entry, key, name)) is not None:
                new_of.setdefault(key, same)
                self._same += 1
                continue
            change(entry)
            if (content := _content(entry)) in self._drawn:
                self._same += 1
                continue
            if content is not None:
                own_drawn.add(content)
            new = key
            if key in self._taken and key is not None:
                entry["id"] = new = next(free)
                self._renumbered += 1
            new_of.setdefault(key, new)
            self.entries.append(entry)
            if isinstance(name, str):
                own.setdefault(name, []).append((new, entry))
        for name, same_name in own.items():
            self._named.setdefault(name, []).extend(same_name)
        self._taken |= set(new_of.values())
        self._drawn |= own_drawn
        return new_of

    def told(self) -> Iterator[str]:
        """Yield notes on what was done with the entries of the last file."""
        if self._same:
            by = "by name" if self._name_key else "with the same mask"
            yield f"{self._same:,} {self._kind} entries are those of an earlier file, {by}"
        if self._renumbered:
            yield f"{self._renumbered:,} {self._kind} ids occur in an earlier file, and are replaced"
        self._same = self._renumbered = 0

    def _same_as(self, entry: Fields, key: Any, name: str) -> Any:
        """Find the entry of an earlier file that is the same thing, preferably of the same id."""
        same = [
            identifier
            for identifier, other in self._named.get(name, ())
            if all(bytes(entry[side]) == bytes(other[side]) for side in _SIDES if side in entry and side in other)
        ]
        return key if key in same else same[0] if same else None


def _content(entry: Fields) -> tuple[Any, ...] | None:
    """Return what makes an annotation the same as one of another file; None for an entry without a mask."""
    if (mask := bytes(entry.get("segmentation", b""))) in _NO_MASK:
        return None
    image, category = (str(entry.get(key)) for key in ("image_id", "category_id"))
    return image, category, mask, bytes(entry.get("bbox", b""))


def _refer(entry: Fields, new_of: Mapping[str, Mapping[Any, Any]], file: str) -> None:
    """Replace the ids that an annotation names; an unknown one must not become that of another file."""
    for field, ids in new_of.items():
        value = decode_leniently(bytes(entry.get(field, b"")))
        if value is not None:
            entry[field] = ids.get(_key(value), f"{value} in {file}")


def _decode_fields(raw: msgspec.Raw) -> Fields | msgspec.Raw:
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return raw


def _id_of(entry: Fields) -> Any:
    value = decode_leniently(bytes(entry.get("id", b"")))
    return None if value is None else _key(value)


def _key(value: Any) -> int | str:
    """Convert an id to a key; 7, 7.0 and "7" are the same."""
    number = as_whole_number(value)
    return number if number is not None else value if isinstance(value, str) else json.dumps(value)


def _forget_oldest(folder: Path) -> None:
    for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
