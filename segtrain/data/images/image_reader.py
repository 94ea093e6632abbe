"""Image reading: files of any mode, bit depth and orientation to RGB arrays."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from segtrain.arrays import RgbArray
from segtrain.data.images.decode import decode
from segtrain.data.images.headers import Header, read_header
from segtrain.data.images.image_files import ImageError, image_path
from segtrain.data.images.intensities.intensity import (
    FEW_LEVELS,
    FULL,
    Intensity,
    Range,
    grey_levels,
    sample_type,
    to_rgb,
)
from segtrain.data.images.intensities.value_range import measure
from segtrain.data.images.opening import PILLOW_LIMIT
from segtrain.data.images.orientation import Exif
from segtrain.data.images.reading import Pages, Reading
from segtrain.data.images.samples import Samples
from segtrain.data.storage.image_store import ImageFile, ImageFolder, ImageStore

if TYPE_CHECKING:
    from torch import Tensor


class ImageEntry(Protocol):
    """Fields of an image in an annotation file that are needed to read it."""

    @property
    def id(self) -> int:
        """Id in the annotation file."""

    @property
    def file_name(self) -> str:
        """Path relative to the image folder."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""


@dataclass(frozen=True)
class ImageReader:
    """Reader of the images of a folder.

    Attributes:
        folder: image folder, outside of which nothing is read, or store of images.
        exif: treatment of EXIF orientations; see ``Reading``.
        max_pixels: largest number of pixels of an image.
        pages: treatment of files of several pages; see ``Reading``.
        channels: channels that become red, green and blue; see ``Reading``.
        intensity: ranges by which samples become 8-bit RGB.
    """

    folder: ImageFolder
    exif: Exif
    max_pixels: int
    pages: Pages = "error"
    channels: tuple[int, ...] | None = None
    intensity: Intensity = FULL

    @property
    def reading(self) -> Reading:
        """Settings of reading an image."""
        return Reading(self.exif, self.max_pixels, self.pages, self.channels)

    @property
    def lazy(self) -> bool:
        """True if it takes too long to look at every file before the start; see `ImageStore`."""
        return isinstance(self.folder, ImageStore) and self.folder.lazy

    def path(self, file_name: str) -> ImageFile:
        """Return the path of an image; see ``image_path``."""
        return image_path(self.folder, file_name)

    def read(self, image: ImageEntry) -> RgbArray:
        """Read the pixels of an image as 8-bit RGB; see ``read_image``."""
        samples = self.samples(image)
        return to_rgb(samples, self.range_of(samples, image))

    def range_of(self, samples: Samples, image: ImageEntry) -> Range:
        """Find the range by which an image is read.

        Raises:
            ImageError: there is no range for its type.
        """
        return range_of_image(samples, self.intensity, self.path(image.file_name))

    def samples(self, image: ImageEntry) -> Samples:
        """Read the samples of an image as its file stores them; see ``decode``."""
        return decode(self.path(image.file_name), image.size, self.reading)

    def size(self, file_name: str) -> tuple[int, int]:
        """Read the (H, W) of an image from its header.

        Raises:
            ImageError: there is no such image, or it cannot be opened.
        """
        return read_header(self.path(file_name), None, self.reading).size

    def check(self, image: ImageEntry) -> Header:
        """Read the header of an image; see ``read_header``."""
        return read_header(self.path(image.file_name), image.size, self.reading)


def read_image(
    path: ImageFile,
    size: tuple[int, int] | None = None,
    *,
    exif: Exif = "auto",
    max_pixels: int = PILLOW_LIMIT,
    pages: Pages = "error",
    channels: tuple[int, ...] | None = None,
    intensity: Intensity = FULL,
) -> RgbArray:
    """Read an image as 8-bit RGB.

    Grey becomes three equal channels, and alpha is discarded. Samples are scaled from the range of their type; see
    ``to_rgb``.

    Args:
        path: path of the file.
        size: (H, W) that the annotations state; None for any size.
        exif: "apply" turns the image upright by its EXIF orientation, "ignore" reads it as stored, "auto" chooses the
            reading that has the stated size, upright if both have.
        max_pixels: largest number of pixels of an image, checked before it is decoded; Pillow's own limit by default.
        pages: treatment of a file of several pages or frames that differ; see ``Reading``.
        channels: channels that become red, green and blue; see ``Reading``.
        intensity: range of each type of samples; by default the full range of the type.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: the file is missing, corrupt, truncated, too large, of another size than stated, or of a type
            without a range; or it does not say which of its pages or channels are the image.
    """
    samples = decode(path, size, Reading(exif, max_pixels, pages, channels))
    return to_rgb(samples, range_of_image(samples, intensity, path))


def range_of_image(samples: Samples, intensity: Intensity, path: ImageFile) -> Range:
    """Find the range by which an image is read.

    Args:
        samples: samples of the image.
        intensity: range of each type of samples.
        path: path of the file, for the error.

    Raises:
        ImageError: there is no range for its type.
    """
    bounds = intensity.range_of(samples)
    if bounds is not None:
        return bounds
    name = sample_type(samples)
    reason = f"its samples of type {name} are none of those with a range: {intensity}"
    if intensity.others == "full":
        reason = f"samples of type {name} have no full range beyond 0 to 1"
    remedy = f"give data.intensity=[LOW, HIGH], or '{{{name}: [LOW, HIGH]}}' for this type alone"
    raise ImageError("image-intensity", path, reason, remedy)


def lost_levels(samples: Samples, intensity: Intensity, bounds: Range) -> tuple[str, Range] | None:
    """Describe an image of which the full range of its type leaves hardly any grey levels.

    Args:
        samples: samples of the image.
        intensity: range of each type of samples.
        bounds: range by which the image is read.

    Returns:
        What is lost, and the range of the samples; None if enough is left, or another range was chosen.
    """
    if samples.array.dtype == np.uint8 or intensity.others != "full":
        return None
    ends = measure(samples)
    if ends is None or ends.span <= 0 or (levels := grey_levels(ends, bounds)) >= FEW_LEVELS:
        return None
    return f"its samples lie from {ends}, and {levels} of 256 grey levels remain of a range of {bounds}", ends


def as_tensor(image: RgbArray) -> "Tensor":
    """Convert (H, W, 3) uint8 to a contiguous (3, H, W) tensor, as segmenters take it."""
    import cv2  # here, so that checks of files start without it
    import torch

    planes = np.empty((3, *image.shape[:2]), dtype=np.uint8)
    cv2.split(image, list(planes))  # several times faster than a permuted copy
    return torch.from_numpy(planes)
