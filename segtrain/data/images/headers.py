"""What an image file says of itself before its pixels; the only door to Pillow's readers."""

import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from segtrain.data.images.files import REPLACE, ImageError, open_file
from segtrain.data.images.orientation import Exif, exif_orientation, stands_upright, stored_size, upright_size
from segtrain.errors import SegtrainError

PILLOW_LIMIT = 178_956_970  # pixels; of which it takes an image for a bomb, unless it is told otherwise

_LIMIT = "if the file is honest, raise that; else replace it, or set data.on_bad_image=skip"
# What Pillow says of files that break off, or whose pixels do not follow their own code.
_BROKEN = ("truncated", "data stream", "decoder error")
# Colour of 16 bits, for which Pillow has no mode: it says RGB, and only the tiles say how they are stored.
_DEEP = re.compile(r"(RGB|LA|CMYK)\w*;16")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an image without its pixels.

    Attributes:
        path: the file.
        bytes: its size on disk.
        mtime_ns: when it was last written, in nanoseconds.
        size: (H, W), as the image will be read.
        orientation: EXIF's, 1..8; 1 if there is none.
        turned: whether the image will be turned by it.
        mode: Pillow's, such as "RGB", "L", "P", "CMYK", "I;16".
        deep: more than 8 bits a channel.
        alpha: it holds transparency.
        animated: it holds several frames or pages.
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
    """Make sure, without decoding the image, that it can be opened and has the size that the annotations state.

    Args:
        path: the file.
        size: (H, W) that the annotations state; None if anything will do.
        exif: which reading of the file must have this size; see ``read_image``.
        max_pixels: images of more are refused.

    Raises:
        ImageError: the file is missing, no image, too large, or of another size.
    """
    with open_image(path, max_pixels) as (image, status):
        stored = stored_size(image)
        orientation = exif_orientation(image, decoded=False)
        if image.format == "PNG" and size not in (None, stored, upright_size(stored, orientation)):
            orientation = exif_orientation(image, decoded=True)  # it may stand behind the pixels
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
            animated=_is_animated(image),  # last, as it moves on in the file
        )


@contextmanager
def open_image(path: Path, max_pixels: int) -> Iterator[tuple[Image.Image, os.stat_result]]:
    """An image whose header is read, and the status of its file; what goes wrong in the block names the file.

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
    except Image.DecompressionBombError as error:  # of formats that decode as they are opened, or hold another image
        raise _too_large(path, "".join(re.findall(r"\((\d+) pixels\)", str(error))), max_pixels) from error
    except UnidentifiedImageError as error:
        raise ImageError("image-unreadable", path, "cannot read the image (not an image file)", REPLACE) from error
    except Exception as error:  # Pillow raises a dozen types on corrupt files
        raise _cannot_read(path, error) from error


_lock = threading.Lock()
_restore = ExitStack()
_readers = 0


@contextmanager
def pillow_settings(max_pixels: int) -> Iterator[None]:
    """Hold Pillow's own limit of pixels at ours, and its warnings off.

    Both are global to the process, so the first of several threads sets them and the last one restores them.
    """
    global _readers
    with _lock:
        if not _readers:
            # Threads that load the rarer formats at once can miss one; the usual ones come first to be tried first.
            Image.preinit()
            Image.init()
            _restore.enter_context(warnings.catch_warnings())
            # Of broken EXIF blocks and of large images; both are read, or refused.
            warnings.simplefilter("ignore")
            _restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
        _readers += 1
        Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2  # it refuses what has more than twice as many
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
    except Exception:  # a damaged second frame is no reason to lose the first
        return False


def _too_large(path: Path, pixels: str, max_pixels: int) -> ImageError:
    reason = f"the image has {pixels or 'too many'} pixels, more than data.max_image_pixels={max_pixels}"
    return ImageError("image-too-large", path, reason, _LIMIT)


def _cannot_read(path: Path, error: Exception) -> ImageError:
    text = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    broken = isinstance(error, EOFError) or any(sign in text.lower() for sign in _BROKEN)
    kind = "image-missing" if missing else "image-truncated" if broken else "image-unreadable"
    return ImageError(kind, path, f"cannot read the image ({text})", REPLACE)
