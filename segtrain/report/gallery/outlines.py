"""Masks as SVG paths: crisp at any size, and a tenth of the bytes of an image."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.masks import Rle

GRID = 480  # longer side, in the units of a path, of an image that has more pixels than that
MOST = 400  # objects of one image that are drawn, the largest ones; more are noise that no eye tells apart
_SMOOTH = 0.7  # how far, in pixels or units, an outline may leave the mask's edge: pixel steps go, corners stay


@dataclass(frozen=True)
class Outlines:
    """The objects of one image that one method found.

    Attributes:
        count: how many there are.
        slots: which colour each drawn object has, by its place in the order of the masks.
        paths: SVG path data of each drawn object, the largest first.
    """

    count: int
    slots: Sequence[int]
    paths: Sequence[str]

    def by_colour(self, most: int) -> list[tuple[int, str]]:
        """(Colour, path data) of the ``most`` largest objects, those of one colour in one path."""
        grouped: dict[int, list[str]] = {}
        for slot, path in zip(self.slots[:most], self.paths[:most], strict=True):
            grouped.setdefault(slot, []).append(path)
        return [(slot, "".join(paths)) for slot, paths in sorted(grouped.items())]


def grid(size: tuple[int, int]) -> tuple[int, int, float]:
    """Width and height in units of the paths of an (H, W) image, and units per pixel, at most 1."""
    scale = min(1.0, GRID / max(size))
    return max(1, round(size[1] * scale)), max(1, round(size[0] * scale)), scale


def outlines(found: Sequence[Rle], scale: float, colours: int) -> Outlines:
    """Outline the largest objects.

    Args:
        found: masks of one image.
        scale: units per pixel.
        colours: how many there are; masks take turns.
    """
    areas = masks.area(found)
    largest = [int(i) for i in np.argsort(-areas, kind="stable")[:MOST] if areas[i]]
    return Outlines(len(found), [i % colours for i in largest], [path(found[i], scale) for i in largest])


def path(mask: Rle, scale: float) -> str:
    """The outline of a mask that is not empty, through the centres of its border pixels, holes included.

    Returns:
        SVG path data in whole units, where (0, 0) is the centre of the top left unit; fill it by the nonzero rule.
    """
    crop, x, y = masks.decode_crop(mask)
    contours, _ = cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = []
    for contour in contours:
        corners = cv2.approxPolyDP(contour, _SMOOTH / scale, closed=True)[:, 0]
        # A pixel's centre lies half a pixel from its corner, before and after scaling.
        centres = corners + np.array([x + 0.5, y + 0.5])
        places = np.rint(centres * scale - 0.5).astype(np.int64)
        parts.append(_closed(places))
    if scale < 1:
        # Of what became a dot only now, one dot stays.
        parts = [part for part in parts if not part.endswith("h1v1h-1z")] or parts[:1]
    return "".join(parts)


def _closed(places: npt.NDArray[np.int64]) -> str:
    """A closed line through (N, 2) places; a dot of one unit if they are all the same."""
    steps = np.diff(places, axis=0)
    steps = steps[steps.any(axis=1)]
    start = f"M{places[0, 0]} {places[0, 1]}"
    if not len(steps):
        return start + "h1v1h-1z"
    numbers = " ".join(map(str, steps.ravel().tolist())).replace(" -", "-")
    return f"{start}l{numbers}z"
