"""Parser of COCO segmentations: polygons and run lengths, checked and rasterised."""

import math
import reprlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from segtrain.arrays import BoolArray
from segtrain.masks import Rle, area, codec, counts_of, difference, empty, from_polygons, from_runs, iou, union
from segtrain.masks.forms import CODE

# pycocotools walks along an outline in fifths of a pixel, keeps some 20 bytes a step, and counts in 32-bit integers.
_FARTHEST = 2.0**28  # pixels
_LONGEST = 2.0**23  # pixels; needs 0.8 GB temporarily. Outlines in a megapixel image have some thousands


Rings = Literal["union", "even_odd"]


class SegmentationError(ValueError):
    """A segmentation, or one polygon of it, that cannot be drawn.

    Attributes:
        kind: problem, a key of ``segtrain.data.coco.issues.ISSUE_TYPES``.
        parts: errors of the single polygons, if none of a segmentation's polygons can be drawn.
    """

    def __init__(self, kind: str, reason: str, parts: Sequence["SegmentationError"] = ()) -> None:
        super().__init__(reason)
        self.kind, self.parts = kind, parts


def from_segmentation(segmentation: object, size: tuple[int, int]) -> Rle:
    """Rasterise the segmentation of a COCO annotation; every part must be valid.

    Args:
        segmentation: polygons (a list of [x1, y1, x2, y2, ...], in pixels), or a run-length dictionary whose counts are
            a list or a string.
        size: (H, W) of the image.

    Raises:
        SegmentationError: the segmentation is none of these, or does not belong to an image of this size.

    >>> from_segmentation({"size": [2, 3], "counts": [2, 2, 2]}, (2, 3))["counts"]
    '222'
    """
    if not isinstance(segmentation, list):
        return _from_rle(segmentation, size)
    if not segmentation:
        raise SegmentationError("segmentation-empty", "the segmentation is empty")
    for polygon in segmentation:
        check_polygon(polygon, size)
    return from_polygons(segmentation, size)


def are_compressed(segmentations: Sequence[object], sizes: Sequence[tuple[int, int] | None]) -> BoolArray:
    """Find the segmentations that ``from_segmentation`` returns as they are, many at once, (N,).

    These are compressed run lengths of the right size, as pycocotools writes them.

    Args:
        segmentations: N segmentations.
        sizes: (H, W) of the image of each; None for an unknown image.

    >>> are_compressed([{"size": [2, 3], "counts": "222"}, {"size": [2, 3], "counts": [2, 2, 2]}], [(2, 3), (2, 3)])
    array([ True, False])
    """
    found = np.zeros(len(segmentations), dtype=np.bool_)
    places, codes, pixels = list[int](), list[str](), list[int]()
    for place, (segmentation, size) in enumerate(zip(segmentations, sizes, strict=True)):
        if size is None or not isinstance(segmentation, dict) or segmentation.get("size") != list(size):
            continue
        code = segmentation.get("counts")
        if isinstance(code, str) and CODE.fullmatch(code) and set(map(type, segmentation["size"])) == {int}:
            places.append(place)
            codes.append(code)
            pixels.append(size[0] * size[1])
    found[places] = codec.are_sound(codes, np.array(pixels, dtype=np.int64))
    return found


def lacks_mask(segmentation: object) -> bool:
    """Return True for a segmentation that holds no mask: nothing at all, no run, or the 4 numbers of a box.

    >>> lacks_mask([[]]), lacks_mask([[1, 1, 5, 4]]), lacks_mask([[1, 1, 5, 1, 5, 4]])
    (True, True, False)
    >>> lacks_mask({"size": [8, 8], "counts": []}), lacks_mask({"type": "Polygon", "coordinates": [[[1, 1]]]})
    (True, False)
    """
    if isinstance(segmentation, dict):
        return not any(value for key, value in segmentation.items() if key != "size")
    if not segmentation:
        return True
    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    return all(not part or (isinstance(part, list) and len(part) == 4) for part in parts)


