"""Loader of training batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from segtrain import distributed
from segtrain.data.dataset import CocoDataset, Sample, Skipped
from segtrain.data.sampling import Done, EpochBatches, aspect_bins, repeat_factors
from segtrain.data.workers import deaths_noticed_between_batches, noticing_deaths, start_worker, usable_workers
from segtrain.errors import SegtrainError
from segtrain.targets import Target


@dataclass(frozen=True)
class Batch:
    """Samples of one training step.

    Attributes:
        images: uint8 RGB tensors (3, H, W) of any sizes; none if every image of the batch was skipped.
        targets: true objects of each image.
        image_ids: id of each image.
        skipped: images that could not be read; those of all processes that train together.
        total: number of images that all these processes have.
    """

    images: list[Tensor]
    targets: list[Target]
    image_ids: list[int]
    skipped: list[Skipped]
    total: int


class Packed(NamedTuple):
    """Batch in the form in which a worker sends it, as five tensors.

    Each tensor that a worker sends needs an open file, and the masks of a few batches would exceed their number.
    """

    pixels: Tensor  # all images, flat
    boxes: Tensor
    labels: Tensor
    masks: Tensor  # all mask crops, flat: those of the instances, then those of the ignored regions
    ignored_boxes: Tensor
    sizes: list[tuple[int, int]]  # (H, W) of each image
    instances: list[int]  # number of instances of each image
    ignored: list[int]  # number of ignored regions of each image
    image_ids: list[int]
    skipped: list[Skipped]
    error: str | None


_TENSORS = ("pixels", "boxes", "labels", "masks", "ignored_boxes")  # of a `Packed`


def pack(records: Sequence[Sample | Skipped | SegtrainError]) -> Packed:
    """Join the samples of a batch."""
    samples = [record for record in records if isinstance(record, Sample)]
    targets = [sample.target for sample in samples]
    masks = [mask.flatten() for target in targets for mask in target.masks]
    masks += [mask.flatten() for target in targets for mask in target.ignored_masks]
    empty = Target.empty()
    return Packed(
        pixels=torch.cat([torch.zeros(0, dtype=torch.uint8), *(sample.image.flatten() for sample in samples)]),
        boxes=torch.cat([empty.boxes, *(target.boxes for target in targets)]),
        labels=torch.cat([empty.labels, *(target.labels for target in targets)]),
        masks=torch.cat([torch.zeros(0, dtype=torch.uint8), *masks]),
        ignored_boxes=torch.cat([empty.ignored_boxes, *(target.ignored_boxes for target in targets)]),
        sizes=[(sample.image.shape[1], sample.image.shape[2]) for sample in samples],
        instances=[len(target) for target in targets],
        ignored=[len(target.ignored_masks) for target in targets],
        image_ids=[sample.image_id for sample in samples],
        skipped=[record for record in records if isinstance(record, Skipped)],
        error=next((str(record) for record in records if isinstance(record, SegtrainError)), None),
    )


def pack_by_value(records: Sequence[Sample | Skipped | SegtrainError]) -> Packed:
    """Join the samples of a batch as arrays, which are sent through a pipe; tensors would be sent in shared memory."""
    packed = pack(records)
    arrays: dict[str, Any] = {name: getattr(packed, name).numpy() for name in _TENSORS}
    return packed._replace(**arrays)


def unpack(packed: Packed) -> Batch:
    """Split a packed batch into samples; its images and masks are views.

    Raises:
        SegtrainError: a sample of the batch could not be loaded.
    """
    if packed.error is not None:
        raise SegtrainError(packed.error)
    tensors: dict[str, Any] = {name: torch.as_tensor(getattr(packed, name)) for name in _TENSORS}
    packed = packed._replace(**tensors)
    pixels = torch.split(packed.pixels, [3 * height * width for height, width in packed.sizes])
    images = [flat.view(3, height, width) for flat, (height, width) in zip(pixels, packed.sizes, strict=True)]
    boxes = torch.cat([packed.boxes, packed.ignored_boxes])
    shapes = [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in boxes.int().tolist()]
    crops = torch.split(packed.masks, [height * width for height, width in shapes])
    views = [flat.view(shape) for flat, shape in zip(crops, shapes, strict=True)]
    masks, ignored_masks = iter(views[: len(packed.boxes)]), iter(views[len(packed.boxes) :])
    targets = [
        Target(own, labels, list(islice(masks, len(own))), ignored, list(islice(ignored_masks, len(ignored))))
        for own, labels, ignored in zip(
            torch.split(packed.boxes, packed.instances),
            torch.split(packed.labels, packed.instances),
            torch.split(packed.ignored_boxes, packed.ignored),
            strict=True,
        )
    ]
    return Batch(images, targets, packed.image_ids, packed.skipped, len(images))


class TrainingLoader:
    """Loader of training batches, from any batch of any epoch on.

    Args:
        dataset: training samples.
        batch_size: number of images in a batch, counted over all processes of ``part``.
        workers: number of processes that load ahead; 0 to load in this one.
        seed: seed of the order, not negative.
        aspect_grouping: True to fill batches with images of similar aspect ratio, which need little padding.
        repeat_threshold: share of images below which a category is rare, and its images are shown more often; None to
            show each image once an epoch.
        showings: mean number of times that an epoch shows each image, at least 1; `repeat_threshold` adds to it.
        pin_memory: True to load into pinned memory, from which copies to a GPU are faster.
        start_method: start method of workers, ``fork`` or ``spawn``; None for the system's default.
        part: number of this process, from 0, and the number of processes among which each batch is divided.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        *,
        batch_size: int,
        workers: int,
        seed: int,
        aspect_grouping: bool = False,
        repeat_threshold: float | None = None,
        showings: float = 1.0,
        pin_memory: bool = False,
        start_method: str | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        index, rare = dataset.index, repeat_threshold
        rows = index.images.rows
        largest = 3 * int((rows["height"].astype(np.int64) * rows["width"]).max(initial=0))
        workers, shares = usable_workers(workers, largest * -(-batch_size // part[1]))
        self.batch_size = batch_size
        factors = np.ones(len(dataset)) if rare is None else repeat_factors(index.category_counts(), len(dataset), rare)
        self._batches = EpochBatches(
            len(dataset),
            batch_size,
            seed,
            factors=showings * factors,
            bins=aspect_bins([image.size for image in index.images]) if aspect_grouping else None,
            part=part,
        )
        self._loader = DataLoader(
            _Records(dataset),
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=pack if shares else pack_by_value,
            pin_memory=pin_memory,
            worker_init_fn=start_worker,
            multiprocessing_context=start_method if workers else None,
            # PyTorch draws a seed for workers at each epoch; from its own generator, training's stream is unchanged.
            generator=torch.Generator(),
            persistent_workers=workers > 0,
        )

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self._batches)

    def batches_left(self, epoch: int, earlier: Sequence[Done]) -> int:
        """Return the number of batches in the rest of an epoch whose first batches had other sizes.

        Args:
            epoch: number of the epoch, from 0.
            earlier: batches that were done with other sizes, in their order.
        """
        return self._batches.batches_left(epoch, earlier)

    def upcoming(self, epoch: int, start: int, earlier: Sequence[Done], count: int) -> list[list[tuple[int, int]]]:
        """Return the keys of this process's samples in the next batches, without loading them.

        Args:
            epoch: number of the epoch, from 0.
            start: first batch.
            earlier: batches of this epoch that were done with other sizes before, in their order.
            count: largest number of batches; there are fewer at the end of the epoch.
        """
        self._batches.epoch, self._batches.start, self._batches.earlier = epoch, start, earlier
        return list(islice(self._batches, count))

    def epoch(self, epoch: int, start: int = 0, earlier: Sequence[Done] = ()) -> Iterator[Batch]:
        """Yield the batches of an epoch.

        Args:
            epoch: number of the epoch, from 0.
            start: first batch, to resume within an epoch.
            earlier: batches of this epoch that were done with other sizes before, in their order; their images do not
                come again.

        Raises:
            SegtrainError: an image cannot be read, or the augmentation fails on it.
        """
        self._batches.epoch, self._batches.start, self._batches.earlier = epoch, start, earlier
        with noticing_deaths():
            with deaths_noticed_between_batches():
                batches = iter(self._loader)
            while (packed := next(batches, None)) is not None:
                yield _of_all_processes(unpack(packed))


def _of_all_processes(batch: Batch) -> Batch:
    """Add what the other processes have loaded for the same step to this process's part of a batch."""
    total, skipped = distributed.total([len(batch.images), len(batch.skipped)])
    everyone = list(chain(*distributed.gather(batch.skipped))) if skipped else []
    return replace(batch, skipped=everyone, total=int(total))


class _Records(torch.utils.data.Dataset[Sample | Skipped | SegtrainError]):
    """Data set that returns errors as values: PyTorch would turn them into a long traceback."""

    def __init__(self, dataset: CocoDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> Sample | Skipped | SegtrainError:
        try:
            return self._dataset[key]
        except SegtrainError as error:
            return error
