"""Image sizes of a json whose width and height are exchanged, as the image files and the annotations show.

Some tools show a photograph upright by its EXIF orientation, and state the width and height of the pixels as stored;
some programs take the first number of an array's shape for the width. Annotations then lie in the upright frame.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from segtrain.arrays import BoolArray, IntArray
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.rules import apply_rules
from segtrain.data.frames.evidence import Kind, gather
from segtrain.errors import SegtrainError
from segtrain.io import printable

_BEYOND = 0.01  # part of the width and height by which annotations may reach beyond their image
_KINDS: tuple[Kind, ...] = ("polygons", "run-length masks")


def with_turned_sizes(
    index: CocoIndex, far_outside: BoolArray, size_of: Callable[[str], tuple[int, int]]
) -> CocoIndex | None:
    """Exchange the width and height of images if their files and annotations show that they are in the wrong order.

    If the annotations of one image show it, the sizes of all other images are exchanged whose file has the exchanged
    size, and whose annotations fit into it.

    Args:
        index: index of a json.
        far_outside: (rows,) True for annotations that reach far beyond the stated width or height.
        size_of: returns the (H, W) of an image file by its name.

    Returns:
        The index with other sizes, each of them an issue; None if no size is exchanged.
    """
    told = np.unique(index.annotations.rows["image"][far_outside])
    if not _turned(index, told[told >= 0], size_of):
        return None
    sizes = _turned(index, np.arange(len(index.images)), size_of)
    issues = Issues()
    issues.merge(index.issues)
    rows = index.images.rows
    issues.extend("size-turned", list(sizes), lambda place: (
        f"{printable(index.images[place].file_name)} (image {rows['id'][place]}): the json states "
        f"{rows['height'][place]} x {rows['width'][place]}, the file and its annotations are "
        f"{sizes[place][0]} x {sizes[place][1]} (height x width)"
    ))  # fmt: skip
    images = index.images.with_sizes(sizes)
    return replace(index, images=images, annotations=apply_rules(index.annotations, images, index.rules), issues=issues)


def _turned(
    index: CocoIndex, places: IntArray, size_of: Callable[[str], tuple[int, int]]
) -> dict[int, tuple[int, int]]:
    """Return the exchanged (H, W) of those images, by position, whose file has it and whose annotations fit into it."""
    sizes = {}
    for place in places.tolist():
        image = index.images[place]
        height, width = image.size
        if height == width:
            continue
        try:
            found = size_of(image.file_name)
        except SegtrainError:  # a missing or damaged file is reported where all files are looked at
            continue
        if found == (width, height):
            sizes[place] = found
    reach = _reach(index, np.array(list(sizes), dtype=np.int64))
    return {place: size for place, size in sizes.items() if _fits(reach.get(place, (0.0, 0.0)), size)}


def _reach(index: CocoIndex, places: IntArray) -> dict[int, tuple[float, float]]:
    """Measure how far the annotations of images reach to the right and down; run lengths reach as far as their size."""
    rows = index.annotations.rows
    chosen = np.flatnonzero(np.isin(rows["image"], places) & ~rows["boxed"])
    farthest: dict[int, tuple[float, float]] = {}
    for kind in _KINDS:
        found = gather(index.images, index.annotations, chosen, kind, [])
        ends = np.fmax(found.stored.extents[:, 2:], found.boxes[:, 2:])
        if kind == "run-length masks":
            ends = np.fmax(ends, found.stored.frames[:, ::-1])
        for place, (x, y) in zip(found.images.tolist(), np.nan_to_num(ends).tolist(), strict=True):
            known = farthest.get(place, (0.0, 0.0))
            farthest[place] = max(known[0], x), max(known[1], y)
    return farthest


def _fits(reach: tuple[float, float], size: tuple[int, int]) -> bool:
    height, width = size
    return reach[0] <= width * (1 + _BEYOND) + 1 and reach[1] <= height * (1 + _BEYOND) + 1
