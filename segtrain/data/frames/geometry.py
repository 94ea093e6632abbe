"""Frames of coordinates: scaled, shifted, mirrored, turned, fractions; and the way from them to pixels of an image."""

from typing import Literal, NamedTuple

import msgspec
import numpy as np

from segtrain import masks
from segtrain.arrays import FloatArray, IntArray
from segtrain.masks import Rle

Unit = Literal["pixels", "fractions", "percent", "thousandths", "longest side", "own size", "box", "box fractions"]


class Orientation(NamedTuple):
    """Exchange of the axes, followed by reflections.

    Attributes:
        swaps: True if x and y are exchanged, before the reflections.
        flips_x: True if x is counted from the right edge of the image.
        flips_y: True if y is counted from its bottom edge.
    """

    swaps: bool
    flips_x: bool
    flips_y: bool


ORIENTATIONS: dict[str, Orientation] = {
    "": Orientation(False, False, False),
    "mirrored horizontally": Orientation(False, True, False),
    "mirrored vertically (y is counted from the bottom)": Orientation(False, False, True),
    "turned by 180 degrees": Orientation(False, True, True),
    "with x and y exchanged": Orientation(True, False, False),
    "turned by 90 degrees clockwise": Orientation(True, True, False),
    "turned by 90 degrees counter-clockwise": Orientation(True, False, True),
    "mirrored along the other diagonal": Orientation(True, True, True),
}
_UNITS: dict[Unit, str] = {
    "pixels": "",
    "fractions": "multiplied by the image's width and height (they are fractions, 0 to 1)",
    "percent": "multiplied by a hundredth of the image's width and height (they are percentages)",
    "thousandths": "multiplied by a thousandth of the image's width and height (they run from 0 to 1000)",
    "longest side": "multiplied by the image's longest side (they are fractions of it)",
    "own size": "scaled from the size that they state to that of the image",
    "box": "moved to the corner of their boxes (they are relative to it)",
    "box fractions": "multiplied by the size of their boxes and moved to the corner (they are fractions of the box)",
}


class Geometry(msgspec.Struct, frozen=True):
    """Way from coordinates of a file to pixels of its images.

    Coordinates are multiplied by their unit and by ``scale``, shifted, and then mirrored or turned.

    Attributes:
        orientation: last step, a key of `ORIENTATIONS`.
        unit: unit of the coordinates; "box" and "box fractions" count from the corner of the annotation's box, and
            "own size" is the size that a run-length mask states.
        scale: factors of x and y.
        shift: shift of x and y, in pixels of the image before it is turned.

    >>> mirrored = Geometry("mirrored horizontally")
    >>> one = np.ones((1, 2))
    >>> mirrored.points(np.array([[2.0, 3.0]]), 10 * one, 10 * one, np.zeros((1, 4))).tolist()
    [[8.0, 3.0]]
    """

    orientation: str = ""
    unit: Unit = "pixels"
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)

    def points(self, points: FloatArray, sizes: FloatArray, frames: FloatArray, boxes: FloatArray) -> FloatArray:
        """Move points into their images.

        Args:
            points: (N, 2) x and y in the file's frame.
            sizes: (N or 1, 2) [H, W] of the images.
            frames: (N or 1, 2) [H, W] that the masks state as their own.
            boxes: (N or 1, 4) xyxy of the annotations, in pixels; used by the units of boxes alone.

        Returns:
            (N, 2) x and y in pixels of the images.
        """
        swaps, flips_x, flips_y = ORIENTATIONS[self.orientation]
        before = sizes if swaps else sizes[:, ::-1]  # width and height of the image before it is turned
        moved = points * (unit_lengths(self.unit, before, frames, boxes) * self.scale) + self.shift
        if self.unit in ("box", "box fractions"):
            moved = moved + boxes[:, :2]
        if swaps:
            moved = moved[:, ::-1]
        height, width = sizes.T
        x = width - moved[:, 0] if flips_x else moved[:, 0]
        y = height - moved[:, 1] if flips_y else moved[:, 1]
        return np.stack([x, y], axis=1)

    def extents(self, extents: FloatArray, sizes: FloatArray, frames: FloatArray, boxes: FloatArray) -> FloatArray:
        """Move boxes into their images.

        Args:
            extents: (N, 4) xyxy in the file's frame.
            sizes: (N, 2) [H, W] of the images.
            frames: (N, 2) [H, W] that the masks state as their own.
            boxes: (N, 4) xyxy of the annotations.

        Returns:
            (N, 4) xyxy in pixels of the images.
        """
        corners = [self.points(extents[:, k : k + 2], sizes, frames, boxes) for k in (0, 2)]
        return np.concatenate([np.minimum(*corners), np.maximum(*corners)], axis=1)

    def magnification(self, sizes: FloatArray, frames: FloatArray, boxes: FloatArray) -> FloatArray:
        """Compute the factor by which areas grow, (N,).

        Args:
            sizes: (N, 2) [H, W] of the images.
            frames: (N, 2) [H, W] that the masks state as their own.
            boxes: (N, 4) xyxy of the annotations.
        """
        zero, one = (np.full((len(sizes), 2), value) for value in (0.0, 1.0))
        sides = self.points(one, sizes, frames, boxes) - self.points(zero, sizes, frames, boxes)
        return np.asarray(np.abs(sides.prod(axis=1)))

    def rle(self, rle: Rle, size: tuple[int, int], box: FloatArray) -> Rle:
        """Move a mask into its image: each pixel of the image takes the value of the place that lands on its centre.

        Args:
            rle: mask in its own frame.
            size: (H, W) of the image.
            box: (4,) xyxy of the annotation, in pixels.

        >>> mask = masks.encode(np.array([[1, 0, 0]]))
        >>> masks.decode(Geometry("mirrored horizontally").rle(mask, (1, 3), np.zeros(4))).astype(int).tolist()
        [[0, 0, 1]]
        """
        crop, left, top = masks.decode_crop(rle)  # a file may state a size that no memory holds
        if ORIENTATIONS[self.orientation].swaps:
            crop, left, top = crop.T, top, left
        # The way is separable: two points tell how each axis is stretched and shifted.
        ends = np.array([[0.0, 0.0], [1.0, 1.0]])
        sizes, frames = (np.array([pair], dtype=np.float64) for pair in (size, rle["size"]))
        (x0, y0), (x1, y1) = self.points(ends, sizes, frames, box[None]).tolist()
        first_row, rows = _sources(size[0], y0, y1, top, crop.shape[0])
        first_column, columns = _sources(size[1], x0, x1, left, crop.shape[1])
        return masks.encode_crop(crop[np.ix_(rows, columns)], first_column, first_row, size)

    def describe(self) -> str:
        """Describe the way in words, as the end of "they agree ..."; empty for no change.

        >>> Geometry("mirrored horizontally", scale=(0.5, 0.5)).describe()
        'multiplied by 0.5, and mirrored horizontally'
        """
        parts = [_UNITS[self.unit]]
        x, y = self.scale
        if (x, y) == (1, -1):
            parts.append("with y negated")
        elif (x, y) != (1, 1):
            factors = f"{_short(x)}" if x == y else f"{_short(x)} in x, {_short(y)} in y"
            parts.append(f"multiplied by {factors}")
        if self.shift != (0, 0):
            parts.append("shifted by {:+.1f} in x and {:+.1f} in y".format(*self.shift))
        parts.append(self.orientation)
        return ", and ".join(part for part in parts if part)


