"""RoIAlign over a feature pyramid, as a weighted gather.

With a fixed number of samples per bin, RoIAlign (He et al., Mask R-CNN, 2017, section 3) is linear in the features:
every output is a weighted sum of ``4 * samples ** 2`` feature vectors. ``embedding_bag`` computes just that on
channels-last rows, forward and backward on all cores, where the stock CPU kernel runs on one. Repeated runs on 2 and 4
threads gave the same gradients to the bit.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align as stock_roi_align

SAMPLES_PER_AXIS = 2  # torchvision's ``sampling_ratio`` for Faster and Mask R-CNN
CANONICAL_SIZE, CANONICAL_LEVEL = 224, 4  # equation 1 of Lin et al., Feature Pyramid Networks, 2017


def pool_regions(
    features: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Sequence[Tensor],
    output_size: int,
    gather: bool | None = None,
) -> Tensor:
    """Pool each box from the pyramid level that fits its size.

    Args:
        features: one map a level, finest first, (B, C, H, W); any float type, pooled in float32.
        strides: pixels of the input per cell of each map; powers of two.
        boxes: for each of the B images, (R, 4) xyxy in pixels of the input.
        output_size: P, bins along each side.
        gather: whether to use the weighted gather; by default on the CPU only: CUDA's stock kernel is better there.

    Returns:
        (sum of R, C, P, P) float32, equal to ``torchvision.ops.MultiScaleRoIAlign`` with ``sampling_ratio=2``.
    """
    rois = torch.cat(list(boxes)).float()
    image = torch.repeat_interleave(
        torch.arange(len(boxes), device=rois.device), torch.tensor([len(b) for b in boxes], device=rois.device)
    )
    level = assign_levels(rois, strides)
    if gather is None:
        gather = rois.device.type == "cpu"
    if gather:
        return _gather(features, strides, rois, image, level, output_size)
    pooled = rois.new_zeros((len(rois), features[0].shape[1], output_size, output_size))
    for index, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        chosen = torch.where(level == index)[0]
        indexed = torch.cat([image[chosen, None].to(rois), rois[chosen]], dim=1)
        pooled[chosen] = stock_roi_align(feature.float(), indexed, output_size, 1 / stride, SAMPLES_PER_AXIS)
    return pooled


def assign_levels(rois: Tensor, strides: Sequence[int]) -> Tensor:
    """The pyramid level of each (x1, y1, x2, y2): equation 1 of the FPN paper, as an index into ``strides``."""
    first, last = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
    size = torch.sqrt((rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1]))
    # The same guard against round-off as torchvision's, or boxes at a boundary change level.
    level = torch.floor(CANONICAL_LEVEL + torch.log2(size / CANONICAL_SIZE) + 1e-6)
    return level.clamp(first, last).long() - first


def _gather(
    features: Sequence[Tensor], strides: Sequence[int], rois: Tensor, image: Tensor, level: Tensor, bins: int
) -> Tensor:
    channels = features[0].shape[1]
    rows = torch.cat([f.permute(0, 2, 3, 1).reshape(-1, channels) for f in features]).float()
    heights = torch.tensor([f.shape[2] for f in features], device=rois.device)
    widths = torch.tensor([f.shape[3] for f in features], device=rois.device)
    maps = torch.tensor([f.shape[0] * f.shape[2] * f.shape[3] for f in features], device=rois.device)
    scale = 1 / torch.tensor(strides, device=rois.device, dtype=torch.float32)

    boxes = rois * scale[level, None]
    height, width = heights[level], widths[level]
    y, y_weight = _samples(boxes[:, 1], boxes[:, 3], height, bins)
    x, x_weight = _samples(boxes[:, 0], boxes[:, 2], width, bins)
    first_row = (torch.cumsum(maps, 0) - maps)[level] + image * height * width
    # Every bin sums the outer product of its samples along y and along x.
    index = (
        first_row[:, None, None, None, None] + (y * width[:, None, None])[:, :, None, :, None] + x[:, None, :, None, :]
    )
    weight = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]
    terms = (2 * SAMPLES_PER_AXIS) ** 2
    pooled = F.embedding_bag(index.reshape(-1, terms), rows, per_sample_weights=weight.reshape(-1, terms), mode="sum")
    return pooled.reshape(len(rois), bins, bins, channels).permute(0, 3, 1, 2)


def _samples(start: Tensor, stop: Tensor, size: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Cells and weights that one axis of each bin reads.

    Args:
        start: (R,) in cells.
        stop: (R,) in cells.
        size: (R,) cells of the map along this axis.

    Returns:
        Indices (R, bins, 2 * samples) and their weights, the mean over samples included.
    """
    # Without the half-pixel shift of later versions (``aligned=False``), as torchvision's models were trained.
    bin_size = (stop - start).clamp(min=1.0) / bins
    steps = torch.arange(bins * SAMPLES_PER_AXIS, device=start.device, dtype=torch.float32)
    position = start[:, None] + (steps + 0.5) / SAMPLES_PER_AXIS * bin_size[:, None]
    last = (size - 1)[:, None]
    inside = (position >= -1.0) & (position <= size[:, None])
    position = position.clamp(min=0.0)
    low = torch.minimum(position.long(), last)
    fraction = torch.where(low >= last, 0.0, position - low)
    index = torch.stack([low, torch.minimum(low + 1, last)], dim=-1)
    weight = torch.stack([1 - fraction, fraction], dim=-1) * inside[..., None] / SAMPLES_PER_AXIS
    shape = (len(start), bins, 2 * SAMPLES_PER_AXIS)
    return index.reshape(shape), weight.reshape(shape)
