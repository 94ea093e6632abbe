"""Checks of annotations: masks drawn and compared with the box, area and size that the file states."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.boxes import paired_iou, shared_area, xywh_to_xyxy
from segtrain.console import progress
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.record_tables import (
    AnnotationTable,
    ImageTable,
    decode_box,
    decode_usual,
    has_usual_box,
    name_of,
)
from segtrain.data.coco.rules import AnnotationRules
from segtrain.data.frames.bounds import centres_outside
from segtrain.data.frames.evidence import is_box_area
from segtrain.io import printable
from segtrain.masks import Rle
from segtrain.masks.parse import (
    Rings,
    SegmentationError,
    are_compressed,
    drawable_polygons,
    from_drawable,
    from_rings,
    lacks_mask,
)

FINDS_CROSSINGS = find_spec("shapely") is not None  # an optional dependency: the issue is a note that changes nothing
_BATCH = 2_000  # annotations whose masks are held at a time
_SLACK = 1.0  # pixels that boxes and polygons may reach beyond the image, since exporters round
_FAR = 1.1  # times the width or height, beyond which the image may be larger than stated
_OBJECT = 2.0  # pixels; least sides of a box whose object has a pixel when it is rasterised
_FILLED = 0.9  # part of its box that a mask covers, above which both have about the same area
_SEVERAL = 3
_SAME_BOX = 0.5  # a box that shares less with its mask's belongs to something else
_SAME_MASK = 0.98
_CORNER = 0.6  # share of the width and height; if no mask reaches beyond it, the masks may belong to smaller images
_MANY = 20  # least number of masks for that conclusion
_THIN, _SCATTERED = 0.3, 0.7  # part of its box that a mask fills, and part of the image's height that the box spans
_COVERED = 0.5  # share of an image; two masks of one image that both cover more are probably inverted
_LARGE = 8  # pixels; smaller objects may fill their box by chance
_SOME = 0.1  # share of the masks that fill their boxes, from which this is not by chance
_SAME_AREA = 0.02  # relative difference of areas of the same mask; smaller holes are within the noise of drawing
_FIT = 0.25  # tolerance of an area, as a share of the area of the holes


def crossing(polygons: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.bool_]:
    """Find polygons whose outline crosses or touches itself; points that repeat their predecessor do not count.

    Args:
        polygons: (points, 2) each, three or more points, in pixels.
    """
    import shapely  # here: a cached result needs no geometry

    closed = [np.concatenate([polygon, polygon[:1]]) for polygon in polygons]
    owners = np.repeat(np.arange(len(closed)), [len(polygon) for polygon in closed])
    return ~np.asarray(shapely.is_simple(shapely.linearrings(np.concatenate(closed), indices=owners)), dtype=np.bool_)


def describe_misread_rings(
    polygons: Sequence[list[float]], size: tuple[int, int], area: float, rings: Rings
) -> str | None:
    """Describe how the stated area of an annotation contradicts the treatment of its polygons.

    Args:
        polygons: valid polygons of one annotation.
        size: (H, W) of the image.
        area: stated area in pixels; nan without one, where inner polygons are taken for holes, since nobody draws them
            for nothing.
        rings: treatment of the polygons.

    Returns:
        One line; None if no polygon lies inside another one, or the area fits, or it fits neither treatment.

    >>> outer, inner = [0, 0, 8, 0, 8, 8, 0, 8], [2, 2, 6, 2, 6, 6, 2, 6]
    >>> describe_misread_rings([outer, inner], (8, 8), 48, "union")
    'area 48 fits the 48 pixels outside of holes, not the 64 of the union of 2 polygons'
    >>> describe_misread_rings([outer, inner], (8, 8), 64, "union") is None
    True
    """
    whole, cut = masks.area([masks.from_polygons(polygons, size), from_rings(polygons, size)]).tolist()
    hole = whole - cut
    if hole <= _SAME_AREA * whole:
        return None
    union, holes = f"the {whole} of the union of {len(polygons)} polygons", f"the {cut} pixels outside of holes"
    if rings == "union" and area != area:
        return f"{holes[4:]}, {whole} in the union of {len(polygons)} polygons; there is no area to tell"
    if rings == "union" and abs(area - cut) <= _FIT * hole:
        return f"area {area:g} fits {holes}, not {union}"
    if rings == "even_odd" and abs(area - whole) <= _FIT * hole:
        return f"area {area:g} fits {union}, not {holes}"
    return None


@dataclass
class _Batch:
    """Drawn annotations of some images; lists have one entry per row."""

    places: npt.NDArray[np.int64]  # (N,) of the rows in the table
    rows: npt.NDArray[np.void]
    sizes: npt.NDArray[np.int64]  # (N, 2) of their images
    rles: list[Rle] = field(default_factory=list)
    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (N,) of each mask
    stated: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))  # (N, 4) xywh; nan without a box
    polygons: list[npt.NDArray[np.float64]] = field(default_factory=list)  # (points, 2) each
    owners: list[int] = field(default_factory=list)  # the row of each polygon


class AnnotationChecks:
    """Checks of all annotations; every mask is drawn once.

    Args:
        images: images of the index.
        annotations: annotations of the index.
        rules: rules by which the annotations were read.

    Attributes:
        rows: rows of the table, with ``usable``, ``repaired`` and ``plain`` set according to the masks.
        issues: problems found in the masks.
        suspects: (rows,) True for annotations that contradict their box, area or image, or that cannot be drawn.
        far_outside: (rows,) True for annotations that reach far beyond the stated width or height of their image.
    """

    def __init__(self, images: ImageTable, annotations: AnnotationTable, rules: AnnotationRules) -> None:
        self.rows, self.issues = annotations.rows.copy(), Issues()
        self._images, self._annotations, self._rules = images, annotations, rules
        self._told_areas = self._box_areas = self._large = 0
        self._rectangles: list[int] = []
        self._reach, self._masks, self._masked = np.zeros(2), 0, 0
        self.suspects, self.far_outside = np.zeros((2, len(self.rows)), dtype=np.bool_)
        with progress("annotations", int(self.rows["usable"].sum()), transient=True) as stage:
            for places in self._batches():
                batch = self._draw(places)
                if len(batch.rows):
                    self._check_sizes(batch)
                    self._check_boxes(batch)
                    self._check_polygons(batch)
                    self._check_rings(batch)
                    self._check_duplicates(batch)
                stage.advance(len(places))
        if self._box_areas >= max(_SEVERAL, _FILLED * self._told_areas):
            self.issues.add("areas-of-boxes", f"{self._box_areas:,} of {self._told_areas:,} areas that can tell")
        if self._masks >= _MANY and self._masked >= _SEVERAL and (self._reach < _CORNER).all():
            width, height = self._reach
            said = f"all {self._masks:,} lie within {width:.0%} of the width and {height:.0%} of the height"
            self.issues.add("masks-in-corner", said, self._masks)
        if len(self._rectangles) >= max(_SEVERAL, _SOME * self._large):
            self.issues.extend("mask-is-box", self._rectangles, lambda place: name_of(self.rows[place], images))

    def _batches(self) -> Iterator[npt.NDArray[np.int64]]:
        """Yield indices of the usable rows, in batches that keep the annotations of an image together."""
        usable = np.flatnonzero(self.rows["usable"])
        borders = np.flatnonzero(np.diff(self.rows["image"][usable], append=-1)) + 1
        start = 0
        while start < len(usable):
            stop = int(borders[np.searchsorted(borders, min(start + _BATCH, len(usable)))])
            yield usable[start:stop]
            start = stop

    def _draw(self, places: npt.NDArray[np.int64]) -> _Batch:
        """Draw masks; rows without one are dropped."""
        image_rows = self._images.rows[self.rows["image"][places]]
        sizes = np.stack([image_rows["height"], image_rows["width"]], axis=1).astype(np.int64)
        batch = _Batch(places[:0], self.rows[:0], sizes[:0])
        kept: list[int] = []
        texts = self._annotations.segmentations(self.rows[places])
        sizes_of_rows: list[tuple[int, int]] = list(map(tuple, sizes.tolist()))
        decoded = [
            (None, None) if row["boxed"] else decode_usual(text, size, self._annotations.box(row))
            for row, size, text in zip(self.rows[places], sizes_of_rows, texts, strict=True)
        ]
        as_written = are_compressed([segmentation for segmentation, _ in decoded], sizes_of_rows).tolist()
        for number, (place, size) in enumerate(zip(places.tolist(), sizes_of_rows, strict=True)):
            row = self.rows[place]
            if row["boxed"]:
                self._add("box-ignored" if row["crowd"] else "box-as-mask", row, self._box(row))
                kept.append(number)
                batch.rles.append(self._annotations.mask_of_box(row, size))
                continue
            segmentation, form = decoded[number]
            try:
                if as_written[number]:
                    assert isinstance(segmentation, dict)
                    rle, bad = Rle(size=[*size], counts=segmentation["counts"]), list[SegmentationError]()
                else:
                    rle, bad = from_drawable(segmentation, size, self._rules.rings)
            except SegmentationError as error:
                if lacks_mask(segmentation) and decode_box(self._annotations.box(row), size) is not None:
                    self._drop(place, "box-without-mask", f"the object has the box {self._box(row)} and no mask")
                    continue
                for part in error.parts:
                    self._add(part.kind, row, str(part))
                self._drop(place, error.kind, str(error))
                self.suspects[place] = error.kind != "segmentation-empty"
                self.far_outside[place] = error.kind == "rle-size"
                continue
            for part in bad:
                self._add(part.kind, row, str(part))
            if form is not None:
                self._add("segmentation-form", row, form)
            self.rows["repaired"][place] |= bool(bad) or form is not None
            # 10.0 equals 10, but is another text.
            self.rows["plain"][place] = (
                form is None and segmentation == rle and set(map(type, segmentation["size"])) == {int}
            )
            if isinstance(segmentation, list):
                good = drawable_polygons(segmentation, size)[0] if bad else segmentation
                batch.polygons += [np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in good]
                batch.owners += [len(kept)] * len(good)
            kept.append(number)
            batch.rles.append(rle)
        batch.places = places[kept]
        batch.rows, batch.sizes, batch.pixels = self.rows[batch.places], sizes[kept], masks.area(batch.rles)
        return batch

    def _check_sizes(self, batch: _Batch) -> None:
        pixels, areas = batch.pixels, batch.rows["area"]
        for number in np.flatnonzero(pixels == 0).tolist():
            place = int(batch.places[number])
            box = decode_box(self._annotations.box(self.rows[place]), tuple(batch.sizes[number].tolist()))
            reason = "the mask covers no pixel of the image"
            if box is None or min(box[2:]) < _OBJECT:
                self._drop(place, "mask-empty", reason)
            else:
                text = f"{reason}, and the object has the box {self._box(self.rows[place])}"
                self._drop(place, "object-without-pixel", text)
        batch.rows["usable"] = pixels > 0
        odd = (areas > 2 * pixels) | (2 * areas < pixels)
        self.suspects[batch.places] |= odd | (pixels == 0)
        for number in np.flatnonzero(odd & (pixels > 0)).tolist():
            self._add("area-far-off", batch.rows[number], f"area {areas[number]:g}, mask {pixels[number]} pixels")

    def _check_boxes(self, batch: _Batch) -> None:
        mask_boxes = masks.boxes(batch.rles)
        texts = [self._annotations.box(row) for row in batch.rows]
        boxes = [decode_box(text, size) for text, size in zip(texts, map(tuple, batch.sizes.tolist()), strict=True)]
        for row, text, box in zip(batch.rows, texts, boxes, strict=True):
            if box is None and row["usable"]:
                self.rows["repaired"][self._place(row)] = True
                missing = text in (b"", b"null")
                if not (missing and self._rules.witnesses == "masks"):
                    self._add("box-missing" if missing else "box-invalid", row, "" if missing else _short(text))
                self.suspects[self._place(row)] |= not missing
            elif row["usable"] and not has_usual_box(text):
                self.rows["repaired"][self._place(row)] = True
                self._add("box-form", row, f"{_short(text)} is read as {box}")
        stated = np.array([[np.nan] * 4 if box is None else box for box in boxes]).reshape(-1, 4)
        batch.stated = stated
        corners, (height, width) = xywh_to_xyxy(stated), batch.sizes.T
        outside = (corners[:, :2] < -_SLACK).any(axis=1)
        outside |= (corners[:, 2] > width + _SLACK) | (corners[:, 3] > height + _SLACK)
        self.far_outside[batch.places] |= (corners[:, 2:] > _FAR * batch.sizes[:, ::-1]).any(axis=1)
        elsewhere = paired_iou(corners, mask_boxes) < _SAME_BOX
        elsewhere &= np.abs(corners - mask_boxes).max(axis=1) > 2 * _SLACK
        self._count_areas_of_boxes(batch, stated)
        sides = mask_boxes[:, 2:] - mask_boxes[:, :2]
        self._watch_shapes(batch, mask_boxes)
        large = (sides >= _LARGE).all(axis=1) & ~batch.rows["boxed"] & ~batch.rows["crowd"]
        self._large += int(large.sum())
        self._rectangles += batch.places[large & (batch.pixels == sides.prod(axis=1))].tolist()
        self.suspects[batch.places] |= elsewhere | centres_outside(corners, batch.sizes.astype(np.float64))
        for kind, wrong in (("box-outside", outside), ("box-contradicts-mask", elsewhere)):
            for number in np.flatnonzero(wrong & batch.rows["usable"]).tolist():
                contrast = self._contrast(kind, batch, number)
                self._add(kind, batch.rows[number], f"box {_short(texts[number])}, {contrast}")

    def _watch_shapes(self, batch: _Batch, boxes: npt.NDArray[np.float64]) -> None:
        """Suspect masks that have no box and look misread; measure how far all masks (N, 4) xyxy reach."""
        drawn = batch.rows["usable"] & ~batch.rows["boxed"]
        sizes, sides = batch.sizes[:, ::-1], boxes[:, 2:] - boxes[:, :2]
        thin = batch.pixels < _THIN * sides.prod(axis=1)
        scattered = thin & (sides > _SCATTERED * sizes).any(axis=1)
        covering = batch.pixels > _COVERED * sizes.prod(axis=1)
        self.suspects[batch.places[drawn & np.isnan(batch.stated[:, 0]) & (scattered | covering)]] = True
        if drawn.any():
            self._reach = np.maximum(self._reach, (boxes[drawn, 2:] / sizes[drawn]).max(axis=0))
            self._masks += int(drawn.sum())
            self._masked += len(np.unique(batch.rows["image"][drawn]))

    def _count_areas_of_boxes(self, batch: _Batch, stated: npt.NDArray[np.float64]) -> None:
        """Count the areas that are those of boxes (N, 4) xywh, among those of masks that fill less of their box."""
        with np.errstate(invalid="ignore"):
            partial = batch.pixels < _FILLED * stated[:, 2:].prod(axis=1)
        told = partial & ~np.isnan(batch.rows["area"]) & batch.rows["usable"] & ~batch.rows["boxed"]
        self._told_areas += int(told.sum())
        self._box_areas += int((told & is_box_area(batch.rows["area"], stated)).sum())

    def _check_polygons(self, batch: _Batch) -> None:
        if not batch.polygons:
            return
        if FINDS_CROSSINGS:
            for number in np.flatnonzero(crossing(batch.polygons)).tolist():
                self._add("polygon-self-intersecting", batch.rows[batch.owners[number]], "")
        low = np.array([polygon.min() for polygon in batch.polygons])
        high = np.array([polygon.max(axis=0) for polygon in batch.polygons])
        outside = (low < -_SLACK) | (high > batch.sizes[batch.owners][:, ::-1] + _SLACK).any(axis=1)
        far = (high > _FAR * batch.sizes[batch.owners][:, ::-1]).any(axis=1)
        self.far_outside[batch.places[np.array(batch.owners)[far]]] = True
        for number in np.flatnonzero(outside).tolist():
            row = batch.rows[batch.owners[number]]
            if row["usable"]:
                self._add("polygon-outside", row, f"coordinates {low[number]:g} to {high[number].max():g}")

    def _check_rings(self, batch: _Batch) -> None:
        several = np.bincount(np.array(batch.owners, dtype=np.int64), minlength=len(batch.rows)) > 1
        areas = batch.rows["area"]
        with np.errstate(invalid="ignore"):
            fits = np.abs(areas - batch.pixels) <= _SAME_AREA * batch.pixels  # not where there is no area
        if self._rules.rings == "union":
            areas = np.where(~fits & is_box_area(areas, batch.stated), np.nan, areas)
        for number in np.flatnonzero(several & ~fits & batch.rows["usable"]).tolist():
            first, last = np.searchsorted(batch.owners, [number, number + 1])
            polygons = [polygon.ravel().tolist() for polygon in batch.polygons[first:last]]
            size = (int(batch.sizes[number, 0]), int(batch.sizes[number, 1]))
            if reason := describe_misread_rings(polygons, size, float(areas[number]), self._rules.rings):
                kind = "rings-as-holes" if self._rules.rings == "union" else "rings-not-holes"
                self._add(kind, batch.rows[number], reason)

    def _check_duplicates(self, batch: _Batch) -> None:
        order = np.lexsort((batch.pixels, batch.rows["crowd"], batch.rows["label"], batch.rows["image"]))
        order = order[batch.rows["usable"][order]]
        rows, areas = batch.rows[order], batch.pixels[order]
        keys = [rows[name] for name in ("image", "label", "crowd")]
        boxes = masks.boxes([batch.rles[number] for number in order])
        repeated = np.zeros(len(batch.rows), dtype=np.bool_)
        for step in range(1, len(order)):
            # Sorted by area: a pair that is `step` apart is too unlike if the pairs nearer to each other all were.
            near = np.logical_and.reduce([key[step:] == key[:-step] for key in keys])
            near &= areas[:-step] > _SAME_MASK * areas[step:]
            if not near.any():
                break
            low = np.flatnonzero(near)
            # Most pairs do not overlap: masks can only share pixels where their boxes overlap.
            low = low[shared_area(boxes[low], boxes[low + step]) > _SAME_MASK * areas[low + step]]
            pairs = np.sort(np.stack([order[low], order[low + step]], axis=1), axis=1)
            for first, second in pairs[~repeated[pairs[:, 1]]].tolist():
                if (
                    not repeated[second]
                    and masks.iou([batch.rles[first]], [batch.rles[second]], [0])[0, 0] > _SAME_MASK
                ):
                    repeated[second] = True
                    number = batch.rows["number"][first]
                    self._add("annotation-duplicate", batch.rows[second], f"repeats entry {number} of the annotations")

    def _contrast(self, kind: str, batch: _Batch, number: int) -> str:
        height, width = batch.sizes[number].tolist()
        if kind == "box-outside":
            return f"image {width} wide and {height} high"
        x0, y0, x1, y1 = masks.boxes([batch.rles[number]])[0].tolist()
        return f"mask in [{x0:g}, {y0:g}, {x1 - x0:g}, {y1 - y0:g}]"

    def _box(self, row: np.void) -> str:
        return _short(self._annotations.box(row))

    def _drop(self, place: int, kind: str, reason: str) -> None:
        self._add(kind, self.rows[place], reason)
        self.rows["usable"][place] = False

    def _add(self, kind: str, row: np.void, reason: str) -> None:
        text = name_of(row, self._images)
        self.issues.add(kind, f"{text}: {reason}" if reason else text)

    def _place(self, row: np.void) -> int:
        """Return the position of a row in the table; rows are ordered by image, then by number."""
        first, last = self._annotations.starts.array[row["image"] :][:2]
        return int(first + np.searchsorted(self.rows["number"][first:last], row["number"]))


def _short(text: bytes) -> str:
    shown = printable(" ".join(text.decode("utf-8", "replace").split()))
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
