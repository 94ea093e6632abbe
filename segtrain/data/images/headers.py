"""Image headers: format, size, mode and EXIF orientation, read without decoding."""

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from segtrain.data.images.image_files import ImageError, open_file
from segtrain.data.images.opening import OpenedImage, open_image
from segtrain.data.images.orientation import exif_orientation, stands_upright, stored_size, upright_size
from segtrain.data.images.pages.page_files import deep_colour, describe_mode, frame_count, is_deep, open_stack
from segtrain.data.images.pages.stacks import Choice, Stack, choose
from segtrain.data.images.pages.tiff_windows import TiffWindows, is_tiff
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import ALPHA_MODES
from segtrain.data.storage.image_store import ImageFile


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
        format: name of the file's format, such as "PNG".
        content: what the file holds, such as "8-bit RGB".
        how: what is made of that when it is read; "" for RGB as it is.
        mode: mode in Pillow's terms, such as "RGB", "L", "P", "CMYK", "I;16"; "" if Pillow has none.
        deep: True for more than 8 bits per channel, and for signed ones.
        alpha: True if the image has transparency.
        pages: pages or frames of the size of the image; 1 for an ordinary one.
        others: pages of other sizes: thumbnails, and levels of a pyramid.
        chosen: channels that are read, where a file has another number of them than 1 or 3; else empty.
        large: True for more pixels than allowed, of which only windows are decoded.
    """

    path: ImageFile
    bytes: int
    mtime_ns: int
    size: tuple[int, int]
    orientation: int
    turned: bool
    format: str
    content: str
    how: str
    mode: str
    deep: bool
    alpha: bool
    pages: int
    others: int
    chosen: tuple[int, ...]
    large: bool = False


def read_header(path: ImageFile, size: tuple[int, int] | None, reading: Reading) -> Header:
    """Check that an image can be opened and has the size that the annotations state.

    It is not decoded, but where its pages have to be compared. One of more pixels than allowed has to be a TIFF whose
    strips or tiles can be decoded one by one.

    Args:
        path: path of the file.
        size: (H, W) that the annotations state; None for any size.
        reading: settings of reading.

    Raises:
        ImageError: the file is missing, no image, too large, of another size, or nothing tells which of its pages or
            channels are the image.
    """
    try:
        return _header_of_whole(path, size, reading)
    except ImageError as error:
        if error.kind != "image-too-large" or not isinstance(path, Path) or not is_tiff(path):
            raise
        header = _header_of_large(path, size, reading)
        if header.size[0] * header.size[1] <= reading.max_pixels:  # its channels or pages together are too large
            raise
        return header


def _header_of_large(path: Path, size: tuple[int, int] | None, reading: Reading) -> Header:
    stack = TiffWindows(path, None, reading, size).stack
    stream, status = open_file(path)
    with stream:
        return replace(_header_of_stack(OpenedImage(path, stream, status, None), stack, size, reading), large=True)


def _header_of_whole(path: ImageFile, size: tuple[int, int] | None, reading: Reading) -> Header:
    with open_image(path, reading.max_pixels) as opened:
        stack = open_stack(opened, size, reading)
        if stack is not None:
            return _header_of_stack(opened, stack, size, reading)
        image = opened.image
        assert image is not None
        stored = stored_size(image)
        deep = is_deep(image, deep_colour(opened, image))
        orientation = exif_orientation(image, decoded=False)
        if image.format == "PNG" and size not in (None, stored, upright_size(stored, orientation)):
            orientation = exif_orientation(image, decoded=True)  # EXIF data may follow the pixels
        turned = stands_upright(path, stored, orientation, size, reading.exif)
        return Header(
            path=path,
            bytes=opened.status.bytes,
            mtime_ns=opened.status.mtime_ns,
            size=upright_size(stored, orientation) if turned else stored,
            orientation=orientation,
            turned=turned and orientation != 1,
            format=str(image.format),
            content=describe_mode(image, deep=deep),
            how=_describe_mode_reading(image),
            mode=image.mode,
            deep=deep,
            alpha=image.mode in ALPHA_MODES or "transparency" in image.info,
            pages=1,
            others=frame_count(image) - 1,  # last, as it changes the position in the file
            chosen=(),
        )


def _describe_mode_reading(image: Image.Image) -> str:
    if image.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV"):
        return "as RGB"
    grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith(("I", "F"))
    parts = ["as three equal channels"] if grey else []
    return ", ".join([*parts, "without alpha"] if image.mode in ALPHA_MODES else parts)


def _header_of_stack(opened: OpenedImage, stack: Stack, size: tuple[int, int] | None, reading: Reading) -> Header:
    turned = stands_upright(opened.path, stack.size, stack.orientation, size, reading.exif)
    choice = choose(stack, reading)
    image = opened.image
    odd = choice.as_channels or reading.channels is not None or len(choice.channels) != stack.channels
    return Header(
        path=opened.path,
        bytes=opened.status.bytes,
        mtime_ns=opened.status.mtime_ns,
        size=upright_size(stack.size, stack.orientation) if turned else stack.size,
        orientation=stack.orientation,
        turned=turned and stack.orientation != 1,
        format="TIFF" if image is None else str(image.format),
        content=stack.kind + (f", {stack.pages} pages" if stack.pages > 1 else ""),
        how=_describe_choice(stack, choice, reading),
        mode="" if image is None else image.mode,
        deep=stack.deep,
        alpha=stack.alpha is not None,
        pages=stack.pages,
        others=stack.others,
        chosen=tuple(choice.channels) if odd else (),
    )


def _describe_choice(stack: Stack, choice: Choice, reading: Reading) -> str:
    """Describe how a stack is read, such as "the mean of 5 pages, as three equal channels"."""
    parts = []
    if stack.pages > 1 and not choice.as_channels:
        many = {"first": "the first page", "error": "the first of equal pages", "max": "the maximum of the pages"}
        parts.append(many.get(reading.pages, "the mean of the pages"))
    what = "page" if choice.as_channels else "channel"
    if len(choice.channels) == 3 and (choice.as_channels or not stack.colour or tuple(choice.channels) != (0, 1, 2)):
        parts.append(f"{what}s {', '.join(map(str, choice.channels))} as red, green and blue")
    elif len(choice.channels) == 1:
        chosen = f"{what} {choice.channels[0]} " if stack.channels > 1 or choice.as_channels else ""
        parts.append(f"{chosen}as three equal channels")
    elif stack.channels > 3:
        parts.append("red, green and blue only")
    return ", ".join(parts)
