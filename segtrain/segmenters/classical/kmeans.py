"""Colour clusters: pure functions from RGB to a label map.

Points lie in columns, (C, M), so that every step runs along whole rows.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.distance import cdist
from skimage import color

from segtrain.segmenters.classical.postprocess import MaskPostprocessing
from segtrain.segmenters.classical.regions import (
    FloatArray,
    LabelMap,
    Polarity,
    border_counts,
    components,
    luminance,
    objects_among,
)

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BLOCK = 2**14  # columns: what is computed of so many stays in a core's cache
START_CELLS = 1000  # the coarsest histogram has no more, if one can be so coarse
ENOUGH_CELLS = 25_000  # of spread-out colours: a histogram of more is left out where there is a coarser one
KEPT = 4  # one start out of so many goes on to the next finer histogram
TOLERANCE = 1e-3  # of the inertia: Lloyd's steps a start is done where a step gains no more
STEPS = 100  # at most, on each histogram
Space = Literal["rgb", "lab", "grey"]


class Points(NamedTuple):
    """Weighted points.

    Attributes:
        channels: (C, M), the points as columns.
        weights: (M,), positive.
    """

    channels: Float64Array
    weights: Float64Array


def histogram(channels: Float64Array, bits: int, weights: Float64Array | None = None) -> Points:
    """The mean and the weight of every cell in use; the cells divide each channel's own range evenly.

    Args:
        channels: (C, M), M at least 1.
        bits: 2 ** bits cells along each channel.
        weights: (M,), positive; None: 1 each.
    """
    cells = np.empty(channels.shape[1], dtype=np.int64)
    steps = 2.0**bits
    low, spread = channels.min(axis=1, keepdims=True), np.ptp(channels, axis=1, keepdims=True)
    scale = steps / np.where(spread > 0, spread, 1)
    strides = steps ** np.arange(len(channels))
    for block in _blocks(len(cells)):
        cells[block] = strides @ np.floor(np.minimum((channels[:, block] - low) * scale, steps - 1))
    totals = np.bincount(cells, weights)
    used = np.flatnonzero(totals)
    sums = [np.bincount(cells, channel if weights is None else channel * weights)[used] for channel in channels]
    return Points(np.stack(sums) / totals[used], totals[used].astype(np.float64))


def fit(points: Points, *, clusters: int, bits: int, restarts: int, seed: int) -> Float64Array:
    """The centres of k-means, by Lloyd's steps (1982) from the best of several starts by k-means++ (Arthur, 2007).

    The starts run on a coarse histogram of the points, the best of them on finer ones, up to the points themselves or
    ``ENOUGH_CELLS`` of them: a start costs little, and which one is best is not left to the coarse histogram.
    scikit-learn's KMeans hands on one start only: on photographs it took twice the time for an inertia more often 1 %
    and more above a fit of all pixels.

    Args:
        points: a histogram's, distinct.
        clusters: how many, at most; fewer where there are fewer points.
        bits: of that histogram.
        restarts: how many starts.
        seed: of the starts.

    Returns:
        (K, C).
    """
    levels = [points]
    while len(levels[-1].weights) > START_CELLS and bits > 1:
        bits -= 1
        levels.append(histogram(levels[-1].channels, bits, levels[-1].weights))
    levels = [level for level in levels[:-1] if len(level.weights) <= ENOUGH_CELLS] + levels[-1:]
    starts = min(clusters, len(levels[-1].weights))
    centres = _starts(levels[-1], starts, restarts, np.random.default_rng(seed))
    for level in reversed(levels):
        centres, inertia = _lloyd(level, centres)
        order = np.argsort(inertia, kind="stable")
        centres = centres[order[: max(1, len(order) // KEPT)]]
    best: Float64Array = centres[0]
    return best


def nearest(channels: Float64Array, centres: Float64Array) -> IntArray:
    """Which centre is nearest to each point; of equally near ones the first.

    Args:
        channels: (C, M).
        centres: (K, C).

    Returns:
        (M,) indices of centres.
    """
    numbers = np.empty(channels.shape[1], dtype=np.int64)
    for block in _blocks(len(numbers)):
        numbers[block] = _nearest(channels[:, block], centres)
    return numbers


def _nearest(channels: Float64Array, centres: Float64Array) -> IntArray:
    """(..., M) indices of centres (..., K, C)."""
    # The nearest centre minimises |x - c|^2; |x|^2 is the same for all of them.
    scores = -2 * centres @ channels + (centres**2).sum(axis=-1, keepdims=True)
    # One centre after the other: argmin along so short an axis takes twice the time.
    least = scores[..., 0, :].copy()
    numbers = np.zeros(least.shape, dtype=np.int64)
    for number in range(1, scores.shape[-2]):
        score = scores[..., number, :]
        np.copyto(numbers, number, where=score < least)
        np.minimum(least, score, out=least)
    return numbers


def _starts(points: Points, clusters: int, restarts: int, rng: np.random.Generator) -> Float64Array:
    """(R, K, C) points by k-means++: each with a chance in proportion to its squared distance from those before it."""
    places = np.ascontiguousarray(points.channels.T)
    chosen = np.empty((restarts, clusters), dtype=np.int64)
    distance = np.full((restarts, len(places)), np.inf)
    chance = np.broadcast_to(points.weights, distance.shape)
    for number in range(clusters):
        reach = np.cumsum(chance, axis=1)
        drawn = rng.random((restarts, 1)) * reach[:, -1:]
        # Rounding may draw the very end.
        chosen[:, number] = np.minimum((reach <= drawn).sum(axis=1), len(places) - 1)
        distance = np.minimum(distance, cdist(places[chosen[:, number]], places, "sqeuclidean"))
        chance = distance * points.weights
    return places[chosen]


def _lloyd(points: Points, centres: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Centres (R, K, C) of each start after Lloyd's steps, and their inertia (R,)."""
    centres, inertia = centres.copy(), np.full(len(centres), np.inf)
    # Mass and moments of the points, once for each start: one bincount then serves them all.
    columns = np.tile(np.concatenate([points.weights[None], points.channels * points.weights]), len(centres))
    total = float((points.channels**2 @ points.weights).sum())
    going = np.arange(len(centres))
    for _ in range(STEPS):
        centres[going], held = _step(points.channels, centres[going], columns)
        before, inertia[going] = inertia[going], np.maximum(total - held, 0)
        going = going[before - inertia[going] > TOLERANCE * inertia[going]]
        if not len(going):
            break
    return centres, inertia


