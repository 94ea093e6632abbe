"""Mask targets, sampled from box crops: no full plane is ever made.

torchvision resizes every true mask's plane to the input size (nearest) and pools it with RoIAlign at scale 1. Both
steps are separable, so a target is ``Y @ crop @ X.T`` with one small matrix of weights for each axis.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from segtrain.runtime import copy_to_device
from segtrain.targets import Target

MASK_SIDE = 28  # height and width of the mask head's output
CHUNK = 2**17  # pixels of crops that are multiplied at a time: a few megabytes with their index


def sample_targets(
    targets: Sequence[Target],
    regions: Sequence[Tensor],
    owners: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    input_sizes: Sequence[tuple[int, int]],
    bins: int,
) -> Tensor:
    """What each region's mask head should answer, for the images of a batch together.

    Args:
        targets: of each image, in pixels of the image; the masks may be on another device than the rest.
        regions: for each image (R, 4) xyxy in pixels of the network's input.
        owners: for each image (R,) the object that each region shows.
        image_sizes: (H, W) of each image.
        input_sizes: (H, W) of each image as the network sees it.
        bins: size of the mask head's output, 28 as a rule.

    Returns:
        (sum of R, bins, bins) float32 in [0, 1].
    """
    rois = torch.cat(list(regions))
    if not len(rois):
        return rois.new_zeros((0, bins, bins))
    masks = [mask for target in targets for mask in target.masks]
    firsts = accumulate((len(target) for target in targets), initial=0)
    owner = torch.cat([own + first for own, first in zip(owners, firsts, strict=False)])
    corners = torch.cat([target.boxes[:, :2] for target in targets]).to(rois.device, non_blocking=True)[owner].long()
    samples = torch.ceil((rois[:, 2:] - rois[:, :2]).clamp(min=1.0) / bins).long()
    # The only answer that the host waits for: from here on it knows the size of everything.
    known = torch.cat([owner[:, None], samples], dim=1).tolist()
    crops = _Crops(masks, [own for own, _, _ in known], rois.device)
    frames = [(*image, *inner) for image, inner in zip(image_sizes, input_sizes, strict=True)]
    frame = copy_to_device([frames[image] for image, own in enumerate(owners) for _ in range(len(own))], rois.device)

    result = rois.new_empty((len(rois), bins, bins))
    for chunk in crops.chunks():
        part = copy_to_device(chunk, rois.device)
        pixels, heights, widths = crops.padded(chunk)
        weights = [
            _axis_weights(
                rois[part, axis],
                rois[part, axis + 2],
                corners[part, axis],
                lengths,
                frame[part, 1 - axis],
                frame[part, 3 - axis],
                bins,
                steps=max(known[region][1 + axis] for region in chunk),
                longest=pixels.shape[2 - axis],
            )
            for axis, lengths in ((0, widths), (1, heights))
        ]
        result[part] = weights[1] @ pixels @ weights[0].transpose(1, 2)
    return result


class _Crops:
    """The crops of regions in one tensor, and parts of them side by side.

    Args:
        masks: of all objects.
        owners: the object of each region.
        device: where they are wanted.
    """

    def __init__(self, masks: Sequence[Tensor], owners: Sequence[int], device: torch.device) -> None:
        starts = list(accumulate((mask.numel() for mask in masks), initial=0))
        self._pixels = torch.cat([mask.flatten() for mask in masks]).to(device, non_blocking=True)
        # First pixel, height and width of each region's crop.
        self._places = [(starts[own], int(masks[own].shape[0]), int(masks[own].shape[1])) for own in owners]

    def chunks(self) -> Iterator[list[int]]:
        """The regions, those with crops of like size together, and not more than ``CHUNK`` pixels if it can be."""
        chunk: list[int] = []
        highest = widest = 0
        for region in sorted(range(len(self._places)), key=lambda region: self._places[region][1:]):
            height, width = self._places[region][1:]
            highest, widest = max(highest, height), max(widest, width)
            if chunk and (len(chunk) + 1) * highest * widest > CHUNK:
                yield chunk
                chunk, highest, widest = [], height, width
            chunk.append(region)
        yield chunk

    def padded(self, chunk: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """(R, h, w) float32 crops with anything behind their ends, and their true heights and widths (R,)."""
        device = self._pixels.device
        places = copy_to_device([self._places[region] for region in chunk], device)
        start, heights, widths = places.unbind(1)
        h, w = (max(self._places[region][side] for region in chunk) for side in (1, 2))
        if len(chunk) == 1:  # a large one, maybe: without an index of eight bytes a pixel
            first = self._places[chunk[0]][0]
            return self._pixels[first : first + h * w].view(1, h, w).float(), heights, widths
        rows = start[:, None] + torch.arange(h, device=device) * widths[:, None]
        index = rows[:, :, None] + torch.arange(w, device=device)
        return self._pixels[index.clamp_(max=len(self._pixels) - 1)].float(), heights, widths


def _axis_weights(
    start: Tensor,
    stop: Tensor,
    offset: Tensor,
    length: Tensor,
    image_size: Tensor,
    input_size: Tensor,
    bins: int,
    *,
    steps: int,
    longest: int,
) -> Tensor:
    """How much each row of a crop adds to each bin (``roi_align`` with ``sampling_ratio=-1``).

    Args:
        start: (R,) of the regions along this axis.
        stop: (R,) likewise.
        offset: (R,) where the crops begin in the image.
        length: (R,) of the crops.
        image_size: (R,) of the image.
        input_size: (R,) of the image as the network sees it.
        bins: along the axis.
        steps: the most samples that a bin of these regions has.
        longest: rows wanted, no fewer than any crop has.

    Returns:
        (R, bins, longest), 0 behind a crop's end.
    """
    extent = (stop - start).clamp(min=1.0)
    samples = torch.ceil(extent / bins)[:, None, None]
    step = torch.arange(steps, device=start.device)
    bin_index = torch.arange(bins, device=start.device)[:, None]
    position = start[:, None, None] + (bin_index + (step + 0.5) / samples) * (extent / bins)[:, None, None]
    last = (input_size - 1)[:, None, None]
    valid = (step < samples) & (position >= -1.0) & (position <= last + 1)
    position = position.clamp(min=0.0)
    low = torch.minimum(position.long(), last)
    fraction = torch.where(low >= last, 0.0, position - low)
    lattice = torch.stack([low, torch.minimum(low + 1, last)], dim=-1)
    weight = torch.stack([1 - fraction, fraction], dim=-1) * (valid / samples)[..., None]
    # Nearest resizing reads source pixel floor(i * image / input); then into the crop's own frame.
    whole, ratio = image_size[:, None, None, None], (image_size.double() / input_size).float()[:, None, None, None]
    row = torch.minimum((lattice * ratio).long(), whole - 1) - offset[:, None, None, None]
    weight = weight * ((row >= 0) & (row < length[:, None, None, None]))
    result = weight.new_zeros((len(start), bins, longest))
    return result.scatter_add_(2, row.clamp(0, longest - 1).flatten(2), weight.flatten(2))
