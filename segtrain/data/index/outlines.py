"""Polygons, run lengths and boxes of annotations: drawn, and looked at."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.index.entries import decode_leniently
from segtrain.masks import Rle
from segtrain.masks.parse import SegmentationError, from_drawable

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
    """Whether the outline of each polygon crosses or touches itself; points that repeat their predecessor do not count.

    Args:
        polygons: (points, 2) each, three or more points, in pixels.
    """
    import shapely  # here: a verdict that is remembered needs no geometry

    closed = [np.concatenate([polygon, polygon[:1]]) for polygon in polygons]
    owners = np.repeat(np.arange(len(closed)), [len(polygon) for polygon in closed])
    return ~np.asarray(shapely.is_simple(shapely.linearrings(np.concatenate(closed), indices=owners)), dtype=np.bool_)


def xyxy(xywh: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Corners (N, 4) of boxes (N, 4) given by corner and size."""
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def shared_area(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What the n-th box of one list shares with the n-th of another, (N,) pixels; both (N, 4) xyxy."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=1))


def paired_iou(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Intersection over union of the n-th box of one list with the n-th of another, (N,); both (N, 4) xyxy."""
    shared = shared_area(first, second)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, np.finfo(np.float64).tiny))
