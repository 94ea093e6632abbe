"""A batch, and its way out of a worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from segtrain.data.samples.dataset import Sample, Skipped
from segtrain.errors import SegtrainError
from segtrain.targets import Target


@dataclass(frozen=True)
class Batch:
    """Samples of one training step.

    Attributes:
        images: uint8 RGB tensors (3, H, W) of any sizes; none if every image of the batch was skipped.
        targets: the true instances of each.
        image_ids: the id of each.
        skipped: images that could not be read.
    """

    images: list[Tensor]
    targets: list[Target]
    image_ids: list[int]
    skipped: list[Skipped]


class Packed(NamedTuple):
    """A batch on its way from a worker, as four tensors.

    Each tensor that leaves a worker costs an open file, and the masks of a few batches would exhaust them.
    """

    pixels: Tensor  # all images, flat
    boxes: Tensor
    labels: Tensor
    masks: Tensor  # all mask crops, flat
    sizes: list[tuple[int, int]]  # (H, W) of each image
    instances: list[int]  # number of instances of each image
    image_ids: list[int]
    skipped: list[Skipped]
    error: str | None


def pack(records: Sequence[Sample | Skipped | SegtrainError]) -> Packed:
    """Join the samples of a batch."""
    samples = [record for record in records if isinstance(record, Sample)]
    targets = [sample.target for sample in samples]
    masks = [mask.flatten() for target in targets for mask in target.masks]
    empty = Target.empty()
    return Packed(
        pixels=torch.cat([torch.zeros(0, dtype=torch.uint8), *(sample.image.flatten() for sample in samples)]),
        boxes=torch.cat([empty.boxes, *(target.boxes for target in targets)]),
        labels=torch.cat([empty.labels, *(target.labels for target in targets)]),
        masks=torch.cat([torch.zeros(0, dtype=torch.uint8), *masks]),
        sizes=[(sample.image.shape[1], sample.image.shape[2]) for sample in samples],
        instances=[len(target) for target in targets],
        image_ids=[sample.image_id for sample in samples],
        skipped=[record for record in records if isinstance(record, Skipped)],
        error=next((str(record) for record in records if isinstance(record, SegtrainError)), None),
    )


def unpack(packed: Packed) -> Batch:
    """Take a batch apart again; its images and masks are views.

    Raises:
        SegtrainError: a sample of the batch was one.
    """
    if packed.error is not None:
        raise SegtrainError(packed.error)
    pixels = torch.split(packed.pixels, [3 * height * width for height, width in packed.sizes])
    images = [flat.view(3, height, width) for flat, (height, width) in zip(pixels, packed.sizes, strict=True)]
    shapes = [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in packed.boxes.int().tolist()]
    crops = torch.split(packed.masks, [height * width for height, width in shapes])
    masks = iter([flat.view(shape) for flat, shape in zip(crops, shapes, strict=True)])
    targets = [
        Target(boxes, labels, [next(masks) for _ in range(len(labels))])
        for boxes, labels in zip(
            torch.split(packed.boxes, packed.instances), torch.split(packed.labels, packed.instances), strict=True
        )
    ]
    return Batch(images, targets, packed.image_ids, packed.skipped)
