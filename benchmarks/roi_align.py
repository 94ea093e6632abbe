"""RoIAlign on the CPU: the weighted gather against torchvision's kernel, forward and backward.

    python benchmarks/roi_align.py

The other side is ``torchvision.ops.MultiScaleRoIAlign`` as torchvision's Mask R-CNN calls it (sampling ratio 2, four
levels). Both sides alternate in one process; medians.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from segtrain.segmenters.architectures import STRIDES
from segtrain.segmenters.roi_align import pool_regions

SIZE = 384  # pixels of the input's side
CASES = ((512, 128, 7), (1024, 256, 7), (128, 128, 14))  # regions, channels, bins


def seconds(pool: Callable[[], Tensor], features: Sequence[Tensor]) -> tuple[float, float]:
    """Of one forward and one backward pass."""
    started = time.perf_counter()
    pooled = pool()
    between = time.perf_counter()
    torch.autograd.grad(pooled, features, torch.ones_like(pooled))
    return between - started, time.perf_counter() - between


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description="RoIAlign: weighted gather against torchvision.")
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {repeats}")
    for regions, channels, bins in CASES:
        torch.manual_seed(0)
        maps = [torch.randn(1, channels, SIZE // s, SIZE // s) for s in STRIDES]
        features = [m.to(memory_format=torch.channels_last).requires_grad_() for m in maps]
        corners = torch.rand(regions, 2) * SIZE * 0.8
        boxes = [torch.cat([corners, corners + 4 + torch.rand(regions, 2) * SIZE * 0.2], dim=1)]
        stock = MultiScaleRoIAlign(["0", "1", "2", "3"], bins, sampling_ratio=2)
        named = dict(zip("0123", features, strict=True))
        sides: dict[str, Callable[[], Tensor]] = {
            "ours": lambda f=features, b=boxes, n=bins: pool_regions(f, STRIDES, b, n, gather=True),  # type: ignore[misc]
            "stock": lambda s=stock, f=named, b=boxes: s(f, b, [(SIZE, SIZE)]),  # type: ignore[misc]
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for repeat in range(repeats + 1):
            for name, pool in sides.items():
                taken = seconds(pool, features)
                if repeat:  # the first is the warm-up
                    times[name].append(taken)
        for index, part in enumerate(("forward", "backward")):
            ours, stock_time = (median(t[index] for t in times[name]) for name in ("ours", "stock"))
            print(
                f"{regions} regions, {channels} channels, {bins}x{bins} {part}: {ours * 1e3:.1f} ms, "
                f"stock {stock_time * 1e3:.1f} ms, {stock_time / ours:.1f}x"
            )


if __name__ == "__main__":
    main()
