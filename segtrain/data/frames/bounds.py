"""Search for the frame of masks and boxes that agree with each other, but do not fit the size of the image."""

from collections.abc import Iterator

import numpy as np

from segtrain.arrays import BoolArray, FloatArray
from segtrain.data.frames.evidence import Evidence, areas_agree, is_box_area
from segtrain.data.frames.fits import rounded
from segtrain.data.frames.geometry import Geometry
from segtrain.data.frames.run_lengths import STORED
from segtrain.data.frames.ways import FEWEST, Way, moved_extents

_OUTSIDE = 0.1  # share of the annotations with their centre outside of the image, from which they are in another frame
_ONE_SIDED = 0.1  # largest share of those on the other side: cut images lose objects on all sides
_ALIKE = 0.9  # share of the areas that demand the same factor
_SPREAD = 0.05  # relative difference of ratios of areas that are alike
_FRACTION = 1.05  # coordinates up to it are fractions
_NEAR_1000 = 800  # coordinates of a thousand to the image reach so far
_MANY = 8  # masks that would occupy more than a corner of their images
_CORNER, _FULL = 0.75, 0.8  # part of the width and height
_SPAN = 0.5  # part of the image that fractions of it cover


def centres_outside(extents: FloatArray, sizes: FloatArray) -> BoolArray:
    """Find boxes whose centre lies outside of their image.

    Args:
        extents: (N, 4) xyxy in pixels; nan is not outside.
        sizes: (N, 2) [H, W] of the images.
    """
    centres = (extents[:, :2] + extents[:, 2:]) / 2
    return np.asarray(((centres < 0) | (centres > sizes[:, ::-1])).any(axis=1))


def leaves_images(evidence: Evidence, extents: FloatArray) -> bool:
    """Return True if many boxes lie outside of their images, and beyond one side of each axis only.

    Where images were cut from larger ones, and their annotations were not, objects reach beyond all sides.

    Args:
        evidence: annotations.
        extents: (N, 4) xyxy in pixels.
    """
    outside = centres_outside(extents, evidence.sizes)
    if outside.sum() < max(FEWEST, _OUTSIDE * len(outside)):
        return False
    centres = (extents[:, :2] + extents[:, 2:]) / 2
    beyond, before = (centres > evidence.sizes[:, ::-1]).sum(axis=0), (centres < 0).sum(axis=0)
    return bool((np.minimum(beyond, before) <= _ONE_SIDED * np.maximum(beyond, before)).all())


def are_fractions(evidence: Evidence) -> bool:
    """Return True if no coordinate exceeds 1, and the coordinates of all masks together reach far beyond 0."""
    extents = evidence.stored.extents
    sides = extents[:, 2:] - extents[:, :2]
    if len(extents) < FEWEST or evidence.kind == "run-length masks" or not (np.abs(extents) <= _FRACTION).all():
        return False
    return bool(np.ptp(extents.reshape(-1, 2), axis=0).max() > _SPAN and sides.max() < 1)


def find_way_into_images(evidence: Evidence) -> Way | None:
    """Find a way that moves masks and boxes into their images, and makes areas agree; None if none is certain.

    Args:
        evidence: annotations whose boxes agree with their masks, or that have no boxes.
    """
    for way in _ways(evidence):
        geometries = way.geometries(evidence)
        extents = moved_extents(evidence, STORED, geometries)
        inside = centres_outside(extents, evidence.sizes).mean() <= 0.02 and _within(extents, evidence.sizes)
        if inside and not _contradicts_areas(evidence, way, extents):
            return way
    return None


def _within(extents: FloatArray, sizes: FloatArray) -> bool:
    """Return True if nearly all boxes lie inside of their images, up to a hundredth."""
    limits = np.concatenate([sizes[:, ::-1], sizes[:, ::-1]], axis=1)
    slack = 0.01 * limits + 1
    return bool(((extents >= -slack) & (extents <= limits + slack)).all(axis=1).mean() > 0.95)


