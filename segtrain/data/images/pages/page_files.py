"""Stacks of files that hold more than one ordinary image: TIFFs beyond Pillow's modes, and animated images."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

from segtrain.data.images.file_kinds import HEAD
from segtrain.data.images.opening import OpenedImage, too_large, unreadable
from segtrain.data.images.orientation import exif_orientation, stored_size, upright_size
from segtrain.data.images.pages.stacks import Stack
from segtrain.data.images.pages.tiff_pages import (
    WHITE_IS_ZERO,
    TiffPage,
    arrange,
    parse_nodata,
    pillow_reads,
    read_pages,
)
from segtrain.data.images.pages.tiff_segments import decode_page, is_decoded_by_pillow, valid_pixels
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import ALPHA_MODES, Samples, samples_of
from segtrain.data.storage.image_store import ImageFile

# Viewers show the first image of a JPEG of several; the others are previews, or the second half of a stereo pair.
_FIRST_IS_IMAGE = frozenset({"MPO"})
# Pillow has no mode for 16-bit colour: it reports RGB, and only the tiles tell how pixels are stored.
_DEEP = re.compile(r"(RGB|LA)\w*;16")
_DEEP_FORMATS = frozenset({"PNG", "PPM", "JPEG2000", "SGI"})
_MODES = {
    "1": "1-bit grey", "L": "8-bit grey", "LA": "8-bit grey with alpha", "I": "32-bit grey", "F": "float32 grey",
    "P": "palette", "PA": "palette with alpha", "RGB": "8-bit RGB", "RGBA": "8-bit RGB with alpha",
    "CMYK": "8-bit CMYK",
}  # fmt: skip
_GDAL_NODATA = 42113
# Limits of what is decoded of one file, in multiples of the largest number of pixels.
_CHANNELS_TOGETHER, _PAGES_TOGETHER = 8, 20


def frame_count(image: Image.Image) -> int:
    """Count the frames of an image; 1 if those behind the first are damaged."""
    try:
        return int(getattr(image, "n_frames", 1)) if getattr(image, "is_animated", False) else 1
    except Exception:  # the first frame can be used even if the second is damaged
        return 1


def is_deep(image: Image.Image, maximum: int | None) -> bool:
    """Return True for more than 8 bits per channel.

    Args:
        image: opened image.
        maximum: greatest value of a sample of 16-bit colour; None for other images, see `deep_colour`.
    """
    return maximum is not None or image.mode.startswith(("I", "F"))


def deep_colour(opened: OpenedImage, image: Image.Image) -> int | None:
    """Return the greatest value of a sample of 16-bit colour; None for other images.

    Args:
        opened: opened file.
        image: its image, not decoded yet.
    """
    tiles = getattr(image, "tile", None)
    if image.mode not in ("RGB", "RGBA", "LA") or image.format not in _DEEP_FORMATS or not tiles:
        return None
    arguments = tiles[0][3]
    if image.format == "JPEG2000":
        opened.stream.seek(0)
        head = opened.stream.read(HEAD)
        size = head.find(b"\xff\x4f\xff\x51")  # the marker of the image's size, with the bits of a sample behind it
        bits = (head[size + 42] & 127) + 1 if 0 <= size < len(head) - 42 else 8
        return 2**bits - 1 if bits > 8 else None
    if image.format == "PPM":
        maximum = int(arguments[-1]) if isinstance(arguments, tuple) else 255
        return maximum if maximum > 255 else None
    stored = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return 65535 if _DEEP.match(str(stored)) else None


def open_stack(opened: OpenedImage, size: tuple[int, int] | None, reading: Reading) -> Stack | None:
    """Describe a file of several pages or frames, or of samples that Pillow has no mode for.

    Args:
        opened: opened file.
        size: (H, W) that the annotations state, which chooses among pages of several sizes; None for any size.
        reading: settings of reading.

    Returns:
        The stack; None for an ordinary image, of which nothing has to be chosen.

    Raises:
        ImageError: there are more pixels than allowed.
        TiffError: the file is damaged, or of a kind that is not read.
    """
    image = opened.image
    if image is None or (image.format == "TIFF" and not pillow_reads(image)):
        return _tiff_stack(opened, size, reading)
    if image.format in _FIRST_IS_IMAGE and reading.channels is None:
        return None
    frames = 1 if image.format in _FIRST_IS_IMAGE else frame_count(image)
    if frames > 1 or reading.channels is not None:
        return _pillow_stack(opened, image, frames, reading)
    return None


def load_samples(
    opened: OpenedImage, image: Image.Image, maximum: int | None, *, with_alpha: bool = False
) -> tuple[Samples, int]:
    """Decode the current frame of an image that Pillow has opened.

    Args:
        opened: opened file.
        image: its image.
        maximum: greatest value of a sample of 16-bit colour; None for other images, see `deep_colour`.
        with_alpha: True to keep the alpha channel as the last one of (H, W, C).

    Returns:
        The samples as stored, and the EXIF orientation 1..8.
    """
    before, inverted, nodata = 1, False, None
    if image.format == "TIFF":
        before = exif_orientation(image, decoded=False)
        tags = image.tag_v2  # type: ignore[attr-defined]
        # Pillow inverts samples of up to 8 bits.
        inverted = image.mode.startswith("I") and tags.get(ExifTags.Base.PhotometricInterpretation) == WHITE_IS_ZERO
        nodata = None if image.mode == "P" else parse_nodata(tags.get(_GDAL_NODATA))  # not a colour, but its number
        if (
            nodata is not None
            and image.mode == "L"
            and tags.get(ExifTags.Base.PhotometricInterpretation) == WHITE_IS_ZERO
        ):
            nodata = 255 - nodata
    image.load()
    left = exif_orientation(image, decoded=True)
    orientation = max(before, left)
    if maximum is not None:
        return _read_deep_colour(opened, image, maximum, with_alpha=with_alpha), orientation
    samples = samples_of(image, with_alpha=with_alpha)
    if left != orientation:  # Pillow turns a TIFF when it decodes it, and removes the orientation
        samples = samples.turned(orientation, back=True)
    if nodata is not None:
        samples = valid_pixels(samples, nodata)
    return (samples.inverted() if inverted else samples), orientation


def _read_deep_colour(opened: OpenedImage, image: Image.Image, maximum: int, *, with_alpha: bool) -> Samples:
    """Decode 16-bit colour, of which Pillow keeps the upper 8 bits; Pillow has decoded it without an error before."""
    import cv2  # here, so that checks of files start without it

    opened.stream.seek(0)
    content = np.frombuffer(opened.stream.read(), dtype=np.uint8)
    pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    known = image.format != "SGI" and (image.format != "JPEG2000" or maximum == 65535)
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape[:2] != (image.height, image.width) or not known:
        damaged = "damaged " if pixels is None else ""
        raise unreadable(
            opened.path, f"a {damaged}{image.format} of {maximum.bit_length()}-bit colour", "convert it to TIFF"
        )
    if pixels.ndim == 2:
        return Samples(pixels, (0, maximum))
    transparent = float(np.mean(pixels[:, :, 3] == 0)) if pixels.shape[2] == 4 else 0.0
    order = [2, 1, 0, 3] if with_alpha and pixels.shape[2] == 4 else [2, 1, 0]
    if image.mode == "LA":
        order = [0, 3] if with_alpha else [0]
    array = np.ascontiguousarray(pixels[:, :, order])
    return Samples(array[:, :, 0] if len(order) == 1 else array, (0, maximum), transparent=transparent)


def _pillow_stack(opened: OpenedImage, image: Image.Image, frames: int, reading: Reading) -> Stack:
    # Frames of an animation differ in their modes.
    alpha = frames == 1 and image.mode in ALPHA_MODES
    grey = frames == 1 and (image.mode in ("1", "L", "LA", "La") or image.mode.startswith(("I", "F")))
    _require_pages(opened, frames, image.width * image.height, reading)
    maximum = deep_colour(opened, image)
    deep = is_deep(image, maximum)
    kind = describe_mode(image, deep=deep)

    def read(page: int) -> Samples:
        if frames == 1:
            return load_samples(opened, image, maximum, with_alpha=alpha)[0]
        image.seek(page)
        return samples_of(image.convert("RGB"))

    return Stack(
        path=opened.path,
        size=stored_size(image),
        orientation=exif_orientation(image, decoded=True),  # decodes a PNG, whose tiles are gone then
        kind=kind,
        channels=(1 if grey else 3) + alpha,
        colour=not grey,
        alpha=(1 if grey else 3) if alpha else None,
        pages=frames,
        axes="",
        uniform=True,
        single=False,
        others=0,
        unlike=0,
        deep=deep,
        read=read,
    )


def describe_mode(image: Image.Image, *, deep: bool) -> str:
    """Describe the samples of an image, such as "8-bit RGB".

    Args:
        image: opened image.
        deep: True for more than 8 bits per channel; see `is_deep`.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return "16-bit grey"
    name = _MODES.get(image.mode, image.mode)
    return name.replace("8-bit", "16-bit") if deep else name


