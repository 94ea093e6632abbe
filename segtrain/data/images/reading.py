"""Settings of reading an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from segtrain.data.images.opening import PILLOW_LIMIT
from segtrain.data.images.orientation import Exif
from segtrain.errors import SegtrainError

# What becomes of pages and frames that differ.
Pages = Literal["error", "first", "max", "mean"]
PAGES = get_args(Pages)


@dataclass(frozen=True)
class Reading:
    """Settings of reading an image.

    Attributes:
        exif: "apply" turns the image upright by its EXIF orientation, "ignore" reads it as stored, "auto" chooses the
            reading that has the size which the annotations state, upright if both have.
        max_pixels: largest number of pixels of an image, checked before it is decoded; Pillow's own limit by default.
        pages: treatment of a file of several pages or frames that differ: "error" refuses it, "first" reads the first,
            "max" and "mean" project them all.
        channels: numbers from 0 of the channels that become red, green and blue, or of the one that is read as grey;
            None for the colours that the file declares.
    """

    exif: Exif = "auto"
    max_pixels: int = PILLOW_LIMIT
    pages: Pages = "error"
    channels: tuple[int, ...] | None = None


def one_image_pages(value: str) -> Pages:
    """Check a value of ``data.pages`` where a file has to be one image.

    Raises:
        SegtrainError: each page would be an image, which annotations of the file cannot be of.
    """
    if value not in PAGES:
        raise SegtrainError(
            f"data.pages={value}: the annotations of a file do not say which of its pages they are of; use "
            f"{', '.join(PAGES[:-1])} or {PAGES[-1]}, or read single pages in Python with st.read_pages"
        )
    return cast("Pages", value)


def check_channels(channels: Sequence[int], name: str) -> tuple[int, ...]:
    """Check the channels that become red, green and blue, or the one that is read as grey.

    Args:
        channels: their numbers, from 0.
        name: name of the setting, for the error.

    Raises:
        SegtrainError: they are neither one nor three, or one is negative.

    >>> check_channels([2, 1, 0], "data.channels")
    (2, 1, 0)
    """
    if len(channels) not in (1, 3) or any(isinstance(number, bool) or number < 0 for number in channels):
        raise SegtrainError(
            f"{name}={list(channels)}: give one channel, which is read as grey, or three, which become red, green and "
            "blue, counted from 0, such as [0,1,2]; a channel may be repeated"
        )
    return tuple(channels)
