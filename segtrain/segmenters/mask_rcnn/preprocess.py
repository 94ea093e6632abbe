"""Preprocessing: from images to the network's input batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from segtrain.device import copy_to_device

# Of ImageNet, in RGB order, as all of torchvision's published weights expect.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DIVISOR = 32  # the coarsest stride of the backbone


@dataclass(frozen=True)
class InputSize:
    """Size that images are resized to before they enter the network.

    >>> InputSize(min_size=800, max_size=1333, scale=None).resized(height=400, width=1000)
    (533, 1333)

    Attributes:
        min_size: input pixels along the shorter side, unless the longer side then exceeds ``max_size``; None if
            ``scale`` is given.
        max_size: largest number of input pixels along the longer side.
        scale: input pixels per image pixel, the same for all images; None if ``min_size`` is given.
    """

    min_size: int | None
    max_size: int
    scale: float | None

    def factor(self, height: int, width: int) -> float:
        """Return input pixels per image pixel for an image of this size."""
        wanted = self.scale if self.min_size is None else self.min_size / min(height, width)
        assert wanted is not None
        return min(wanted, self.max_size / max(height, width))

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return the (H, W) of the input for an image of this size; each at least 1."""
        factor = self.factor(height, width)
        return max(int(height * factor), 1), max(int(width * factor), 1)


def batch_images(
    images: Sequence[Tensor], input_size: InputSize, device: torch.device, least: tuple[int, int] = (1, 1)
) -> ImageList:
    """Normalise, resize and pad, as torchvision's ``GeneralizedRCNNTransform`` does.

    Args:
        images: uint8 RGB tensors (3, H, W).
        input_size: size to resize them to.
        device: device of the batch.
        least: smallest (H, W) of the batch.

    Returns:
        A channels-last float32 batch, padded at the right and bottom with zeros, and each image's own (H, W) in it.
    """
    on_device = [image.to(device, non_blocking=True) for image in images]
    alike = len({image.shape for image in images}) == 1
    parts = [torch.stack(on_device)] if alike else [image[None] for image in on_device]
    resized = [_prepare(part, input_size) for part in parts]
    sizes = [(int(part.shape[2]), int(part.shape[3])) for part in resized for _ in part]
    height, width = (-(-max(side) // DIVISOR) * DIVISOR for side in zip(*sizes, least, strict=True))
    if alike and sizes[0] == (height, width):
        return ImageList(resized[0], sizes)
    empty = torch.empty((len(images), 3, height, width), device=device, memory_format=torch.channels_last)
    batch = empty.zero_()
    for rows, part in zip(torch.split(batch, [len(part) for part in parts]), resized, strict=True):
        rows[:, :, : part.shape[2], : part.shape[3]] = part
    return ImageList(batch, sizes)


def _prepare(images: Tensor, input_size: InputSize) -> Tensor:
    """Normalise and resize uint8 images (B, 3, H, W); the result is channels-last."""
    images = images.contiguous(memory_format=torch.channels_last)
    mean, deviation = (copy_to_device(values, images.device)[:, None, None] for values in (MEAN, DEVIATION))
    normal = images.float().div_(255).sub_(mean).div_(deviation)
    height, width = int(images.shape[2]), int(images.shape[3])
    if input_size.factor(height, width) == 1:
        return normal
    return F.interpolate(normal, size=input_size.resized(height, width), mode="bilinear", align_corners=False)
