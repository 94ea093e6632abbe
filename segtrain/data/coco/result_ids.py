"""Images and categories of the records of a result file, found by id, by name, or by settings of the user."""

import json
import re
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from segtrain.console import counted
from segtrain.data.coco.category_names import match_categories
from segtrain.data.coco.ids import as_whole_number
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.coco.result_records import ResultContent, ResultRecord
from segtrain.errors import SegtrainError
from segtrain.records import NO_CATEGORY, OBJECT, Category, class_agnostic_id
from segtrain.values import CategoryOrder

_PLAIN_PATH = re.compile(r"[\w./\\+@%-]+")
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
_LISTED = 12  # categories in a proposed map


class ResultIds(NamedTuple):
    """Meaning of the ids of a result file, as far as the user states it.

    Attributes:
        image_id_offset: number to add to every image id.
        images_by: image ids are ids ("id") or file names ("name"); None to take the reading that fits.
        category_map: category of the annotations, by id or name, for each id or name of the file; "order" if the ids of
            the file count the categories of the annotations from 0, "order_from_1" if from 1; None to take the ids
            or names as they are.
    """

    image_id_offset: int = 0
    images_by: Literal["id", "name"] | None = None
    category_map: Mapping[Any, Any] | CategoryOrder | None = None


AS_WRITTEN = ResultIds()


class Matched(NamedTuple):
    """Ids of the annotations that the records name.

    Attributes:
        ids: id for each record; None where there is none.
        notes: lines on how they were found.
        hint: setting that makes unknown ids known; empty if there is none.
    """

    ids: list[int | None]
    notes: list[str]
    hint: str = ""


class _ImageNames:
    """Look-up of images by file name, by its last part, or by its stem; names that fit several images fit none."""

    def __init__(self, images: Iterable[ImageInfo]) -> None:
        keyed = [(image.id, _slashes(image.file_name)) for image in images]
        self._whole = _unique(keyed)
        self._last = _unique((identifier, PurePosixPath(name).name) for identifier, name in keyed)
        self._stem = _unique((identifier, PurePosixPath(name).stem) for identifier, name in keyed)
        self._number = _unique(
            (identifier, int(stem)) for identifier, name in keyed if _is_number(stem := PurePosixPath(name).stem)
        )

    def find(self, value: Any) -> int | None:
        """Find the id of an image by a name, or by the number that Ultralytics makes of a stem of digits."""
        if type(value) is int:
            return self._number.get(value)
        if not isinstance(value, str):
            return None
        name = _slashes(value)
        last, stem = PurePosixPath(name).name, PurePosixPath(name).stem
        found = (self._whole.get(name), self._last.get(last), self._stem.get(last), self._stem.get(stem))
        return next((identifier for identifier in found if identifier is not None), None)


def without_other_images(
    content: ResultContent, images: Sequence[ImageInfo], stated: ResultIds
) -> tuple[ResultContent, list[str]]:
    """Leave out the records of images that a whole COCO file names, and the annotations do not have.

    A prediction often is of more images than are evaluated, such as those of a folder of which a part is for
    validation. Its ids count its own images; to take them for those of the annotations would mix images up.

    Args:
        content: records, and the file names of their images if the file states them.
        images: images of the annotations.
        stated: meaning of the ids as the user states it.

    Returns:
        The records of images that the annotations have, and notes on the others.

    Raises:
        SegtrainError: several images of the file have the name of one image of the annotations.
    """
    if not content.file_names or stated.images_by == "id" or stated.image_id_offset:
        return content, []
    found = _images_by_name(content.file_names, images)
    if set(found.values()) == {None}:
        return content, []
    known = {image.id: image.file_name for image in images}
    same_ids = stated.images_by is None and all(image in (None, own) for own, image in found.items())
    used = dict.fromkeys(one.image_id for one in content.records if type(one.image_id) in (int, str))
    names: dict[int, str] = {}
    by_id, out = dict[int | str, str](), dict[int | str, str]()
    for own in used.keys() & found.keys():
        name, image = content.file_names[own], found[own]
        if image is None:
            (by_id if same_ids and own in known else out)[own] = name
        elif (other := names.setdefault(image, name)) != name:
            both = f"its images {some(sorted([other, name]))} both fit {known[image]} of the annotations"
            raise SegtrainError(f"{both}; take one of them out")
    records = [one for one in content.records if type(one.image_id) not in (int, str) or one.image_id not in out]
    notes = []
    if by_id:
        renamed = counted(len(by_id), "image")
        notes.append(f"{renamed} of other names than in the annotations matched by id ({_names(by_id)})")
    if out:
        count = len(content.records) - len(records)
        records_of = f"{counted(count, 'record')} of {counted(len(out), 'image')}"
        notes.append(f"{records_of} that the annotations lack left out ({_names(out)})")
    stated_names = {own: name for own, name in content.file_names.items() if own not in by_id}
    return replace(content, records=records, file_names=stated_names), notes


