"""Merging of images that a json lists under several ids into one image with the annotations of all of them."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.data.coco.index import CocoIndex, MergedEntry
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.record_tables import AnnotationTable, name_of
from segtrain.io import printable

_SAME_OBJECT = 0.5  # IoU above which masks of two entries show the same object
_SAME_MASK = 0.98  # IoU above which they are the same annotation
Rows = npt.NDArray[np.void]


def merge_repeated_images(index: CocoIndex) -> CocoIndex:
    """Make one image of all entries that name the same file.

    Objects that are divided among the entries come together; an annotation that a later entry repeats is left out. The
    entries contradict each other where masks of the same object (IoU above 0.5) have different outlines or categories,
    or where their sizes differ: that is an error, and without a strict check the later entry is left out.

    Args:
        index: index whose file names are those of the files.

    Returns:
        The index with issues for what was done; unchanged if every file is named once. ``merged`` holds the entries
        that are no images of their own any more.
    """
    names = index.images.names()
    if len(set(names)) == len(names):
        return index
    groups: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        groups[name].append(place)
    issues = Issues()
    issues.merge(index.issues)
    rows = index.annotations.rows.copy()
    target = np.arange(len(names))
    for places in groups.values():
        if len(places) > 1:
            _settle(index, places, rows, issues)
            target[places] = places[0]
    kept = target == np.arange(len(names))
    listed = rows["image"] >= 0
    rows["image"][listed] = (np.cumsum(kept) - 1)[target[rows["image"][listed]]]
    rows = rows[np.lexsort((rows["number"], rows["image"]))]
    entries, ids = index.images.rows["entry"], index.images.rows["id"]
    return replace(
        index,
        images=index.images.subset(np.flatnonzero(kept)),
        annotations=AnnotationTable.of(rows, int(kept.sum()), index.annotations.text),
        issues=issues,
        merged=tuple(
            MergedEntry(int(entries[place]), int(ids[place]), int(ids[target[place]]))
            for place in np.flatnonzero(~kept)
        ),
    )


def _settle(index: CocoIndex, places: list[int], rows: Rows, issues: Issues) -> None:
    """Compare the entries of a file, and mark the annotations that are left out as unusable.

    Args:
        index: the index.
        places: indices of the entries.
        rows: rows of the annotations, which are changed.
        issues: receives what is found.
    """
    first = index.images[places[0]]
    ids = ", ".join(str(int(identifier)) for identifier in index.images.rows["id"][places])
    what = f"{printable(first.file_name)} (images {ids})"
    good: list[int] = []
    for place in places:
        problem = _contradiction(index, good, place, rows) if good else None
        if problem is None:
            good.append(place)
        else:
            issues.add("same-file-contradictory", f"{what}: {problem}")
            rows["usable"][_span(index, place)] = False
    if len(good) == 1:
        return
    objects = [int(rows["usable"][_span(index, place)].sum()) for place in good]
    issues.add("same-file-merged", f"{what}: {' + '.join(map(str, objects))} annotations")
    for one, other in combinations(good, 2):
        for _, (repeated, spot) in _pairs(index, one, other, rows, _SAME_MASK):
            issues.add("annotation-repeated", name_of(repeated, index.images))
            rows["usable"][spot] = False


def _contradiction(index: CocoIndex, good: list[int], place: int, rows: Rows) -> str | None:
    """Describe how an entry contradicts earlier ones of the same file; None if it does not."""
    image = index.images[place]
    for other in good:
        earlier = index.images[other]
        if earlier.size != image.size:
            sizes = " and ".join(f"{height}x{width}" for height, width in (earlier.size, image.size))
            return f"the sizes {sizes} (height x width) are stated"
        for (one, _), (two, _) in _pairs(index, other, place, rows, _SAME_OBJECT):
            if one["label"] != two["label"]:
                names = " and ".join(printable(index.categories[row["label"] - 1].name) for row in (one, two))
                return f"{name_of(one)} and {name_of(two)} are the same object as {names}"
            if not _are_equal(index, one, two, image.size):
                return f"{name_of(one)} and {name_of(two)} are the same object with different outlines"
    return None


def _pairs(
    index: CocoIndex, one: int, other: int, rows: Rows, bound: float
) -> Iterator[tuple[tuple[np.void, int], tuple[np.void, int]]]:
    """Yield the annotations of two entries whose masks overlap by more than an IoU, each with its place in the table.

    Crowds are compared with crowds, objects with objects.
    """
    size = index.images[one].size
    spots = [np.flatnonzero(rows["usable"][_span(index, place)]) + _span(index, place).start for place in (one, other)]
    first, second = (rows[own] for own in spots)
    overlap = masks.iou(index.masks(second, size), index.masks(first, size), [False] * len(first))
    for late, early in np.argwhere(overlap > bound).tolist():
        if first["crowd"][early] == second["crowd"][late]:
            yield (first[early], int(spots[0][early])), (second[late], int(spots[1][late]))


def _are_equal(index: CocoIndex, one: np.void, two: np.void, size: tuple[int, int]) -> bool:
    first, second = (index.masks(np.array([row]), size) for row in (one, two))
    return bool(masks.iou(first, second, [False])[0, 0] > _SAME_MASK)


def _span(index: CocoIndex, place: int) -> slice:
    """Return the rows of an image in the table."""
    start, stop = index.annotations.starts.array[place : place + 2].tolist()
    return slice(start, stop)
