"""Many instances in few planes: label layers.

An augmentation transforms planes, and its cost grows with their number. Instances that do not overlap share one plane,
each with a number of its own, so that N instances cost about as many planes as the overlap is deep.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Plane = npt.NDArray[np.uint8]

# 0 is the background of a layer.
_LABELS = 255


@dataclass(frozen=True)
class Crop:
    """A mask known by its crop.

    Attributes:
        mask: (h, w) uint8 of 0 and 1.
        x: column of the crop's left edge in the image.
        y: row of its top edge.
    """

    mask: Plane
    x: int
    y: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """xyxy in pixels; a single pixel has width 1."""
        height, width = self.mask.shape
        return self.x, self.y, self.x + width, self.y + height


@dataclass(frozen=True)
class Layers:
    """Instances packed into planes.

    Attributes:
        planes: (H, W) uint8 each, 0 for background.
        owners: for each plane, the instance behind the value n, at position n - 1.
    """

    planes: list[Plane]
    owners: list[list[int]]


def pack(crops: Sequence[Crop], size: tuple[int, int]) -> Layers:
    """Put every instance into the first plane where it touches no pixel of another one.

    Args:
        crops: the instances, inside the image.
        size: (H, W) of the image.
    """
    layers = Layers([], [])
    for instance, crop in enumerate(crops):
        x0, y0, x1, y1 = crop.box
        inside = crop.mask.view(np.bool_)
        for plane, owners in zip(layers.planes, layers.owners, strict=True):
            window = plane[y0:y1, x0:x1]
            if len(owners) < _LABELS and not window[inside].any():
                break
        else:
            plane, owners = np.zeros(size, dtype=np.uint8), []
            layers.planes.append(plane)
            layers.owners.append(owners)
            window = plane[y0:y1, x0:x1]
        owners.append(instance)
        window[inside] = len(owners)
    return layers


def unpack(planes: Sequence[npt.NDArray[Any]], owners: Sequence[Sequence[int]]) -> dict[int, Crop]:
    """The instances that are still there, by increasing number, each cropped to its tight box.

    Args:
        planes: (H, W) each, as packed, then transformed without inventing values (nearest neighbour).
        owners: as packed.
    """
    found: dict[int, Crop] = {}
    for plane, instances in zip(planes, owners, strict=True):
        places = ndimage.find_objects(plane, max_label=len(instances))
        for value, (instance, place) in enumerate(zip(instances, places, strict=True), start=1):
            if place is not None:
                rows, columns = place
                found[instance] = Crop((plane[place] == value).astype(np.uint8), columns.start, rows.start)
    return dict(sorted(found.items()))