def _images_by_name(file_names: Mapping[int | str, str], images: Sequence[ImageInfo]) -> dict[int | str, int | None]:
    """Return the image that each file name means, by its id in the file; None if there is none of this name.

    Where a name fits exactly, others that fit by their last part or their stem alone do not.
    """
    names, known = _ImageNames(images), {image.id: _slashes(image.file_name) for image in images}
    found = {own: names.find(name) for own, name in file_names.items()}
    exact = {own for own, image in found.items() if image is not None and _slashes(file_names[own]) == known[image]}
    taken = {found[own] for own in exact}
    return {own: None if image in taken and own not in exact else image for own, image in found.items()}


def _names(file_names: Mapping[int | str, str]) -> str:
    return some(sorted(file_names.values()))


def match_images(content: ResultContent, images: Sequence[ImageInfo], stated: ResultIds) -> Matched:
    """Find the image of each record.

    Args:
        content: records, and the file names of their images if the file states them.
        images: images of the annotations.
        stated: meaning of the ids as the user states it.

    Raises:
        SegtrainError: the ids are text, and fit both as ids and as file names of other images.
    """
    known = frozenset(image.id for image in images)
    raw = [record.image_id for record in content.records]
    by_id = [_shifted(value, stated.image_id_offset, known) for value in raw]
    if stated.images_by == "id" or stated.image_id_offset:
        return Matched(by_id, [], "" if stated.image_id_offset else _offset_hint(raw, known))
    names = _ImageNames(images)
    named = [names.find(_file_name(record, content)) for record in content.records]
    if None not in named:
        notes = [] if named == by_id else [f"images are matched by their file names, not by ids ({some(raw)})"]
        return Matched(named, notes)
    by_name = [names.find(value) for value in raw]
    return Matched(by_name, []) if stated.images_by == "name" else _fitting_images(raw, by_id, by_name, known)


def _fitting_images(
    raw: Sequence[Any], by_id: list[int | None], by_name: list[int | None], known: Collection[int]
) -> Matched:
    """Take the reading of the image ids that fits all of them: as ids, as file names, or as ids written as text."""
    as_text = [None if type(value) is int else _shifted(as_whole_number(value), 0, known) for value in raw]
    if None not in by_id:
        other = "image ids are taken as ids, and would also fit as the numbers in file names: images_by: name"
        return Matched(by_id, [] if None in by_name or by_name == by_id else [other])
    if None not in as_text and None not in by_name and as_text != by_name:
        both = f"image ids such as {some(raw)} fit as ids, and as names of other images"
        raise SegtrainError(f"{both}; give images_by: id, or images_by: name")
    if None not in by_name:
        return Matched(by_name, [f"image ids are matched as file names ({some(raw)})"])
    if None not in as_text:
        return Matched(as_text, [f"image ids are text ({some(raw)})"])
    if set(map(type, raw)) == {str} and by_name != [None] * len(raw):
        return Matched(by_name, [])
    return Matched(by_id, [], _offset_hint(raw, known))


def match_record_categories(content: ResultContent, categories: Sequence[Category], stated: ResultIds) -> Matched:
    """Find the category of each record.

    Args:
        content: records, and the names of their categories if the file states them.
        categories: categories of the annotations.
        stated: meaning of the ids as the user states it.

    Returns:
        Ids of the annotations; -1 for all records if they have no category: -1 or one more than the largest id in the
        file, or none at all.

    Raises:
        SegtrainError: the user names a category that the annotations lack.
    """
    known = frozenset(category.id for category in categories)
    raw = [record.category_id for record in content.records]
    named = [_category_name(record, content) for record in content.records]
    if stated.category_map is not None:
        find = _mapping(stated.category_map, categories)
        by_map = [find(name) if find(name) is not None else find(value) for value, name in zip(raw, named, strict=True)]
        return Matched(by_map, [])
    if raw[:1] == [NO_CATEGORY]:  # then no record may have one
        return Matched([NO_CATEGORY if value == NO_CATEGORY else None for value in raw], [])
    if raw == [None] * len(raw) == named:
        none = "no record names a category; only class-agnostic scores can be computed"
        return Matched([NO_CATEGORY] * len(raw), [none])
    by_name = _by_name(named, categories)
    if named == [OBJECT.name] * len(raw) and None in by_name:  # as `segtrain predict` names what has no category
        only = categories[0].id if len(categories) == 1 else NO_CATEGORY
        return Matched([only] * len(raw), [f"the category {OBJECT.name!r} of the file stands for any"])
    by_id = [value if type(value) is int and value in known else None for value in raw]
    if None not in by_name:
        matched = f"categories are matched by their names ({some(named)})"
        return Matched(by_name, [] if by_name == by_id else [matched])
    if None not in by_id:
        return Matched(by_id, [])
    numbers = [as_whole_number(value) for value in raw]
    as_text = [number if number in known else None for number in numbers]
    if None not in as_text:
        return Matched(as_text, [f"category ids are text or decimal numbers ({some(raw)})"])
    if len(categories) > 1 and raw == [class_agnostic_id(categories)] * len(raw):
        note = f"all records have the category id {raw[0]}, which stands for none; only class-agnostic scores"
        return Matched([NO_CATEGORY] * len(raw), [note])
    return Matched(by_id, [], _map_hint(raw, named, categories))


