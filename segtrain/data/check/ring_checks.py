"""Checks of polygons inside others: the stated area tells whether they are holes."""

from collections.abc import Sequence

from segtrain import masks
from segtrain.masks.parse import Rings, from_rings

SAME_AREA = 0.02  # share by which areas of one mask differ; smaller holes are not told from the noise of drawing
_FIT = 0.25  # share of the holes by which the area may miss what it fits


def describe_misread_rings(
    polygons: Sequence[list[float]], size: tuple[int, int], area: float, rings: Rings
) -> str | None:
    """Describe how the stated area of an annotation contradicts the treatment of its polygons.

    Args:
        polygons: valid polygons of one annotation.
        size: (H, W) of the image.
        area: stated area in pixels; nan without one, which speaks for holes: nobody draws what changes nothing.
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
    if hole <= SAME_AREA * whole:
        return None
    union, holes = f"the {whole} of the union of {len(polygons)} polygons", f"the {cut} pixels outside of holes"
    if rings == "union" and area != area:
        return f"{holes[4:]}, {whole} in the union of {len(polygons)} polygons; there is no area to tell"
    if rings == "union" and abs(area - cut) <= _FIT * hole:
        return f"area {area:g} fits {holes}, not {union}"
    if rings == "even_odd" and abs(area - whole) <= _FIT * hole:
        return f"area {area:g} fits {union}, not {holes}"
    return None
