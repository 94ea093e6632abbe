"""Batches for training, and images one by one for evaluation."""

import signal
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from segtrain.data.images.reader import ImageReader, as_tensor
from segtrain.data.index.coco import CocoIndex
from segtrain.data.samples.batches import Batch, pack, unpack
from segtrain.data.samples.dataset import CocoDataset, Sample, Skipped
from segtrain.data.samples.sampling import EpochBatches, aspect_bins, repeat_factors
from segtrain.errors import SegtrainError


class TrainingLoader:
    """Loads the batches of any epoch, from any batch on.

    Args:
        dataset: where samples come from.
        batch_size: images of a batch.
        workers: processes that load ahead; 0 to load in this one.
        seed: of the order; not negative.
        aspect_grouping: whether a batch holds images of like width/height, which need little padding.
        repeat_threshold: share of images below which a category is rare, and its images are shown more often; None to
            show each image once an epoch.
        pin_memory: for a faster way to a GPU.
        start_method: of the workers, ``fork`` or ``spawn``; None for the system's own.
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
        pin_memory: bool = False,
        start_method: str | None = None,
    ) -> None:
        index, rare = dataset.index, repeat_threshold
        self._batches = EpochBatches(
            len(dataset),
            batch_size,
            seed,
            factors=None if rare is None else repeat_factors(index.category_counts(), len(dataset), rare),
            bins=aspect_bins([image.size for image in index.images]) if aspect_grouping else None,
        )
        self._loader = DataLoader(
            _Records(dataset),
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=pack,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
            multiprocessing_context=start_method if workers else None,
            # Torch draws a seed for its workers at each epoch: from here, lest training's own stream depend on that.
            generator=torch.Generator(),
            persistent_workers=workers > 0,
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch.

        Args:
            epoch: from 0.
            start: the batch to begin with, to go on in the midst of an epoch.

        Raises:
            SegtrainError: an image cannot be read, or the augmentation does not suit it.
        """
        self._batches.epoch, self._batches.start = epoch, start
        for packed in self._loader:
            yield unpack(packed)


def evaluation_images(index: CocoIndex, images: ImageReader) -> Iterator[tuple[int, Tensor]]:
    """The images of an index in its order, one at a time: the id, and uint8 RGB (3, H, W).

    Raises:
        SegtrainError: an image cannot be read; ``readable`` leaves such images out beforehand.
    """
    for info in index.images:
        yield info.id, as_tensor(images.read(info))


class _Records(torch.utils.data.Dataset[Sample | Skipped | SegtrainError]):
    """The data set, with errors as values: torch would send them home as a traceback of many lines."""

    def __init__(self, dataset: CocoDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> Sample | Skipped | SegtrainError:
        try:
            return self._dataset[key]
        except SegtrainError as error:
            return error


def _start_worker(_: int) -> None:
    # The workers are the parallelism (transforms.py keeps OpenCV at one thread). Ctrl-C is the parent's business.
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
