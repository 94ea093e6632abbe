"""RoIAlign over a feature pyramid, as a weighted gather."""

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor
from torchvision.ops import roi_align as stock_roi_align

from segtrain.device import copy_to_device

SAMPLES_PER_AXIS = 2  # torchvision's ``sampling_ratio`` for Faster and Mask R-CNN
CANONICAL_SIZE, CANONICAL_LEVEL = 224, 4  # equation 1 of Lin et al., Feature Pyramid Networks, 2017
RoIAlignMethod = Literal["auto", "gather", "kernel"]


def weighted_sums(rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Sum K weighted rows for each of M outputs; gradients flow to the rows alone.

    On the CPU each sum is taken by one thread in a fixed order, both ways: the same values and gradients to the bit on
    any number of threads.

    Args:
        rows: (N, C) rows to sum.
        index: (M, K) int32 indices of rows.
        weight: (M, K) weights, of the type of the rows.

    Returns:
        (M, C) sums.
    """
    if rows.device.type != "cpu":
        return F.embedding_bag(index, rows, per_sample_weights=weight, mode="sum")
    sums: Tensor = _WeightedSums.apply(rows, index, weight)
    return sums


class _WeightedSums(torch.autograd.Function):
    """``embedding_bag`` both ways: the backward pass is the transposed sum.

    torch's own backward pass sorts the indices and adds vector by vector, which takes seven times as long.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(index, weight)
        ctx.count = len(rows)
        return F.embedding_bag(index, rows, per_sample_weights=weight, mode="sum")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        index, weight = ctx.saved_tensors
        outputs, terms = index.shape
        if not outputs:
            return gradient.new_zeros((ctx.count, gradient.shape[1])), None, None
        starts = np.arange(0, outputs * terms + 1, terms, dtype=np.int32)
        matrix = csr_array((weight.flatten().numpy(), index.flatten().numpy(), starts), shape=(outputs, ctx.count))
        transposed = matrix.tocsc()
        return (
            F.embedding_bag(
                torch.from_numpy(transposed.indices),
                gradient.contiguous(),
                torch.from_numpy(transposed.indptr),
                per_sample_weights=torch.from_numpy(transposed.data),
                mode="sum",
                include_last_offset=True,
            ),
            None,
            None,
        )


class FeaturePyramid:
    """Feature maps of a batch, from which regions are pooled as often as needed.

    Attributes:
        sizes: batch size, height and width of each level.

    Args:
        features: one map a level, finest first, (B, C, H, W). Float64 is pooled in float64, any other type in float32,
            under autocast as well.
        strides: pixels of the input per cell of each map; powers of two. Levels beyond these are not pooled from.
        method: "gather", "kernel" (torchvision's), or "auto": the gather on the CPU and the kernel on other devices,
            where it is the faster one.
        aligned: True to sample cell i at its centre (i + 0.5) * stride, as later versions of RoIAlign do; False for
            i * stride, as torchvision's detection models do.
    """

    def __init__(
        self, features: Sequence[Tensor], strides: Sequence[int], method: RoIAlignMethod = "auto", aligned: bool = False
    ) -> None:
        self._features, self._strides, self._aligned = features, strides, aligned
        self._device, self._channels = features[0].device, features[0].shape[1]
        self._dtype = torch.float64 if features[0].dtype == torch.float64 else torch.float32
        self._gathers = method == "gather" or (method == "auto" and self._device.type == "cpu")
        self.sizes = [(f.shape[0], f.shape[2], f.shape[3]) for f in features]

    @cached_property
    def rows(self) -> Tensor:
        """Every cell of every level, (sum of B * H * W, C); made once, as it copies the whole pyramid."""
        return torch.cat([f.permute(0, 2, 3, 1).reshape(-1, self._channels) for f in self._features]).to(self._dtype)

    @cached_property
    def _maps(self) -> list[Tensor]:
        """Features in the type that they are pooled in."""
        return [feature.to(self._dtype) for feature in self._features]

    def level_starts(self) -> Tensor:
        """Return the row at which each level begins, (levels,) int32."""
        counts = [batch * height * width for batch, height, width in self.sizes]
        return copy_to_device(list(accumulate([0, *counts[:-1]])), self._device).int()

    def pool(self, boxes: Sequence[Tensor], output_size: int) -> Tensor:
        """Pool each box from the pyramid level that fits its size.

        Args:
            boxes: regions of each of the B images, (R, 4) xyxy in input pixels; they may leave the input, be empty or
                even upside down.
            output_size: P, bins along each side.

        Returns:
            (sum of R, C, P, P), equal to ``torchvision.ops.MultiScaleRoIAlign`` with ``sampling_ratio=2`` up to
            rounding. Gradients flow to the features, not to the boxes.
        """
        rois = torch.cat(list(boxes)).detach().to(self._dtype)
        image = torch.cat([torch.full((len(b),), i, device=self._device) for i, b in enumerate(boxes)])
        level = assign_levels(rois, self._strides)
        return (self._gather if self._gathers else self._call_kernel)(rois, image, level, output_size)

    def _call_kernel(self, rois: Tensor, image: Tensor, level: Tensor, bins: int) -> Tensor:
        pooled = rois.new_zeros((len(rois), self._channels, bins, bins))
        for index, (feature, stride) in enumerate(zip(self._maps, self._strides, strict=False)):
            chosen = torch.where(level == index)[0]
            indexed = torch.cat([image[chosen, None].to(rois), rois[chosen]], dim=1)
            pooled[chosen] = stock_roi_align(
                feature.to(self._dtype), indexed, bins, 1 / stride, SAMPLES_PER_AXIS, self._aligned
            )
        return pooled

    def _gather(self, rois: Tensor, image: Tensor, level: Tensor, bins: int) -> Tensor:
        _, heights, widths = copy_to_device(self.sizes, self._device).int().T
        first = self.level_starts()
        height, width = heights[level], widths[level]
        scale = 1 / copy_to_device(self._strides, self._device).to(self._dtype)
        scaled = rois * scale[level, None]
        y, y_weight = _samples(scaled[:, 1], scaled[:, 3], height, bins, self._aligned)
        x, x_weight = _samples(scaled[:, 0], scaled[:, 2], width, bins, self._aligned)
        y = y * width[:, None, None] + (first[level] + image.int() * height * width)[:, None, None]
        # Every bin sums the outer product of its samples along y and along x. Repeated before they are combined: the
        # large tensors are then written in runs of 16 instead of 4.
        repeats = 2 * SAMPLES_PER_AXIS
        y, y_weight = (t.repeat_interleave(repeats, dim=2)[:, :, None] for t in (y, y_weight))
        x, x_weight = (t.repeat(1, 1, repeats)[:, None] for t in (x, x_weight))
        pooled = weighted_sums(self.rows, (y + x).flatten(0, 2), (y_weight * x_weight).flatten(0, 2))
        return pooled.reshape(len(rois), bins, bins, self._channels).permute(0, 3, 1, 2)


def assign_levels(rois: Tensor, strides: Sequence[int]) -> Tensor:
    """Assign each region to a pyramid level by its size.

    Args:
        rois: (R, 4) xyxy in input pixels.
        strides: input pixels per cell of each level; powers of two.

    Returns:
        (R,) int64 index of the level in ``strides``.

    Source: Lin et al., Feature Pyramid Networks (2017), equation 1.

    >>> assign_levels(torch.tensor([[0.0, 0, 32, 32], [0, 0, 448, 448]]), strides=(4, 8, 16, 32))
    tensor([0, 3])
    """
    first, last = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
    size = torch.sqrt((rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1]))
    # The same guard against round-off as torchvision's, or boxes at a boundary change level.
    level = torch.floor(CANONICAL_LEVEL + torch.log2(size / CANONICAL_SIZE) + 1e-6)
    # Clamped again: what is not a number has no level, and takes the first.
    return level.clamp(first, last).long().clamp(first, last) - first


