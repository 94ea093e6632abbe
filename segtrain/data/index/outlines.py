"""Polygons, run lengths and boxes of annotations: drawn, and looked at."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.index.entries import decode_leniently
from segtrain.masks import Rle
from segtrain.segmentations import SegmentationError, from_drawable

# Beyond, the comparison of all pairs of edges would take seconds and gigabytes.
_MOST_POINTS = 2000
_rle = msgspec.json.Decoder(Rle)
_polygons = msgspec.json.Decoder(list[list[float]])
_parts = msgspec.json.Decoder(list[msgspec.Raw])


def decode_segmentation(text: bytes | memoryview) -> Any:
    """The value of a segmentation's json; what is wrong in it stays visible, and nothing is raised.

    Args:
        text: strict json, or empty.
    """
    if text[:1] != b"[":
        return decode_leniently(bytes(text))
    try:
        return _polygons.decode(text)
    except (ValueError, RecursionError):
        return [decode_leniently(bytes(part)) for part in _parts.decode(text)]


def decode_plain(text: bytes | memoryview) -> Rle:
    """The mask of a segmentation's json that is known to be a compressed run-length mask without any fault."""
    return _rle.decode(text)


def draw(text: bytes | memoryview, size: tuple[int, int]) -> tuple[Rle, list[SegmentationError]]:
    """The mask of a segmentation's json; see ``from_drawable``."""
    return from_drawable(decode_segmentation(text), size)


def crossing(polygons: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.bool_]:
    """Whether each polygon crosses itself.

    Two edges cross where the ends of each lie strictly on different sides of the other; edges that only touch do not.
    Polygons of more than 2,000 points are not looked at, and count as simple.

    Args:
        polygons: (points, 2) each, in pixels.
    """
    found = np.zeros(len(polygons), dtype=np.bool_)
    by_length: dict[int, list[int]] = {}
    for place, polygon in enumerate(polygons):
        if 4 <= len(polygon) <= _MOST_POINTS:
            by_length.setdefault(len(polygon), []).append(place)
    for length, places in by_length.items():
        step = max(1, 2**20 // length**2)  # a few dozen megabytes at a time
        for first in range(0, len(places), step):
            chosen = places[first : first + step]
            found[chosen] = _crossing(np.stack([polygons[place] for place in chosen]))
    return found


def _crossing(points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether each of several polygons of equal length, (B, N, 2), crosses itself."""
    edges = np.roll(points, -1, axis=1) - points
    away = points[:, None, :, :] - points[:, :, None, :]  # from the start of edge i to point j
    side = np.sign(edges[:, :, None, 0] * away[..., 1] - edges[:, :, None, 1] * away[..., 0])
    split = side * np.roll(side, -1, axis=2) < 0  # edge i lies between the ends of edge j
    return np.asarray((split & split.transpose(0, 2, 1)).any(axis=(1, 2)))


def xyxy(xywh: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Corners (N, 4) of boxes (N, 4) given by corner and size."""
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def paired_iou(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Intersection over union of the n-th box of one list with the n-th of another, (N,); both (N, 4) xyxy."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, np.finfo(np.float64).tiny))
