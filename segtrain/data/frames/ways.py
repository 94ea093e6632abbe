"""Search for the frame in which masks agree with their boxes: readings, units, orientations, scales and shifts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from segtrain.arrays import FloatArray
from segtrain.boxes import AS_WRITTEN, LAYOUTS, xywh_to_xyxy
from segtrain.data.frames.evidence import POLYGON_READINGS, Agreement, Evidence, compare
from segtrain.data.frames.fits import FITS, Group, fit
from segtrain.data.frames.geometry import ORIENTATIONS, UPRIGHT, Geometry, Unit, unit_lengths
from segtrain.data.frames.run_lengths import READINGS, STORED

AGREEING = 0.9  # share of the masks that must agree with their boxes in a frame
FEWEST = 3  # annotations that must contradict their witnesses
_PRICE = 0.02  # mean IoU that each further assumption must gain
_ESTIMATED = 1.5  # price of estimates, which also fit the rounding of boxes
_UNITS: tuple[Unit, ...] = ("fractions", "percent", "thousandths", "longest side", "own size", "box", "box fractions")
_GROUPS: Mapping[Group, int] = {"file": 0, "size": 1, "image": 2}  # with the price of each
_EXCHANGED = "[y, x, height, width]"
_SIDES: tuple[Unit, ...] = ("pixels", "fractions", "percent", "thousandths", "longest side")


@dataclass(frozen=True)
class Way:
    """Way from masks as stored to their images.

    Attributes:
        reading: reading of the numbers.
        geometry: way of the coordinates; without scale and shift if these are estimated.
        fitted: estimate of scale and shift, a key of ``FITS``; None for none.
        by: annotations that share scale and shift.
        price: number of assumptions.
    """

    reading: str = STORED
    geometry: Geometry = UPRIGHT
    fitted: str | None = None
    by: Group = "file"
    price: float = 0.0

    def geometries(self, evidence: Evidence) -> dict[int, Geometry]:
        """Return the geometry of each image; images for which none can be estimated are missing.

        Args:
            evidence: annotations from which scale and shift are estimated.
        """
        if self.fitted is None:
            return dict.fromkeys(evidence.images.tolist(), self.geometry)
        shapes = evidence.readings[self.reading]
        return fit(evidence, shapes, self.geometry.orientation, FITS[self.fitted], self.by)


def moved_extents(evidence: Evidence, reading: str, geometries: Mapping[int, Geometry]) -> FloatArray:
    """Return the extents of masks in their images, (N, 4) xyxy; nan where an image has no geometry.

    Args:
        evidence: annotations.
        reading: reading of their masks.
        geometries: geometry of each image.
    """
    extents, _, frames = evidence.readings[reading]
    boxes, found = evidence.boxes, np.full_like(extents, np.nan)
    for geometry in set(geometries.values()):
        own = np.isin(evidence.images, [image for image, other in geometries.items() if other == geometry])
        found[own] = geometry.extents(extents[own], evidence.sizes[own], frames[own], boxes[own])
    return found


def find_way(evidence: Evidence) -> tuple[Way, float] | None:
    """Find the simplest way in which nearly all masks agree with their boxes; None if there is none.

    Args:
        evidence: annotations whose masks contradict their boxes, in all readings.

    Returns:
        The way, and its value: the mean IoU of masks and boxes, less a price for each assumption.
    """
    for by in _GROUPS:
        ways = [*_fixed_ways(evidence), *_fitted_ways(by)] if by == "file" else list(_fitted_ways(by))
        tried = [(way, _agreement(evidence, way)) for way in ways]
        fitting = [
            (way, float(found.iou.mean()) - _PRICE * way.price) for way, found in tried if found.same.mean() >= AGREEING
        ]
        if fitting:
            return max(fitting, key=lambda entry: entry[1])
    return None


def _agreement(evidence: Evidence, way: Way) -> Agreement:
    return compare(moved_extents(evidence, way.reading, way.geometries(evidence)), evidence.boxes, evidence.sizes)


def _fixed_ways(evidence: Evidence) -> Iterator[Way]:
    """Yield the ways without an estimate."""
    readings = READINGS if evidence.kind == "run-length masks" else POLYGON_READINGS
    yield from (Way(reading, price=int(reading != STORED)) for reading in readings)
    for number, orientation in enumerate(ORIENTATIONS):
        if number:
            yield Way(geometry=Geometry(orientation), price=1)
        for unit in _UNITS:
            if unit != "own size" or evidence.kind == "run-length masks":
                yield Way(geometry=Geometry(orientation, unit), price=1 + (number > 0))
    yield Way(geometry=Geometry(scale=(1.0, -1.0)), price=1)
    if evidence.kind == "run-length masks":  # a mask of another size, as runs along its rows
        yield Way("runs along rows instead of columns", Geometry(unit="own size"), price=2)
        yield Way("runs along rows instead of columns", Geometry(unit="box"), price=2)


def _fitted_ways(by: Group) -> Iterator[Way]:
    for number, orientation in enumerate(ORIENTATIONS):
        for name, way in FITS.items():
            yield Way(STORED, Geometry(orientation), name, by, (number > 0) + way.freedom + _ESTIMATED + _GROUPS[by])


@dataclass(frozen=True)
class Layout:
    """Meaning of the four numbers of a box.

    Attributes:
        name: order of the numbers, a key of ``LAYOUTS``.
        unit: unit of the numbers.
    """

    name: str
    unit: Unit = "pixels"

    def boxes(self, evidence: Evidence) -> FloatArray:
        """Return the boxes of annotations in this meaning, (N, 4) xyxy in pixels."""
        sides = evidence.sizes[:, ::-1]
        lengths = unit_lengths(self.unit, sides, evidence.sizes, evidence.boxes) * np.ones_like(sides)
        return xywh_to_xyxy(LAYOUTS[self.name](evidence.numbers) * np.concatenate([lengths, lengths], axis=1))

    def describe(self) -> str:
        """Describe the meaning in words, as the end of "they agree once read as ...".

        >>> Layout("[x1, y1, x2, y2]", "percent").describe()
        '[x1, y1, x2, y2] in percent of the width and height of the image'
        """
        units: dict[Unit, str] = {
            "fractions": " in fractions of the width and height of the image",
            "percent": " in percent of the width and height of the image",
            "thousandths": " in thousandths of the width and height of the image",
            "longest side": " in fractions of the longest side of the image",
        }
        return f"{self.name}{units.get(self.unit, '')}"


def find_layout(evidence: Evidence) -> tuple[Layout, float] | None:
    """Find the simplest meaning of the boxes' numbers in which nearly all agree with their masks as stored.

    Args:
        evidence: annotations whose masks contradict their boxes.

    Returns:
        The meaning, and its value: the mean IoU, less a price for each assumption. None if there is none.
    """
    tried: list[tuple[Layout, Agreement, int]] = []
    for name in LAYOUTS:
        for unit in _SIDES:
            if unit == "pixels" and name in (AS_WRITTEN, _EXCHANGED):
                continue  # the second one is an orientation, in which either the masks or the boxes may be wrong
            layout = Layout(name, unit)
            price = (name != AS_WRITTEN) + (unit != "pixels")
            tried.append((layout, compare(evidence.stored.extents, layout.boxes(evidence), evidence.sizes), price))
    fitting = [
        (layout, float(found.iou.mean()) - _PRICE * price)
        for layout, found, price in tried
        if found.same.mean() >= AGREEING
    ]
    return max(fitting, key=lambda entry: entry[1]) if fitting else None
