"""Segmentation by colour clusters: functions from RGB to a label map."""

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Literal, get_args

import numpy as np
from scipy import ndimage
from skimage import color
from threadpoolctl import ThreadpoolController

from segtrain.arrays import BoolArray, Float32Array, FloatArray
from segtrain.errors import SegtrainError
from segtrain.segmenters.classical.postprocess import WATERSHED, MaskPostprocessing
from segtrain.segmenters.classical.regions import (
    ImageArray,
    LabelMap,
    Polarity,
    as_given,
    as_rgb,
    as_unit,
    border_counts,
    components,
    luminance,
    objects_among,
    strips,
    with_halo,
)
from segtrain.segmenters.classical.shared_steps import shared_step
from segtrain.values import Natural, NonNegativeFloat, Positive

Space = Literal["rgb", "lab", "grey"]
_MAX_CELLS = 1_500  # of a histogram: more cost time, and lower the inertia by less than 0.2 %
_BLOCK = 2**14  # pixels whose intermediate arrays stay in a core's cache
_PREDICTED = 2**20  # pixels that are assigned to centres at a time; bounds the memory


def rgb_clusters(
    image: ImageArray, *, clusters: Positive = 5, bits: Positive = 6, restarts: Positive = 10, seed: Natural = 0
) -> LabelMap:
    """Label the components of every RGB cluster but the one with most border pixels.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].
        clusters: number of clusters; see ``cluster``.
        bits: resolution of the histogram; see ``cluster``.
        restarts: number of starts; see ``cluster``.
        seed: seed of the starts; see ``cluster``.

    >>> image = np.zeros((4, 8, 3), np.float32)
    >>> image[1:3, 1:3], image[1:3, 5:7] = (1, 0, 0), (0, 0, 1)  # a red and a blue object
    >>> int(rgb_clusters(image, clusters=3).max())
    2
    """
    segments = cluster(as_rgb(image), clusters=clusters, bits=bits, restarts=restarts, seed=seed)
    background = int(np.argmax(border_counts(segments)))
    segments += 1
    segments[segments == background + 1] = 0
    return components(segments)


def colour_clusters(
    image: ImageArray,
    *,
    space: Space = "lab",
    denoise: NonNegativeFloat = 0.5,
    clusters: Positive = 3,
    bits: Positive = 6,
    restarts: Positive = 10,
    seed: Natural = 0,
    polarity: Polarity = "border",
    finish: MaskPostprocessing = WATERSHED,
) -> LabelMap:
    """Cluster in a colour space, separate objects from background, and split touching objects.

    Args:
        image: (H, W, 3), uint8, or float in [0, 1].
        space: "rgb", "lab" (CIELAB) or "grey".
        denoise: sigma in pixels of a Gaussian over each channel; 0 for none.
        clusters: number of clusters; see ``cluster``.
        bits: resolution of the histogram; see ``cluster``.
        restarts: number of starts; see ``cluster``.
        seed: seed of the starts; see ``cluster``.
        polarity: rule that finds the objects; see ``regions.objects_among``.
        finish: postprocessing of the mask, such as the separation of touching objects.

    Raises:
        SegtrainError: the space or the polarity is none of these.

    >>> image = np.zeros((4, 8, 3), np.float32)
    >>> image[1:3, 1:3], image[1:3, 5:7] = (1, 0, 0), (0, 0, 1)  # a red and a blue object
    >>> int(colour_clusters(image, denoise=0).max())
    2
    """
    if space not in get_args(Space):
        raise SegtrainError(f"space {space!r} is unknown; use {', '.join(get_args(Space))}")
    return finish(_cluster_objects(image, space, denoise, clusters, bits, restarts, seed, polarity))


@shared_step
def _cluster_objects(
    image: ImageArray,
    space: Space,
    denoise: float,
    clusters: int,
    bits: int,
    restarts: int,
    seed: int,
    polarity: Polarity,
) -> BoolArray:
    """Find the pixels of the clusters that are objects."""
    segments, grey = _clusters_of_colours(image, space, denoise, clusters, bits, restarts, seed)
    return objects_among(segments, grey, polarity)


@shared_step
def _clusters_of_colours(
    image: ImageArray, space: Space, denoise: float, clusters: int, bits: int, restarts: int, seed: int
) -> tuple[LabelMap, Float32Array]:
    """Cluster the colours of an image, and compute its grey, both (H, W)."""
    colours, grey = _colours(image, space, denoise)
    return cluster(colours, clusters=clusters, bits=bits, restarts=restarts, seed=seed), grey


