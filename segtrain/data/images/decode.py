"""Decoding of image files to samples as they are stored, upright."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms

from segtrain.data.images.headers import Exif, exif_orientation, open_image, stands_upright, stored_size

# Quarter turns to the left, and whether left and right are swapped first, that turn an image upright, by its EXIF
# orientation.
_UPRIGHT = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}
_WHITE_IS_ZERO = 0


@dataclass(frozen=True, eq=False, slots=True)
class Samples:
    """Samples of an image as its file stores them, upright, before any choice of what an intensity means.

    Larger values are brighter. Palettes, CMYK, LAB and YCbCr are converted to 8-bit RGB; alpha is discarded.

    Attributes:
        array: (H, W) for grey, or (H, W, 3) for red, green and blue, of an integer or floating-point type.
        limits: least and greatest value that the bits of a sample can hold, such as (0, 4095) for 12 bits; None for
            floating-point samples, which have no such limits.
        valid: (H, W) bool, False where the file says that a pixel holds no data; None if it says so nowhere.
    """

    array: npt.NDArray[np.generic]
    limits: tuple[int, int] | None
    valid: npt.NDArray[np.bool_] | None = None


def decode(path: Path, size: tuple[int, int] | None, *, exif: Exif, max_pixels: int) -> Samples:
    """Decode an image file.

    Of an animation the first frame is decoded.

    Args:
        path: path of the file.
        size: (H, W) that the annotations state; None for any size.
        exif: treatment of the EXIF orientation; see ``read_image``.
        max_pixels: largest number of pixels of an image, checked before it is decoded.

    Raises:
        ImageError: the file is missing, corrupt, truncated, too large, or of another size than stated.
    """
    with open_image(path, max_pixels) as (image, _):
        stored = stored_size(image)
        tiff = image.format == "TIFF"
        before = exif_orientation(image, decoded=False) if tiff else 1
        inverted = tiff and _is_white_zero(image)
        image.load()
        left = exif_orientation(image, decoded=True)
        # Pillow turns a TIFF when it decodes it, and removes the orientation.
        orientation = max(before, left)
        turned = left != orientation
        samples = _samples(image)
    if inverted:
        samples = _invert(samples)
    upright = stands_upright(path, stored, orientation, size, exif)
    return samples if upright == turned else _turn(samples, orientation, back=turned)


def _turn(samples: Samples, orientation: int, *, back: bool) -> Samples:
    """Turn samples upright, or back as they are stored."""
    if orientation not in _UPRIGHT:
        return samples
    quarters, mirrored = _UPRIGHT[orientation]
    if back and not mirrored:  # a mirrored turn is its own inverse
        quarters = -quarters
    array = samples.array[:, ::-1] if mirrored else samples.array
    return replace(samples, array=np.ascontiguousarray(np.rot90(array, quarters)))


def _is_white_zero(image: Image.Image) -> bool:
    """Return True if small samples are bright and Pillow leaves them so: it inverts those of up to 8 bits."""
    photometric = image.tag_v2.get(ExifTags.Base.PhotometricInterpretation)  # type: ignore[attr-defined]
    return photometric == _WHITE_IS_ZERO and image.mode.startswith("I")


def _invert(samples: Samples) -> Samples:
    assert samples.limits is not None
    low, high = samples.limits
    return replace(samples, array=(low + high - samples.array.astype(np.int64)).astype(samples.array.dtype))


def _samples(image: Image.Image) -> Samples:
    """Convert a decoded image of Pillow."""
    if image.mode.startswith("F"):
        return Samples(np.asarray(image), None)
    if image.mode.startswith("I"):
        return _integers(image)
    if image.mode in ("1", "L", "LA", "La"):
        return Samples(np.asarray(image if image.mode == "L" else image.convert("L")), (0, 255))
    if image.mode == "LAB":
        to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(image, to_srgb)
        return Samples(np.array(converted), (0, 255))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return Samples(np.asarray(image if image.mode == "RGB" else image.convert("RGB")), (0, 255))


def _integers(image: Image.Image) -> Samples:
    """Return integers of more than 8 bits as the file stores them: Pillow keeps 16 bits in 32 for some formats."""
    array = np.asarray(image)
    if image.mode != "I":
        return Samples(array.astype(np.uint16, copy=False), (0, 65535))
    if image.format in ("PNG", "PPM"):
        return Samples(array.astype(np.uint16), (0, 65535))
    return Samples(array, (-(2**31), 2**31 - 1))
