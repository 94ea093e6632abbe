"""Segmenters, and their interfaces: `Segmenter` (inference) and `Trainable` (training)."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from segtrain.records import Instances
from segtrain.targets import Target


@runtime_checkable
class Segmenter(Protocol):
    """Turns images into instances; everything after that is one path."""

    def segment(self, images: Sequence[Tensor]) -> list[Instances]:
        """Segment images.

        Args:
            images: uint8 RGB tensors (3, H, W), of any sizes.

        Returns:
            What was found in each image, in the image's own frame, best first.
        """
        ...


@runtime_checkable
class Trainable(Protocol):
    """A segmenter that learns."""

    def losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """The loss terms of a batch, to be summed.

        Args:
            images: uint8 RGB tensors (3, H, W).
            targets: the true instances of each, in the image's own frame.
        """
        ...
