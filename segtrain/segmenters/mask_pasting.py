"""From the mask head's small squares to run-length masks, without pasting into a plane.

The result equals torchvision's ``paste_masks_in_image``, ``> 0.5``, then COCO's encoder, to the bit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segtrain.masks import Rle, empty, encode_crop

PADDING = 1  # a frame of zeros, so that the mask can fall to 0 at the box's edge


def to_rles(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Rle]:
    """Resize each mask inside its box and encode the crop.

    Args:
        probabilities: (N, M, M) in [0, 1].
        boxes: (N, 4) xyxy in pixels of the image.
        size: (H, W) of the image.
    """
    if not len(probabilities):
        return []
    side = probabilities.shape[-1]
    padded = F.pad(probabilities.float(), (PADDING,) * 4).cpu()
    corners = _expand(boxes.float(), (side + 2 * PADDING) / side).to(torch.int64).tolist()
    return [_to_rle(mask, box, size) for mask, box in zip(padded, corners, strict=True)]


def _expand(boxes: Tensor, factor: float) -> Tensor:
    center = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * factor
    return torch.cat([center - half, center + half], dim=1)


def _to_rle(mask: Tensor, box: list[int], size: tuple[int, int]) -> Rle:
    x0, y0, x1, y1 = box
    # Whole pixels, both edges included: torchvision's convention.
    width, height = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
    if x0 >= size[1] or y0 >= size[0] or x0 + width <= 0 or y0 + height <= 0:
        return empty(size)
    resized = F.interpolate(mask[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
    return encode_crop((resized > 0.5).numpy(), x0, y0, size)
