"""Samples of an image as its file stores them, and their conversion from Pillow's modes."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

# Quarter turns to the left, and whether left and right are swapped first, that turn an image upright, by its EXIF
# orientation.
_UPRIGHT = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")


@dataclass(frozen=True, eq=False, slots=True)
class Samples:
    """Samples of an image as its file stores them, before they are scaled to 8 bits.

    Larger values are brighter. Palettes, CMYK, LAB and YCbCr are converted to 8-bit RGB.

    Attributes:
        array: (H, W) for grey, or (H, W, 3) for red, green and blue, of an integer or floating-point type. Before
            channels are chosen, (H, W, C).
        limits: least and greatest value that the bits of a sample can hold, such as (0, 4095) for 12 bits; None for
            floating-point samples, which have no such limits.
        valid: (H, W) bool, False for pixels that the file marks as holding no data; None if it marks none.
        transparent: share of the pixels that are fully transparent, whose colours are read all the same.
    """

    array: npt.NDArray[np.generic]
    limits: tuple[int, int] | None
    valid: npt.NDArray[np.bool_] | None = None
    transparent: float = 0.0

    def turned(self, orientation: int, *, back: bool = False) -> "Samples":
        """Turn an image upright.

        Args:
            orientation: EXIF orientation 1..8.
            back: True for the inverse, which turns an upright image to its stored orientation.
        """
        if orientation not in _UPRIGHT:
            return self
        quarters, mirrored = _UPRIGHT[orientation]
        if back and not mirrored:  # a mirrored turn is its own inverse
            quarters = -quarters

        def turn(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
            return np.ascontiguousarray(np.rot90(plane[:, ::-1] if mirrored else plane, quarters))

        valid = None if self.valid is None else turn(self.valid).astype(np.bool_, copy=False)
        return replace(self, array=turn(self.array), valid=valid)

    def inverted(self) -> "Samples":
        """Swap bright and dark within the limits; floating-point samples, which have no limits, stay as they are."""
        if self.limits is None:
            return self
        # Unsigned arithmetic wraps, and gives the same as that of whole numbers.
        total = np.array(sum(self.limits) % 2**64, dtype=np.uint64).astype(self.array.dtype)
        return replace(self, array=np.subtract(total, self.array))


def samples_of(image: Image.Image, *, with_alpha: bool = False) -> Samples:
    """Convert a decoded image of Pillow.

    Args:
        image: decoded image.
        with_alpha: True to keep the alpha channel as the last one of (H, W, C).
    """
    if image.mode.startswith("F"):
        return Samples(np.asarray(image), None)
    if image.mode.startswith("I"):
        return _integers(image)
    if image.mode in ("1", "L"):
        return Samples(np.asarray(image if image.mode == "L" else image.convert("L")), (0, 255))
    if image.mode == "LAB":
        to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(image, to_srgb)
        return Samples(np.array(converted), (0, 255))
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(image.mode.upper())
    if image.mode == "PA" or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    if image.mode not in ("LA", "RGBA"):
        return Samples(np.asarray(image if image.mode == "RGB" else image.convert("RGB")), (0, 255))
    transparent = image.getchannel("A").histogram()[0] / max(image.width * image.height, 1)
    if not with_alpha:
        image = image.convert("L" if image.mode == "LA" else "RGB")
    return Samples(np.asarray(image), (0, 255), transparent=transparent)


def _integers(image: Image.Image) -> Samples:
    """Return integers of more than 8 bits as the file stores them: Pillow keeps 16 bits in 32 for some formats."""
    array = np.asarray(image)
    if image.mode != "I":
        return Samples(array.astype(np.uint16, copy=False), (0, 65535))
    if image.format in ("PNG", "PPM"):
        return Samples(array.astype(np.uint16), (0, 65535))
    return Samples(array, (-(2**31), 2**31 - 1))
