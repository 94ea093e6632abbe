"""Drawn microscopy images of cells with known masks; functions of a random generator."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Plane = npt.NDArray[np.float64]
Interval = tuple[float, float]
KINDS = ("round", "spindle", "lobed")
LEAST_VISIBLE = 0.8  # least visible share of a cell's area, where others hide it or the image's border cuts it
TRIES = 60  # attempts to place a cell before it is left out


def cell_light(rng: np.random.Generator, depth: Plane, texture: float) -> Plane:
    """Draw the brightness of a cell, around 1: a random level, a paler rim, and mottling.

    Args:
        rng: generator of the random numbers.
        depth: (h, w) distance in pixels to the outline, positive inside; see ``shape``.
        texture: standard deviation of the mottling.

    Returns:
        (h, w) brightness.
    """
    level = rng.uniform(0.7, 1.2)
    rim = 0.6 + 0.4 * np.clip(depth / 3, 0, 1)
    return np.asarray(level * rim * (1 + texture * mottling(rng, depth.shape, 1.5)))


def debris(rng: np.random.Generator, size: int, count: int) -> Plane:
    """Draw specks with diameters of 3 to 8 pixels, about as bright as cells.

    Args:
        rng: generator of the random numbers.
        size: side of the image in pixels.
        count: number of specks.

    Returns:
        (size, size) brightness, 0 outside of specks.
    """
    y, x = np.ogrid[:size, :size]
    plane = np.zeros((size, size))
    for _ in range(count):
        (cy, cx), radius = rng.uniform(0, size, 2), rng.uniform(1.5, 4)
        cover = np.clip(radius + 0.5 - np.hypot(y - cy, x - cx), 0, 1)
        plane = np.maximum(plane, rng.uniform(0.7, 1.4) * cover)
    return plane


def mottling(rng: np.random.Generator, size: tuple[int, ...], sigma: float) -> Plane:
    """Draw smooth noise of standard deviation 1, or slightly less in a small patch.

    Args:
        rng: generator of the random numbers.
        size: (h, w) of the patch.
        sigma: sigma in pixels of the Gaussian that smooths it.
    """
    smooth = ndimage.gaussian_filter(rng.normal(size=size), sigma)
    # The Gaussian leaves 1 / (4 pi sigma^2) of the variance of white noise.
    return np.asarray(smooth * sigma * (4 * np.pi) ** 0.5)


@dataclass(frozen=True)
class Look:
    """Appearance of the images of one difficulty; values are drawn uniformly from the intervals, once per image.

    Attributes:
        contrast: difference between the grey of cells and of the background, in a range of 1.
        noise: sigma of the Gaussian noise of each pixel and channel.
        blur: sigma in pixels of the optics' Gaussian.
        texture: strength of the mottling inside cells, as a share of the contrast.
        haze: standard deviation of the background's soft clouds, as a share of the contrast.
        halo: depth of the rim of opposite polarity around cells, as in phase contrast, as a share of the contrast.
        shade: difference of the light between opposite sides of the image, as grey in a range of 1.
        contact: share of cells that touch or overlap another one.
        gap: least distance between all other cells, in pixels.
        debris: least and greatest number of specks that are no cells.
    """

    contrast: Interval
    noise: Interval
    blur: Interval
    texture: Interval
    haze: Interval
    halo: Interval
    shade: Interval
    contact: float
    gap: int
    debris: tuple[int, int]


@dataclass(frozen=True)
class Drawing:
    """Drawn image and its cells.

    Attributes:
        rgb: (size, size, 3) uint8 image.
        cells: (size, size) label map: 0 for background, n where the n-th cell is visible.
        kinds: index into ``KINDS`` of each cell.
    """

    rgb: npt.NDArray[np.uint8]
    cells: npt.NDArray[np.int64]
    kinds: list[int]


def draw(
    rng: np.random.Generator, look: Look, *, size: int, cells: tuple[int, int], radius: Interval, dark: float
) -> Drawing:
    """Draw one image.

    Args:
        rng: generator of all random numbers.
        look: appearance of the image.
        size: side of the image in pixels.
        cells: least and greatest number of cells.
        radius: radius of a round cell in pixels; the other kinds have a similar area.
        dark: probability of dark cells on a bright background, instead of bright on dark.
    """
    visible = np.zeros((size, size), dtype=np.int64)
    signal = debris(rng, size, int(rng.integers(*look.debris, endpoint=True)))
    kinds: list[int] = []
    texture = rng.uniform(*look.texture)
    for _ in range(rng.integers(*cells, endpoint=True)):
        kind = int(rng.integers(len(KINDS)))
        depth = shape(rng, KINDS[kind], rng.uniform(*radius))
        place = _find_place(rng, depth > 0, visible, look)
        if place is None:
            continue
        kinds.append(kind)
        window, crop = _overlap(place, depth.shape[0], size)
        depth = depth[crop]
        visible[window][depth > 0] = len(kinds)
        cover = np.clip(depth + 0.5, 0, 1)
        signal[window] += cover * (cell_light(rng, depth, texture) - signal[window])
    signal -= rng.uniform(*look.halo) * ndimage.gaussian_filter((visible > 0) * 2.0, 2) * (visible == 0)
    return Drawing(_photograph(rng, signal, look, dark), visible, kinds)


def shape(rng: np.random.Generator, kind: str, radius: float) -> Plane:
    """Draw the shape of a cell as a map of the approximate distance in pixels to its outline, positive inside.

    Args:
        rng: generator of proportions and direction.
        kind: kind of the cell, one of ``KINDS``.
        radius: radius of a round cell in pixels.

    Returns:
        A square patch of odd side with the cell at its centre.
    """
    reach = int(np.ceil(2 * radius)) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    turn = rng.uniform(0, 2 * np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    distance, angle = np.hypot(u, v), np.arctan2(v, u)
    if kind == "round":
        stretch = rng.uniform(1, 1.25) ** 0.5
        wobble = 1 + 0.04 * np.cos(3 * angle + rng.uniform(0, 2 * np.pi))
        return np.asarray(radius * wobble / np.hypot(np.cos(angle) / stretch, np.sin(angle) * stretch) - distance)
    if kind == "spindle":
        half_length, half_width = radius * rng.uniform(1.65, 1.9), radius * rng.uniform(0.5, 0.56)
        bend = rng.uniform(-0.25, 0.25) * half_width
        along = (u / half_length) ** 2
        return np.asarray(half_width * (1 - along) - np.abs(v - bend * along))
    lobes = int(rng.integers(2, 4, endpoint=True))
    # Two lobes need a deeper waist to be visible as two.
    waist = rng.uniform(0.32, 0.4) + (0.06 if lobes == 2 else 0)
    return np.asarray(radius * (1 + waist * np.cos(lobes * angle)) - distance)


def _find_place(
    rng: np.random.Generator, cell: npt.NDArray[np.bool_], visible: npt.NDArray[np.int64], look: Look
) -> tuple[int, int] | None:
    """Find a position (the top left corner of its patch) for a cell; None if all attempts fail."""
    size, side = visible.shape[0], cell.shape[0]
    occupied = visible > 0
    contact = bool(occupied.any()) and rng.random() < look.contact
    near = ndimage.binary_dilation(occupied, _disc(1 if contact else look.gap))
    own_area = np.bincount(visible.ravel())
    for _ in range(TRIES):
        y, x = (int(v) - side // 2 for v in rng.integers(0, size, 2))
        window, crop = _overlap((y, x), side, size)
        inside = cell[crop]
        touches = bool((near[window] & inside).any())
        if touches != contact or inside.sum() < LEAST_VISIBLE * cell.sum():
            continue
        hidden = np.bincount(visible[window][inside], minlength=len(own_area))[1:]
        if (hidden <= (1 - LEAST_VISIBLE) * own_area[1:]).all():
            return y, x
    return None


def _overlap(place: tuple[int, int], side: int, size: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Compute the part of the image that a patch covers, and the part of the patch inside the image."""
    window = tuple(slice(max(start, 0), min(start + side, size)) for start in place)
    crop = tuple(slice(w.start - start, w.stop - start) for w, start in zip(window, place, strict=True))
    return (window[0], window[1]), (crop[0], crop[1])