@shared_step
def _colours(image: ImageArray, space: Space, denoise: float) -> tuple[Float32Array, Float32Array]:
    """Compute the denoised image in a colour space, (H, W, C), and its grey, (H, W), a few rows at a time."""
    image = as_given(image)
    grey: Float32Array = np.empty(image.shape[:2], dtype=np.float32)
    colours: Float32Array = grey[..., None] if space == "grey" else np.empty(image.shape, dtype=np.float32)
    for rows in strips(grey.shape):
        around, own = with_halo(rows, int(4 * denoise + 0.5))  # SciPy's Gaussian ends at 4 sigma
        rgb = ndimage.gaussian_filter(as_unit(image[around]), denoise, axes=(0, 1))[own]
        grey[rows] = luminance(rgb)
        if space != "grey":
            colours[rows] = color.rgb2lab(rgb) if space == "lab" else rgb
    return colours, grey


def cluster(
    pixels: ImageArray, *, clusters: Positive = 5, bits: Positive = 6, restarts: Positive = 10, seed: Natural = 0
) -> LabelMap:
    """Cluster the colours of an image by k-means (Lloyd, 1982; k-means++ starts, Arthur and Vassilvitskii, 2007).

    scikit-learn fits the mean colours of the occupied cells of a histogram, weighted by their pixels; then every pixel
    is assigned to its nearest centre. ``benchmarks/clustering.py`` measures speed and inertia against a fit of all
    pixels.

    Args:
        pixels: (H, W, C) colours of any range, for C from 1.
        clusters: number of clusters, at least 1; fewer where the image has fewer colours.
        bits: the histogram has 2 ** bits steps along each channel's own range, and fewer where many of its cells
            are occupied.
        restarts: number of starts, at least 1, the best of which is taken.
        seed: seed of the starts, at least 0.

    Returns:
        (H, W) cluster numbers from 0.

    >>> image = np.zeros((2, 3, 3), dtype=np.float32)
    >>> image[:, 2] = 1.0
    >>> labels = cluster(image, clusters=2)
    >>> bool(labels[0, 0] == labels[1, 1] != labels[0, 2])
    True
    """
    from sklearn.cluster import KMeans  # takes a second to import, and few runs need it
    from sklearn.exceptions import ConvergenceWarning

    colours = pixels.reshape(-1, pixels.shape[-1])
    means, counts = _histogram(colours, bits)
    while len(counts) > _MAX_CELLS and bits > 1:
        bits -= 1
        means, counts = _histogram(means, bits, counts)
    kmeans = KMeans(min(clusters, len(means)), n_init=restarts, random_state=seed)
    with _thread_pools().limit(limits=1), warnings.catch_warnings():
        # The warning reports fewer clusters than asked for, where colours differ by less than rounding.
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans.fit(means, sample_weight=counts)
        numbers = np.empty(len(colours), dtype=np.int32)
        for block in _blocks(len(colours), _PREDICTED):
            # In float64 the distances of float32 colours have next to no rounding errors.
            numbers[block] = kmeans.predict(colours[block].astype(np.float64))
        return numbers.reshape(pixels.shape[:2])


@cache
def _thread_pools() -> ThreadpoolController:
    """Return the thread pools of scikit-learn and the libraries below it; called once these are loaded.

    In one thread: the threads of a pool wait for each other at every step of a fit, and where other programs take
    their cores, a fit of a few hundred cells takes forty times as long.
    """
    return ThreadpoolController()


def _histogram(colours: ImageArray, bits: int, weights: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
    """Compute the mean colour (M, C) and the weight (M,) of every occupied cell.

    Args:
        colours: (N, C) colours, N at least 1.
        bits: 2 ** bits cells divide each channel's own range evenly.
        weights: (N,) weights of the colours, positive; None for 1 each.
    """
    steps = 2.0**bits
    # Channel by channel: NumPy is slow along an axis that is followed by a short one.
    low = np.array([channel.min() for channel in colours.T], dtype=np.float64)[:, None]
    spread = np.array([channel.max() for channel in colours.T], dtype=np.float64)[:, None] - low
    scale = steps / np.where(spread > 0, spread, 1)
    strides = steps ** np.arange(colours.shape[1])
    sums = np.zeros((colours.shape[1] + 1, int(strides.sum() * (steps - 1)) + 1))  # of each channel, and the weights
    for block in _blocks(len(colours), _BLOCK):
        # Channels are rows, so that every step runs along contiguous memory.
        channels = np.ascontiguousarray(colours[block].T, dtype=np.float64)
        cells = (strides @ np.floor(np.minimum((channels - low) * scale, steps - 1))).astype(np.int64)
        mass = np.ones(len(cells)) if weights is None else weights[block]
        for total, values in zip(sums, (*channels * mass, mass), strict=True):
            np.add.at(total, cells, values)
    occupied = np.flatnonzero(sums[-1])
    totals = sums[-1, occupied]
    return (sums[:-1, occupied] / totals).T.copy(), totals


def _blocks(count: int, size: int) -> Iterator[slice]:
    """Divide a number of pixels into blocks."""
    return (slice(start, start + size) for start in range(0, count, size))