def _step(channels: Float64Array, centres: Float64Array, columns: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Each centre moved to the mean of the points it is nearest to, and by how much that lowers the sum of squares."""
    starts, clusters, _ = centres.shape
    numbers = (_nearest(channels, centres) + clusters * np.arange(starts)[:, None]).ravel()
    sums = [np.bincount(numbers, column[: len(numbers)], minlength=starts * clusters) for column in columns]
    mass, moments = sums[0].reshape(starts, clusters, 1), np.stack(sums[1:], axis=-1).reshape(centres.shape)
    # A centre that lost all its points stays where it is.
    moved = np.where(mass > 0, moments / np.where(mass > 0, mass, 1), centres)
    return moved, (moments * moved).sum(axis=(1, 2))


def _blocks(columns: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, columns, BLOCK))


def rgb_clusters(rgb: FloatArray, *, clusters: int, bits: int, restarts: int, seed: int) -> LabelMap:
    """Objects are the components of every RGB cluster but the one with most border pixels.

    Args:
        rgb: (H, W, 3) in [0, 1].
        clusters: how many; see ``cluster``.
        bits: see ``cluster``.
        restarts: see ``cluster``.
        seed: see ``cluster``.
    """
    segments = cluster(rgb, clusters=clusters, bits=bits, restarts=restarts, seed=seed)
    background = int(np.argmax(border_counts(segments)))
    return components(np.where(segments == background, 0, segments + 1))


def colour_clusters(
    rgb: FloatArray,
    *,
    space: Space,
    denoise: float,
    clusters: int,
    bits: int,
    restarts: int,
    seed: int,
    polarity: Polarity,
    finish: MaskPostprocessing,
) -> LabelMap:
    """Clusters in a colour space, a rule for which of them are background, watershed for touching objects.

    Args:
        rgb: (H, W, 3) in [0, 1].
        space: "rgb", "lab" (CIELAB) or "grey".
        denoise: sigma in pixels of a Gaussian over each channel; 0 for none.
        clusters: how many; see ``cluster``.
        bits: see ``cluster``.
        restarts: see ``cluster``.
        seed: see ``cluster``.
        polarity: see ``regions.objects_among``.
        finish: what takes the objects apart.
    """
    rgb = ndimage.gaussian_filter(rgb, denoise, axes=(0, 1))
    grey = luminance(rgb)
    if space == "grey":
        colours = grey[..., None]
    else:
        colours = np.asarray(color.rgb2lab(rgb), dtype=np.float32) if space == "lab" else rgb
    segments = cluster(colours, clusters=clusters, bits=bits, restarts=restarts, seed=seed)
    return finish(objects_among(segments, grey, polarity))


def cluster(pixels: FloatArray, *, clusters: int, bits: int, restarts: int, seed: int) -> LabelMap:
    """k-means of an image's colours: fitted to their histogram, assigned pixel by pixel.

    A histogram cell stands for its pixels' mean colour, weighted by their number; every pixel then goes to its nearest
    centre, whatever its cell. ``benchmarks/clustering.py`` measures speed and inertia against a fit of all pixels.

    Args:
        pixels: (H, W, C).
        clusters: how many, at most; fewer where the image has fewer colours.
        bits: the histogram has 2 ** bits steps per channel, over the image's own range; fewer where more than
            ``weighted_kmeans.ENOUGH_CELLS`` cells would be in use.
        restarts: fits from different starts, of which the best is taken.
        seed: of those starts.

    Returns:
        (H, W) cluster numbers from 0.
    """
    # float64: the distances of float32 colours are then as good as exact.
    channels = pixels.reshape(-1, pixels.shape[-1]).T.astype(np.float64, order="C")
    centres = fit(histogram(channels, bits), clusters=clusters, bits=bits, restarts=restarts, seed=seed)
    return nearest(channels, centres).reshape(pixels.shape[:2])
