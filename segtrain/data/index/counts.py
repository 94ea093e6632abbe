"""What an index holds, in numbers."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Counts:
    """What became of a file's annotations: ``used + crowd + dropped == annotations``.

    Attributes:
        images: images, those without annotations included.
        annotations: entries of the file.
        used: true instances.
        crowd: regions to ignore.
        repaired: those among the used and the crowds in which something was mended.
        dropped: entries that cannot be used.
    """

    images: int
    annotations: int
    used: int
    crowd: int
    repaired: int
    dropped: int


class CategoryCounts(NamedTuple):
    """How many true instances of which category the images hold; one entry for each pair that occurs.

    Attributes:
        images: (P,) positions of the images in the index, not decreasing.
        labels: (P,) 1..K, increasing within an image.
        objects: (P,) instances, from 1.
    """

    images: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]
