"""Mask crops of sampled regions, in parts of one size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from segtrain.runtime import copy_to_device

CHUNK = 2**17  # pixels of crops in one part: a few megabytes with their index


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
