"""Anchors at the centres of feature cells."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator


class CentredAnchorGenerator(AnchorGenerator):  # type: ignore[misc]
    """Anchors centred at ((i + 0.5) * stride, (j + 0.5) * stride), with exact sides.

    torchvision's generator centres them at the corners (i * stride, j * stride) of the cells, rounds their sides to
    even numbers, and divides the input's size by the map's, which is no stride where a map is rounded up.

    >>> generator = CentredAnchorGenerator(sizes=((16,),), aspect_ratios=((1.0,),), strides=(8,))
    >>> generator.grid_anchors([(1, 2)])[0].tolist()
    [[-4.0, -4.0, 12.0, 12.0], [4.0, -4.0, 20.0, 12.0]]

    Args:
        sizes: sides of the square anchors of each level, in input pixels.
        aspect_ratios: height / width of the anchors of each level.
        strides: input pixels per cell of each level.
    """

    def __init__(
        self, sizes: Sequence[Sequence[int]], aspect_ratios: Sequence[Sequence[float]], strides: Sequence[int]
    ) -> None:
        super().__init__(sizes, aspect_ratios)
        self.strides = strides

    def generate_anchors(
        self,
        scales: Sequence[int],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Return the anchors around the origin, (ratios * scales, 4) xyxy, in torchvision's order."""
        sides = torch.as_tensor(scales, dtype=dtype, device=device)
        root = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()[:, None]
        width, height = (sides / root).flatten(), (sides * root).flatten()
        return torch.stack([-width, -height, width, height], dim=1) / 2

    def grid_anchors(self, grid_sizes: Sequence[Sequence[int]], strides: object = None) -> list[Tensor]:
        """Return the anchors of each level, (H * W * A, 4) xyxy, those of a location side by side.

        Args:
            grid_sizes: (H, W) of each level's map.
            strides: not used; torchvision's estimates from the sizes of input and maps.
        """
        levels = super().grid_anchors(grid_sizes, [(stride, stride) for stride in self.strides])
        return [anchors + stride / 2 for anchors, stride in zip(levels, self.strides, strict=True)]
