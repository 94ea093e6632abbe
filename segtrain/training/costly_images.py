"""Most expensive and typical training images, on which steps are rehearsed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain import distributed
from segtrain.data.coco.index import CocoIndex
from segtrain.data.dataset import CocoDataset, Sample
from segtrain.data.loader import Batch
from segtrain.errors import SegtrainError
from segtrain.segmenters import Trainable

_CANDIDATES = 2  # images that are looked at for each one that is taken, since augmentation changes their sizes


@dataclass(frozen=True)
class DrawnBatch:
    """Batch of chosen training images.

    Attributes:
        batch: images of this process, augmented as in training.
        pixels: pixels that enter the network, those of padding included.
        loading: mean seconds to read and augment an image.
    """

    batch: Batch
    pixels: float
    loading: float


class CostlyImages:
    """Training images with their costs: the pixels that enter the network, and the objects.

    Args:
        dataset: training samples.
        segmenter: network, which resizes images.
    """

    def __init__(self, dataset: CocoDataset, segmenter: Trainable) -> None:
        self._dataset, self._segmenter = dataset, segmenter
        self._sizes, self._objects = input_sizes(dataset.index, segmenter), object_counts(dataset.index)

    def costliest(self, count: int, epoch: int = 0) -> DrawnBatch | None:
        """Load the images with most pixels and objects, each process its share of them; None if none can be read.

        Args:
            count: largest number of images in each process.
            epoch: epoch whose augmentation is drawn.
        """
        parts = (self._sizes.prod(axis=1), self._objects)
        costs = sum((part / max(part.max(initial=0), 1) for part in parts), np.zeros(len(self._objects)))
        candidates = np.argsort(-costs, kind="stable")[: _CANDIDATES * count * distributed.size()]
        return self._load([(epoch, position) for position in distributed.share(candidates.tolist())], count)

    def typical(self, batches: Sequence[Sequence[tuple[int, int]]]) -> DrawnBatch | None:
        """Load the one of some batches whose pixels and objects are nearest to their mean; None if it cannot be read.

        Args:
            batches: keys of the samples of this process; see `CocoDataset`.
        """
        positions = [[position for _, position in batch] for batch in batches]
        pixels = np.array([self._padded(self._sizes[own]) for own in positions])
        objects = np.array([self._objects[own].sum() for own in positions])
        off = sum((abs(part / max(part.mean(), 1) - 1) for part in (pixels, objects)), np.zeros(len(batches)))
        batch = batches[int(off.argmin())] if len(batches) else []
        return self._load(batch, len(batch))

    def _load(self, keys: Sequence[tuple[int, int]], count: int) -> DrawnBatch | None:
        """Load images, and select the most expensive ones after augmentation."""
        started = time.perf_counter()
        samples = [sample for key in keys if (sample := self._sample(key)) is not None]
        loading = (time.perf_counter() - started) / max(len(keys), 1)
        samples = sorted(samples, key=self._cost, reverse=True)[:count]
        everyone = int(distributed.total([len(samples)])[0])
        if not everyone:
            return None
        images = [sample.image for sample in samples]
        targets, ids = [sample.target for sample in samples], [sample.image_id for sample in samples]
        own = self._padded(np.array([self._input_size(sample) for sample in samples]).reshape(-1, 2))
        return DrawnBatch(Batch(images, targets, ids, [], everyone), distributed.largest([own])[0], loading)

    def _sample(self, key: tuple[int, int]) -> Sample | None:
        try:
            record = self._dataset[key]
        except SegtrainError:  # training says so when it comes there
            return None
        return record if isinstance(record, Sample) else None

    def _cost(self, sample: Sample) -> tuple[float, int]:
        height, width = self._input_size(sample)
        return height * width, len(sample.target)

    def _padded(self, sizes: npt.NDArray[np.float64]) -> float:
        """Count the pixels of a batch of images with these (H, W) in the network."""
        if not self._segmenter.takes_batches:
            return float(sizes.prod(axis=1).sum())
        return float(len(sizes) * sizes.max(axis=0, initial=0).prod())

    def _input_size(self, sample: Sample) -> tuple[float, float]:
        height, width = sample.image.shape[1:]
        scale = self._segmenter.input_scale(height, width)
        return height * scale, width * scale


def input_sizes(index: CocoIndex, segmenter: Trainable) -> npt.NDArray[np.float64]:
    """Compute the (H, W) in the network of each image, without augmentation.

    Args:
        index: the images.
        segmenter: network, which resizes images.

    Returns:
        (images, 2) sides in pixels.
    """
    rows = index.images.rows
    sizes, kind = np.unique(np.stack([rows["height"], rows["width"]], axis=1), axis=0, return_inverse=True)
    scales = np.array([segmenter.input_scale(height, width) for height, width in sizes.tolist()])
    found: npt.NDArray[np.float64] = (sizes * scales[:, None])[kind.reshape(-1)]
    return found


def object_counts(index: CocoIndex) -> npt.NDArray[np.float64]:
    """Count the objects of each image, without crowds."""
    counts = index.category_counts()
    return np.bincount(counts.images, weights=counts.objects, minlength=len(index.images)).astype(np.float64)
