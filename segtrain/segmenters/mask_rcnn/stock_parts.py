"""Parts by which torchvision's own Mask R-CNN computes what ours does; their source is written into exported files.

Each class needs nothing beside torch, torchvision and the imports of this module.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign, roi_align


class FixedScale(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's transform, with the same factor for all images in place of a length of their shorter side.

    Args:
        scale: input pixels per image pixel.
        max_size: largest number of input pixels along the longer side.
        mean: mean of each channel.
        deviation: standard deviation of each channel.
    """

    def __init__(self, scale: float, max_size: int, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__(max_size, max_size, list(mean), list(deviation))
        self.scale = scale

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Resize an image (3, H, W), and the boxes and masks of its target."""
        height, width = image.shape[-2:]
        factor = min(self.scale, self.max_size / max(height, width))
        self.fixed_size = max(int(width * factor), 1), max(int(height * factor), 1)
        resized: tuple[Tensor, dict[str, Tensor] | None] = super().resize(image, target)
        return resized


class AlignedRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]
    """torchvision's pooling, with cells sampled at their centres (``aligned=True``)."""

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: object) -> Tensor:
        """Pool regions.

        Args:
            x: map of each level, at strides 4, 8, 16 and 32, (B, C, H, W).
            boxes: regions of each image, (R, 4) xyxy in input pixels.
            image_shapes: not used; torchvision infers the strides from it.

        Returns:
            (sum of R, C, P, P) for an output size of P.
        """
        rois = torch.cat([torch.cat([torch.full_like(own[:, :1], n), own], dim=1) for n, own in enumerate(boxes)])
        size = torch.sqrt((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2]))
        level = torch.floor(4 + torch.log2(size / 224) + 1e-6).clamp(2, 5) - 2
        pooled = rois.new_zeros((len(rois), x[self.featmap_names[0]].shape[1], *self.output_size))
        for number, name in enumerate(self.featmap_names):
            own = torch.where(level == number)[0]
            scale = 1 / (4 * 2**number)
            pooled[own] = roi_align(x[name], rois[own], self.output_size, scale, self.sampling_ratio, aligned=True)
        return pooled