def _by_name(named: Sequence[str | None], categories: Sequence[Category]) -> list[int | None]:
    own = list(dict.fromkeys(name for name in named if name is not None))
    match = match_categories(own, categories)
    known = {category.id for category in categories}
    ids = {name: category.id for name, category in zip(own, match.categories, strict=True) if category.id in known}
    return [None if name is None else ids.get(name) for name in named]


def typed(path: object, key: str) -> str:
    """Return the override that states a key of a result file.

    Args:
        path: path of the result file.
        key: key and value, such as "image_id_offset: 1".

    >>> typed("theirs.json", "image_id_offset: 1")
    "'predictions.NAME={file: theirs.json, image_id_offset: 1}'"
    """
    text = str(path)
    return f"'predictions.NAME={{file: {text if _PLAIN_PATH.fullmatch(text) else json.dumps(text)}, {key}}}'"


def some(values: Iterable[Any]) -> str:
    """Show the first three of some values.

    >>> some([4, 4, 5, 6, 7])
    '4, 5, 6, …'
    """
    shown = list(dict.fromkeys(map(reprlib.repr, values)))
    return ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "")


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _is_number(stem: str) -> bool:
    return stem.isascii() and stem.isdigit() and len(stem) < 19


def _unique(keyed: Iterable[tuple[int, Any]]) -> dict[Any, int]:
    """Index ids by keys, without keys that belong to several."""
    found: dict[Any, int] = {}
    several: set[Any] = set()
    for identifier, key in keyed:
        if found.setdefault(key, identifier) != identifier:
            several.add(key)
    return {key: identifier for key, identifier in found.items() if key not in several}


def _shifted(value: Any, offset: int, known: Collection[int]) -> int | None:
    # `type` because True == 1 in Python, and because a list cannot be looked up.
    return value + offset if type(value) is int and value + offset in known else None


def _file_name(record: ResultRecord, content: ResultContent) -> str | None:
    if isinstance(record.file_name, str):
        return record.file_name
    return content.file_names.get(record.image_id) if type(record.image_id) in (int, str) else None


def _category_name(record: ResultRecord, content: ResultContent) -> str | None:
    category = record.category.get("name") if isinstance(record.category, dict) else record.category
    listed = content.category_names.get(record.category_id) if type(record.category_id) in (int, str) else None
    written = record.category_id if as_whole_number(record.category_id) is None else None
    return next((name for name in (record.category_name, category, listed, written) if isinstance(name, str)), None)


def _offset_hint(raw: Sequence[Any], known: Collection[int]) -> str:
    if not raw or not known or set(map(type, raw)) != {int}:
        return ""
    for offset in (1, -1, min(known) - min(raw)):
        if all(value + offset in known for value in set(raw)):
            return f"image_id_offset: {offset}"
    return ""


def _map_hint(raw: Sequence[Any], named: Sequence[str | None], categories: Sequence[Category]) -> str:
    distinct = set(raw) if set(map(type, raw)) == {int} else set()
    first = int(0 not in distinct and len(categories) in distinct)  # they count from 0 or from 1
    if distinct and first <= min(distinct) and max(distinct) < first + len(categories):
        if len(categories) > _LISTED:
            return f"category_map: {'order_from_1' if first else 'order'}"
        return f"category_map: {{{', '.join(f'{n}: {category.id}' for n, category in enumerate(categories, first))}}}"
    known = {category.id for category in categories}
    if distinct and len(distinct) <= _LISTED and all(value + 1 in known for value in distinct):
        return f"category_map: {{{', '.join(f'{value}: {value + 1}' for value in sorted(distinct))}}}"
    theirs = list(dict.fromkeys(name for name in named if name is not None))
    if theirs and len(theirs) <= len(categories) <= _LISTED and all(map(_PLAIN_KEY.fullmatch, theirs)):
        return f"category_map: {{{', '.join(f'{name}: ID' for name in theirs)}}}"
    return ""


def _mapping(stated: Mapping[Any, Any] | str, categories: Sequence[Category]) -> Callable[[Any], int | None]:
    """Return a function that finds a category by its id or name in the file."""
    if not isinstance(stated, Mapping):
        ordered = dict(enumerate((category.id for category in categories), start=int(stated == "order_from_1")))
        return lambda value: ordered.get(value) if type(value) is int else None
    known: dict[Any, int] = {category.name: category.id for category in categories}
    known |= {str(category.id): category.id for category in categories}
    table: dict[str, int] = {}
    for theirs, ours in stated.items():
        if str(ours) not in known:
            names = ", ".join(f"{category.id} ({category.name})" for category in categories[:_LISTED])
            raise SegtrainError(f"category_map: {ours} is no category of the annotations, which have {names}")
        table[str(theirs)] = known[str(ours)]
    return lambda value: table.get(str(value)) if type(value) in (int, str) else None
