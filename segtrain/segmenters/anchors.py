"""Anchors of a region proposal network, and how well they fit boxes, without a network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain.arrays import FloatArray

_PADDED_TO = 32  # input pixels; both sides of the input are padded to a multiple of them


@dataclass(frozen=True)
class AnchorLayout:
    """Sizes and places of the anchors of a feature pyramid.

    Attributes:
        sizes: sides of the square anchors of each level, in input pixels.
        ratios: height / width of the anchors.
        strides: input pixels per cell of each level.
        centred: True for anchors around the centres of cells, with exact sides; False for torchvision's, which lie
            around the corners of cells, with even sides.

    >>> layout = AnchorLayout([[16]], [1.0], [8], centred=True)
    >>> layout.best_iou(np.array([[4.0, 4.0, 20.0, 20.0], [4.0, 4.0, 20.0, 12.0]]), (64, 64)).tolist()
    [1.0, 0.5]
    """

    sizes: Sequence[Sequence[float]]
    ratios: Sequence[float]
    strides: Sequence[int]
    centred: bool

    def best_iou(self, boxes: FloatArray, size: tuple[int, int]) -> FloatArray:
        """Return the largest IoU of each box with any anchor, which is compared with 0.7 and 0.3 to assign anchors.

        Overlap in x and in y falls with the distance of the centres, so that of the anchors of one shape the nearest
        fits best.

        Args:
            boxes: (N, 4) xyxy, in input pixels.
            size: (H, W) of the input without padding.

        Returns:
            (N,), in [0, 1].
        """
        padded = [-(-side // _PADDED_TO) * _PADDED_TO for side in size]
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        best = np.zeros(len(boxes))
        for sizes, stride in zip(self.sizes, self.strides, strict=True):
            cells = [max(-(-side // stride), 1) for side in padded]
            steps = [stride if self.centred else side // count for side, count in zip(padded, cells, strict=True)]
            for width, height in self._shapes(sizes):
                shared = self._overlap(boxes[:, 0], boxes[:, 2], width, steps[1], cells[1])
                shared *= self._overlap(boxes[:, 1], boxes[:, 3], height, steps[0], cells[0])
                best = np.maximum(best, shared / (area + width * height - shared))
        return best

    def scaled(self, factor: float) -> "AnchorLayout":
        """Return the layout with sides multiplied by a factor, rounded to whole pixels."""
        sizes = [[max(round(side * factor), 1) for side in sides] for sides in self.sizes]
        return AnchorLayout(sizes, self.ratios, self.strides, self.centred)

    def _shapes(self, sizes: Sequence[float]) -> list[tuple[float, float]]:
        """Return width and height of the anchors of a level."""
        shapes = [(size / math.sqrt(ratio), size * math.sqrt(ratio)) for ratio in self.ratios for size in sizes]
        return shapes if self.centred else [(2.0 * round(w / 2), 2.0 * round(h / 2)) for w, h in shapes]

    def _overlap(
        self, low: FloatArray, high: FloatArray, side: float, step: int, cells: int
    ) -> npt.NDArray[np.float64]:
        """Return the overlap of intervals with the nearest anchor along one axis."""
        start = step / 2 if self.centred else 0.0
        nearest = np.clip(np.rint(((low + high) / 2 - start) / step), 0, cells - 1) * step + start
        shared = np.minimum(high, nearest + side / 2) - np.maximum(low, nearest - side / 2)
        positive: npt.NDArray[np.float64] = np.maximum(shared, 0.0)
        return positive
