"""Sampling of training images: order and repetition within an epoch, and batches of like shape."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from segtrain.data.coco.index import CategoryCounts

# Bins of width/height between 1/2 and 2; torchvision's reference for detection takes three to an octave as well.
_BINS_PER_OCTAVE = 3
# How often an image was shown before in an epoch stands above the bits of the epoch.
_REPETITION = 2**32


def repeat_factors(counts: CategoryCounts, images: int, threshold: float) -> npt.NDArray[np.float64]:
    """Compute how often an epoch shows each image, so that rare categories occur more often.

    max(1, sqrt(threshold / f)), f being the share of images with the image's rarest category. Source: A. Gupta,
    P. Dollár, R. Girshick, LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019, section 5.

    Args:
        counts: number of true instances of each image and category.
        images: their number, those without instances included.
        threshold: share of images below which a category counts as rare, in (0, 1].

    Returns:
        (images,), each from 1.
    """
    factors = np.ones(images)
    share = np.bincount(counts.labels) / images
    np.maximum.at(factors, counts.images, np.sqrt(threshold / share[counts.labels]))
    return factors


def aspect_bins(sizes: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """The bin of each image's aspect ratio: equal steps of log2(width / height), open at both ends.

    Args:
        sizes: (H, W) of each image.
    """
    height, width = np.asarray(sizes, dtype=np.float64).reshape(-1, 2).T
    edges = np.arange(-_BINS_PER_OCTAVE, _BINS_PER_OCTAVE + 1) / _BINS_PER_OCTAVE
    return np.searchsorted(edges, np.log2(width / height), side="right")


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The batches of an epoch, as lists of (pass, position); a function of (seed, epoch) alone.

    The pass is the epoch, with the number of times that this epoch has shown the image before in the bits above, so
    that what is drawn by it differs from one time to the next. All epochs have the same number of batches.

    Args:
        length: number of images.
        batch_size: one batch of an epoch may be smaller.
        seed: not negative.
        factors: (length,) at least 1: times to show each image on average; an epoch shows it as often as one of the two
            nearest whole numbers says. None: once.
        bins: (length,) of images that are alike. A batch holds images of one bin, but for one batch at each border
            between neighbouring bins. None: batches as they come.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        *,
        factors: npt.NDArray[np.float64] | None = None,
        bins: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self._batch_size = batch_size
        self._seed = seed
        factors = np.ones(length) if factors is None else factors
        self._whole = np.floor(factors).astype(np.int64)
        self._rest = np.cumsum(factors - self._whole)  # of a sample, up to and with each image
        # The sum's own fraction, less than a sample an epoch, is left out: all epochs are of the same length.
        self._extra = int(self._rest[-1] + 1e-9) if length else 0
        self._length = -(-(int(self._whole.sum()) + self._extra) // batch_size)
        self._bins = bins
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self._length

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        random = np.random.default_rng([self._seed, self.epoch])
        positions, passes = self._samples(random)
        order = random.permutation(len(positions))
        batches = np.arange(len(self))
        if self._bins is not None:
            order = order[np.argsort(self._bins[positions[order]], kind="stable")]
            batches = random.permutation(batches)
        for first in batches[self.start :] * self._batch_size:
            batch = order[first : first + self._batch_size]
            yield list(zip(passes[batch].tolist(), positions[batch].tolist(), strict=True))

    def _samples(self, random: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Positions of an epoch's samples, in order, and their passes."""
        times = self._whole
        if self._extra:
            # Systematic sampling: equal steps along the sum, from one random offset, meet the rest of an image at most
            # once, and are always of the same number.
            steps = (random.random() + np.arange(self._extra)) * (self._rest[-1] / self._extra)
            met = np.searchsorted(self._rest, steps, side="right")
            times = times + np.bincount(np.minimum(met, len(times) - 1), minlength=len(times))
        positions = np.repeat(np.arange(len(times)), times)
        before = np.arange(len(positions)) - np.repeat(np.cumsum(times) - times, times)
        return positions, self.epoch + before * _REPETITION
