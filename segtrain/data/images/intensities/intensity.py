"""Conversion of samples of any type to 8-bit RGB: the meaning of an intensity.

An `Intensity` states, for each type of samples, which value is black and which is white. It is chosen once for a data
set, so that an image is read in the same way in every batch and split.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from segtrain.arrays import BoolArray, RgbArray
from segtrain.data.images.samples import Samples
from segtrain.errors import SegtrainError
from segtrain.values import IntensityRule, IntensitySetting

PLAIN = "uint8"  # samples that are shown as they are stored
# Values for missing data: the ends of the type, magnitudes from 1e20 (9.97e36 in netCDF), or one of these.
_HUGE = np.float64(1e20)
_FILLS = (-99999, -32768, -32767, -9999, -999)
_OVERSHOOT = 0.01  # of samples from 0 to 1 that were interpolated


class Range(NamedTuple):
    """Value that is read as black, and a greater one that is read as white."""

    low: float
    high: float

    def __str__(self) -> str:
        """Return both ends with five digits."""
        return f"{self.low:.5g} to {self.high:.5g}"

    @property
    def span(self) -> float:
        """Difference of the two ends."""
        return self.high - self.low


FULL_8_BITS = Range(0, 255)
UNIT = Range(0.0, 1.0)


@dataclass(frozen=True)
class Intensity:
    """Ranges by which the samples of a data set are read.

    Samples of 8 bits are taken as they are, unless a range is given for them.

    Attributes:
        ranges: range of each type of samples; see `sample_type`.
        others: range of all other types; "full" for the range that their bits can hold, which is 0 to 1 for
            floating-point samples; None if images of other types cannot be read.
        rule: origin of the ranges: "auto", "full" and "percentile", or "given" by the user.
        images: number of images that the ranges were found from; 0 if no image was looked at.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)
    others: Range | Literal["full"] | None = "full"
    rule: IntensityRule | Literal["given"] = "full"
    images: int = 0

    @classmethod
    def given(cls, setting: IntensitySetting) -> Self | None:
        """Return the ranges that a setting states by itself; None for "auto" and "percentile", which need images.

        Args:
            setting: value of ``data.intensity``.

        Raises:
            SegtrainError: a range does not begin with its lower end.

        >>> Intensity.given([200, 368]).others
        Range(low=200.0, high=368.0)
        """
        if isinstance(setting, str):
            return cls() if setting == "full" else None
        if isinstance(setting, Mapping):
            ranges = {str(name): _ordered(bounds) for name, bounds in setting.items()}
            return cls(ranges, others=None, rule="given")
        return cls({}, others=_ordered(setting), rule="given")

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Restore an instance from the values that `to_plain` returns."""
        others = values["others"]
        return cls(
            {name: Range(*bounds) for name, bounds in values["ranges"].items()},
            Range(*others) if isinstance(others, list | tuple) else others,
            values["rule"],
            values["images"],
        )

    def to_plain(self) -> dict[str, Any]:
        """Convert to dictionaries, lists, text and numbers.

        >>> Intensity().to_plain()
        {'ranges': {}, 'others': 'full', 'rule': 'full', 'images': 0}
        """
        return {
            "ranges": {name: list(bounds) for name, bounds in self.ranges.items()},
            "others": list(self.others) if isinstance(self.others, Range) else self.others,
            "rule": self.rule,
            "images": self.images,
        }

    def range_of(self, samples: Samples) -> Range | None:
        """Find the range of an image; None if there is none for its type."""
        ends = None
        if samples.limits is None and self.others == "full":
            blank = blank_pixels(samples, UNIT)
            known = samples.array if blank is None else samples.array[~blank]
            ends = Range(float(known.min()), float(known.max())) if known.size else None
        return self.range_of_type(sample_type(samples), samples.limits, ends)

    def range_of_type(self, name: str, limits: tuple[int, int] | None, ends: Range | None) -> Range | None:
        """Find the range of images of a type; None if there is none.

        Args:
            name: type of the samples; see `sample_type`.
            limits: least and greatest value that the bits of a sample can hold; None for floating-point samples, whose
                full range is 0 to 1 if all of them lie in it.
            ends: least and greatest sample; None if there is none.
        """
        if name in self.ranges:
            return self.ranges[name]
        if isinstance(self.others, Range):
            return self.others
        if name == PLAIN:
            return FULL_8_BITS
        if self.others is None:
            return None
        if limits is not None:
            return Range(*limits)
        overshoots = ends is not None and (ends.low < -_OVERSHOOT or ends.high > 1 + _OVERSHOOT)
        return None if overshoots else UNIT

    def knows(self, types: Collection[str]) -> bool:
        """Return True if images of all these types can be read."""
        return self.others is not None or set(types) <= self.ranges.keys() | ({PLAIN} if self.rule == "auto" else set())

    def completed(self, other: Self) -> Self:
        """Add the ranges of types that have none here.

        Args:
            other: ranges that were found from images.
        """
        missing = {name: bounds for name, bounds in other.ranges.items() if name not in self.ranges}
        if self.others is not None or not missing:
            return self
        return replace(self, ranges={**self.ranges, **missing}, images=self.images + other.images)

    def __str__(self) -> str:
        """Return one line: the range of each type, the rule, and the number of images."""
        named = [f"{name} from {bounds}" for name, bounds in sorted(self.ranges.items())]
        if isinstance(self.others, Range):
            named.append(f"{'other types' if named else 'all samples'} from {self.others}")
        elif self.others == "full":
            named.append(f"{'other types' if named else 'all samples'} by the full range of their type")
        source = f", from {self.images} image{'s' * (self.images != 1)}" if self.images else ""
        return f"{', '.join(named) or '8-bit samples as they are'} ({self.rule}{source})"


FULL = Intensity()


def sample_type(samples: Samples) -> str:
    """Name the type of an image's samples: that of the array, with the bits that the file states.

    >>> sample_type(Samples(np.zeros((2, 2), np.uint16), (0, 4095)))
    'uint12'
    """
    if samples.limits is not None and samples.limits[0] == 0:
        return f"uint{samples.limits[1].bit_length()}"
    return samples.array.dtype.name


def to_rgb(samples: Samples, bounds: Range = FULL_8_BITS) -> RgbArray:
    """Convert samples to 8-bit RGB.

    The range is mapped linearly to 0..255, and what lies beyond is cut. Grey becomes three equal channels; colour is
    scaled by one range for all channels, which keeps the hue. Pixels without data become black.

    Args:
        samples: samples of an image.
        bounds: range that is mapped; 8-bit samples with the range 0 to 255 stay as they are.

    Returns:
        (H, W, 3) uint8, writable.

    >>> to_rgb(Samples(np.array([[0, 257, 65535]], dtype=np.uint16), (0, 65535)), Range(0, 65535))[0].tolist()
    [[0, 0, 0], [1, 1, 1], [255, 255, 255]]
    """
    array = samples.array
    plain = array.dtype == np.uint8 and bounds == FULL_8_BITS and samples.valid is None
    scaled = array.astype(np.uint8) if plain else _scale(samples, bounds)
    if scaled.ndim == 3:
        return scaled
    rgb = np.empty((*scaled.shape, 3), dtype=np.uint8)
    for channel in range(3):  # several times faster than to broadcast into an axis of three
        rgb[:, :, channel] = scaled
    return rgb


def _scale(samples: Samples, bounds: Range) -> npt.NDArray[np.uint8]:
    array, blank = samples.array, blank_pixels(samples, bounds)
    if array.dtype == np.uint16:  # looked up: several times faster than arithmetic on each sample
        scaled = np.take(_to_8_bits(np.arange(2**16), bounds), array.astype(np.uint16, copy=False))
    else:
        values = array.astype(np.float64)
        if blank is not None:
            values[blank] = bounds.low
        scaled = _to_8_bits(values, bounds)
    if blank is not None:
        scaled[blank] = 0
    return scaled


def _to_8_bits(values: npt.NDArray[Any], bounds: Range) -> npt.NDArray[np.uint8]:
    scaled: npt.NDArray[np.float64] = np.rint((values - bounds.low) * (255.0 / bounds.span))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def blank_pixels(samples: Samples, bounds: Range) -> BoolArray | None:
    """Find pixels that hold no data.

    These are NaN, infinities, magnitudes from 1e20, pixels that the file itself marks, and the usual fill values
    (see ``fill_values``) outside of the range. 8-bit samples hold data unless the file marks them.

    Args:
        samples: samples of an image.
        bounds: range of the image.

    Returns:
        (H, W), true where there is no data; None if all pixels hold data.
    """
    array = samples.array
    if array.dtype == np.uint8:
        return None if samples.valid is None or samples.valid.all() else ~samples.valid
    lost = np.zeros(array.shape[:2], dtype=np.bool_) if samples.valid is None else ~samples.valid
    if np.issubdtype(array.dtype, np.floating):
        lost |= any_channel(~(np.abs(array) < _HUGE))
    for value in fill_values(array.dtype):
        if not bounds.low <= value <= bounds.high:
            lost |= any_channel(array == value)
    return lost if lost.any() else None


def any_channel(mask: BoolArray) -> BoolArray:
    """Return (H, W), true where any channel of a mask (H, W) or (H, W, 3) is."""
    return mask if mask.ndim == 2 else np.logical_or.reduce(mask, axis=2)


def fill_values(dtype: np.dtype[Any]) -> list[int]:
    """List the values of a type that may stand for missing data, those farthest from 0 first."""
    if np.issubdtype(dtype, np.floating):
        return [value for value in _FILLS if abs(value) <= float(np.finfo(dtype).max)]
    limits = np.iinfo(dtype)
    ends = (int(limits.min), int(limits.max)) if limits.bits >= 32 else ()
    found = {value for value in (*_FILLS, *ends) if limits.min <= value <= limits.max} - {0}
    return sorted(found, key=abs, reverse=True)


FEW_LEVELS = 32  # of 256; below it gradients become steps


def grey_levels(ends: Range, bounds: Range) -> int:
    """Count the grey levels, of 256, between two values.

    Args:
        ends: the two values.
        bounds: range that is read.

    >>> grey_levels(Range(200, 368), Range(0, 65535)), grey_levels(Range(200, 368), Range(200, 368))
    (1, 256)
    """
    low, high = _to_8_bits(np.array(ends), bounds)
    return int(high) - int(low) + 1


def _ordered(bounds: Sequence[float]) -> Range:
    low, high = map(float, bounds)
    if not low < high:
        raise SegtrainError(
            f"data.intensity: the range [{low:g}, {high:g}] has no width; give [LOW, HIGH], LOW below HIGH"
        )
    return Range(low, high)
