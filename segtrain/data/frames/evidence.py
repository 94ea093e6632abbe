"""Evidence about frames: extents and areas of masks, with the boxes and areas that the file states."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.boxes import paired_iou
from segtrain.data.coco.record_tables import HUGE, AnnotationTable, ImageTable, box_numbers, decode_segmentation
from segtrain.data.frames.run_lengths import READINGS, STORED, numbers_of
from segtrain.masks.forms import usual_form

Kind = Literal["polygons", "run-length masks"]
CLOSE = 2.0  # pixels by which a box may differ on each side: rounding, counting from 1, the width of an outline
SAME, ELSEWHERE = 0.75, 0.5  # IoU of boxes that agree, and below which they contradict
_SAME_AREA = 1.25  # ratio of areas that agree; polygons and their pixels differ by the outline
_OWN_AREA = 1.02  # ratio of an area to that of its box, up to which it adds no information


class Shapes(NamedTuple):
    """Masks in one reading.

    Attributes:
        extents: (N, 4) xyxy in the file's frame; nan for a mask that cannot be read so.
        areas: (N,) area in the same frame.
        frames: (N, 2) [H, W] that a mask states as its own; that of the image for polygons.
    """

    extents: FloatArray
    areas: FloatArray
    frames: FloatArray


@dataclass(frozen=True)
class Evidence:
    """Masks of one kind, and their witnesses.

    Attributes:
        kind: kind of the masks.
        rows: (N,) positions in the table of annotations.
        images: (N,) positions of their images.
        sizes: (N, 2) [H, W] of their images.
        numbers: (N, 4) of the boxes, as stated; nan without a box.
        areas: (N,) as stated; nan without one.
        readings: shapes by reading; "as stored" is among them.
    """

    kind: Kind
    rows: IntArray
    images: IntArray
    sizes: FloatArray
    numbers: FloatArray
    areas: FloatArray
    readings: dict[str, Shapes]

    @property
    def stored(self) -> Shapes:
        """Shapes as stored."""
        return self.readings[STORED]

    @property
    def boxes(self) -> FloatArray:
        """Stated boxes, (N, 4) xyxy."""
        return np.concatenate([self.numbers[:, :2], self.numbers[:, :2] + self.numbers[:, 2:]], axis=1)

    def subset(self, chosen: BoolArray) -> "Evidence":
        """Select some of the annotations."""
        return Evidence(
            self.kind, self.rows[chosen], self.images[chosen], self.sizes[chosen], self.numbers[chosen],
            self.areas[chosen],
            {name: Shapes(*(part[chosen] for part in shapes)) for name, shapes in self.readings.items()},
        )  # fmt: skip

    def usable_as_stored(self) -> BoolArray:
        """Find the masks that can be used as they are: run lengths of the image's size, any polygons."""
        return np.asarray((self.stored.frames == self.sizes).all(axis=1) & ~np.isnan(self.stored.extents[:, 0]))


class Agreement(NamedTuple):
    """Agreement of masks with boxes.

    Attributes:
        iou: (N,) IoU of the mask's box with the stated one; where the mask reaches beyond the image, that of both cut
            at its border, if it is better.
        same: (N,) True where they agree.
        elsewhere: (N,) True where they contradict each other; False without a stated box.
    """

    iou: FloatArray
    same: BoolArray
    elsewhere: BoolArray


def compare(extents: FloatArray, boxes: FloatArray, sizes: FloatArray) -> Agreement:
    """Compare the extents of masks with boxes.

    Args:
        extents: (N, 4) xyxy; nan where there is no mask.
        boxes: (N, 4) xyxy; nan where there is no box.
        sizes: (N, 2) [H, W] of the images.

    >>> box = np.array([[2.0, 2.0, 8.0, 6.0]])
    >>> compare(box + 20, box, np.array([[50.0, 50.0]])).elsewhere.tolist()
    [True]
    """
    stated = ~np.isnan(boxes).any(axis=1)
    drawn = ~np.isnan(extents).any(axis=1)
    extents, boxes = np.nan_to_num(extents), np.nan_to_num(boxes)
    limits = np.concatenate([sizes[:, ::-1], sizes[:, ::-1]], axis=1)
    cut = [np.clip(part, 0, limits) for part in (extents, boxes)]
    # Boxes may be cut at the border where outlines are not; boxes that lie outside of the image are not compared.
    beyond = (extents != cut[0]).any(axis=1) & (cut[1][:, 2:] > cut[1][:, :2]).all(axis=1)
    iou = paired_iou(extents, boxes)
    iou = np.where(beyond, np.maximum(iou, paired_iou(*cut)), iou)
    apart = np.abs(extents - boxes).max(axis=1)
    apart = np.where(beyond, np.minimum(apart, np.abs(cut[0] - cut[1]).max(axis=1)), apart)
    both = stated & drawn
    iou = np.where(both, iou, 0.0)
    same = both & ((iou >= SAME) | (apart <= CLOSE))
    return Agreement(iou, same, stated & ((iou < ELSEWHERE) & (apart > CLOSE) | ~drawn))


