"""Edge segmentation: functions from RGB to a label map."""

import numpy as np
from scipy import ndimage
from skimage import feature, filters, measure
from skimage.morphology import disk

from segtrain.arrays import BoolArray, Float32Array
from segtrain.errors import SegtrainError
from segtrain.segmenters.classical.postprocess import WATERSHED, MaskPostprocessing
from segtrain.segmenters.classical.regions import (
    ImageArray,
    LabelMap,
    Polarity,
    above_mean,
    components,
    grey_of,
    objects_among,
    strips,
    with_halo,
)
from segtrain.segmenters.classical.shared_steps import shared_step
from segtrain.values import Natural, NonNegativeFloat

LAPLACE = np.array([[1, 1, 1], [1, -8, 1], [1, 1, 1]], dtype=np.float32)


def sobel(image: ImageArray) -> LabelMap:
    """Label the areas that ``sobel_edges`` enclose.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].

    >>> image = np.zeros((12, 24, 3), np.float32)
    >>> image[3:9, 3:9] = image[3:9, 15:21] = 1.0
    >>> int(sobel(image).max())
    2
    """
    return enclosed(sobel_edges(grey_of(image)))


def laplace(image: ImageArray) -> LabelMap:
    """Label the areas that ``laplace_edges`` enclose.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].

    >>> image = np.zeros((12, 24, 3), np.float32)
    >>> image[3:9, 3:9] = image[3:9, 15:21] = 1.0
    >>> int(laplace(image).max())
    2
    """
    return enclosed(laplace_edges(grey_of(image)))


def canny(
    image: ImageArray,
    *,
    sigma: NonNegativeFloat = 1.5,
    low: NonNegativeFloat = 0.4,
    high: NonNegativeFloat = 0.8,
    close: Natural = 2,
    polarity: Polarity = "border",
    finish: MaskPostprocessing = WATERSHED,
) -> LabelMap:
    """Segment by Canny's edges, whose gaps are closed: objects are areas that edges separate from the background.

    The polarity rule chooses among the areas between the edges, so an object cut by the image's border is found.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].
        sigma: sigma in pixels of Canny's Gaussian.
        low: hysteresis threshold, in units of Otsu's threshold of the gradient magnitude.
        high: hysteresis threshold, in the same units.
        close: radius in pixels of the disc that closes gaps between edges.
        polarity: rule that finds the objects; see ``regions.objects_among``.
        finish: postprocessing of the mask, such as the separation of touching objects.

    Raises:
        SegtrainError: ``low`` is above ``high``.

    Source: Canny, A Computational Approach to Edge Detection (1986).

    >>> image = np.zeros((20, 40, 3), np.float32)
    >>> image[6:14, 6:14] = image[6:14, 26:34] = 1.0
    >>> int(canny(image).max())
    2
    """
    if low > high:
        raise SegtrainError(
            f"canny: low={low:g} is above high={high:g}; edges go on down to low from where they reach high"
        )
    return finish(_canny_objects(grey_of(image), sigma, low, high, close, polarity))


@shared_step
def _canny_objects(
    grey: Float32Array, sigma: float, low: float, high: float, close: int, polarity: Polarity
) -> BoolArray:
    """Find the pixels of objects, areas that Canny's edges separate from the background."""
    edges = _closed_edges(grey, sigma, low, high, close)
    # Edges are 8-connected lines, so the areas between them are 4-connected; number 0 is the edges themselves.
    between = measure.label(~edges, connectivity=1)
    objects = objects_among(between, grey, polarity)
    if polarity != "border":
        objects |= edges
    # Edges that enclose nothing are thinner than the disc, so opening removes them.
    opened: BoolArray = ndimage.binary_opening(objects, disk(close))
    return opened


@shared_step
def _closed_edges(grey: Float32Array, sigma: float, low: float, high: float, close: int) -> BoolArray:
    """Find Canny's edges, with their gaps closed."""
    # The border is repeated outside: neither Canny nor closing then sees an end of the image there.
    edges = _canny_edges(np.pad(grey, close + 2, mode="edge"), sigma, low, high)
    closed: BoolArray = ndimage.binary_closing(edges, disk(close))[close + 2 : -close - 2, close + 2 : -close - 2]
    return closed


def sobel_edges(grey: Float32Array) -> BoolArray:
    """Find the pixels where the magnitude of Sobel's gradient exceeds its mean.

    Args:
        grey: (H, W) in [0, 1]; its border pixels are repeated outside.

    >>> sobel_edges(np.eye(1, 6, dtype=np.float32) + np.zeros((4, 1), np.float32))[1].tolist()
    [True, True, False, False, False, False]
    """
    return above_mean(filters.sobel(grey))


def laplace_edges(grey: Float32Array) -> BoolArray:
    """Find the pixels where the magnitude of the 8-neighbour Laplacian exceeds its mean.

    Args:
        grey: (H, W) in [0, 1]; its border pixels are repeated outside.

    >>> laplace_edges(np.eye(1, 6, dtype=np.float32) + np.zeros((4, 1), np.float32))[1].tolist()
    [True, True, False, False, False, False]
    """
    return above_mean(np.abs(ndimage.convolve(grey, LAPLACE, mode="reflect")))


def enclosed(edges: BoolArray) -> LabelMap:
    """Label the areas that edges enclose, without the edges; areas open to the image's border are not enclosed.

    Args:
        edges: (H, W), true on edges; edges are 8-connected.

    >>> edges = np.ones((3, 3), np.bool_)
    >>> edges[1, 1] = False
    >>> enclosed(edges).tolist()
    [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    """
    return components(ndimage.binary_fill_holes(edges) & ~edges)


def _canny_edges(grey: Float32Array, sigma: float, low: float, high: float) -> BoolArray:
    """Find Canny's edges, with thresholds in units of Otsu's threshold of the gradient magnitude.

    scikit-image's function finds the thin lines above each threshold, in strips of rows; what connects them is found in
    the whole image.
    """
    halo = (
        int(4 * sigma + 0.5) + 3
    )  # SciPy's Gaussian ends at 4 sigma; the gradient and its neighbours need 2 rows more
    strength = np.empty(grey.shape, dtype=np.float32)
    for rows in strips(grey.shape):
        around, own = with_halo(rows, halo)
        strength[rows] = _gradient(ndimage.gaussian_filter(grey[around], sigma))[own]
    unit = filters.threshold_otsu(strength)
    del strength  # as large as the image
    weak, strong = np.zeros((2, *grey.shape), dtype=np.bool_)
    for rows in strips(grey.shape):
        around, own = with_halo(rows, halo)
        for lines, level in ((weak, low * unit), (strong, high * unit)):
            found = feature.canny(grey[around], sigma=sigma, low_threshold=level, high_threshold=level, mode="nearest")
            lines[rows] = found[own]
    labels = components(weak)
    kept = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.bool_)
    kept[labels[strong]] = True
    kept[0] = False
    edges: BoolArray = kept[labels]
    return edges


def _gradient(grey: Float32Array) -> Float32Array:
    """Compute the gradient magnitude in units of ``skimage.feature.canny``: Sobel's kernel is not normalised."""
    magnitude: Float32Array = np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))
    return magnitude
