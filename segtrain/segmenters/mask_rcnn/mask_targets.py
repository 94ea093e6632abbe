"""Mask targets, sampled from box crops: no full plane is made.

Sampling is separable: a target is ``Y @ crop @ X.T`` with a small matrix of weights for each axis (`axis_weights`).
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from segtrain.runtime import copy_to_device
from segtrain.segmenters.mask_rcnn.axis_weights import AreaWeights, Placement, RoIAlignWeights
from segtrain.segmenters.mask_rcnn.mask_crops import MaskCrops
from segtrain.targets import Target

MASK_SIDE = 28  # height and width of the mask head's output


def sample_targets(
    targets: Sequence[Target],
    regions: Sequence[Tensor],
    owners: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    input_sizes: Sequence[tuple[int, int]],
    bins: int,
    *,
    aligned: bool,
) -> Tensor:
    """Sample the masks that the mask head should predict for each region, for all images of a batch.

    >>> square = Target(torch.tensor([[2.0, 2, 4, 4]]), torch.ones(1).long(), [torch.ones(2, 2, dtype=torch.uint8)])
    >>> region, owner = torch.tensor([[1.0, 2, 4, 4]]), torch.zeros(1).long()
    >>> sample_targets([square], [region], [owner], [(8, 8)], [(8, 8)], bins=2, aligned=True)[0]
    tensor([[0.3333, 1.0000],
            [0.3333, 1.0000]])

    Args:
        targets: true objects of each image, in pixels of the image; the masks may be on another device than the rest.
        regions: regions of each image, (R, 4) xyxy in input pixels.
        owners: index of the object that each region shows, (R,) int64 for each image.
        image_sizes: (H, W) of each image.
        input_sizes: (H, W) of each image as the network sees it.
        bins: cells along each side of the mask head's output.
        aligned: True for means over exact areas (`AreaWeights`), False for torchvision's samples (`RoIAlignWeights`).

    Returns:
        (sum of R, bins, bins) float32 in [0, 1].
    """
    boxes = torch.cat(list(regions))
    device = boxes.device
    if not len(boxes):
        return boxes.new_zeros((0, bins, bins))
    firsts = accumulate((len(target) for target in targets), initial=0)
    owner = torch.cat([own + first for own, first in zip(owners, firsts, strict=False)])
    corners = torch.cat([target.boxes[:, :2] for target in targets]).to(device, non_blocking=True)[owner].long()
    crops = MaskCrops([mask for target in targets for mask in target.masks], owner.tolist(), device)
    frames = [(*image[::-1], *inner[::-1]) for image, inner in zip(image_sizes, input_sizes, strict=True)]
    frame = copy_to_device([frames[image] for image, own in enumerate(owners) for _ in range(len(own))], device)
    placement = Placement(boxes, corners, crops.lengths, frame[:, :2], frame[:, 2:])
    weights = AreaWeights(placement, bins) if aligned else RoIAlignWeights(placement, bins)
    result = boxes.new_empty((len(boxes), bins, bins))
    for chunk in crops.chunks():
        across, down = weights.along(0, chunk), weights.along(1, chunk)
        result[chunk.index] = down @ chunk.pixels @ across.transpose(1, 2)
    return result
