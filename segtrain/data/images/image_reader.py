"""Image decoding: files of any mode, bit depth and orientation to RGB arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from segtrain.arrays import RgbArray
from segtrain.data.images.headers import (
    PILLOW_LIMIT,
    Exif,
    Header,
    exif_orientation,
    open_image,
    read_header,
    stands_upright,
    stored_size,
)
from segtrain.data.images.image_files import image_path

# Transposition that turns an image upright, by its EXIF orientation, and its inverse.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACK = {**_UPRIGHT, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


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
        folder: image folder; nothing outside of it is read.
        exif: treatment of EXIF orientations; see ``read_image``.
        max_pixels: largest number of pixels of an image.
    """

    folder: Path
    exif: Exif
    max_pixels: int

    def path(self, file_name: str) -> Path:
        """Return the path of an image; see ``image_path``."""
        return image_path(self.folder, file_name)

    def read(self, image: ImageEntry) -> RgbArray:
        """Read the pixels of an image; see ``read_image``."""
        return read_image(self.path(image.file_name), image.size, exif=self.exif, max_pixels=self.max_pixels)

    def check(self, image: ImageEntry) -> Header:
        """Read the header of an image; see ``read_header``."""
        return read_header(self.path(image.file_name), image.size, exif=self.exif, max_pixels=self.max_pixels)


def read_image(
    path: Path, size: tuple[int, int] | None = None, *, exif: Exif = "auto", max_pixels: int = PILLOW_LIMIT
) -> RgbArray:
    """Read an image as 8-bit RGB.

    Grey becomes three equal channels, alpha is discarded, and of an animation the first frame is read. 16-bit grey is
    divided by 257 (65535 becomes 255), whatever range the image uses. The range of floating-point grey is assumed to be
    from 0 to the smallest of 1, 255 and 65535 that is not below its maximum.

    Args:
        path: path of the file.
        size: (H, W) that the annotations state; None for any size.
        exif: "apply" turns the image upright by its EXIF orientation, "ignore" reads it as stored, "auto" chooses the
            reading that has the stated size, upright if both have.
        max_pixels: largest number of pixels of an image, checked before it is decoded; Pillow's own limit by default.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: the file is missing, corrupt, truncated, too large, or of another size than stated.
    """
    with open_image(path, max_pixels) as (image, _):
        stored = stored_size(image)
        before = exif_orientation(image, decoded=False) if image.format == "TIFF" else 1
        image.load()
        left = exif_orientation(image, decoded=True)
        rgb = _to_rgb(image)
    # Pillow turns a TIFF when it decodes it, and removes the orientation.
    orientation = max(before, left)
    turned = left != orientation
    upright = stands_upright(path, stored, orientation, size, exif)
    return rgb if upright == turned else _turn(rgb, (_BACK if turned else _UPRIGHT).get(orientation))


def as_tensor(image: RgbArray) -> "Tensor":
    """Convert (H, W, 3) uint8 to a contiguous (3, H, W) tensor, as segmenters take it."""
    import cv2  # here, so that checks of files start without it
    import torch

    planes = np.empty((3, *image.shape[:2]), dtype=np.uint8)
    cv2.split(image, list(planes))  # several times faster than a permuted copy
    return torch.from_numpy(planes)


def _turn(rgb: RgbArray, how: Image.Transpose | None) -> RgbArray:
    return rgb if how is None else np.array(Image.fromarray(rgb).transpose(how))


def _to_rgb(image: Image.Image) -> RgbArray:
    if image.mode.startswith(("I", "F")):
        return np.repeat(_scale(np.asarray(image))[:, :, None], 3, axis=2)
    if image.mode == "LAB":
        to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(image, to_srgb)
        return np.array(converted)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _scale(grey: npt.NDArray[np.generic]) -> RgbArray:
    """Scale grey of more than 8 bits to 0..255."""
    values = np.nan_to_num(grey.astype(np.float64))
    full = 65535.0
    if np.issubdtype(grey.dtype, np.floating):
        full = next((limit for limit in (1.0, 255.0) if values.max(initial=0) <= limit), full)
    return np.clip(np.rint(values * (255.0 / full)), 0, 255).astype(np.uint8)