def _disc(radius: int) -> npt.NDArray[np.bool_]:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    inside: npt.NDArray[np.bool_] = x * x + y * y <= radius * radius
    return inside


def _photograph(rng: np.random.Generator, signal: Plane, look: Look, dark: float) -> npt.NDArray[np.uint8]:
    """Simulate illumination, optics, a tint and the sensor's noise."""
    size = signal.shape[0]
    contrast = rng.uniform(*look.contrast)
    polarity = -1 if rng.random() < dark else 1
    y, x = np.mgrid[-0.5 : 0.5 : size * 1j, -0.5 : 0.5 : size * 1j]
    direction = rng.uniform(0, 2 * np.pi)
    slope = x * np.cos(direction) + y * np.sin(direction)
    light = rng.uniform(*look.shade) * (slope + rng.uniform(-1, 1) * (x**2 + y**2 - 1 / 6))
    haze = rng.uniform(*look.haze) * contrast * mottling(rng, signal.shape, size / 12)
    blurred = ndimage.gaussian_filter(signal, rng.uniform(*look.blur))
    # The mean grey is about .5, so that cells of both polarities stay in the range.
    grey = 0.5 + rng.uniform(-0.1, 0.1) + polarity * contrast * (blurred - 0.5) + light + haze
    tint = rng.uniform(0.85, 1.2, 3)
    rgb = np.clip(grey, 0, 1)[..., None] ** tint
    rgb = rgb + rng.normal(0, rng.uniform(*look.noise), rgb.shape)
    levels: npt.NDArray[np.uint8] = (rgb * 255).round().clip(0, 255).astype(np.uint8)
    return levels