def from_drawable(
    segmentation: object, size: tuple[int, int], rings: Rings = "union"
) -> tuple[Rle, list[SegmentationError]]:
    """Rasterise the segmentation of a COCO annotation, leaving out polygons that cannot be drawn.

    Args:
        segmentation: polygons or a run-length dictionary, as ``from_segmentation`` takes them.
        size: (H, W) of the image.
        rings: "union" unites polygons, as COCO defines; "even_odd" takes those inside another one as holes, and those
            inside a hole as parts again.

    Returns:
        The mask, and the errors of the polygons that were left out.

    Raises:
        SegmentationError: nothing can be drawn.

    >>> mask, errors = from_drawable([[1, 1, 5, 1, 5, 4, 1, 4], [1, 1, 2, 2]], (8, 8))
    >>> [error.kind for error in errors]
    ['polygon-four-numbers']
    """
    if not isinstance(segmentation, list):
        return _from_rle(segmentation, size), []
    if segmentation and not any(isinstance(part, list) for part in segmentation) and any(segmentation):
        what = f"a list of {reprlib.repr(segmentation[0])}; write polygons, or one run-length object"
        raise SegmentationError("segmentation-type", f"the segmentation is {what}")
    good, bad = drawable_polygons(segmentation, size)
    if good:
        return from_rings(good, size) if rings == "even_odd" else from_polygons(good, size), bad
    if not any(segmentation):  # [], [[]], [null]
        raise SegmentationError("segmentation-empty", "the segmentation is empty")
    raise SegmentationError("mask-lost", str(bad[0]), bad)


def from_rings(polygons: Sequence[list[float]], size: tuple[int, int]) -> Rle:
    """Rasterise polygons of which those inside another one are holes.

    A polygon inside one other is a hole, inside two others (an island in a hole) a part, and so on. Inside means that
    all its pixels are the other one's, which has more. Polygons that overlap in part, touch or repeat each other are
    united.

    Args:
        polygons: valid polygons (see `check_polygon`).
        size: (H, W) of the image.

    >>> outer, inner = [0, 0, 8, 0, 8, 8, 0, 8], [2, 2, 6, 2, 6, 6, 2, 6]
    >>> area([from_rings([outer, inner], (8, 8))]).tolist()
    [48]
    """
    if len(polygons) == 1:
        return from_polygons(polygons, size)
    rings = [from_polygons([polygon], size) for polygon in polygons]
    areas = area(rings)
    # Against a crowd, IoU is the share of the first mask that lies in the second.
    inside = (iou(rings, rings, [True] * len(rings)) == 1) & (areas[:, None] < areas)
    depth = inside.sum(axis=1)
    found = empty(size)
    for level in range(int(depth.max()) + 1):
        own = union([rings[n] for n in np.flatnonzero(depth == level)], size)
        found = difference(found, own) if level % 2 else union([found, own], size)
    return found


def drawable_polygons(
    segmentation: Sequence[Any], size: tuple[int, int]
) -> tuple[list[list[float]], list[SegmentationError]]:
    """Divide polygons into those that can be drawn and the errors of the others.

    Args:
        segmentation: polygons, [x1, y1, x2, y2, ...] in pixels each.
        size: (H, W) of the image.

    >>> good, bad = drawable_polygons([[1, 1, 5, 1, 5, 4], [1, 1, 5]], (8, 8))
    >>> len(good), bad[0].kind
    (1, 'polygon-odd-count')
    """
    good, bad = [], []
    for polygon in segmentation:
        try:
            check_polygon(polygon, size)
            good.append(polygon)
        except SegmentationError as error:
            bad.append(error)
    return good, bad