UPRIGHT = Geometry()  # changes nothing


def unit_lengths(unit: Unit, sides: FloatArray, frames: FloatArray, boxes: FloatArray) -> FloatArray:
    """Return the length of a unit in pixels along x and y, (N, 2); see `Geometry.points`.

    Args:
        unit: unit of the coordinates.
        sides: (N, 2) width and height of the images before they are turned.
        frames: (N, 2) [H, W] that the masks state as their own.
        boxes: (N, 4) xyxy of the annotations.

    >>> unit_lengths("percent", np.array([[200.0, 100.0]]), np.ones((1, 2)), np.zeros((1, 4))).tolist()
    [[2.0, 1.0]]
    """
    parts: dict[Unit, float] = {"fractions": 1.0, "percent": 100.0, "thousandths": 1000.0}
    if unit in parts:
        return sides / parts[unit]
    if unit == "longest side":
        return np.repeat(sides.max(axis=1, keepdims=True), 2, axis=1)
    if unit == "own size":
        return sides / frames[:, ::-1]
    if unit == "box fractions":
        return boxes[:, 2:] - boxes[:, :2]
    return np.ones((1, 2))


def turn_back(extents: FloatArray, orientation: str, sizes: FloatArray) -> FloatArray:
    """Undo an orientation: boxes in the image become boxes in the image before it was turned.

    Args:
        extents: (N, 4) xyxy in pixels.
        orientation: a key of `ORIENTATIONS`.
        sizes: (N, 2) [H, W] of the images.

    >>> turn_back(np.array([[8.0, 3.0, 9.0, 4.0]]), "mirrored horizontally", np.array([[10.0, 10.0]])).tolist()
    [[1.0, 3.0, 2.0, 4.0]]
    """
    swaps, flips_x, flips_y = ORIENTATIONS[orientation]
    x, y = extents[:, 0::2], extents[:, 1::2]
    x = sizes[:, 1:] - x[:, ::-1] if flips_x else x
    y = sizes[:, :1] - y[:, ::-1] if flips_y else y
    if swaps:
        x, y = y, x
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def _sources(count: int, zero: float, one: float, start: int, length: int) -> tuple[int, IntArray]:
    """Find the pixels of an axis whose source lies in a part of the source's axis.

    Args:
        count: number of pixels of the image along this axis.
        zero: place of the source's 0.
        one: place of the source's 1.
        start: first pixel of the part.
        length: number of pixels of the part.

    Returns:
        The first such pixel, and for it and those that follow the place of their source within the part.
    """
    step = one - zero
    ends = sorted((zero + start * step, zero + (start + length) * step))
    first, stop = np.clip([np.floor(ends[0]), np.ceil(ends[1])], 0, count).astype(np.int64)  # one too many at most
    pixels = np.arange(first, stop)
    places = np.floor((pixels + 0.5 - zero) / step).astype(np.int64) - start
    inside = np.flatnonzero((places >= 0) & (places < length))  # side by side, since places rise or fall throughout
    return int(pixels[inside[0]]) if len(inside) else 0, places[inside]


def _short(value: float) -> str:
    return f"{value:.4g}"
