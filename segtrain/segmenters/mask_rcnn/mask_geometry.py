"""Geometry of masks: the places of a mask head's cells in the image, in training and in pasting."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from segtrain import masks
from segtrain.masks import Rle
from segtrain.segmenters.mask_rcnn.mask_paste import paste_masks, paste_masks_as_torchvision
from segtrain.segmenters.mask_rcnn.mask_targets import MASK_SIDE, sample_targets
from segtrain.segmenters.mask_rcnn.preprocess import InputSize
from segtrain.targets import Target

MaskPaste = Literal["exact", "torchvision"]
DENOMINATORS = 100  # of scales; finer ones leave a shift of less than .005 input pixels


@dataclass(frozen=True)
class MaskGeometry:
    """Places of a network's mask cells in the image.

    Attributes:
        input_size: size that the network resizes images to.
        mask_paste: "exact" for exact places, "torchvision" for boxes rounded to whole pixels.
        aligned: True if features and mask targets are sampled at pixel centres; False for torchvision's conventions.
    """

    input_size: InputSize
    mask_paste: MaskPaste
    aligned: bool

    @property
    def learned_shift(self) -> float:
        """Distance in input pixels by which the network draws masks too far to the left and above.

        torchvision samples mask targets half an input pixel to the right and below (RoIAlign without ``aligned``), from
        planes resized to the input (nearest), which moves them back: by (1 - 1 / q) / 2 input pixels, on average over
        the pixels, at a scale of p / q in lowest terms. What is left is half an input pixel at whole scales, and
        next to nothing where images of many sizes are resized to one (``min_size``).

        >>> [MaskGeometry(InputSize(None, 1333, scale), "exact", aligned=False).learned_shift for scale in (2.0, 1.5)]
        [0.5, 0.25]
        """
        if self.aligned or self.input_size.scale is None:
            return 0.0
        return 0.5 / Fraction(self.input_size.scale).limit_denominator(DENOMINATORS).denominator

    def shift(self, size: tuple[int, int], resized: tuple[int, int]) -> tuple[float, float]:
        """Return the distance (x, y) in pixels of an image by which exact pasting moves masks back.

        A mask at the left or upper border of the image loses as much there.

        Args:
            size: (H, W) of the image.
            resized: (H, W) of the input that it was resized to.
        """
        height, width = resized
        return self.learned_shift * size[1] / width, self.learned_shift * size[0] / height

    def paste(self, probabilities: Tensor, boxes: Tensor, size: tuple[int, int], resized: tuple[int, int]) -> list[Rle]:
        """Paste the masks of an image.

        Args:
            probabilities: (N, M, M) in [0, 1], on any device.
            boxes: (N, 4) xyxy in pixels of the image.
            size: (H, W) of the image.
            resized: (H, W) of the input that it was resized to.
        """
        if self.mask_paste == "torchvision":
            return paste_masks_as_torchvision(probabilities, boxes, size)
        return paste_masks(probabilities, boxes, size, self.shift(size, resized))


def resample_through_mask_head(
    rles: Sequence[Sequence[Rle]], sizes: Sequence[tuple[int, int]], geometry: MaskGeometry
) -> list[list[Rle]]:
    """Compute the masks that a network with perfect boxes and a perfect mask head would return.

    Each mask is sampled over its tight box on 28 x 28 cells, as the mask loss samples its targets, and pasted back as
    predictions are.

    Args:
        rles: masks of each of one or more images; a mask without a pixel stays empty.
        sizes: (H, W) of each image.
        geometry: geometry of the network.
    """
    targets = [_target(own) for own in rles]
    inner = [geometry.input_size.resized(*size) for size in sizes]
    scaled = [
        target.boxes * torch.tensor([w / width, h / height] * 2)
        for target, (height, width), (h, w) in zip(targets, sizes, inner, strict=True)
    ]
    own = [torch.arange(len(target)) for target in targets]
    squares = sample_targets(targets, scaled, own, sizes, inner, MASK_SIDE, aligned=geometry.aligned)
    parts = torch.split(squares, [len(target) for target in targets])
    pasted = [
        iter(geometry.paste(part, target.boxes, size, resized))
        for part, target, size, resized in zip(parts, targets, sizes, inner, strict=True)
    ]
    return [
        [next(found) if filled else masks.empty(size) for filled in (masks.area(image) > 0).tolist()]
        for image, found, size in zip(rles, pasted, sizes, strict=True)
    ]


def _target(rles: Sequence[Rle]) -> Target:
    """Return the masks that have a pixel, as what training learns from."""
    crops = [found for found in map(masks.decode_crop, rles) if found[0].size]
    corners = [(x, y, x + crop.shape[1], y + crop.shape[0]) for crop, x, y in crops]
    boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    return Target(boxes, torch.ones(len(crops), dtype=torch.int64), [torch.from_numpy(crop) for crop, _, _ in crops])
