"""Outlines of found objects as GeoJSON, which QuPath and other viewers read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from skimage.measure import label, regionprops

from segtrain.masks import Rle, decode_crop, encode_crop, to_polygons
from segtrain.prediction.found_objects import FoundObject
from segtrain.visualize import COLOURS

Ring = list[tuple[int, int]]  # corners (x, y) in pixels: clockwise around a part, counter-clockwise around a hole


def to_geojson(objects: Sequence[FoundObject]) -> dict[str, Any]:
    """Describe the objects of an image as a GeoJSON feature collection.

    Args:
        objects: objects of the image.

    Returns:
        A polygon for each object, or several where it has several parts, with its holes; corners are edges of pixels,
        (0, 0) the upper left one. Properties are those of QuPath's detections.

    >>> from segtrain.records import Category
    >>> mask = {"size": [2, 3], "counts": "222"}
    >>> to_geojson([FoundObject(1, Category(1, "cell"), 0.5, mask, 2)])["features"][0]["geometry"]
    {'type': 'Polygon', 'coordinates': [[[1, 0], [2, 0], [2, 2], [1, 2], [1, 0]]]}
    """
    return {"type": "FeatureCollection", "features": list(map(_feature, objects))}


def _feature(found: FoundObject) -> dict[str, Any]:
    parts = _polygons(found.rle)
    single = len(parts) == 1
    category = found.category
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon" if single else "MultiPolygon",
            "coordinates": parts[0] if single else parts,
        },
        "properties": {
            "objectType": "detection",
            "name": f"{category.name} {found.number}",
            "classification": {"name": category.name, "color": list(COLOURS[category.entry % len(COLOURS)])},
            "measurements": {"score": round(found.score, 4)},
        },
    }


def _polygons(rle: Rle) -> list[list[list[list[int]]]]:
    """Trace each part of a mask: its outline, then those of its holes."""
    rings = _rings(rle)
    if len(rings) < 2:
        return [[_closed(ring)] for ring in rings]
    crop, x, y = decode_crop(rle)
    height, width = rle["size"]
    polygons = []
    for part in regionprops(label(crop, connectivity=1)):
        top, left = part.bbox[:2]
        own = encode_crop(part.image.astype(np.uint8), x + left, y + top, (height, width))
        polygons.append([_closed(ring) for ring in sorted(_rings(own), key=_area, reverse=True)])
    return polygons


def _rings(rle: Rle) -> list[Ring]:
    """Trace the outlines of a mask, each corner once: one that meets itself at a corner becomes several.

    Such outlines are no valid polygons: two pixels of background share a corner alone.
    """
    rings = []
    for outline in to_polygons(rle):
        way: dict[tuple[int, int], None] = {}
        for x, y in outline.tolist():
            if (x, y) in way:
                ring = [way.popitem()[0]]
                while ring[-1] != (x, y):
                    ring.append(way.popitem()[0])
                rings.append(ring[::-1])
            way[x, y] = None
        rings.append(list(way))
    return rings


def _area(ring: Ring) -> float:
    """Return the area within a ring, negative around a hole."""
    x, y = np.array(ring).T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


def _closed(ring: Ring) -> list[list[int]]:
    return [list(corner) for corner in (*ring, ring[0])]
