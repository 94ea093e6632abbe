"""EXIF orientations: reading them, and choosing the reading of an image that fits its annotations."""

from typing import Literal

from PIL import ExifTags, Image

from segtrain.data.images.image_files import ImageError
from segtrain.data.storage.image_store import ImageFile

Exif = Literal["apply", "ignore", "auto"]
_SIDEWAYS = (5, 6, 7, 8)
# Where Pillow keeps an orientation that stands before the pixels of a PNG.
_EARLY = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Return the (H, W) of the pixels in the file; Pillow reports that of a TIFF as if it were turned already."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        return int(tags[ExifTags.Base.ImageLength]), int(tags[ExifTags.Base.ImageWidth])
    return image.height, image.width


def upright_size(stored: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Compute the (H, W) of an image after it is turned by its EXIF orientation.

    Args:
        stored: (H, W) of the pixels in the file.
        orientation: EXIF orientation 1..8.

    >>> upright_size((480, 640), 6)
    (640, 480)
    """
    return stored[::-1] if orientation in _SIDEWAYS else stored


def exif_orientation(image: Image.Image, *, decoded: bool) -> int:
    """Read the EXIF orientation 1..8; 1 if there is none, or an invalid one.

    Args:
        image: opened image.
        decoded: True to decode the image if needed: the EXIF data of a PNG may follow its pixels.
    """
    try:
        if decoded:
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
        elif image.format == "PNG" and not image.info.keys() & _EARLY:
            return 1
        else:  # not PNG's own method, which decodes
            value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # an image with a broken EXIF block can still be used
        return 1
    return value if value in range(1, 9) else 1


def stands_upright(
    path: ImageFile, stored: tuple[int, int], orientation: int, size: tuple[int, int] | None, exif: Exif
) -> bool:
    """Decide if an image is turned by its EXIF orientation.

    Args:
        path: path of the file, for the error.
        stored: (H, W) of the pixels in the file.
        orientation: EXIF orientation 1..8.
        size: (H, W) that the annotations state, or None.
        exif: value of ``data.exif``; "auto" chooses the reading that has the size, upright if both have.

    Raises:
        ImageError: no reading that ``exif`` allows has the size.
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
