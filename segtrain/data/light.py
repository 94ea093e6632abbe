"""How bright drawn cells and specks are, and how uneven their light is; pure functions of a random generator."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Plane = npt.NDArray[np.float64]


def cell_light(rng: np.random.Generator, depth: Plane, texture: float) -> Plane:
    """Brightness of a cell, around 1: a level of its own, a paler rim, mottling."""
    level = rng.uniform(0.7, 1.2)
    rim = 0.6 + 0.4 * np.clip(depth / 3, 0, 1)
    return np.asarray(level * rim * (1 + texture * mottling(rng, depth.shape, 1.5)))


def debris(rng: np.random.Generator, size: int, count: int) -> Plane:
    """Specks of 3 to 8 pixels across, about as bright as cells."""
    y, x = np.ogrid[:size, :size]
    plane = np.zeros((size, size))
    for _ in range(count):
        (cy, cx), radius = rng.uniform(0, size, 2), rng.uniform(1.5, 4)
        cover = np.clip(radius + 0.5 - np.hypot(y - cy, x - cx), 0, 1)
        plane = np.maximum(plane, rng.uniform(0.7, 1.4) * cover)
    return plane


def mottling(rng: np.random.Generator, size: tuple[int, ...], sigma: float) -> Plane:
    """Smooth noise of standard deviation 1, or a little less in a small patch."""
    smooth = ndimage.gaussian_filter(rng.normal(size=size), sigma)
    # The Gaussian leaves 1 / (4 pi sigma^2) of the variance of white noise.
    return np.asarray(smooth * sigma * (4 * np.pi) ** 0.5)
