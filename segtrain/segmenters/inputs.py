"""Sizes of the images that a network has seen in training and validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import msgspec
import numpy as np

from segtrain.arrays import FloatArray, IntArray

InputScale = Callable[[int, int], float]  # height and width of an image -> input pixels per image pixel
SHRUNK = 0.8  # an image at less than this share of the scale of the training counts as shrunk
_HUGE = 10**6  # pixels of a side that reaches every limit of an input


@dataclass(frozen=True)
class KnownInputs:
    """Sizes of the whole images that a network has seen in training and validation; crops of augmentation do not count.

    Attributes:
        scale: input pixels per image pixel in training; the median, if it depends on the size of the image.
        input: shorter and longer side of the largest input.
        image: shorter and longer side of the largest image that was not shrunk to less than `SHRUNK` of the scale; 0, 0
            without any.

    >>> KnownInputs(2.0, (256, 256), (128, 128)).window((1000, 2000))
    (128, 128)
    """

    scale: float
    input: tuple[int, int]
    image: tuple[int, int]

    @classmethod
    def of(
        cls,
        input_scale: InputScale,
        training: Sequence[tuple[int, int]],
        validation: Sequence[tuple[int, int]],
        drawn: Callable[[], Sequence[tuple[int, int]]] = lambda: (),
    ) -> Self:
        """Compute the sizes from those of all images.

        Args:
            input_scale: factor by which the network resizes an image of this height and width.
            training: (H, W) of the training images, without augmentation; at least one.
            validation: (H, W) of the validation images.
            drawn: function that returns the (H, W) of some augmented training images; called if the network shrinks
                most training images below its own scale, unless they are cropped.
        """
        sizes, counts = np.unique(np.array(training, dtype=np.int64).reshape(-1, 2), axis=0, return_counts=True)
        factors = _factors(input_scale, sizes)
        scale, own = _median(factors, counts), fixed_scale(input_scale)
        if own is not None and scale < SHRUNK * own:
            cropped = _factors(input_scale, np.array(drawn(), dtype=np.int64).reshape(-1, 2))
            scale = float(np.median(cropped)) if len(cropped) else own
        elif own is not None:
            scale = own
        every = np.unique(np.concatenate([sizes, np.array(validation, dtype=np.int64).reshape(-1, 2)]), axis=0)
        factors = _factors(input_scale, every)
        at_scale = every if own is None else every[factors >= SHRUNK * scale]
        return cls(scale, _bounds(np.maximum((every * factors[:, None]).astype(np.int64), 1)), _bounds(at_scale))

    @classmethod
    def presumed(cls, input_scale: InputScale) -> Self | None:
        """Presume the sizes of a network that does not state them: inputs up to its limit, shrunk by a fifth at most.

        Args:
            input_scale: see `of`.

        Returns:
            None for a network without a limit, or whose scale depends on the size of the image.
        """
        scale = fixed_scale(input_scale)
        if scale is None or (limit := input_scale(_HUGE, _HUGE) * _HUGE) >= _HUGE * scale:
            return None
        side = int(limit / (SHRUNK * scale))
        return cls(scale, (round(limit), round(limit)), (side, side))

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Read the result of `to_plain`.

        Raises:
            msgspec.ValidationError: the values are of other types.
        """
        return msgspec.convert(values, cls)

    def to_plain(self) -> dict[str, Any]:
        """Convert to plain values, as a checkpoint keeps them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def window(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (H, W) of the windows of an image of this (H, W): the largest input, at the training's scale."""
        shorter, longer = (max(int(side / self.scale), 1) for side in self.input)
        return (shorter, longer) if size[0] <= size[1] else (longer, shorter)

    def include(self, size: tuple[int, int]) -> bool:
        """Return True if an image of this (H, W) is not larger than those that the network has seen."""
        shorter, longer = self.image
        return max(size) <= longer and min(size) <= shorter


def fixed_scale(input_scale: InputScale) -> float | None:
    """Return the factor by which a network resizes all images below its limit; None if it depends on their sizes."""
    scale = input_scale(1, 1)
    return scale if scale == input_scale(2, 2) else None


def _factors(input_scale: InputScale, sizes: IntArray) -> FloatArray:
    return np.array([input_scale(height, width) for height, width in sizes.tolist()], dtype=np.float64)


def _median(values: FloatArray, counts: IntArray) -> float:
    """Return the lower median of values that occur several times."""
    order = np.argsort(values)
    place = int(np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2))
    return float(values[order][place])


def _bounds(sizes: IntArray) -> tuple[int, int]:
    """Return the greatest shorter and the greatest longer side of sizes (N, 2); 0, 0 without any."""
    if not len(sizes):
        return 0, 0
    shorter, longer = np.sort(sizes, axis=1).max(axis=0).tolist()
    return shorter, longer