def check_polygon(polygon: Any, size: tuple[int, int]) -> None:
    """Check that a polygon can be drawn.

    Args:
        polygon: decoded json value; [x1, y1, x2, y2, ...] in pixels if it is valid.
        size: (H, W) of the image.

    Raises:
        SegmentationError: it cannot be drawn.

    >>> check_polygon([1, 1, 5, 1, 5, 4], (8, 8))
    """
    if not isinstance(polygon, list):
        raise SegmentationError("polygon-not-finite", f"{reprlib.repr(polygon)} stands where a polygon should")
    count = len(polygon)
    if any(isinstance(value, list) for value in polygon):
        reason = "a polygon is written as pairs [x, y]; write its numbers in one flat list"
        raise SegmentationError("polygon-not-finite", reason)
    if count == 4:
        raise SegmentationError("polygon-four-numbers", "a polygon has 4 numbers, and needs an even count of 6 or more")
    if count % 2:
        raise SegmentationError("polygon-odd-count", f"a polygon has {count} numbers, and needs an even count")
    if count < 6:
        raise SegmentationError("polygon-few-points", f"a polygon has only {count} numbers, and needs 3 points or more")
    limit = min(16 * max(*size, 1024), _FARTHEST)
    numbers = set(map(type, polygon)) <= {float, int}
    # min and max may miss NaN, but a sum with NaN is NaN.
    if numbers and -limit <= (low := min(polygon)) <= (high := max(polygon)) <= limit and not math.isnan(sum(polygon)):
        # Each edge is at most as long as the way from the lowest to the highest coordinate.
        if (high - low) * count / 2 <= _LONGEST or (length := _length(polygon)) <= _LONGEST:
            return
        raise SegmentationError("polygon-huge", f"a polygon's outline is {length:.3g} pixels long")
    for value in polygon:
        if type(value) is not int and not (type(value) is float and math.isfinite(value)):
            reason = f"a polygon coordinate is not a finite number: {reprlib.repr(value)}"
            raise SegmentationError("polygon-not-finite", reason)
    farthest = reprlib.repr(max(polygon, key=abs))
    raise SegmentationError("polygon-huge", f"a polygon coordinate lies far outside the image: {farthest}")


def _length(polygon: Sequence[float]) -> float:
    """Measure the outline in pixels; a step to any of the eight neighbours counts as 1."""
    points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(np.roll(points, -1, axis=0) - points).max(axis=1).sum())


def _from_rle(segmentation: object, size: tuple[int, int]) -> Rle:
    if segmentation is None:
        raise SegmentationError("segmentation-empty", "there is no segmentation")
    if not isinstance(segmentation, dict):
        raise SegmentationError("segmentation-type", f"the segmentation is {reprlib.repr(segmentation)}")
    height, width = size
    counts, stated = segmentation.get("counts"), segmentation.get("size")
    if counts is None and len(segmentation) > ("size" in segmentation):
        keys = ", ".join(sorted(map(str, segmentation)))
        said = keys if len(keys) <= 60 else f"{keys[:57]}..."
        raise SegmentationError("segmentation-type", f"the segmentation is an object of {said}, without counts")
    if not isinstance(counts, list | str):
        raise SegmentationError("segmentation-type", "the run-length counts are neither a list nor a string")
    if not isinstance(stated, list) or stated != [height, width] or not set(map(type, stated)) <= {int, float}:
        given = reprlib.repr(stated)
        raise SegmentationError("rle-size", f"the run-length mask has size {given}, its image is [{height}, {width}]")
    if isinstance(counts, list):
        # The first test guards numpy, whose integers end at 64 bits.
        if not all(type(c) is int and 0 <= c <= height * width for c in counts):
            raise SegmentationError("rle-sum", f"a run length is no whole number from 0 to {height} x {width} pixels")
        lengths = np.array(counts, dtype=np.int64)
    else:
        # The C decoder trusts its input: a string that is no code, or overflows its integers, must not reach it.
        if not CODE.fullmatch(counts):
            raise SegmentationError("rle-corrupt", f"the run-length string {reprlib.repr(counts)} is corrupt")
        lengths = counts_of(Rle(size=[height, width], counts=counts))
    if ((lengths < 0) | (lengths > height * width)).any() or int(lengths.sum()) != height * width:
        raise SegmentationError("rle-sum", f"the run lengths do not sum to {height} x {width} pixels")
    # Runs of length 0 are legal after the first, but pycocotools' boxes and unions go wrong on them.
    if isinstance(counts, str) and (lengths[1:] > 0).all():
        return Rle(size=[height, width], counts=counts)
    return from_runs(lengths, size)
