"""From a json file to an index, at the speed of the disk: masks stay text until they are used."""

import gc
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segtrain.data.findings import Findings
from segtrain.data.index.annotation_reader import read_annotations
from segtrain.data.index.coco import CocoIndex
from segtrain.data.index.coco_file import FileError, RawFile, open_in_pieces, read_coco_file
from segtrain.data.index.entries import EntryReader, FileCategory
from segtrain.data.index.ids import Ids, without_repetitions
from segtrain.data.index.image_table import read_images
from segtrain.records import Category


def read_index(path: Path) -> CocoIndex:
    """Read a COCO json file: its structure is checked and mended, its masks are left as text until they are used.

    Raises:
        FileError: nothing of the file can be used.
    """
    with _without_garbage_collection():
        if (file := open_in_pieces(path)) is not None:
            try:
                return _tabulate(file)
            except (ValueError, RecursionError, OSError):
                del file  # read again, without haste
        return _tabulate(read_coco_file(path))


def _tabulate(file: RawFile) -> CocoIndex:
    findings = Findings()
    images, image_ids = read_images(file, findings)
    if not len(images):
        raise FileError("wrong-type", file.path, f"no image can be used ({findings['wrong-type'].examples[0]})")
    categories, category_ids = _read_categories(file, findings)
    if not categories:
        raise FileError("wrong-type", file.path, "no category can be used (categories[0] is no object)")
    annotations = read_annotations(file, images, image_ids, category_ids, findings)
    return CocoIndex(file.path, categories, images, annotations, findings)


def _read_categories(file: RawFile, findings: Findings) -> tuple[list[Category], Ids]:
    """The categories by increasing id, and their ids, whose places are those of that list."""
    entries, blank = EntryReader(FileCategory, "categories", findings).read(file.categories)
    places = [place for place in range(len(entries)) if place not in blank]
    identifiers, names_written = [entries[place].id for place in places], [entries[place].name for place in places]
    places = without_repetitions(places, identifiers, names_written, "category", findings)
    kept = [(place, entries[place]) for place in places]
    ids = Ids([entry.id for _, entry in kept], "category", findings)
    categories: list[Category] = []
    names: set[str] = set()
    for old in ids.sort().tolist():
        identifier, (place, entry) = int(ids.values[len(categories)]), kept[old]
        name = entry.name if isinstance(entry.name, str) and entry.name.strip() else f"category {identifier}"
        if name is not entry.name:
            findings.add("category-unnamed", f"category {identifier} becomes {name!r}")
        if name in names:
            findings.add("category-same-name", f"category {identifier}: {reprlib.repr(name)}")
        names.add(name)
        categories.append(Category(identifier, name, place))
    return categories, ids


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Millions of short-lived objects without a cycle: looking for cycles among them takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
