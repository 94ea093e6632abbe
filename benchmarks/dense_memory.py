"""Memory of a training step with many objects: mask crops against planes.

    python benchmarks/dense_memory.py --check

One drawn image of 1333x800 pixels with 300 objects; on the CPU, by the peak of the resident memory. Each measurement
has a process of its own, and the sides take turns.

- ours: ``MaskRCNN.losses`` on a ``Target`` of mask crops, backward, ``AdamW(fused=True)``, as ``train.py`` runs them;
  in bfloat16 where the machine computes it natively.
- stock: ``torchvision.models.detection.maskrcnn_resnet50_fpn`` called as its documentation says, float32, with a uint8
  plane for each object as torchvision's references/detection makes them; ``AdamW``.

Rows: ``total``, forward, losses, backward and optimizer step of ResNet-50-FPN with torchvision's settings and 91
classes: what image, targets and step take beyond the process that holds the network and the optimizer's state.
``targets``, what the true masks take of that: the record itself, and what becomes of it until the mask loss has its
28x28 targets of 128 regions (stock: ``GeneralizedRCNNTransform`` and ``project_masks_on_boxes``; ours:
``sample_targets``), measured apart from the network.
"""

import argparse
import ctypes
import gc
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from statistics import median

import numpy as np
import psutil
import torch
from harness import arguments, finish
from networks import pair, planes, settings_of
from rows import Row
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.models.detection.roi_heads import project_masks_on_boxes
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from segtrain.device import resolve_precision
from segtrain.runtime import thread_count
from segtrain.segmenters.mask_rcnn.mask_targets import sample_targets
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.targets import Target

CLASSES = [str(number) for number in range(1, 91)]
ROWS, SIDES = ("total", "targets"), ("ours", "stock")
REGIONS, BINS = 128, 28  # positive regions of an image at most, and the mask head's output: torchvision's
UNIT = 2**20


