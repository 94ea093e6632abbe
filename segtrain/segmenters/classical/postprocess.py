"""Postprocessing of binary masks: morphology, watershed, expansion."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import segmentation
from skimage.morphology import disk

from segtrain.arrays import BoolArray
from segtrain.segmenters.classical.regions import LabelMap, components
from segtrain.segmenters.classical.shared_steps import shared_step
from segtrain.segmenters.classical.watershed import split_touching
from segtrain.values import Natural, NonNegativeFloat, Positive


@dataclass(frozen=True)
class MaskPostprocessing:
    """Postprocessing steps of a mask, in this order; each can be switched off.

    Attributes:
        closing: radius in pixels of the disc that closes gaps; 0 for none.
        fill: True to fill holes.
        opening: radius in pixels of the disc that must fit into an object; 0 for none.
        watershed: True to split touching objects.
        smoothing: sigma in pixels of the Gaussian over distances; see ``watershed.split_touching``.
        min_distance: least distance in pixels between seeds; see ``watershed.split_touching``.
        grow: pixels by which every object grows into the background, or shrinks where negative.

    >>> steps = MaskPostprocessing(fill=True, watershed=False)
    >>> ring = np.ones((3, 3), np.bool_)
    >>> ring[1, 1] = False
    >>> steps(ring).tolist()
    [[1, 1, 1], [1, 1, 1], [1, 1, 1]]
    """

    closing: Natural = 0
    fill: bool = False
    opening: Natural = 0
    watershed: bool = True
    smoothing: NonNegativeFloat = 2.0
    min_distance: Positive = 7
    grow: int = 0

    def __call__(self, objects: BoolArray) -> LabelMap:
        """Turn a mask into a label map.

        Args:
            objects: (H, W), true inside objects.
        """
        objects = self._tidy(objects)
        if self.watershed:
            labels = split_touching(objects, smoothing=self.smoothing, min_distance=self.min_distance)
        else:
            labels = _connected(objects)
        if self.grow > 0:
            return np.asarray(segmentation.expand_labels(labels, self.grow))
        if self.grow < 0:
            # Pixels outside the image count as object, so an object cut by the border does not shrink there.
            return np.where(ndimage.binary_erosion(labels > 0, disk(-self.grow), border_value=1), labels, 0)
        return labels

    def _tidy(self, objects: BoolArray) -> BoolArray:
        if self.closing:
            objects = _closed(objects, self.closing)
        if self.fill:
            objects = _filled(objects)
        if self.opening:
            objects = _opened(objects, self.opening)
        return objects


WATERSHED = MaskPostprocessing()
FILLED_WATERSHED = MaskPostprocessing(fill=True)


@shared_step
def _closed(objects: BoolArray, radius: int) -> BoolArray:
    return _framed(ndimage.binary_closing, objects, radius)


@shared_step
def _filled(objects: BoolArray) -> BoolArray:
    filled: BoolArray = ndimage.binary_fill_holes(objects)
    return filled


@shared_step
def _opened(objects: BoolArray, radius: int) -> BoolArray:
    return _framed(ndimage.binary_opening, objects, radius)


@shared_step
def _connected(objects: BoolArray) -> LabelMap:
    return components(objects)


def _framed(operation: Callable[..., BoolArray], objects: BoolArray, radius: int) -> BoolArray:
    """Close or open with a disc, the border repeated outside: zeros there would erode objects that the border cuts."""
    reach = 2 * radius  # the second of the two steps reads pixels that the first one changed
    inner = slice(reach, -reach)
    return operation(np.pad(objects, reach, mode="edge"), disk(radius))[inner, inner]
