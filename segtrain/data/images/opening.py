"""Opening of image files with Pillow within limits of size, and errors that describe the file."""

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from segtrain.data.images.file_kinds import HEAD, describe_file, describe_jpeg
from segtrain.data.images.image_files import REPLACE, FileStatus, ImageError, open_file
from segtrain.data.images.pages.tiff_pages import TiffError
from segtrain.data.storage.image_store import ImageFile, StoredFile
from segtrain.data.storage.transfer import TransferError
from segtrain.errors import SegtrainError

PILLOW_LIMIT = 178_956_970  # pixels; Pillow's own limit, beyond which it suspects a decompression bomb
_LIMIT = (
    "save it as a TIFF in tiles, which a network that cuts it reads by windows, or raise data.max_image_pixels if you "
    "trust the file, or set data.on_bad_image=skip"
)
# Pillow's messages for truncated files, and for pixels that cannot be decoded.
_BROKEN = ("truncated", "data stream", "decoder error")
# Formats of which Pillow opens only a preview, or cannot decode the pixels.
_REFUSED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "PSD", "WMF"})
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_lock = threading.Lock()
_restore = ExitStack()
_readers = 0


@dataclass(frozen=True, eq=False, slots=True)
class OpenedImage:
    """Opened image file.

    Attributes:
        path: path of the file.
        stream: the file.
        status: status of the file.
        image: the image, whose header is read; None for a TIFF whose samples Pillow has no mode for.
    """

    path: ImageFile
    stream: BinaryIO
    status: FileStatus
    image: Image.Image | None


@contextmanager
def open_image(path: ImageFile, max_pixels: int) -> Iterator[OpenedImage]:
    """Open an image and read its header, as a context; errors inside it name the file.

    Args:
        path: path of the file.
        max_pixels: largest number of pixels of an image.

    Yields:
        The opened file.

    Raises:
        ImageError: the file is missing, no image, damaged, or has more pixels than allowed.
    """
    try:
        with pillow_settings(max_pixels):
            stream, status = open_file(path)
            with stream:
                try:
                    image = Image.open(stream)
                except UnidentifiedImageError as error:
                    if not _begins(stream).startswith(TIFF):
                        raise _no_image(path, stream, status.bytes) from error
                    yield OpenedImage(path, stream, status, None)
                    return
                with image:
                    if image.format in _REFUSED:
                        raise _no_image(path, stream, status.bytes)
                    if image.width * image.height > max_pixels:
                        raise too_large(path, f"{image.width * image.height} pixels", max_pixels)
                    try:
                        yield OpenedImage(path, stream, status, image)
                    except OSError as error:
                        if kind := describe_jpeg(_begins(stream)):
                            raise unreadable(path, *kind) from error
                        raise
    except TransferError as error:
        raise ImageError("image-not-transferred", path, error.reason, error.remedy) from error
    except SegtrainError:
        _discard_copy(path)
        raise
    except Image.DecompressionBombError as error:  # formats that are decoded when opened, or contain another image
        found = re.search(r"\((\d+ pixels)\)", str(error))
        raise too_large(path, found[1] if found else "too many pixels", max_pixels) from error
    except TiffError as error:
        raise (unreadable(path, error.what, error.remedy) if error.remedy else _cannot_read(path, error)) from error
    except Exception as error:  # Pillow raises a dozen types on corrupt files
        _discard_copy(path)
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


def too_large(path: ImageFile, what: str, max_pixels: int) -> ImageError:
    """Return the error for an image of more pixels than allowed.

    Args:
        path: path of the file.
        what: size of the image in words, such as "1000 pixels".
        max_pixels: largest number of pixels of an image.
    """
    reason = f"the image has {what}, more than the limit of {max_pixels}"
    return ImageError("image-too-large", path, reason, _LIMIT)


def unreadable(path: ImageFile, what: str, remedy: str = "") -> ImageError:
    """Return the error for a file that cannot be read as an image.

    Args:
        path: path of the file.
        what: noun phrase for the kind of the file, such as "a zip archive".
        remedy: action that leads to an image; "" if the file has to be replaced.
    """
    if not remedy:
        return ImageError("image-unreadable", path, f"cannot read the image ({what})", REPLACE)
    reason = f"cannot read the image ({what}: {remedy})"
    return ImageError("image-foreign", path, reason, "or set data.on_bad_image=skip")


def _discard_copy(path: ImageFile) -> None:
    """Remove the local copy of a remote file that is no image: it may have been damaged on its way."""
    if isinstance(path, StoredFile):
        path.store.discard(path.name)


def _begins(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read(HEAD)


def _no_image(path: ImageFile, stream: BinaryIO, size: int) -> ImageError:
    head = _begins(stream)
    if kind := describe_file(head, size):
        return unreadable(path, *kind)
    return unreadable(path, f"no known image format; the file begins with the bytes {head[:8].hex(' ')}")


def _cannot_read(path: ImageFile, error: Exception) -> ImageError:
    text = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    broken = isinstance(error, EOFError) or any(sign in text.lower() for sign in _BROKEN)
    kind = "image-missing" if missing else "image-truncated" if broken else "image-unreadable"
    return ImageError(kind, path, f"cannot read the image ({text})", REPLACE)
