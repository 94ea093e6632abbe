"""Postprocessing of binary masks: morphology, watershed, expansion."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta
from scipy import ndimage
from skimage import segmentation
from skimage.morphology import disk

from segtrain.arrays import BoolArray
from segtrain.segmenters.classical.regions import LabelMap, components, split_touching

Radius = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True)
class MaskPostprocessing:
    """What is done to a mask, in this order; each step can be switched off.

    Attributes:
        closing: radius in pixels of the disc that closes gaps; 0 for none.
        fill: whether holes become object.
        opening: radius in pixels of the disc in which an object must be wide; 0 for none.
        watershed: whether touching objects are cut at their waists; otherwise they stay one.
        smoothing: see ``regions.split_touching``.
        min_distance: see ``regions.split_touching``.
        grow: pixels by which every object grows into the background, or shrinks where negative.
    """

    closing: Radius
    fill: bool
    opening: Radius
    watershed: bool
    smoothing: Annotated[float, Meta(ge=0)]
    min_distance: Annotated[int, Meta(ge=1)]
    grow: int

    def __call__(self, objects: BoolArray) -> LabelMap:
        """Take a mask apart.

        Args:
            objects: (H, W), true inside objects.
        """
        objects = self._tidy(objects)
        if self.watershed:
            labels = split_touching(objects, smoothing=self.smoothing, min_distance=self.min_distance)
        else:
            labels = components(objects)
        if self.grow > 0:
            return np.asarray(segmentation.expand_labels(labels, self.grow), dtype=np.int64)
        if self.grow < 0:
            # What lies outside the image counts as object: an object cut by the border keeps its straight side.
            return np.where(ndimage.binary_erosion(labels > 0, disk(-self.grow), border_value=1), labels, 0)
        return labels

    def _tidy(self, objects: BoolArray) -> BoolArray:
        if self.closing:
            objects = _framed(ndimage.binary_closing, objects, self.closing)
        if self.fill:
            objects = ndimage.binary_fill_holes(objects)
        if self.opening:
            objects = _framed(ndimage.binary_opening, objects, self.opening)
        return objects


def _framed(operation: Callable[..., BoolArray], objects: BoolArray, radius: int) -> BoolArray:
    """Close or open with a disc, the border repeated outside: zeros there would eat what the border cuts."""
    reach = 2 * radius  # the second of the two steps looks at what the first one made of the frame
    inner = slice(reach, -reach)
    return operation(np.pad(objects, reach, mode="edge"), disk(radius))[inner, inner]
