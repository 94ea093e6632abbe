"""EXIF orientation: how an image is stored, how it stands upright, and which of the two is meant."""

from pathlib import Path
from typing import Literal

from PIL import ExifTags, Image

from segtrain.data.images.files import ImageError

Exif = Literal["apply", "ignore", "auto"]

_SIDEWAYS = (5, 6, 7, 8)
# Where Pillow keeps an orientation that stands before the pixels of a PNG.
_EARLY = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})


def stored_size(image: Image.Image) -> tuple[int, int]:
    """(H, W) of the pixels in the file; Pillow gives that of a TIFF as if it were turned already."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        return int(tags[ExifTags.Base.ImageLength]), int(tags[ExifTags.Base.ImageWidth])
    return image.height, image.width


def upright_size(stored: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(H, W) of an image that is turned by its EXIF orientation."""
    return stored[::-1] if orientation in _SIDEWAYS else stored


def exif_orientation(image: Image.Image, *, decoded: bool) -> int:
    """The EXIF orientation 1..8; 1 if there is none, or a broken one.

    Args:
        image: opened.
        decoded: whether it is decoded, or may be now: the EXIF of a PNG may stand behind its pixels.
    """
    try:
        if decoded:
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
        elif image.format == "PNG" and not image.info.keys() & _EARLY:
            return 1
        else:  # not PNG's own method, which decodes
            value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block is no reason to lose the image
        return 1
    return value if value in range(1, 9) else 1


def stands_upright(
    path: Path, stored: tuple[int, int], orientation: int, size: tuple[int, int] | None, exif: Exif
) -> bool:
    """Whether an image is to be turned by its EXIF orientation.

    Args:
        path: for the error.
        stored: (H, W) in the file.
        orientation: 1..8.
        size: (H, W) that the annotations state, or None.
        exif: what the user wants; "auto": the reading that has the size, upright if both have.

    Raises:
        ImageError: no reading that the user allows has the size.
    """
    sizes = {True: upright_size(stored, orientation), False: stored}
    allowed = {"apply": [True], "ignore": [False], "auto": [True, False]}[exif]
    for turned in allowed:
        if size is None or sizes[turned] == size:
            return turned
    assert size is not None
    found = sizes[allowed[0]]
    raise ImageError(
        "image-size",
        path,
        f"the file is {found[0]}x{found[1]}, the annotations say {size[0]}x{size[1]} (height x width)",
        "set data.exif=auto, or correct the json or the image"
        if size in sizes.values()
        else "correct the json or the image",
    )
