"""Mask targets, sampled from box crops rather than from masks of the size of the image.

Sampling is separable: a target is ``Y @ crop @ X.T`` with a small matrix of weights for each axis, by exact areas
(`AreaWeights`) or as torchvision samples (`RoIAlignWeights`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from segtrain.device import copy_to_device
from segtrain.targets import Target

MASK_SIDE = 28  # height and width of the mask head's output
SMALLEST_CELL = 1e-6  # image pixels; avoids a division by 0 for empty regions
CHUNK = 2**17  # pixels of crops in one part: a few megabytes with their index


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


@dataclass(frozen=True)
class Chunk:
    """Regions whose crops have similar sizes.

    Attributes:
        regions: C indices of regions.
        index: (C,) int64, the same on the device of the crops.
        pixels: (C, h, w) float32 crops; values behind the end of a smaller crop have no meaning.
    """

    regions: Sequence[int]
    index: Tensor
    pixels: Tensor


class MaskCrops:
    """Crops of R regions, read from one tensor with the pixels of all masks.

    Args:
        masks: uint8 mask of each object, (h, w), cropped to its box.
        owners: object of each region.
        device: device of the crops; the masks may be on another one.

    Attributes:
        lengths: (R, 2) int64, width and height of each crop.
    """

    def __init__(self, masks: Sequence[Tensor], owners: Sequence[int], device: torch.device) -> None:
        starts = list(accumulate((mask.numel() for mask in masks), initial=0))
        self._pixels = torch.cat([mask.flatten() for mask in masks]).to(device, non_blocking=True)
        self._starts = [starts[owner] for owner in owners]
        self._sizes = [(int(masks[owner].shape[0]), int(masks[owner].shape[1])) for owner in owners]
        self._first = copy_to_device(self._starts, device)
        self.lengths = copy_to_device([(width, height) for height, width in self._sizes], device)

    def chunks(self) -> Iterator[Chunk]:
        """Yield all regions, sorted by the size of their crops, in chunks of at most `CHUNK` pixels or one crop."""
        chunk: list[int] = []
        highest = widest = 0
        for region in sorted(range(len(self._sizes)), key=self._sizes.__getitem__):
            height, width = self._sizes[region]
            highest, widest = max(highest, height), max(widest, width)
            if chunk and (len(chunk) + 1) * highest * widest > CHUNK:
                yield self._chunk(chunk)
                chunk, highest, widest = [], height, width
            chunk.append(region)
        yield self._chunk(chunk)

    def _chunk(self, regions: list[int]) -> Chunk:
        device = self._pixels.device
        height, width = (max(sides) for sides in zip(*(self._sizes[region] for region in regions), strict=True))
        index = copy_to_device(regions, device)
        if len(regions) == 1:  # maybe a large one: read without an index of eight bytes a pixel
            start = self._starts[regions[0]]
            return Chunk(regions, index, self._pixels[start : start + height * width].view(1, height, width).float())
        rows = self._first[index, None] + torch.arange(height, device=device) * self.lengths[index, :1]
        places = rows[:, :, None] + torch.arange(width, device=device)
        return Chunk(regions, index, self._pixels[places.clamp_(max=len(self._pixels) - 1)].float())


@dataclass(frozen=True)
class Placement:
    """Places of R regions and of the mask crops that they are sampled from; x before y in every field.

    Attributes:
        boxes: (R, 4) regions, xyxy in input pixels.
        corners: (R, 2) int64, first pixel of each region's crop within the image.
        lengths: (R, 2) int64, pixels of each region's crop.
        image_sizes: (R, 2) int64, pixels of each region's image.
        input_sizes: (R, 2) int64, pixels of this image as the network sees it.
    """

    boxes: Tensor
    corners: Tensor
    lengths: Tensor
    image_sizes: Tensor
    input_sizes: Tensor


class AreaWeights:
    """Weights of targets that are the mean of the true mask over each cell, by exact areas.

    Pixel i of the image covers [i, i + 1); the resized input is not used. For cells smaller than a pixel, too, areas
    give more exact masks after pasting than values that are interpolated at the centres of cells (docs/training.md).

    Args:
        placement: regions and crops.
        bins: cells along each axis.
    """

    def __init__(self, placement: Placement, bins: int) -> None:
        # In float64: far from the image's corner a float32 has too few digits left for a part of a pixel.
        scale = placement.image_sizes.double() / placement.input_sizes
        boxes = placement.boxes.double()
        self._start = (boxes[:, :2] * scale - placement.corners).float()
        self._cell = ((boxes[:, 2:] - boxes[:, :2]) * scale / bins).float()
        self._lengths = placement.lengths
        self._steps = torch.arange(bins + 1, device=scale.device)

    def along(self, axis: int, chunk: Chunk) -> Tensor:
        """Compute the weights of a chunk of C regions.

        Args:
            axis: 0 for x, 1 for y.
            chunk: regions, and crops with N pixels along this axis.

        Returns:
            (C, bins, N) float32, 0 behind a crop's end.
        """
        start, cell, length = (of[chunk.index, axis, None] for of in (self._start, self._cell, self._lengths))
        edges = (start + cell * self._steps).minimum(length)[:, :, None]
        pixels = torch.arange(chunk.pixels.shape[2 - axis], device=edges.device)
        # The part of each pixel before each edge; the difference of two edges is the part within the cell.
        return (edges - pixels).clamp_(0, 1).diff(dim=1) / cell.clamp(min=SMALLEST_CELL)[:, :, None]


class RoIAlignWeights:
    """Weights of torchvision's targets: planes resized to the input (nearest), pooled by RoIAlign at scale 1.

    Args:
        placement: regions and crops.
        bins: cells along each axis.
    """

    def __init__(self, placement: Placement, bins: int) -> None:
        self._placement, self._bins = placement, bins
        self._extents = (placement.boxes[:, 2:] - placement.boxes[:, :2]).clamp(min=1.0)
        self._samples = torch.ceil(self._extents / bins)  # ``sampling_ratio=-1``: about one for each pixel
        self._sample_counts = self._samples.int().tolist()

    def along(self, axis: int, chunk: Chunk) -> Tensor:
        """Compute the weights of a chunk of regions; see `AreaWeights.along`."""
        position, weight = self._sample_positions(axis, chunk)
        place, part = self._placement, chunk.index
        last = (place.input_sizes[part, axis] - 1)[:, None, None]
        weight = weight * ((position >= -1.0) & (position <= last + 1))
        position = position.clamp(min=0.0)
        low = torch.minimum(position.long(), last)
        fraction = torch.where(low >= last, 0.0, position - low)
        lattice = torch.stack([low, torch.minimum(low + 1, last)], dim=-1)
        weight = torch.stack([1 - fraction, fraction], dim=-1) * weight[..., None]
        # Nearest resizing reads source pixel floor(i * image / input); then into the crop's own frame.
        image_size, input_size, corner, length = (
            of[part, axis][:, None, None, None]
            for of in (place.image_sizes, place.input_sizes, place.corners, place.lengths)
        )
        ratio = (image_size.double() / input_size).float()
        pixel = torch.minimum((lattice * ratio).long(), image_size - 1) - corner
        weight = weight * ((pixel >= 0) & (pixel < length))
        longest = chunk.pixels.shape[2 - axis]
        result = weight.new_zeros((len(part), self._bins, longest))
        return result.scatter_add_(2, pixel.clamp(0, longest - 1).flatten(2), weight.flatten(2))

    def _sample_positions(self, axis: int, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """Return the positions of the samples of each bin in input pixels, and their weights, (C, bins, samples)."""
        start, extent, samples = (
            of[chunk.index, axis][:, None, None] for of in (self._placement.boxes, self._extents, self._samples)
        )
        step = torch.arange(max(self._sample_counts[region][axis] for region in chunk.regions), device=start.device)
        bin_index = torch.arange(self._bins, device=start.device)[:, None]
        position = start + (bin_index + (step + 0.5) / samples) * (extent / self._bins)
        return position, (step < samples) / samples