def _ways(evidence: Evidence) -> Iterator[Way]:
    if are_fractions(evidence):
        yield Way(geometry=Geometry(unit="fractions"), price=1)
        return
    factor = factor_of_areas(evidence)
    if factor is not None and (factor < 1 or fills_images(evidence, factor)):
        yield Way(geometry=Geometry(scale=(factor, factor)), price=1)
    yield Way(geometry=Geometry("with x and y exchanged"), price=1)
    yield Way(geometry=Geometry(scale=(1.0, -1.0)), price=1)
    farthest = evidence.stored.extents[:, 2:].max(axis=0)
    if (farthest > _NEAR_1000).all() and (farthest <= 1001).all():  # both axes, though images are seldom square
        yield Way(geometry=Geometry(unit="thousandths"), price=1)


def _contradicts_areas(evidence: Evidence, way: Way, extents: FloatArray) -> bool:
    """Return True if most informative areas no longer agree with the masks once these are moved."""
    if way.geometry.unit == "pixels" and np.abs(way.geometry.scale).prod() == 1:
        return False
    told = _telling_areas(evidence)
    if told.sum() < FEWEST:
        return False
    grown = way.geometry.magnification(evidence.sizes, evidence.stored.frames, evidence.boxes) * evidence.stored.areas
    before = areas_agree(evidence.stored.areas, evidence.areas, evidence.stored.extents)[told].mean()
    after = areas_agree(grown, evidence.areas, extents)[told].mean()
    # An area of the same frame as the mask says nothing about the image.
    return bool(max(before, after) < 0.5)


def _telling_areas(evidence: Evidence) -> BoolArray:
    return ~np.isnan(evidence.areas) & ~is_box_area(evidence.areas, evidence.numbers)


def factor_of_areas(evidence: Evidence) -> float | None:
    """Return the factor of coordinates that all stated areas demand; None if there is none, or it is about 1."""
    told = ~np.isnan(evidence.areas) & (evidence.stored.areas > 0)
    if told.sum() < FEWEST:
        return None
    ratios = np.sqrt(evidence.areas[told] / evidence.stored.areas[told])
    middle = float(np.median(ratios))
    alike = np.abs(ratios - middle) <= _SPREAD * middle
    if alike.mean() < _ALIKE or abs(np.log(middle)) < 0.1:
        return None
    return rounded(middle, float(np.abs(evidence.stored.extents).max()))


def fills_images(evidence: Evidence, factor: float) -> bool:
    """Return True if masks occupy a corner of their images, and all of them once they are multiplied by a factor.

    Areas in another unit, such as square micrometres, demand a factor as well, yet the masks fill their images already.
    """
    if len(evidence.rows) < _MANY:
        return False
    reach = (evidence.stored.extents[:, 2:] / evidence.sizes[:, ::-1]).max(axis=0)
    return bool((reach < _CORNER).all() and (factor * reach > _FULL).all() and (factor * reach < 1 + 1 / 50).all())


def describe_reach(extents: FloatArray, sizes: FloatArray) -> str:
    """Describe which coordinates occur, and how far they reach beyond their images.

    Args:
        extents: (N, 4) xyxy.
        sizes: (N, 2) [H, W] of the images.
    """
    low, high = extents[:, :2].min(axis=0), extents[:, 2:].max(axis=0)
    times = (extents[:, 2:] / sizes[:, ::-1]).max(axis=0)
    span = f"x runs from {low[0]:.4g} to {high[0]:.4g}, y from {low[1]:.4g} to {high[1]:.4g}"
    if (extents[:, :2] / sizes[:, ::-1]).min(axis=0).max() > _SPAN:
        return f"{span}, as if images were cut out of larger ones"
    return (
        f"coordinates reach {times[0]:.1f} times the width and {times[1]:.1f} times the height ({span}), as those of "
        "images of another size"
    )
