"""Edges: pure functions from RGB to a label map."""

import numpy as np
from scipy import ndimage
from skimage import feature, filters, measure
from skimage.morphology import disk

from segtrain.arrays import BoolArray
from segtrain.errors import SegtrainError
from segtrain.segmenters.classical.postprocess import MaskPostprocessing
from segtrain.segmenters.classical.regions import (
    FloatArray,
    LabelMap,
    Polarity,
    above_mean,
    components,
    luminance,
    objects_among,
)

LAPLACE = np.array([[1, 1, 1], [1, -8, 1], [1, 1, 1]], dtype=np.float32)


def sobel(rgb: FloatArray) -> LabelMap:
    """Objects are the areas that ``sobel_edges`` enclose.

    Args:
        rgb: (H, W, 3) in [0, 1].
    """
    return enclosed(sobel_edges(luminance(rgb)))


def laplace(rgb: FloatArray) -> LabelMap:
    """Objects are the areas that ``laplace_edges`` enclose.

    Args:
        rgb: (H, W, 3) in [0, 1].
    """
    return enclosed(laplace_edges(luminance(rgb)))


def canny(
    rgb: FloatArray,
    *,
    sigma: float,
    low: float,
    high: float,
    close: int,
    polarity: Polarity,
    finish: MaskPostprocessing,
) -> LabelMap:
    """Canny's edges (1986), closed; objects are what they cut off from the background, filled and split.

    The areas between the edges are the segments that the polarity rule chooses from, so an object cut by the image's
    border is found.

    Args:
        rgb: (H, W, 3) in [0, 1].
        sigma: of Canny's Gaussian, in pixels.
        low: hysteresis threshold, in units of Otsu's threshold of the gradient magnitude.
        high: hysteresis threshold, in the same units.
        close: radius in pixels of the disc that closes gaps between edges.
        polarity: see ``regions.objects_among``.
        finish: what takes the objects apart.

    Raises:
        SegtrainError: ``low`` is above ``high``.
    """
    if low > high:
        raise SegtrainError(
            f"canny: low={low:g} is above high={high:g}; edges go on down to low from where they reach high"
        )
    disc = disk(close)
    # The border is repeated outside: neither Canny nor closing then sees an end of the image there.
    grey = np.pad(luminance(rgb), close + 2, mode="edge")
    strength = _gradient(ndimage.gaussian_filter(grey, sigma))
    unit = filters.threshold_otsu(strength)
    edges = feature.canny(grey, sigma=sigma, low_threshold=low * unit, high_threshold=high * unit, mode="nearest")
    edges = ndimage.binary_closing(edges, disc)[close + 2 : -close - 2, close + 2 : -close - 2]
    # Edges are 8-connected lines, so the areas between them are 4-connected; number 0 is the edges themselves.
    between = measure.label(~edges, connectivity=1)
    objects = objects_among(between, luminance(rgb), polarity)
    if polarity != "border":
        objects |= edges
    # What is left of edges around nothing is thinner than the closing.
    objects = ndimage.binary_opening(objects, disc)
    return finish(objects)


def sobel_edges(grey: FloatArray) -> BoolArray:
    """Where the magnitude of Sobel's gradient exceeds its own mean; the image's border is repeated outside.

    Args:
        grey: (H, W) in [0, 1].
    """
    return above_mean(filters.sobel(grey))


def laplace_edges(grey: FloatArray) -> BoolArray:
    """Where the magnitude of the 8-neighbour Laplacian exceeds its own mean; the image's border is repeated outside.

    Args:
        grey: (H, W) in [0, 1].
    """
    return above_mean(np.abs(ndimage.convolve(grey, LAPLACE, mode="reflect")))


def enclosed(edges: BoolArray) -> LabelMap:
    """The closed areas that edges enclose, without the edges; an area open to the image's border is not closed.

    Args:
        edges: (H, W), true on edges; a diagonal step of an edge is closed.
    """
    return components(ndimage.binary_fill_holes(edges) & ~edges)


def _gradient(grey: FloatArray) -> FloatArray:
    """Magnitude in the units of ``skimage.feature.canny``, which does not divide Sobel's kernel by its weight."""
    magnitude: FloatArray = np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))
    return magnitude
