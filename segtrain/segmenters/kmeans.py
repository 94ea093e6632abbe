"""Segmentation by colour clusters: pure functions from RGB to a label map."""

from typing import Literal

import numpy as np
from scipy import ndimage
from skimage import color

from segtrain.segmenters.finishing import Finish
from segtrain.segmenters.regions import (
    FloatArray,
    LabelMap,
    Polarity,
    border_counts,
    components,
    luminance,
    objects_among,
)
from segtrain.segmenters.weighted_kmeans import fit, histogram, nearest

Space = Literal["rgb", "lab", "grey"]


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
    finish: Finish,
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
