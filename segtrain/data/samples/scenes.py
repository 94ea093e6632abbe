"""An image with its instances, on its way through augmentation."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain.data.images.reader import RgbArray
from segtrain.data.samples.layers import Crops, Layers, unpack

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scene:
    """An image and its instances as label layers.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        layers: N instances in planes of (H, W).
        labels: (N,) 1..K.
        least: (N,) pixels; an instance with fewer is no longer worth learning from.
    """

    image: RgbArray
    layers: Layers
    labels: IntArray
    least: IntArray

    def crops(self) -> Crops:
        """The instances that are left."""
        return unpack(self.layers.planes, self.layers.owners, self.least)
