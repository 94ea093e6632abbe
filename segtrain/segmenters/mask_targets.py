"""The mask loss's targets, sampled from box crops: no full plane is ever made.

torchvision resizes every true mask's plane to the input size (nearest) and pools it with RoIAlign at scale 1. Both
steps are separable, so a target is ``Y @ crop @ X.T`` with one small matrix of weights for each axis.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def sample_targets(
    masks: Sequence[Tensor],
    corners: Tensor,
    rois: Tensor,
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    bins: int,
) -> Tensor:
    """What each region's mask head should answer.

    Args:
        masks: for each of R regions, its true mask: uint8 (h, w), cropped to its box, in pixels of the image.
        corners: (R, 2) the x and y of each crop in the image.
        rois: (R, 4) xyxy in pixels of the network's input.
        image_size: (H, W) of the image.
        input_size: (H, W) of the image as the network sees it.
        bins: size of the mask head's output, 28 as a rule.

    Returns:
        (R, bins, bins) float32 in [0, 1].
    """
    if not masks:
        return rois.new_zeros((0, bins, bins))
    heights = torch.tensor([m.shape[0] for m in masks], device=rois.device)
    widths = torch.tensor([m.shape[1] for m in masks], device=rois.device)
    y = _axis_weights(rois[:, 1], rois[:, 3], corners[:, 1], heights, image_size[0], input_size[0], bins)
    x = _axis_weights(rois[:, 0], rois[:, 2], corners[:, 0], widths, image_size[1], input_size[1], bins)
    return torch.stack(
        [y[i, :, : mask.shape[0]] @ mask.to(y) @ x[i, :, : mask.shape[1]].T for i, mask in enumerate(masks)]
    )


def _axis_weights(
    start: Tensor, stop: Tensor, offset: Tensor, length: Tensor, image_size: int, input_size: int, bins: int
) -> Tensor:
    """(R, bins, longest crop): how much each crop row adds to each bin (``roi_align`` with ``sampling_ratio=-1``)."""
    extent = (stop - start).clamp(min=1.0)
    samples = torch.ceil(extent / bins)
    step = torch.arange(int(samples.max()), device=start.device)
    within = (step[None, None, :] + 0.5) / samples[:, None, None]
    bin_index = torch.arange(bins, device=start.device)[None, :, None]
    position = start[:, None, None] + (bin_index + within) * (extent / bins)[:, None, None]
    valid = (step[None, None, :] < samples[:, None, None]) & (position >= -1.0) & (position <= input_size)
    position = position.clamp(min=0.0)
    low = position.long().clamp(max=input_size - 1)
    fraction = torch.where(low >= input_size - 1, 0.0, position - low)
    lattice = torch.stack([low, (low + 1).clamp(max=input_size - 1)], dim=-1)
    weight = torch.stack([1 - fraction, fraction], dim=-1) * (valid / samples[:, None, None])[..., None]
    # Nearest resizing reads source pixel floor(i * image / input); then into the crop's own frame.
    row = (lattice * (image_size / input_size)).long().clamp(max=image_size - 1) - offset.long()[:, None, None, None]
    weight = weight * ((row >= 0) & (row < length[:, None, None, None]))
    longest = int(length.max())
    result = weight.new_zeros((len(start), bins, longest))
    return result.scatter_add_(2, row.clamp(0, longest - 1).flatten(2), weight.flatten(2))
