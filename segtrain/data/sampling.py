"""Sampling of training images: order and repetition within an epoch, and batches of similar aspect ratio."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from segtrain.data.coco.index import CategoryCounts

# Bins of width/height between 1/2 and 2; torchvision's reference for detection takes three to an octave as well.
_BINS_PER_OCTAVE = 3
# A pass holds the number of earlier repetitions in an epoch in the bits above those of the epoch.
_REPETITION = 2**32
Array = npt.NDArray[np.int64]


class Done(NamedTuple):
    """Batches of an epoch that training has used, all of one size.

    Attributes:
        batch_size: number of images in each batch.
        batches: number of batches.
    """

    batch_size: int
    batches: int


def repeat_factors(counts: CategoryCounts, images: int, threshold: float) -> npt.NDArray[np.float64]:
    """Compute the mean number of times that an epoch shows each image, more than once for rare categories.

    The factor is max(1, sqrt(threshold / f)), f being the share of images with the image's rarest category. Source:
    A. Gupta, P. Dollár, R. Girshick, LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019, section 5.

    Args:
        counts: number of true objects of each image and category.
        images: number of images, those without instances included.
        threshold: share of images below which a category counts as rare, in (0, 1].

    Returns:
        (images,) factors, at least 1.

    >>> counts = CategoryCounts(images=np.array([0, 1, 1]), labels=np.array([1, 1, 2]), objects=np.array([5, 3, 1]))
    >>> repeat_factors(counts, images=16, threshold=0.25).tolist()[:3]  # label 2 is in one of 16 images
    [1.4142135623730951, 2.0, 1.0]
    """
    factors = np.ones(images)
    share = np.bincount(counts.labels) / images
    np.maximum.at(factors, counts.images, np.sqrt(threshold / share[counts.labels]))
    return factors


def aspect_bins(sizes: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """Assign each image to a bin of aspect ratio: equal steps of log2(width / height), open at both ends.

    Args:
        sizes: (H, W) of each image.

    >>> aspect_bins([(100, 100), (100, 110), (100, 300)]).tolist()
    [4, 4, 7]
    """
    height, width = np.asarray(sizes, dtype=np.float64).reshape(-1, 2).T
    edges = np.arange(-_BINS_PER_OCTAVE, _BINS_PER_OCTAVE + 1) / _BINS_PER_OCTAVE
    return np.searchsorted(edges, np.log2(width / height), side="right")


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of an epoch, as lists of (pass, position); a function of (seed, epoch) and the size of a batch alone.

    The pass identifies a showing of an image: the epoch, and in higher bits the number of earlier showings in this
    epoch. Random draws that depend on it differ between showings. All epochs have the same number of batches.

    Args:
        length: number of images.
        batch_size: number of images in a batch; one batch of an epoch may be smaller.
        seed: seed of the order, not negative.
        factors: (length,) mean number of times to show each image, at least 1; in an epoch it is rounded up or down.
            None to show each image once.
        bins: (length,) bin of each image. A batch holds images of one bin, except for one batch at each border between
            neighbouring bins. None for batches of any images.
        part: number of this process, from 0, and the number of processes among which each batch is divided. The parts
            differ by one image at most; some may be empty.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        *,
        factors: npt.NDArray[np.float64] | None = None,
        bins: npt.NDArray[np.int64] | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._batch_size = batch_size
        self._seed = seed
        factors = np.ones(length) if factors is None else factors
        self._whole = np.floor(factors).astype(np.int64)
        self._rest = np.cumsum(factors - self._whole)  # sum of the fractions up to and including each image
        # The fraction of the total, less than one sample, is dropped, so that all epochs have the same length.
        self._extra = int(self._rest[-1] + 1e-9) if length else 0
        self._length = -(-(int(self._whole.sum()) + self._extra) // batch_size)
        self._bins = bins
        self._first, self._stride = part
        self.epoch = 0
        self.start = 0
        self.earlier: Sequence[Done] = ()

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        return self._length

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        positions, passes, order, firsts = self._layout()
        for first in firsts[self.start :]:
            batch = order[first : first + self._batch_size][self._first :: self._stride]
            yield list(zip(passes[batch].tolist(), positions[batch].tolist(), strict=True))

    def batches_left(self, epoch: int, earlier: Sequence[Done]) -> int:
        """Return the number of batches in the rest of an epoch whose first batches had other sizes.

        Args:
            epoch: number of the epoch, from 0.
            earlier: batches that were done with other sizes, in their order.
        """
        if not earlier:
            return len(self)
        self.epoch, self.earlier = epoch, earlier
        return len(self._layout()[-1])

    def _layout(self) -> tuple[Array, Array, Array, Array]:
        """Draw an epoch: positions and passes of its samples, their order, and where in it each batch begins.

        If the first batches of the epoch had other sizes, the samples that are left are divided anew.
        """
        random = np.random.default_rng([self._seed, self.epoch])
        positions, passes = self._samples(random)
        order = random.permutation(len(positions))
        size = self.earlier[0].batch_size if self.earlier else self._batch_size
        firsts = np.arange(0, len(order), size)
        if self._bins is not None:
            order = order[np.argsort(self._bins[positions[order]], kind="stable")]
            firsts = random.permutation(firsts)
        following = [*(done.batch_size for done in self.earlier), self._batch_size][1:]
        for done, next_size in zip(self.earlier, following, strict=True):
            left = [order[first : first + done.batch_size] for first in firsts[done.batches :]]
            order = np.concatenate([order[:0], *left])
            firsts = np.arange(0, len(order), next_size)
        return positions, passes, order, firsts

    def _samples(self, random: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Draw the positions of an epoch's samples, increasing, and their passes."""
        times = self._whole
        if self._extra:
            # Systematic sampling: equal steps along the sum from one random offset select the fraction of an image at
            # most once, and their number is always the same.
            steps = (random.random() + np.arange(self._extra)) * (self._rest[-1] / self._extra)
            met = np.searchsorted(self._rest, steps, side="right")
            times = times + np.bincount(np.minimum(met, len(times) - 1), minlength=len(times))
        positions = np.repeat(np.arange(len(times)), times)
        before = np.arange(len(positions)) - np.repeat(np.cumsum(times) - times, times)
        return positions, self.epoch + before * _REPETITION