@dataclass(frozen=True)
class TiffFrames:
    """Frames of a TIFF that have the size of its image.

    Attributes:
        main: page that stands for all.
        pages: pages of its size.
        frames: pages of each frame, which are its channels.
        axes: axes of the frames in words; "" if nothing is known of them.
        others: number of pages of other sizes.
        unlike: number of those that are neither thumbnails nor levels of a pyramid, since their shape is another.
    """

    main: TiffPage
    pages: Sequence[TiffPage]
    frames: Sequence[Sequence[TiffPage]]
    axes: str
    others: int
    unlike: int


def tiff_frames(stream: BinaryIO, size: tuple[int, int] | None) -> TiffFrames:
    """Find the frames of a TIFF.

    Args:
        stream: the file.
        size: (H, W) that the annotations state, which chooses among pages of several sizes; None for the first page
            that is no thumbnail.

    Raises:
        TiffError: the file is damaged, or of a kind that is not read.
    """
    file = read_pages(stream)
    main = next((page for page in file.pages if not page.reduced), file.pages[0])
    for page in file.pages:
        if size in (page.size, upright_size(page.size, page.orientation)):
            main = page
            break
    same = [page for page in file.pages if page.size == main.size]
    unlike = sum(not page.reduced and not _has_shape(page.size, main.size) for page in file.pages)
    return TiffFrames(main, same, *arrange(same), len(file.pages) - len(same) + file.more, unlike)


