"""Scores for regions that come without one: average precision needs a ranking."""

import numpy as np
from scipy import ndimage
from skimage.morphology import disk

from segtrain.segmenters.regions import FloatArray, LabelMap

RING = 3  # width in pixels; part of the score's definition


def contrast(rgb: FloatArray, labels: LabelMap) -> FloatArray:
    """How far each region's colour is from its surroundings'.

    Euclidean distance between the mean RGB of the region and of its ring, over the norm of the image's per-channel
    range. The ring is a 3-pixel dilation by a disc, minus all regions; minus this region alone if that leaves nothing.

    Args:
        rgb: (H, W, 3) in [0, 1].
        labels: (H, W), regions 1..N.

    Returns:
        (N,) in [0, 1]; 0 for a constant image, and for a region that fills the image.
    """
    scores = np.zeros(int(labels.max(initial=0)), dtype=np.float32)
    spread = float(np.linalg.norm(np.ptp(rgb, axis=(0, 1))))
    if spread == 0:
        return scores
    disc = disk(RING)
    for index, window in enumerate(ndimage.find_objects(labels)):
        if window is None:
            continue
        window = tuple(slice(max(side.start - RING, 0), side.stop + RING) for side in window)
        near, colours = labels[window], rgb[window]
        region = near == index + 1
        ring = ndimage.binary_dilation(region, disc) & ~region
        free = ring & (near == 0)
        ring = free if free.any() else ring
        if ring.any():
            inside, outside = colours[region].mean(axis=0), colours[ring].mean(axis=0)
            scores[index] = np.linalg.norm(inside - outside) / spread
    return np.clip(scores, 0, 1)


def constant(rgb: FloatArray, labels: LabelMap) -> FloatArray:
    """1 for every region: no ranking."""
    return np.ones(int(labels.max(initial=0)), dtype=np.float32)
