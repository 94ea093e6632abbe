"""Shapes of drawing tools as polygons and run-length masks, and masks as single polygons."""

import base64
import binascii
import math
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segtrain.arrays import IntArray
from segtrain.masks import Rle, difference, encode_crop, from_polygons, to_polygons, union
from segtrain.masks.parse import check_polygon

Size = tuple[int, int]
_FARTHEST = 1e9  # pixels


def flat(points: Iterable[Sequence[float]]) -> list[float]:
    """Write points one after the other, as COCO does.

    >>> flat([(1, 2), (3, 4.5)])
    [1.0, 2.0, 3.0, 4.5]
    """
    return [float(value) for x, y in points for value in (x, y)]


def rectangle(x0: float, y0: float, x1: float, y1: float, degrees: float = 0.0) -> list[float]:
    """Return the outline of a rectangle.

    Args:
        x0: column of a corner, in pixels.
        y0: row of that corner.
        x1: column of the opposite corner.
        y1: row of the opposite corner.
        degrees: angle by which it is turned clockwise around its centre.

    >>> rectangle(3, 4, 1, 2)
    [1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 1.0, 4.0]
    """
    left, right, top, bottom = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    if degrees:
        centre_x, centre_y = (left + right) / 2, (top + bottom) / 2
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        corners = [
            (
                centre_x + (x - centre_x) * cosine - (y - centre_y) * sine,
                centre_y + (x - centre_x) * sine + (y - centre_y) * cosine,
            )
            for x, y in corners
        ]
    return flat(corners)


def ellipse(x: float, y: float, radius_x: float, radius_y: float, size: Size, degrees: float = 0.0) -> Rle:
    """Draw an ellipse: the pixels whose centres lie in it, or on its edge.

    Args:
        x: column of its centre; the first pixel reaches from 0 to 1.
        y: row of its centre.
        radius_x: half of its width before it is turned, in pixels.
        radius_y: half of its height before it is turned.
        size: (H, W) of the image.
        degrees: angle by which it is turned clockwise around its centre.

    Raises:
        ValueError: a value is not finite, or too large for an image.

    >>> ellipse(2, 2, 1, 1, (4, 4))["counts"]
    '52203'
    """
    if not all(abs(value) <= _FARTHEST for value in (x, y, radius_x, radius_y, degrees)):  # NaN is not, either
        raise ValueError("an ellipse lies far outside the image, or is far larger")
    reach = max(radius_x, radius_y)
    left, right = (int(min(max(math.floor(edge), 0), size[1])) for edge in (x - reach, x + reach + 1))
    top, bottom = (int(min(max(math.floor(edge), 0), size[0])) for edge in (y - reach, y + reach + 1))
    rows, columns = np.mgrid[top:bottom, left:right] + 0.5
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    along = (columns - x) * cosine + (rows - y) * sine
    across = (rows - y) * cosine - (columns - x) * sine
    inside = (along * radius_y) ** 2 + (across * radius_x) ** 2 <= (radius_x * radius_y) ** 2
    return encode_crop(inside & (radius_x > 0) & (radius_y > 0), left, top, size)


def without_holes(outline: list[float], holes: Sequence[list[float]], size: Size) -> Rle:
    """Draw a polygon, and cut its holes out.

    Args:
        outline: polygon [x1, y1, x2, y2, ...] in pixels.
        holes: polygons inside it.
        size: (H, W) of the image.

    Raises:
        SegmentationError: one of the polygons cannot be drawn.
    """
    for polygon in (outline, *holes):
        check_polygon(polygon, size)
    mask = from_polygons([outline], size)
    return difference(mask, union([from_polygons([hole], size) for hole in holes], size)) if holes else mask


def symmetric_difference(masks: Sequence[Rle], size: Size) -> Rle:
    """Return the pixels that lie in an odd number of masks.

    Args:
        masks: masks of the image's size.
        size: (H, W) of the image.
    """
    found = union([], size)
    for mask in masks:
        found = union([difference(found, mask), difference(mask, found)], size)
    return found


def bitmap(text: Any, unpack: Any = None) -> npt.NDArray[np.bool_]:
    """Decode a picture of a mask that a json holds as text.

    Args:
        text: a PNG in base64.
        unpack: function for its bytes, such as a decompressor; None if they are the PNG.

    Returns:
        (h, w), true where a pixel is not 0.

    Raises:
        ValueError: it is no such text.
    """
    try:
        content = base64.b64decode(str(text).partition(",")[2] if str(text).startswith("data:") else text)
        with Image.open(BytesIO(unpack(content) if unpack else content)) as image:
            # Where there is transparency, drawn means not transparent.
            plane = image.getchannel("A") if image.mode in ("RGBA", "LA") else image
            plane = plane if plane.mode in ("1", "L", "P", "I", "I;16") else plane.convert("L")
            drawn: npt.NDArray[np.bool_] = np.asarray(plane) != 0
            return drawn
    except (binascii.Error, OSError, TypeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"its picture cannot be read ({error})") from error


def joined_outline(mask: Rle) -> list[float]:
    """Trace a mask as one polygon: further parts and holes are reached by a line there and back, which has no area.

    Args:
        mask: mask with a pixel.

    >>> joined_outline(from_polygons([[1, 1, 3, 1, 3, 2, 1, 2]], (4, 4)))
    [1.0, 1.0, 3.0, 1.0, 3.0, 2.0, 1.0, 2.0]
    """
    first, *others = to_polygons(mask)
    start = first[:1]
    corners: list[IntArray] = [first]
    for outline in others:
        corners += [start, outline, outline[:1]]
    if others:
        corners.append(start)
    found: list[float] = np.concatenate(corners).astype(float).reshape(-1).tolist()
    return found
