"""Loss terms of a network on validation images."""

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch

from segtrain import distributed
from segtrain.data.dataset import Sample
from segtrain.segmenters import Trainable


class ValidationLosses:
    """Mean loss terms of a network in evaluation mode, which repeats the same random draws for the same image.

    A term is the mean over the items of all images, such as their sampled regions (`Trainable.loss_items`), as if they
    were one batch. Each image is computed alone, so the means depend neither on batches nor on the number of processes.

    Args:
        segmenter: network in evaluation mode.
        seed: seed of the draws of anchors and regions.
    """

    def __init__(self, segmenter: Trainable, seed: int) -> None:
        self._segmenter, self._seed = segmenter, seed
        self._terms: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)

    def add(self, sample: Sample) -> None:
        """Compute the loss terms of an image.

        Args:
            sample: image and its true objects.
        """
        segmenter = self._segmenter
        torch.manual_seed(int(np.random.SeedSequence([self._seed, abs(sample.image_id)]).generate_state(1)[0]))
        with distributed.alone(), torch.no_grad():  # every process has other images, and as many as it has
            terms = segmenter.losses([sample.image], [sample.target])
        values = torch.stack(list(terms.values())).tolist()
        for name, value in zip(terms, values, strict=True):
            self._terms[name].append((value, segmenter.loss_items.get(name, 1)))

    def means(self) -> dict[str, float]:
        """Return the means over the images of all processes, by name, and their sum as ``loss``.

        They are the same in all processes, to the bit.
        """
        parts = distributed.gather(dict(self._terms))
        names = list(dict.fromkeys(chain(*parts)))
        means = {name: _mean(list(chain(*(part.get(name, []) for part in parts)))) for name in names}
        return {"loss": sum(means.values()), **means} if means else {}


def _mean(terms: list[tuple[float, int]]) -> float:
    """Return the mean of values, each of so many items; 0 without any item."""
    if not all(math.isfinite(value) for value, _ in terms):
        return math.nan
    return math.fsum(value * items for value, items in terms) / max(sum(items for _, items in terms), 1)


@contextmanager
def evaluating(segmenter: Trainable) -> Iterator[None]:
    """Set a network to evaluation mode inside, and keep the random state of its device.

    Args:
        segmenter: network, whose former mode is restored.
    """
    was_training = segmenter.training
    devices = [segmenter.device] if segmenter.device.type == "cuda" else []
    segmenter.eval()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        segmenter.train(was_training)
