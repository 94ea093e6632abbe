"""One training step of Mask R-CNN: from images and targets to new weights.

    python benchmarks/train_step.py --nuclei DIR --coco DIR --weights FILE --check

Both sides hold the same network with the same weights, learn from the same batches and draw from the same seed; they
take turns in one process. The learning rate is 1e-6, so that they stay the same network. What the data sets hand over
is ready before the clock runs: uint8 images and mask crops, or float32 images and a full plane for each true mask.

- ours: ``segtrain.segmenters.mask_rcnn.model.MaskRCNN.losses``, backward, ``AdamW(fused=True)``, in bfloat16
  (autocast) or float32: a step of ``train.py`` but for the clipping and averaging that stock has not.
- stock: ``torchvision.models.detection.MaskRCNN`` of the very same modules, called as its documentation says: float32,
  default memory layout, ``RoIHeads`` with ``MultiScaleRoIAlign``, ``AdamW``.

Rows: ``mobilenet_bf16`` and ``mobilenet_fp32``, the network of experiment=nuclei on samples of it, 4 images a batch,
384 pixels (parts of 192 pixels, enlarged twofold); ``resnet50_bf16`` and ``resnet50_fp32``, ResNet-50-FPN with
torchvision's settings on 2 photographs of 512 pixels. Without ``--weights`` the MobileNet is random, as the ResNet
always is; their frozen statistics are then those of the images themselves. Before the clock runs, every loss must agree
to 1e-4 in float32, with the same proposals on both sides.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from segtrain.data.augmentation import Augmentation

import albumentations  # isort: skip
import torch
from agreement import same_proposals
from harness import alternate, arguments, finish
from networks import pair, planes, settings_of
from rows import Row
from stand_ins import Split, coco, nuclei
from torch import Tensor
from torchvision.models.detection import MaskRCNN as StockMaskRCNN

from segtrain.data.check.load import load_index
from segtrain.data.dataset import CocoDataset, Sample
from segtrain.data.images.image_reader import ImageReader
from segtrain.segmenters.mask_rcnn.model import MaskRCNN

Precision = Literal["fp32", "bf16"]
SAME = 1e-4  # relative difference of a loss in float32
LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Batch:
    """Batch as both sides take it from their data sets.

    Attributes:
        samples: samples of our side.
        images: images of torchvision's side, float32 (3, H, W) in [0, 1].
        targets: targets of torchvision's side, with a plane for each object.
    """

    samples: list[Sample]
    images: list[Tensor]
    targets: list[dict[str, Tensor]]

    @classmethod
    def of(cls, samples: list[Sample]) -> "Batch":
        """Build the batch of these samples."""
        targets = [
            {"boxes": s.target.boxes, "labels": s.target.labels, "masks": planes(s.image, s.target)} for s in samples
        ]
        return cls(samples, [sample.image / 255 for sample in samples], targets)


Losses = Callable[[Batch], dict[str, Tensor]]


@dataclass(frozen=True)
class Case:
    """Network and its training data.

    Attributes:
        name: name of the rows, before the precision.
        overrides: overrides of ``train.py`` that give the network.
        crop: side in pixels of the square crop of an image.
        side: side in pixels of the network's input.
        size: number of images in a batch.
        batches: number of batches.
        bounds: bound on the ratio in each precision.
    """

    name: str
    overrides: tuple[str, ...]
    crop: int
    side: int
    size: int
    batches: int
    bounds: dict[Precision, float]


MOBILENET = Case("mobilenet", ("experiment=nuclei",), 192, 384, 4, 3, {"bf16": 3, "fp32": 1.8})
RESNET50 = Case(
    "resnet50", ("data=coco", "segmenter=mask_rcnn_resnet50_fpn"), 512, 512, 2, 1, {"bf16": 2.2, "fp32": 1.35}
)


def batches_of(split: Split, case: Case) -> tuple[list[Batch], list[str]]:
    """Build batches of crops with at least one object each, and return them with the names of the categories."""
    index = load_index(split.annotations)
    chain = {"crop": albumentations.RandomCrop(case.crop, case.crop, pad_if_needed=True, p=1)}
    dataset = CocoDataset(index, ImageReader(split.images, "auto", 10**8), Augmentation(chain, mix=None), seed=0)
    wanted = case.batches * case.size
    samples: list[Sample] = []
    for draw in range(100 * wanted):  # spread over the images, and from the start again with other parts
        sample = dataset[draw // wanted, (draw % wanted) * len(index.images) // wanted]
        if isinstance(sample, Sample) and len(sample.target) and len(samples) < wanted:
            samples.append(sample)
    names = [category.name for category in index.categories]
    return [Batch.of(samples[start : start + case.size]) for start in range(0, len(samples), case.size)], names


def our_losses(model: MaskRCNN, precision: Precision, batch: Batch) -> dict[str, Tensor]:
    """Compute the losses as ``train.py`` does."""
    model.precision = precision
    for _ in batch.samples:  # torchvision's transform draws one of its sizes for each image
        torch.empty(1).uniform_()
    return model.losses([sample.image for sample in batch.samples], [sample.target for sample in batch.samples])


def stock_losses(model: StockMaskRCNN, batch: Batch) -> dict[str, Tensor]:
    """Compute the losses by torchvision."""
    losses: dict[str, Tensor] = model(batch.images, batch.targets)
    return losses


def step(losses: Losses, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """Take one optimizer step."""
    torch.manual_seed(0)
    torch.autograd.backward(torch.stack(list(losses(batch).values())).sum())
    optimizer.step()
    optimizer.zero_grad()


def compare(ours: MaskRCNN, stock: StockMaskRCNN, batches: Sequence[Batch]) -> float:
    """Compute the largest relative difference of a loss in float32, from the same proposals."""
    worst = 0.0
    with torch.no_grad(), same_proposals(stock):
        for batch in batches:
            torch.manual_seed(0)
            expected = stock_losses(stock, batch)
            torch.manual_seed(0)
            found = our_losses(ours, "fp32", batch)
            worst = max(worst, *(float(abs(found[name] / value - 1)) for name, value in expected.items()))
    return worst


def measure(case: Case, split: Split, weights: Path | None, repeats: int) -> list[Row]:
    """Measure the rows of a case; exit if the losses differ."""
    batches, class_names = batches_of(split, case)
    settings = settings_of(*case.overrides) | {"weights": str(weights) if weights else None}
    ours, stock = pair(settings, class_names, [s.image for batch in batches for s in batch.samples], case.side)
    ours.train()
    stock.train()
    difference = compare(ours, stock, batches)
    if difference > SAME:
        sys.exit(f"{case.name}: a loss differs by {difference:.1e} of its value; {SAME:g} is the most")
    parameters, others = ([p for p in m.parameters() if p.requires_grad] for m in (ours, stock))
    fused = torch.optim.AdamW(parameters, lr=LEARNING_RATE, fused=True)
    default = torch.optim.AdamW(others, lr=LEARNING_RATE)
    rows = []
    for precision, bound in case.bounds.items():
        times = alternate(
            partial(step, partial(our_losses, ours, precision), fused),
            partial(step, partial(stock_losses, stock), default),
            batches,
            repeats,
        )
        what = f"{case.size} images of {case.side} px, {split.name}; losses agree to {difference:.0e} in float32"
        rows.append(Row(f"{case.name}_{precision}", what, "ms", times[0] * 1e3, times[1] * 1e3, bound))
    return rows


def main(options: argparse.Namespace) -> None:
    """Measure the rows."""
    rows = []
    if MOBILENET.name in options.networks:
        with nuclei(options) as splits:
            rows += measure(MOBILENET, splits[0], options.weights, options.repeats)
    if RESNET50.name in options.networks:
        with coco(options) as splits:
            rows += measure(RESNET50, splits[0], None, options.repeats)
    finish(rows, options)


if __name__ == "__main__":
    parser = arguments("One training step: segtrain against torchvision.")
    names = [MOBILENET.name, RESNET50.name]
    parser.add_argument("--networks", nargs="+", choices=names, default=names)
    main(parser.parse_args())
