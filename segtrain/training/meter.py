"""Means between two entries of the journal."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence

from segtrain.data.dataset import Skipped

logger = logging.getLogger(__name__)


class Meter:
    """Watches the training loop.

    Attributes:
        last_loss: sum of the loss terms of the last batch.
        skipped: ids of the images that could not be read so far.
    """

    def __init__(self) -> None:
        self.last_loss = float("nan")
        self.skipped: set[int] = set()
        self._reset()

    def add(self, losses: Mapping[str, float], images: int, share: float) -> None:
        """Take in the loss terms of a batch.

        Args:
            losses: by name.
            images: of the batch.
            share: of the batch in its step, in (0, 1].
        """
        for name, value in losses.items():
            self._losses[name] += value * share
        self.last_loss = sum(losses.values())
        self._images += images

    def end_step(self, gradient_norm: float) -> None:
        """Close a step; the norm is the one before clipping."""
        self._steps += 1
        self._norm += gradient_norm

    def time_step(self, seconds: float, waited: float) -> None:
        """Take in what a step took, and how much of that was waiting for data."""
        self._seconds += seconds
        self._waited += waited

    def skip(self, skipped: Sequence[Skipped]) -> None:
        """Say once of each image that it cannot be read."""
        for image in skipped:
            if image.image_id not in self.skipped:
                self.skipped.add(image.image_id)
                logger.warning("skipped, %d so far: %s", len(self.skipped), image.reason)

    def flush(self) -> dict[str, float]:
        """Means over the steps since the last call."""
        losses = {name: value / self._steps for name, value in self._losses.items()}
        values = {
            "train/loss": sum(losses.values()),
            **{f"train/{name}": value for name, value in losses.items()},
            "train/gradient_norm": self._norm / self._steps,
            "train/images_per_second": self._images / self._seconds,
            "train/data_wait_share": self._waited / self._seconds,
            "train/skipped_images": float(len(self.skipped)),
        }
        self._reset()
        return values

    def _reset(self) -> None:
        self._losses: defaultdict[str, float] = defaultdict(float)
        self._steps, self._images = 0, 0
        self._seconds, self._waited, self._norm = 0.0, 0.0, 0.0
