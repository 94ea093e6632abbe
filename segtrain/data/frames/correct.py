"""Corrections of an index: masks moved into the frame of their images, and witnesses taken from masks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.record_tables import AnnotationTable, decode_segmentation
from segtrain.data.coco.rules import LONGEST
from segtrain.data.coco.shared_array import SharedArray
from segtrain.data.frames.evidence import (
    POLYGON_READINGS,
    Evidence,
    Kind,
    areas_agree,
    compare,
    decode_alone,
    gather,
    is_ring,
)
from segtrain.data.frames.geometry import Geometry
from segtrain.data.frames.judge import Frame
from segtrain.data.frames.run_lengths import READINGS, STORED, numbers_of
from segtrain.data.frames.ways import moved_extents
from segtrain.masks.parse import lacks_mask

_GAP = b"\0"  # separator; does not occur in json
_DIGITS = 4  # after the point, of corrected coordinates


def correct(index: CocoIndex, frame: Frame) -> tuple[CocoIndex, BoolArray]:
    """Move masks of an index into the frame of their images.

    Boxes move along if they were in the same frame; areas that do not agree with the corrected masks are left to these.

    Args:
        index: index of the file, not checked yet.
        frame: correction that belongs to it.

    Returns:
        The corrected index, whose masks are not checked, and (rows,) True for each corrected annotation.
    """
    table = index.annotations
    places = np.flatnonzero(table.rows["image"] >= 0)
    evidence = gather(index.images, table, places, frame.kind, [frame.reading])
    moved = moved_extents(evidence, frame.reading, frame.geometries)
    chosen = _chosen(evidence, frame, moved)
    evidence, moved = evidence.subset(chosen), moved[chosen]
    texts: dict[int, tuple[bytes, bytes | None]] = {}
    for number, text in enumerate(table.segmentations(table.rows[evidence.rows])):
        geometry = frame.geometries[int(evidence.images[number])]
        size = int(evidence.sizes[number, 0]), int(evidence.sizes[number, 1])
        segmentation = _move(decode_alone(text, size), frame.reading, geometry, size, evidence.boxes[number])
        box = _xywh(geometry, evidence, number) if frame.with_boxes else None
        texts[int(evidence.rows[number])] = msgspec.json.encode(segmentation), box
    rows = table.rows.copy()
    rows["repaired"][evidence.rows] = True
    rows["area"][evidence.rows] = _areas(evidence, frame, moved)
    corrected = np.zeros(len(rows), dtype=np.bool_)
    corrected[evidence.rows] = True
    return replace(index, annotations=_rewritten(table, rows, texts)), corrected


def frames_of_size(index: CocoIndex, size: Sequence[int]) -> list[Frame]:
    """Return the corrections of polygons, run lengths and boxes that belong to images of one given size.

    Args:
        index: index of the file.
        size: [H, W] of the images that masks and boxes belong to.
    """
    rows = index.images.rows
    geometries = {
        place: Geometry(scale=(float(row["width"]) / size[1], float(row["height"]) / size[0]))
        for place, row in enumerate(rows)
    }
    words = f"scaled from images of {size[1]} x {size[0]} pixels"
    kinds: tuple[Kind, ...] = ("polygons", "run-length masks")
    return [Frame(kind, STORED, geometries, single=False, with_boxes=True, words=words) for kind in kinds]


def from_masks(index: CocoIndex) -> CocoIndex:
    """Take the boxes and areas of all annotations from their masks.

    Args:
        index: index of the file.
    """
    rows = index.annotations.rows.copy()
    masked = rows["usable"] & ~rows["boxed"]
    short = np.flatnonzero(masked & (rows["box"] - rows["start"] <= LONGEST))
    for place, text in zip(short.tolist(), index.annotations.segmentations(rows[short]), strict=True):
        masked[place] = not lacks_mask(decode_segmentation(text))  # others have nothing but a box
    rows["area"][masked] = np.nan
    rows["stop"][masked] = rows["box"][masked]  # an empty text
    rows["repaired"] |= masked
    issues = Issues()
    issues.merge(index.issues)
    issues.add("witnesses-replaced", f"{index.path.name}: {int(masked.sum()):,} annotations", int(masked.sum()))
    return replace(index, annotations=index.annotations.with_rows(rows), issues=issues)


def _chosen(evidence: Evidence, frame: Frame, moved: FloatArray) -> BoolArray:
    """Find the annotations that a correction belongs to."""
    chosen = np.isin(evidence.images, list(frame.geometries)) & ~np.isnan(moved[:, 0])
    if frame.single:
        before = compare(evidence.stored.extents, evidence.boxes, evidence.sizes)
        after = compare(moved, evidence.boxes, evidence.sizes)
        chosen &= (before.elsewhere | ~evidence.usable_as_stored()) & after.same
    return chosen


def _move(segmentation: Any, reading: str, geometry: Geometry, size: tuple[int, int], box: FloatArray) -> Any:
    """Return a segmentation in the frame of its image."""
    if isinstance(segmentation, list) and reading in POLYGON_READINGS:
        return [_move_ring(ring, reading, geometry, size, box) if is_ring(ring) else ring for ring in segmentation]
    found = numbers_of(segmentation)
    rle = None if found is None else READINGS[reading](*found, size)
    assert rle is not None  # its extents are known
    if geometry == Geometry() and rle["size"] == list(size):
        return rle
    return geometry.rle(rle, size, np.nan_to_num(box))


def _move_ring(
    ring: list[float], reading: str, geometry: Geometry, size: tuple[int, int], box: FloatArray
) -> list[float]:
    points = POLYGON_READINGS[reading](np.array(ring, dtype=np.float64))
    sizes = np.array([size], dtype=np.float64)
    moved = geometry.points(points, sizes, sizes, box[None])
    return [round(value, _DIGITS) for value in moved.ravel().tolist()]


def _xywh(geometry: Geometry, evidence: Evidence, number: int) -> bytes | None:
    """Return the json of a box that moves along; None without one."""
    box, sizes = evidence.boxes[number : number + 1], evidence.sizes[number : number + 1]
    if np.isnan(box).any():
        return None
    x0, y0, x1, y1 = geometry.extents(box, sizes, sizes, box)[0].tolist()
    return msgspec.json.encode([round(value, _DIGITS) for value in (x0, y0, x1 - x0, y1 - y0)])


def _areas(evidence: Evidence, frame: Frame, moved: FloatArray) -> FloatArray:
    """Return the stated areas where they agree with the corrected masks; nan elsewhere."""
    shapes = evidence.readings[frame.reading]
    grown = shapes.areas.copy()
    for geometry in set(frame.geometries.values()):
        own = np.isin(evidence.images, [image for image, other in frame.geometries.items() if other == geometry])
        grown[own] *= geometry.magnification(evidence.sizes[own], shapes.frames[own], evidence.boxes[own])
    return np.where(areas_agree(grown, evidence.areas, moved), evidence.areas, np.nan)


def _rewritten(
    table: AnnotationTable, rows: npt.NDArray[np.void], texts: dict[int, tuple[bytes, bytes | None]]
) -> AnnotationTable:
    """Return a table with other texts for some of the rows."""
    pieces: list[bytes | memoryview] = []
    lengths = np.zeros((len(rows), 2), dtype=np.int64)
    for place, (row, old) in enumerate(zip(table.rows, table.segmentations(table.rows), strict=True)):
        segmentation, box = texts.get(place, (old, None))
        box = table.box(row) if box is None else box
        pieces += [segmentation, _GAP, box, _GAP]
        lengths[place] = len(segmentation) + 1, len(box) + 1
    stops = np.cumsum(lengths.ravel()).reshape(-1, 2)
    rows["start"], rows["box"], rows["stop"] = _starts(stops, lengths), stops[:, 0], stops[:, 1] - 1
    text = np.frombuffer(b"".join(pieces), dtype=np.uint8).copy()
    return AnnotationTable(SharedArray(rows), table.starts, SharedArray(text))


def _starts(stops: IntArray, lengths: IntArray) -> IntArray:
    return stops[:, 0] - lengths[:, 0]
