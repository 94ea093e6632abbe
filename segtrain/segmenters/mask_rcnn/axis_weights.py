"""Weights with which the pixels of a mask crop add to the cells of a mask target, along one axis."""

from dataclasses import dataclass

import torch
from torch import Tensor

from segtrain.segmenters.mask_rcnn.mask_crops import Chunk

SMALLEST_CELL = 1e-6  # image pixels: the cells of an empty region have no size to divide by


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

    Pixel i of the image covers [i, i + 1), and no pixel of the input is involved. Areas serve cells smaller than a
    pixel as well: interpolated at their centres, masks come back from pasting with more errors (docs/training.md).

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