def _has_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return True for sizes of equal shape, up to the rounding of the smaller one."""
    (height, width), (large_height, large_width) = sorted([size, other])
    return abs(height * large_width / large_height - width) <= 1.5 and width <= large_width


def _tiff_stack(opened: OpenedImage, size: tuple[int, int] | None, reading: Reading) -> Stack:
    found = tiff_frames(opened.stream, size)
    _require_page(opened, found.main, reading)
    _require_pages(opened, len(found.frames), found.main.size[0] * found.main.size[1], reading)
    return tiff_stack(opened.path, found, lambda plane: decode_page(opened.stream, plane))


def tiff_stack(path: ImageFile, found: TiffFrames, decode: Callable[[TiffPage], Samples]) -> Stack:
    """Describe the frames of a TIFF as a stack.

    Args:
        path: path of the file.
        found: the frames.
        decode: function that decodes a page, or a part of it.
    """
    main, frames = found.main, found.frames
    planes = len(frames[0])
    converted = is_decoded_by_pillow(main)
    colour = planes == 1 and (main.colour or (converted and main.photometric > 1))
    channels = planes * (main.samples if not converted else 3 if colour else 1)

    def read(page: int) -> Samples:
        return _joined([decode(plane) for plane in frames[page]])

    return Stack(
        path=path,
        size=main.size,
        orientation=main.orientation,
        kind=_describe_page(main, channels, colour=colour),
        channels=channels,
        colour=colour,
        alpha=main.alpha if planes == 1 and not converted else None,
        pages=len(frames),
        axes=found.axes,
        uniform=all(page.alike(main) for page in found.pages),
        single=channels == 1,
        others=found.others,
        unlike=found.unlike,
        deep=main.bits > 8 or main.kind == "i",
        read=read,
    )


def _require_page(opened: OpenedImage, page: TiffPage, reading: Reading) -> None:
    pixels = page.size[0] * page.size[1]
    tile = page.segment[0] * page.segment[1]
    if max(pixels, tile) > reading.max_pixels:
        raise too_large(opened.path, f"{max(pixels, tile)} pixels", reading.max_pixels)
    if pixels * page.samples > _CHANNELS_TOGETHER * reading.max_pixels:
        raise too_large(opened.path, f"{pixels} pixels of {page.samples} channels", reading.max_pixels)


def _require_pages(opened: OpenedImage, pages: int, pixels: int, reading: Reading) -> None:
    if reading.pages != "first" and pages * pixels > _PAGES_TOGETHER * reading.max_pixels:
        raise too_large(opened.path, f"{pages} pages of {pixels} pixels", reading.max_pixels)


def _joined(parts: Sequence[Samples]) -> Samples:
    """Join pages that are the channels of one image."""
    if len(parts) == 1:
        return parts[0]
    array = np.dstack([part.array for part in parts])
    masks = [part.valid for part in parts if part.valid is not None]
    return Samples(array, parts[0].limits, np.logical_and.reduce(masks) if masks else None)


def _describe_page(page: TiffPage, channels: int, *, colour: bool) -> str:
    if colour and channels == 3:
        return f"{page.sample_name} RGB"
    if colour:
        return f"{page.sample_name} RGB and {channels - 3} more"
    return f"{page.sample_name} grey" if channels == 1 else f"{channels} channels of {page.sample_name}"