def scene(height: int, width: int, objects: int) -> tuple[Tensor, Target]:
    """Draw noise with ellipses of 24 to 96 pixels at random positions."""
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    boxes, crops = [], []
    for _ in range(objects):
        h, w = (int(side) for side in rng.integers(24, 97, 2).clip(max=min(height, width) // 2))
        y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        rows, columns = np.mgrid[:h, :w]
        inside = np.hypot((rows + 0.5) / h * 2 - 1, (columns + 0.5) / w * 2 - 1) <= 1
        crops.append(torch.from_numpy(inside.astype(np.uint8)))
        boxes.append([x, y, x + w, y + h])
    labels = torch.from_numpy(rng.integers(1, len(CLASSES) + 1, objects))
    return image, Target(torch.tensor(boxes, dtype=torch.float32), labels, crops)


def peak_growth(work: Callable[[], object]) -> float:
    """Measure by how many mebibytes some work raises the peak of resident memory above the present value."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # memory that is free but still held would hide what the work takes
    # Ballast up to the peak so far: only beyond it does the system's mark move.
    ballast = np.ones(max(_peak() - psutil.Process().memory_info().rss, 0), dtype=np.uint8)
    before = _peak()
    kept = work()
    grown = _peak() - before
    del kept, ballast
    return grown / UNIT


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure_step(side: str, size: tuple[int, int], objects: int) -> float:
    """Measure the row ``total`` in this process."""
    settings = settings_of("segmenter=mask_rcnn_resnet50_fpn", "segmenter.weights=null")
    ours, stock = pair(settings, CLASSES, [scene(64, 64, 1)[0]], min_size=min(size))
    ours.precision = resolve_precision("fp32" if side == "ours_fp32" else "auto", ours.device)
    model: nn.Module = (stock if side == "stock" else ours).train()
    losses = partial(stock_losses, stock) if side == "stock" else partial(our_losses, ours)
    del ours, stock
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-6, fused=side != "stock")
    for parameter in learning:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # makes its state
    optimizer.zero_grad()

    def step() -> None:
        torch.manual_seed(0)
        torch.autograd.backward(torch.stack(list(losses(*scene(*size, objects)).values())).sum())
        optimizer.step()

    return peak_growth(step)


def our_losses(model: MaskRCNN, image: Tensor, target: Target) -> dict[str, Tensor]:
    """Compute the losses as ``train.py`` does."""
    return model.losses([image], [target])


def stock_losses(model: StockMaskRCNN, image: Tensor, target: Target) -> dict[str, Tensor]:
    """Compute the losses by torchvision."""
    record = {"boxes": target.boxes, "labels": target.labels, "masks": planes(image, target)}
    return dict(model([image / 255], [record]))


def measure_targets(side: str, size: tuple[int, int], objects: int) -> float:
    """Measure the row ``targets`` in this process."""
    make = _targets_of_crops if side == "ours" else _targets_of_planes
    make(*scene(64, 64, 2))  # what libraries hold from their first call on is not the targets'
    image, target = scene(*size, objects)
    return peak_growth(lambda: make(image, target))


def _regions(target: Target) -> tuple[Tensor, Tensor]:
    """Draw the largest number of regions that the mask loss samples, near their objects, and the object of each."""
    owners = torch.arange(REGIONS) % len(target)
    return target.boxes[owners] + torch.linspace(-4, 4, REGIONS)[:, None], owners


def _targets_of_crops(image: Tensor, target: Target) -> Tensor:
    record = Target(target.boxes.clone(), target.labels.clone(), [mask.clone() for mask in target.masks])
    regions, owners = _regions(target)
    size = (image.shape[1], image.shape[2])
    return sample_targets([record], [regions], [owners], [size], [size], BINS, aligned=False)


def _targets_of_planes(image: Tensor, target: Target) -> Tensor:
    record = {"boxes": target.boxes.clone(), "labels": target.labels.clone(), "masks": planes(image, target)}
    sides = image.shape[1:]
    _, (moved,) = GeneralizedRCNNTransform(min(sides), max(sides), [0.0] * 3, [1.0] * 3)([image / 255], [record])
    targets: Tensor = project_masks_on_boxes(moved["masks"], *_regions(target), BINS)
    return targets


def measure_apart(row: str, side: str, options: argparse.Namespace) -> float:
    """Measure a side in a process of its own."""
    where = [str(number) for number in (*options.size, options.objects)]
    command = [sys.executable, __file__, "--measure", row, side, "--size", *where[:2], "--objects", where[2]]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main(options: argparse.Namespace) -> None:
    """Measure the two rows."""
    torch.set_num_threads(thread_count("auto", busy_workers=0))
    if options.measure:
        name, side = options.measure
        measure = measure_step if name == "total" else measure_targets
        print(measure(side, tuple(options.size), options.objects))
        return
    found: dict[tuple[str, str], list[float]] = {key: [] for key in product(ROWS, SIDES)}
    for repeat in range(options.repeats):
        for (name, side), values in list(found.items())[:: -1 if repeat % 2 else 1]:
            values.append(measure_apart(name, side, options))
    middle = {key: median(values) for key, values in found.items()}
    precision = resolve_precision("auto", torch.device("cpu"))
    scale = f"{options.size[1]}x{options.size[0]} pixels, {options.objects} objects"
    single = measure_apart("total", "ours_fp32", options)
    step = f"a step, {scale}, in {precision}; once in fp32: {single:.0f} MiB"
    rows = [
        Row("total", step, "MiB", middle["total", "ours"], middle["total", "stock"], 2),
        Row("targets", f"true masks, {scale}", "MiB", middle["targets", "ours"], middle["targets", "stock"], 10),
    ]
    finish(rows, options)


if __name__ == "__main__":
    parser = arguments("Memory of a training step with many objects: mask crops against planes.")
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1333), metavar=("H", "W"), help="of the image")
    parser.add_argument("--objects", type=int, default=300, help="in it")
    parser.add_argument("--measure", nargs=2, metavar=("ROW", "SIDE"), help=argparse.SUPPRESS)
    main(parser.parse_args())
