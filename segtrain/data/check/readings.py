"""Readings of images as 8-bit RGB: the grey levels they keep, and pixels without data."""

import numpy as np

from segtrain.data.coco.issues import Issues
from segtrain.data.images.intensity import Range, grey_levels

LEVELS_OF_CONSTANT = 4  # of 256; noise alone has more
FEW_LEVELS = 32  # of 256; below it gradients become steps


class Readings:
    """Collector of how images read: how many grey levels they keep, and whether they are nearly constant."""

    def __init__(self) -> None:
        self._issues, self._images, self._constant = Issues(), 0, list[str]()

    def add(self, name: str, ends: Range, bounds: Range, limits: tuple[int, int] | None) -> None:
        """Count an image.

        Args:
            name: file name and id of the image, for messages.
            ends: least and greatest of its samples.
            bounds: range that it is read by.
            limits: least and greatest value that the bits of a sample can hold; None for floating-point samples.
        """
        self._images += 1
        levels = grey_levels(ends, bounds)
        example = f"{name}: samples from {ends}, read by the range {bounds}: {levels} grey level{'s' * (levels != 1)}"
        stored = ends.span + 1 if limits else np.inf
        if levels <= LEVELS_OF_CONSTANT:
            self._constant.append(example)
        elif levels < FEW_LEVELS and stored >= 2 * levels:
            self._issues.add("image-few-levels", example)

    def add_blank(self, name: str, blank: int, pixels: int) -> None:
        """Count an image with pixels that hold no data.

        Args:
            name: file name and id of the image, for messages.
            blank: number of pixels without data.
            pixels: number of all pixels.
        """
        self._issues.add("image-blank-pixels", f"{name}: {blank:,} of {pixels:,} pixels")

    def issues(self) -> Issues:
        """Return the issues of all images; constant ones are an error if they are most of several."""
        issues = Issues()
        issues.merge(self._issues)
        most = 2 * len(self._constant) > self._images > 1
        issues.extend("image-constant-in-most" if most else "image-constant", self._constant, str)
        return issues
