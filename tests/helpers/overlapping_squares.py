"""A segmenter of a user that needs no training: two squares that overlap."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from segtrain import masks
from segtrain.records import Instances


class OverlappingSquares:
    """Returns two squares of 4 x 4 pixels that share 2 x 2, and a mask without a pixel."""

    scores_are_learned = False

    def segment(self, images: Sequence[Tensor]) -> list[Instances]:
        """Return the same instances for every image."""
        return [self._squares(image.shape[1], image.shape[2]) for image in images]

    def _squares(self, height: int, width: int) -> Instances:
        planes = np.zeros((3, height, width), np.uint8)
        planes[0, 2:6, 2:6] = planes[1, 4:8, 4:8] = 1
        boxes = np.array([[2, 2, 6, 6], [4, 4, 8, 8], [0, 0, 0, 0]], np.float32)
        scores = np.array([0.9, 0.8, 0.7], np.float32)
        return Instances(
            (height, width), boxes, np.zeros(3, np.int64), scores, [masks.encode(plane) for plane in planes]
        )