def _samples(start: Tensor, stop: Tensor, size: Tensor, bins: int, aligned: bool) -> tuple[Tensor, Tensor]:
    """Compute the cells and weights that each bin reads along one axis.

    Args:
        start: (R,) first edge of each region, in cells.
        stop: (R,) last edge of each region, in cells.
        size: (R,) int32, cells of the map along this axis.
        bins: number of bins along this axis.
        aligned: see `FeaturePyramid`.

    Returns:
        Indices (R, bins, 2 * samples), int32, and their weights, the mean over samples included.
    """
    extent = stop - start
    if aligned:
        start = start - 0.5
    else:  # nothing is smaller than a cell
        extent = extent.clamp(min=1.0)
    # Rounded as the kernel rounds: first the bin, then the sample in it.
    step = torch.arange(bins * SAMPLES_PER_AXIS, device=start.device)
    bin_size = (extent / bins)[:, None]
    position = start[:, None] + (step // SAMPLES_PER_AXIS) * bin_size
    position = position + (step % SAMPLES_PER_AXIS + 0.5) * bin_size / SAMPLES_PER_AXIS
    last = (size - 1)[:, None]
    # A sample up to one cell outside takes the value at the border; further out it counts as zero.
    outside = (position < -1.0) | (position > size[:, None])
    position = position.clamp(min=0.0)
    low = torch.minimum(position.int().clamp(min=0), last)  # twice, as what is not a number becomes negative
    fraction = torch.where(low >= last, 0.0, position - low)
    weight = torch.stack([1 - fraction, fraction], dim=-1) / SAMPLES_PER_AXIS
    weight = torch.where(outside[..., None], 0.0, weight)
    index = torch.stack([low, torch.minimum(low + 1, last)], dim=-1)
    shape = (len(start), bins, 2 * SAMPLES_PER_AXIS)
    return index.reshape(shape), weight.reshape(shape)