def areas_agree(areas: FloatArray, stated: FloatArray, extents: FloatArray) -> BoolArray:
    """Find masks whose area is the stated one, up to the width of their outline.

    Args:
        areas: (N,) of the masks.
        stated: (N,) areas of the file; nan without one.
        extents: (N, 4) xyxy of the masks.
    """
    outline = (extents[:, 2:] - extents[:, :2]).sum(axis=1)
    close = np.abs(areas - stated) <= outline
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = stated / areas
    return np.asarray(close | ((ratio < _SAME_AREA) & (ratio > 1 / _SAME_AREA)))


def is_box_area(stated: FloatArray, numbers: FloatArray) -> BoolArray:
    """Find areas that are width times height of the box, and so add no information.

    Args:
        stated: (N,) areas of the file; nan without one.
        numbers: (N, 4) boxes of the file; nan without one.

    >>> is_box_area(np.array([12.0, 7.0]), np.array([[0.0, 0.0, 3.0, 4.0], [0.0, 0.0, 3.0, 4.0]])).tolist()
    [True, False]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = stated / numbers[:, 2:].prod(axis=1)
    return np.asarray((ratio < _OWN_AREA) & (ratio > 1 / _OWN_AREA))


def gather(
    images: ImageTable, annotations: AnnotationTable, places: IntArray, kind: Kind, readings: Sequence[str]
) -> Evidence:
    """Read the masks of one kind, their boxes and their areas.

    Args:
        images: images of the index.
        annotations: annotations of the index.
        places: rows of the table that have an image; those of another kind are left out.
        kind: kind of the masks.
        readings: readings of run lengths or polygons to measure, beside the stored one.
    """
    rows = annotations.rows[places]
    image_rows = images.rows[rows["image"]]
    sizes = np.stack([image_rows["height"], image_rows["width"]], axis=1).astype(np.float64)
    names = list(dict.fromkeys([STORED, *readings]))
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    kept: list[int] = []
    measure = _measure_polygons if kind == "polygons" else _measure_runs
    for number, text in enumerate(annotations.segmentations(rows)):
        size = int(sizes[number, 0]), int(sizes[number, 1])
        shapes = measure(decode_alone(text, size), size, names)
        if shapes is not None:
            kept.append(number)
            for name, shape in zip(names, shapes, strict=True):
                found[name].append(shape)
    numbers = np.array([_numbers(annotations.box(row)) for row in rows[kept]], dtype=np.float64).reshape(-1, 4)
    tables = {name: np.array(shapes, dtype=np.float64).reshape(-1, 7) for name, shapes in found.items()}
    return Evidence(
        kind, places[kept], rows["image"][kept].astype(np.int64), sizes[kept], numbers, rows["area"][kept],
        {name: Shapes(table[:, :4], table[:, 4], table[:, 5:]) for name, table in tables.items()},
    )  # fmt: skip


def decode_alone(text: bytes | memoryview, size: tuple[int, int]) -> Any:
    """Decode a segmentation in COCO's form without using its box, which is a witness here.

    Args:
        text: json of the segmentation.
        size: (H, W) of the image.
    """
    return usual_form(decode_segmentation(text), size)[0]


def _numbers(text: bytes) -> list[float]:
    numbers = box_numbers(text)
    if numbers is None or not max(map(abs, numbers)) < HUGE or 0 in numbers[2:]:  # [0, 0, 0, 0] stands for no box
        return [np.nan] * 4
    return list(numbers)


POLYGON_READINGS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    STORED: lambda points: points.reshape(-1, 2),
    "all x, then all y": lambda points: points.reshape(2, -1).T,
    "steps from point to point": lambda points: np.cumsum(points.reshape(-1, 2), axis=0),
}


def _measure_polygons(
    segmentation: Any, size: tuple[int, int], readings: Sequence[str]
) -> list[tuple[float, ...]] | None:
    """Return extents, area and frame of polygons in each reading; None for what is no list of polygons."""
    if not isinstance(segmentation, list):
        return None
    rings = [ring for ring in segmentation if is_ring(ring)]
    if not rings:
        return None
    numbers = [np.array(ring, dtype=np.float64) for ring in rings]
    return [_extents([POLYGON_READINGS[name](ring) for ring in numbers], size) for name in readings]


def is_ring(ring: Any) -> bool:
    """Return True for a flat list of three or more points with finite coordinates."""
    if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2 or not set(map(type, ring)) <= {int, float}:
        return False
    return bool(max(map(abs, ring)) < HUGE)


def _extents(rings: Sequence[npt.NDArray[np.float64]], size: tuple[int, int]) -> tuple[float, ...]:
    points = np.concatenate(rings)
    area = 0.0
    for ring in rings:
        x, y = (ring - ring[0]).T
        area += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return (*points.min(axis=0), *points.max(axis=0), area, *map(float, size))


def _measure_runs(segmentation: Any, size: tuple[int, int], readings: Sequence[str]) -> list[tuple[float, ...]] | None:
    """Return extents, area and frame of run lengths in each reading; None for what is none."""
    found = numbers_of(segmentation)
    if found is None:
        return None
    shapes: list[tuple[float, ...]] = []
    for name in readings:
        rle = READINGS[name](*found, size)
        area = 0 if rle is None else int(masks.area([rle])[0])
        if rle is None or not area:
            shapes.append((np.nan,) * 7)
        else:
            shapes.append((*masks.boxes([rle])[0].tolist(), area, *map(float, rle["size"])))
    return shapes
