"""Label layers: many instances packed into few planes.

The cost of an augmentation grows with the number of planes that it transforms. Instances that do not overlap share one
plane, each with a value of its own, so the number of planes is about the largest number of instances that overlap in
one place. Packing and unpacking process the runs of pixels of all instances together, without a loop over pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segtrain import masks
from segtrain.arrays import IntArray, RgbArray
from segtrain.masks import Rle

# Loaders work in parallel: OpenCV's own threads would compete with them, and block forked workers.
cv2.setNumThreads(0)

Plane = npt.NDArray[np.uint8]
# 0 is the background of a layer.
_LABELS = 255


@dataclass(frozen=True)
class Layers:
    """Instances packed into planes.

    Attributes:
        planes: (H, W) uint8 each, 0 for background.
        owners: instances of each plane; the value n in the plane stands for the entry n - 1.
    """

    planes: list[Plane]
    owners: list[list[int]]


@dataclass(frozen=True)
class Crops:
    """Masks in the form of tight crops.

    Attributes:
        instances: (N,) index of each mask's instance, increasing.
        boxes: (N, 4) xyxy in whole pixels; a single pixel has width 1.
        pixels: (h, w) crops of 0 and 1, flattened and concatenated.
    """

    instances: IntArray
    boxes: IntArray
    pixels: Plane

    def __len__(self) -> int:
        return len(self.instances)

    @property
    def masks(self) -> list[Plane]:
        """Crops (h, w), as views of ``pixels``."""
        widths, heights = (self.boxes[:, 2:] - self.boxes[:, :2]).T.tolist() if len(self) else ([], [])
        found, place = [], 0
        for width, height in zip(widths, heights, strict=True):
            found.append(self.pixels[place : place + width * height].reshape(height, width))
            place += width * height
        return found


def pack(rles: Sequence[Rle], size: tuple[int, int]) -> Layers:
    """Pack instances into planes, each into the first plane where it overlaps no other one.

    Args:
        rles: masks of the instances.
        size: (H, W) of the image, and of every mask.

    >>> whole = masks.encode(np.ones((2, 3)))
    >>> left, right = masks.encode_labels(np.array([[1, 0, 2], [1, 0, 2]]))
    >>> pack([whole, left, right], (2, 3)).owners
    [[0], [1, 2]]
    """
    height, width = size
    instance, starts, stops = masks.runs(rles)
    order = np.argsort(starts, kind="stable")
    instance, starts, stops = instance[order], starts[order], stops[order]
    layer, value, owners = _assign(len(rles), _overlaps(rles, instance, starts, stops))
    # Layer by layer; inside one, runs do not overlap.
    order = np.argsort(layer[instance], kind="stable")
    offset = layer[instance[order]] * (height * width)
    flat = _draw(starts[order] + offset, stops[order] + offset, value[instance[order]], len(owners) * height * width)
    return Layers([cv2.transpose(columns) for columns in flat.reshape(len(owners), width, height)], owners)


def flatten(rles: Sequence[Rle], size: tuple[int, int]) -> Plane:
    """Draw masks into one plane: the value n stands for entry n - 1, and later masks lie on top.

    Beyond 255 masks, the last ones share a value.

    Args:
        rles: masks of this size.
        size: (H, W) of the plane.

    >>> flatten(masks.encode_labels(np.array([[1, 0, 2], [1, 0, 2]])), (2, 3)).tolist()
    [[1, 0, 2], [1, 0, 2]]
    """
    plane = np.zeros(size, dtype=np.uint8)
    for number, rle in enumerate(rles, start=1):
        crop, x, y = masks.decode_crop(rle)
        plane[y : y + crop.shape[0], x : x + crop.shape[1]][crop > 0] = min(number, _LABELS)
    return plane


def unpack(planes: Sequence[npt.NDArray[Any]], owners: Sequence[Sequence[int]], least: IntArray) -> Crops:
    """Extract the instances that are left in transformed planes, each cropped to its tight box.

    Args:
        planes: planes (H, W) of ``pack``, transformed by nearest neighbour, so that no new values occur.
        owners: instances of each plane, as ``pack`` returns them.
        least: (N,) least number of pixels of each instance; instances with fewer, or with none, are left out.

    >>> layers = pack(masks.encode_labels(np.array([[1, 0, 2], [1, 0, 2]])), (2, 3))
    >>> unpack([plane[:, 1:] for plane in layers.planes], layers.owners, np.array([1, 1])).boxes.tolist()
    [[1, 0, 2, 2]]
    """
    parts = [_runs(plane, np.array([-1, *instances])) for plane, instances in zip(planes, owners, strict=True)]
    instance, row, start, stop = np.concatenate([np.zeros((4, 0), dtype=np.int64), *parts], axis=1)
    order = np.argsort(instance, kind="stable")
    instance, row, start, stop = (values[order] for values in (instance, row, start, stop))
    first = np.flatnonzero(np.diff(instance, prepend=-1))
    if not len(first):
        return Crops(first, np.zeros((0, 4), dtype=np.int64), np.zeros(0, dtype=np.uint8))
    areas = np.add.reduceat(stop - start, first)
    counts = np.diff(first, append=len(instance))
    x0, x1 = np.minimum.reduceat(start, first), np.maximum.reduceat(stop, first)
    # The runs of an instance are still in the order of its rows.
    y0, y1 = row[first], row[first + counts - 1] + 1
    kept = areas >= least[instance[first]]
    sizes = np.where(kept, (x1 - x0) * (y1 - y0), 0)
    corner = np.cumsum(sizes) - sizes - y0 * (x1 - x0) - x0
    place = np.repeat(corner, counts) + row * np.repeat(x1 - x0, counts)
    drawn = np.repeat(kept, counts)
    starts, stops = (place + start)[drawn], (place + stop)[drawn]
    pixels = _draw(starts, stops, np.ones(len(starts), dtype=np.uint8), int(sizes.sum()))
    return Crops(instance[first][kept], np.stack([x0, y0, x1, y1], axis=1)[kept], pixels)


def _overlaps(rles: Sequence[Rle], instance: IntArray, starts: IntArray, stops: IntArray) -> list[tuple[int, int]]:
    """Find the pairs of instances that overlap, the earlier one first, from their runs, sorted by start."""
    # Of any two that overlap, one has a run that starts before the end of an earlier run; most images have none.
    suspects = np.unique(instance[1:][starts[1:] < np.maximum.accumulate(stops)[:-1]])
    if not len(suspects):
        return []
    one, other, _ = masks.overlaps([rles[n] for n in suspects], rles)
    pairs = zip(suspects[one].tolist(), other.tolist(), strict=True)
    return sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})


def _assign(count: int, overlaps: Sequence[tuple[int, int]]) -> tuple[IntArray, Plane, list[list[int]]]:
    """Assign a layer and a value in it to each instance; also return the instances of each layer."""
    earlier: dict[int, list[int]] = {}
    for first, second in overlaps:
        earlier.setdefault(second, []).append(first)
    layer, value = [0] * count, [0] * count
    owners: list[list[int]] = []
    for instance in range(count):
        taken = {layer[other] for other in earlier.get(instance, [])}
        free = (n for n, others in enumerate(owners) if n not in taken and len(others) < _LABELS)
        chosen = next(free, len(owners))
        if chosen == len(owners):
            owners.append([])
        owners[chosen].append(instance)
        layer[instance], value[instance] = chosen, len(owners[chosen])
    return np.array(layer, dtype=np.int64), np.array(value, dtype=np.uint8), owners


def _runs(plane: npt.NDArray[Any], owner: IntArray) -> IntArray:
    """Find the runs along the rows of a plane: instance, row, first column and the column after the last one."""
    width = plane.shape[1]
    flat = plane.reshape(-1)
    change = flat[1:] != flat[:-1]
    change[width - 1 :: width] = True
    starts = np.concatenate([[0], np.flatnonzero(change) + 1])
    stops = np.append(starts[1:], flat.size)
    values = flat[starts]
    inside = np.flatnonzero(values)
    starts, stops = starts[inside], stops[inside]
    row = starts // width
    return np.stack([owner[values[inside]], row, starts - row * width, stops - row * width])


def _draw(starts: IntArray, stops: IntArray, values: Plane, size: int) -> Plane:
    """Draw sorted runs that do not overlap onto zeros."""
    bounds = np.concatenate([[0], np.stack([starts, stops], axis=1).reshape(-1), [size]])
    alternating = np.zeros(2 * len(values) + 1, dtype=np.uint8)
    alternating[1::2] = values
    return np.repeat(alternating, np.diff(bounds))


@dataclass(frozen=True)
class Scene:
    """An image and its instances as label layers.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        layers: N instances in planes of (H, W).
        labels: (N,) 1..K.
        min_pixels: (N,) least number of pixels of each instance; instances with fewer are dropped.
        ignored: (H, W) regions that are neither object nor background, each with a value of its own; 0 elsewhere. None
            without any.
    """

    image: RgbArray
    layers: Layers
    labels: IntArray
    min_pixels: IntArray
    ignored: Plane | None = None

    def crops(self) -> Crops:
        """Extract the instances that are left."""
        return unpack(self.layers.planes, self.layers.owners, self.min_pixels)

    def ignored_crops(self) -> Crops:
        """Extract the ignored regions that are left."""
        planes = [] if self.ignored is None else [self.ignored]
        return unpack(planes, [range(_LABELS)] * len(planes), np.ones(_LABELS, dtype=np.int64))
