"""Choice of the batch size (``trainer.batch_size=auto``), by rehearsals on the images that cost most."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch

from segtrain import distributed
from segtrain.data.dataset import CocoDataset
from segtrain.data.loader import Batch
from segtrain.errors import SegtrainError
from segtrain.memory_guard import NotEnoughMemoryError
from segtrain.segmenters import Trainable
from segtrain.training.costly_images import CostlyImages
from segtrain.training.gradients import Gradients, OutOfMemoryError
from segtrain.training.rehearsal import rehearse, seed_draws, timed, without_trace

logger = logging.getLogger(__name__)
SIZES = (1, 2, 4, 8)  # of batches that are tried on the CPU
_SHORT = 1.0  # seconds of a step, below which it is timed three times
_SLOWER = 1.1  # times the best time per image, above which no larger batch is tried
_MOST = 256  # images of a batch on a CUDA device
_SHARE = 0.9  # of a CUDA device's memory; pieces between tensors of many sizes take the rest


def choose_batch_size(segmenter: Trainable, dataset: CocoDataset, reserve: int) -> int:
    """Choose the number of images in a batch: on the CPU the fastest for each image, on CUDA the most that fit.

    Of several processes each measures for itself, at the same time as the others; all then choose the same.

    Args:
        segmenter: network on its device, in the precision that it trains in; it is left as it was.
        dataset: training samples.
        reserve: bytes that a training needs beside weights and batches, for the optimizer and averages.

    Raises:
        SegtrainError: no image can be read, or the memory does not hold a single one.
    """
    most = max(len(dataset) // distributed.size(), 1)
    with distributed.alone(), without_trace(segmenter):
        images = CostlyImages(dataset, segmenter)
        if segmenter.device.type == "cuda":
            fits = partial(_fits, segmenter, _CostlyBatches(images, min(most, _MOST)), reserve)
            own: dict[int, float] = {largest_that_fits(fits, min(most, _MOST)): 0.0}
        else:
            own = _times(segmenter, _load(images, min(most, SIZES[-1])))
    return _agree(distributed.gather(own), segmenter.device)


def largest_that_fits(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest number that fits, or 0: doubled until one does not, then narrowed down.

    Args:
        fits: function that returns True if a number fits; every smaller number then fits as well.
        most: largest number to try.

    >>> largest_that_fits(lambda count: count <= 11, most=256)
    11
    """
    good, bad = 0, most + 1
    while good + 1 < bad:
        tried = min(max(2 * good, 1), most) if bad > most else (good + bad) // 2
        if fits(tried):
            good = tried
        else:
            bad = tried
    return good


def _load(images: CostlyImages, count: int) -> Batch:
    drawn = images.costliest(count)
    if drawn is None:
        raise SegtrainError("trainer.batch_size=auto: no training image can be read; see data.check")
    return drawn.batch


class _CostlyBatches:
    """Batches of the images that cost most, of which no more are loaded than are asked for.

    Args:
        images: training images with their costs.
        most: largest number of images in a batch.
    """

    def __init__(self, images: CostlyImages, most: int) -> None:
        self._images, self._most = images, most
        self._loaded: Batch | None = None
        self._count = 0  # images that were asked for

    def first(self, count: int) -> Batch:
        """Return a batch of so many images.

        Raises:
            SegtrainError: no image can be read.
        """
        if self._loaded is None or count > self._count:
            drawn = self._images.costliest(count)
            # The images that cost most may be those that cannot be read.
            self._loaded, self._count = (_load(self._images, self._most) if drawn is None else drawn.batch), count
        return _first(self._loaded, count)


def _first(batch: Batch, count: int) -> Batch:
    return Batch(batch.images[:count], batch.targets[:count], batch.image_ids[:count], [], count)


def _times(segmenter: Trainable, costly: Batch) -> dict[int, float]:
    """Measure the seconds per image of batches of several sizes, those left out that do not fit the memory."""
    gradients, times = Gradients(segmenter), dict[int, float]()
    for size in (size for size in SIZES if size <= len(costly.images)):
        try:
            warm = rehearse(segmenter, gradients, _first(costly, size), sparing=True)
        except NotEnoughMemoryError:
            break
        repeats = 3 if warm < _SHORT else 1
        times[size] = min(rehearse(segmenter, gradients, _first(costly, size)) for _ in range(repeats)) / size
        if times[size] > _SLOWER * min(times.values()):
            break
    return times


def _fits(segmenter: Trainable, costly: _CostlyBatches, reserve: int, size: int) -> bool:
    """Return True if a CUDA device can hold a step of so many images with the further state of a training."""
    device, gradients, batch = segmenter.device, Gradients(segmenter), costly.first(size)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    free, _ = torch.cuda.mem_get_info(device)
    available = free + torch.cuda.memory_reserved(device)
    segmenter.train()
    try:
        timed(lambda: gradients.attempt([[batch]], 0, seed_draws), device)
    except OutOfMemoryError:
        return False
    finally:
        segmenter.zero_grad()
    return torch.cuda.max_memory_reserved(device) + reserve <= _SHARE * available


def _agree(found: Sequence[dict[int, float]], device: torch.device) -> int:
    """Choose one size for all processes, from what each has found, and log it."""
    if device.type == "cuda":
        size = min(max(own) for own in found)
        if size:
            logger.info(f"trainer.batch_size=auto: {size}, the most that the memory of {device} holds")
            return size
    elif tried := [size for size in SIZES if all(size in own for own in found)]:
        times = {size: max(own[size] for own in found) for size in tried}
        size = min(tried, key=times.__getitem__)
        others = ", ".join(f"{times[other]:.2g} s with {other}" for other in tried if other != size)
        logger.info(
            f"trainer.batch_size=auto: {size}, {times[size]:.2g} s an image" + (f" ({others})" if others else "")
        )
        return size
    raise SegtrainError(
        "trainer.batch_size=auto: the memory does not hold a step of a single image; lower the size that images are "
        "resized to (segmenter.max_size, segmenter.scale)"
    )
