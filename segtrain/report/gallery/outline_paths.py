"""Outlines of masks as SVG paths.

They are sharp at any size, and take a tenth of the bytes of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.arrays import IntArray
from segtrain.masks import Rle

GRID = 480  # longer side, in the units of a path, of images with more pixels than that
MOST = 400  # largest number of objects of one image that are drawn, largest first
_SMOOTH = 0.7  # largest distance, in pixels or units, of an outline from the mask's edge: removes steps, keeps corners


class Mark(NamedTuple):
    """Outcome, category and score of a drawn object.

    Attributes:
        kind: its outcome, of ``KINDS``; None for true objects, and where there is no truth.
        category: number of its category among those of the data; None where it has none.
        true: number of the category of the true object that it is matched to, if that is another one.
        score: score, if it is learned.
    """

    kind: str | None = None
    category: int | None = None
    true: int | None = None
    score: float | None = None


@dataclass(frozen=True)
class Outlines:
    """Outlines of the objects that one method found in one image.

    Attributes:
        count: number of objects.
        drawn: place of each drawn object among all, the largest object first.
        slots: colour slot of each path.
        paths: SVG path data of each drawn object, after those of missed objects.
        marks: outcome, category and score of the object of each path; empty if none is known.
    """

    count: int
    drawn: Sequence[int]
    slots: Sequence[int]
    paths: Sequence[str]
    marks: Sequence[Mark] = ()

    def joined(self, most: int) -> dict[tuple[int, Mark], str]:
        """Join the first ``most`` paths of the same colour slot and mark, and return the path data by both."""
        grouped: dict[tuple[int, Mark], list[str]] = {}
        for place, path in enumerate(self.paths[:most]):
            alike = self.slots[place], self.marks[place] if self.marks else Mark()
            grouped.setdefault(alike, []).append(path)
        return {alike: "".join(grouped[alike]) for alike in sorted(grouped, key=lambda alike: alike[0])}


def grid(size: tuple[int, int]) -> tuple[int, int, float]:
    """Compute width and height of an (H, W) image in units of the paths, and units per pixel, at most 1.

    >>> grid((480, 960))
    (480, 240, 0.5)
    """
    scale = min(1.0, GRID / max(size))
    return max(1, round(size[1] * scale)), max(1, round(size[0] * scale)), scale


def outlines(found: Sequence[Rle], scale: float, colours: int) -> Outlines:
    """Outline the largest objects.

    Args:
        found: masks of one image.
        scale: units per pixel.
        colours: number of colours, which masks take in turn.
    """
    areas = masks.area(found)
    largest = [int(i) for i in np.argsort(-areas, kind="stable")[:MOST] if areas[i]]
    paths = [path(crop, x, y, scale) for crop, x, y in masks.decode_crops([found[i] for i in largest])]
    return Outlines(len(found), largest, [i % colours for i in largest], paths)


def path(crop: npt.NDArray[np.uint8], x: int, y: int, scale: float) -> str:
    """Outline a mask that is not empty, through the centres of its border pixels, holes included.

    Args:
        crop: (h, w), 1 inside the mask, else 0.
        x: column of the crop's left edge in the image.
        y: row of the crop's top edge.
        scale: units per pixel.

    Returns:
        SVG path data in whole units, where (0, 0) is the centre of the top left unit; fill it by the nonzero rule.
    """
    filled = _without_dots(crop, x, y, scale) if scale < 1 else crop
    # Without a hierarchy, which takes OpenCV a time that grows with the square of the number of holes.
    contours, _ = cv2.findContours(filled, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    parts = []
    for contour in contours:
        corners = cv2.approxPolyDP(contour, _SMOOTH / scale, closed=True)[:, 0]
        parts.append(_closed(_placed(corners, x, y, scale)))
    if scale < 1:
        # Of parts that scaling has reduced to dots, one stays if there is nothing else.
        parts = [part for part in parts if not part.endswith("h1v1h-1z")] or parts[:1]
    return "".join(parts)


def _without_dots(crop: npt.NDArray[np.uint8], x: int, y: int, scale: float) -> npt.NDArray[np.uint8]:
    """Fill the holes whose outline scaling reduces to a dot; noise has so many that tracing them takes minutes."""
    _, holes, boxes, _ = cv2.connectedComponentsWithStats(1 - crop, connectivity=4)
    # The outline of a hole runs through the pixels around it; a hole at the crop's edge is the background.
    low, high = boxes[:, :2] - 1, boxes[:, :2] + boxes[:, 2:4]
    inside = (low >= 0).all(axis=1) & (high < crop.shape[::-1]).all(axis=1)
    dots = inside & (_placed(low, x, y, scale) == _placed(high, x, y, scale)).all(axis=1)
    dots[0] = False  # the mask itself
    filled: npt.NDArray[np.uint8] = crop | dots[holes]
    return filled


def _placed(pixels: npt.NDArray[np.int32], x: int, y: int, scale: float) -> IntArray:
    """Scale the centres of pixels (N, 2) of a crop at (x, y) to whole units."""
    if scale == 1:
        places: IntArray = pixels + np.array([x, y])
    else:  # a pixel's centre lies half a pixel from its corner, before and after scaling
        places = np.rint((pixels + np.array([x + 0.5, y + 0.5])) * scale - 0.5).astype(np.int64)
    return places


def _closed(places: IntArray) -> str:
    """Write a closed line through (N, 2) points; a dot of one unit if they are all the same."""
    (x, y), *others = places.tolist()  # few points, on which arrays are slower
    start, steps = f"M{x} {y}", list[int]()
    for to_x, to_y in others:
        if to_x != x or to_y != y:
            steps += to_x - x, to_y - y
            x, y = to_x, to_y
    if not steps:
        return start + "h1v1h-1z"
    return f"{start}l{' '.join(map(str, steps)).replace(' -', '-')}z"
