"""Image headers: format, size, mode and EXIF orientation, read without decoding."""

import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import ExifTags, Image, UnidentifiedImageError

from segtrain.data.images.image_files import REPLACE, ImageError, open_file
from segtrain.errors import SegtrainError

Exif = Literal["apply", "ignore", "auto"]
_SIDEWAYS = (5, 6, 7, 8)
# Where Pillow keeps an orientation that stands before the pixels of a PNG.
_EARLY = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})
PILLOW_LIMIT = 178_956_970  # pixels; Pillow's own limit, beyond which it suspects a decompression bomb
_LIMIT = "if you trust the file, raise data.max_image_pixels; otherwise replace it, or set data.on_bad_image=skip"
# Pillow's messages for truncated files, and for pixels that cannot be decoded.
_BROKEN = ("truncated", "data stream", "decoder error")
# Pillow has no mode for 16-bit colour: it reports RGB, and only the tiles tell how pixels are stored.
_DEEP = re.compile(r"(RGB|LA|CMYK)\w*;16")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_lock = threading.Lock()
_restore = ExitStack()
_readers = 0


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Return the (H, W) of the pixels in the file; Pillow reports that of a TIFF as if it were turned already."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        return int(tags[ExifTags.Base.ImageLength]), int(tags[ExifTags.Base.ImageWidth])
    return image.height, image.width


def upright_size(stored: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Compute the (H, W) of an image after it is turned by its EXIF orientation.

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
    path: Path, stored: tuple[int, int], orientation: int, size: tuple[int, int] | None, exif: Exif
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


@dataclass(frozen=True, slots=True)
class Header:
    """Header of an image.

    Attributes:
        path: path of the file.
        bytes: size of the file in bytes.
        mtime_ns: time of the last change of the file, in nanoseconds.
        size: (H, W) of the image as it is read.
        orientation: EXIF orientation 1..8; 1 if there is none.
        turned: True if the image is turned by its orientation when it is read.
        mode: mode in Pillow's terms, such as "RGB", "L", "P", "CMYK", "I;16".
        deep: True for more than 8 bits per channel.
        alpha: True if the image has transparency.
        animated: True if the file holds several frames or pages.
    """

    path: Path
    bytes: int
    mtime_ns: int
    size: tuple[int, int]
    orientation: int
    turned: bool
    mode: str
    deep: bool
    alpha: bool
    animated: bool


def read_header(path: Path, size: tuple[int, int] | None = None, *, exif: Exif, max_pixels: int) -> Header:
    """Check, without decoding the image, that it can be opened and has the size that the annotations state.

    Args:
        path: path of the file.
        size: (H, W) that the annotations state; None for any size.
        exif: treatment of the EXIF orientation; see ``read_image``.
        max_pixels: largest number of pixels of an image.

    Raises:
        ImageError: the file is missing, no image, too large, or of another size.
    """
    with open_image(path, max_pixels) as (image, status):
        stored = stored_size(image)
        orientation = exif_orientation(image, decoded=False)
        if image.format == "PNG" and size not in (None, stored, upright_size(stored, orientation)):
            orientation = exif_orientation(image, decoded=True)  # EXIF data may follow the pixels
        turned = stands_upright(path, stored, orientation, size, exif)
        return Header(
            path=path,
            bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            size=upright_size(stored, orientation) if turned else stored,
            orientation=orientation,
            turned=turned and orientation != 1,
            mode=image.mode,
            deep=_is_deep(image),
            alpha=image.mode in _ALPHA or "transparency" in image.info,
            animated=_is_animated(image),  # last, as it changes the position in the file
        )


@contextmanager
def open_image(path: Path, max_pixels: int) -> Iterator[tuple[Image.Image, os.stat_result]]:
    """Open an image and read its header, as a context; errors inside it name the file.

    Args:
        path: path of the file.
        max_pixels: largest number of pixels of an image.

    Yields:
        The image, and the status of its file.

    Raises:
        ImageError: the file is missing, no image, damaged, or has more pixels than allowed.
    """
    try:
        with pillow_settings(max_pixels):
            stream, status = open_file(path)
            with stream, Image.open(stream) as image:
                if image.width * image.height > max_pixels:
                    raise _too_large(path, str(image.width * image.height), max_pixels)
                if image.format == "EPS":
                    reason = "cannot read the image (PostScript is a program, which is not run)"
                    raise ImageError("image-unreadable", path, reason, REPLACE)
                yield image, status
    except SegtrainError:
        raise
    except Image.DecompressionBombError as error:  # formats that are decoded when opened, or contain another image
        raise _too_large(path, "".join(re.findall(r"\((\d+) pixels\)", str(error))), max_pixels) from error
    except UnidentifiedImageError as error:
        raise ImageError("image-unreadable", path, "cannot read the image (not an image file)", REPLACE) from error
    except Exception as error:  # Pillow raises a dozen types on corrupt files
        raise _cannot_read(path, error) from error


@contextmanager
def pillow_settings(max_pixels: int) -> Iterator[None]:
    """Replace Pillow's own limit of pixels, and switch its warnings off, as a context.

    Both are global to the process, so the first of several threads sets them and the last one restores them.
    """
    global _readers
    with _lock:
        if not _readers:
            # Pillow loads the rarer formats when it needs them; threads that do so at the same time can miss one.
            Image.preinit()
            Image.init()
            _restore.enter_context(warnings.catch_warnings())
            # Warnings about broken EXIF blocks and large images, which are handled here.
            warnings.simplefilter("ignore")
            _restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
        _readers += 1
        Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2  # Pillow refuses images of more than twice as many
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers:
                _restore.close()


def _is_deep(image: Image.Image) -> bool:
    tiles = getattr(image, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    stored = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return image.mode.startswith(("I", "F")) or _DEEP.match(str(stored)) is not None


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # the first frame can be used even if the second is damaged
        return False


def _too_large(path: Path, pixels: str, max_pixels: int) -> ImageError:
    reason = f"the image has {pixels or 'too many'} pixels, more than the limit of {max_pixels}"
    return ImageError("image-too-large", path, reason, _LIMIT)


def _cannot_read(path: Path, error: Exception) -> ImageError:
    text = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    broken = isinstance(error, EOFError) or any(sign in text.lower() for sign in _BROKEN)
    kind = "image-missing" if missing else "image-truncated" if broken else "image-unreadable"
    return ImageError(kind, path, f"cannot read the image ({text})", REPLACE)
