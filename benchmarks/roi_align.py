"""RoIAlign on the CPU: the weighted gather against torchvision's kernel, forward and backward.

    python benchmarks/roi_align.py --check

Both sides pool the same regions from the same float32 maps (levels of strides 4 to 32 of one image of 384 pixels), in
turns in one process on all cores.

- ours: ``segtrain.segmenters.mask_rcnn.roi_align.FeaturePyramid`` of channels-last maps, copying them into rows
  included, which in training is done once for both heads.
- stock: ``torchvision.ops.MultiScaleRoIAlign`` as torchvision's Mask R-CNN calls it (sampling ratio 2, four levels), on
  maps in the default layout.

Rows: ``roi_align_forward_CASE`` and ``roi_align_backward_CASE`` for 512 regions of 128 channels in 7x7 bins (``box``),
1024 of 256 in 7x7 (``wide``, a network of torchvision's width) and 128 of 128 in 14x14 (``mask``).
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from harness import alternate, arguments, finish
from rows import Row
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from segtrain.segmenters.mask_rcnn.model import STRIDES
from segtrain.segmenters.mask_rcnn.roi_align import FeaturePyramid

SIZE = 384  # pixels of the input's side
CASES = {"box": (512, 128, 7), "wide": (1024, 256, 7), "mask": (128, 128, 14)}  # regions, channels, bins
FORWARD, BACKWARD = 5, 5  # times faster than stock, at least

Pool = Callable[[], Tensor]


def scene(regions: int, channels: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Draw feature maps, channels-last and in the default layout, and boxes."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, channels, SIZE // stride, SIZE // stride, generator=generator) for stride in STRIDES]
    channels_last = [m.to(memory_format=torch.channels_last).requires_grad_() for m in maps]
    corners = torch.rand(regions, 2, generator=generator) * SIZE * 0.8
    sides = 4 + torch.rand(regions, 2, generator=generator) * SIZE * 0.2
    return channels_last, [m.requires_grad_() for m in maps], [torch.cat([corners, corners + sides], dim=1)]


def backward(pool: Pool, features: Sequence[Tensor]) -> Callable[[int], object]:
    """Return a function that computes the gradients of a pooled tensor repeatedly."""
    pooled = pool()
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(pooled.shape, generator=generator)
    return lambda _: torch.autograd.grad(pooled, features, gradient, retain_graph=True)


def measure(case: str, repeats: int) -> list[Row]:
    """Measure the two rows of a case."""
    regions, channels, bins = CASES[case]
    features, stock_features, boxes = scene(regions, channels)
    kernel = MultiScaleRoIAlign(["0", "1", "2", "3"], bins, sampling_ratio=2)
    stock = partial(kernel, dict(zip("0123", stock_features, strict=True)), boxes, [(SIZE, SIZE)])

    def ours() -> Tensor:
        return FeaturePyramid(features, STRIDES, "gather").pool(boxes, bins)

    torch.testing.assert_close(ours(), stock(), rtol=1e-5, atol=1e-5)
    what = f"{regions} regions, {channels} channels, {bins}x{bins} bins, {torch.get_num_threads()} threads"
    times = {
        "forward": alternate(lambda _: ours(), lambda _: stock(), [0], repeats),
        "backward": alternate(backward(ours, features), backward(stock, stock_features), [0], repeats),
    }
    bounds = {"forward": FORWARD, "backward": BACKWARD}
    return [
        Row(f"roi_align_{part}_{case}", what, "ms", own * 1e3, other * 1e3, bounds[part])
        for part, (own, other) in times.items()
    ]


def main(options: argparse.Namespace) -> None:
    """Measure all cases."""
    finish([row for case in CASES for row in measure(case, options.repeats)], options)


if __name__ == "__main__":
    main(arguments("RoIAlign on the CPU: weighted gather against torchvision.").parse_args())
