"""Categories of a COCO file: in order of their ids, named, and without the root that some tools add."""

import reprlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtrain.data.coco.category_names import loose_name
from segtrain.data.coco.ids import Ids, without_repetitions
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.json_file import EntryReader, FileCategory, RawFile
from segtrain.data.coco.record_tables import AnnotationTable
from segtrain.records import Category

_NO_PARENT = ("", "none", "null")


@dataclass(frozen=True)
class CategoryEntries:
    """Entries of a file's categories by increasing id.

    Attributes:
        ids: ids of the entries.
        entries: entries as the file has them.
        places: position of each entry in the file.
    """

    ids: Ids
    entries: list[FileCategory]
    places: list[int]


def read_categories(file: RawFile, issues: Issues) -> CategoryEntries:
    """Read the categories of a file, without repetitions.

    Args:
        file: content of the file.
        issues: receives the issues of the entries and their ids.
    """
    entries, blank = EntryReader(FileCategory, "categories", issues).read(file.categories)
    places = [place for place in range(len(entries)) if place not in blank]
    identifiers, names = [entries[place].id for place in places], [entries[place].name for place in places]
    places = without_repetitions(places, identifiers, names, "category", issues)
    ids = Ids([entries[place].id for place in places], "category", issues)
    places = [places[old] for old in ids.sort().tolist()]
    sorted_entries = [entries[place] for place in places]
    ids.take_names(lambda: ((_text(entry.name), place) for place, entry in enumerate(sorted_entries)))
    return CategoryEntries(ids, sorted_entries, places)


def name_categories(
    found: CategoryEntries, annotations: AnnotationTable, issues: Issues
) -> tuple[list[Category], AnnotationTable]:
    """Name the categories, and leave out a root category that no annotation has.

    Roboflow writes such a root: all other categories name it as their ``supercategory``, and it often has the name of
    one of them.

    Args:
        found: categories as the file has them.
        annotations: annotations whose labels 1..K are positions of these categories.
        issues: receives the issues of the names.

    Returns:
        The categories, and the annotations with labels among them.
    """
    categories: list[Category] = []
    names: set[str] = set()
    first: dict[str, str] = {}  # by the name without case and spaces
    root = _root(found.entries)
    if root is not None and (annotations.rows["label"] == root + 1).any():
        root = None
    for place, (identifier, entry) in enumerate(zip(found.ids.values.tolist(), found.entries, strict=True)):
        if place == root:
            issues.add("category-root", f"category {identifier} ({reprlib.repr(entry.name)})")
            continue
        name = entry.name if isinstance(entry.name, str) and entry.name.strip() else f"category {identifier}"
        if name is not entry.name:
            issues.add("category-unnamed", f"category {identifier} becomes {name!r}")
        if name in names:
            issues.add("category-same-name", f"category {identifier}: {reprlib.repr(name)}")
        elif (other := first.setdefault(loose_name(name), name)) != name:
            issues.add("category-alike", f"category {identifier}: {reprlib.repr(name)} and {reprlib.repr(other)}")
        names.add(name)
        categories.append(Category(identifier, name, found.places[place]))
    if root is None:
        return categories, annotations
    rows = annotations.rows.copy()
    rows["label"] -= (rows["label"] > root + 1).astype(np.int32)
    return categories, annotations.with_rows(rows)


def _root(entries: list[FileCategory]) -> int | None:
    """Find the category that is the parent of all others, and has none itself."""
    parents = [_text(entry.supercategory) for entry in entries]
    tops = [place for place, parent in enumerate(parents) if parent.lower() in _NO_PARENT]
    if len(tops) != 1 or len(entries) < 2:
        return None
    name = _text(entries[tops[0]].name)
    others = {parent for place, parent in enumerate(parents) if place != tops[0]}
    return tops[0] if others == {name} and name else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
