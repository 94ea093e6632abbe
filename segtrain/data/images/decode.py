"""Decoding of image files to samples as they are stored, upright."""

import logging
from collections.abc import Iterator

from segtrain.console import counted
from segtrain.data.images.opening import open_image
from segtrain.data.images.orientation import stands_upright, stored_size
from segtrain.data.images.pages.page_files import deep_colour, load_samples, open_stack
from segtrain.data.images.pages.stacks import choose, choose_page, read_choice
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import Samples
from segtrain.data.storage.image_store import ImageFile
from segtrain.io import printable

logger = logging.getLogger(__name__)


def decode(path: ImageFile, size: tuple[int, int] | None, reading: Reading) -> Samples:
    """Decode an image file.

    Args:
        path: path of the file.
        size: (H, W) that the annotations state; None for any size.
        reading: settings of reading.

    Returns:
        Samples, upright as ``reading.exif`` says: (H, W) grey or (H, W, 3) colour.

    Raises:
        ImageError: the file is missing, corrupt, truncated, too large, or of another size than stated; or it does not
            say which of its pages or channels are the image.
    """
    with open_image(path, reading.max_pixels) as opened:
        stack = open_stack(opened, size, reading)
        if stack is not None:
            upright = stands_upright(path, stack.size, stack.orientation, size, reading.exif)
            samples, orientation = read_choice(stack, choose(stack, reading)), stack.orientation
        else:
            assert opened.image is not None
            stored = stored_size(opened.image)
            samples, orientation = load_samples(opened, opened.image, deep_colour(opened, opened.image))
            upright = stands_upright(path, stored, orientation, size, reading.exif)
    return samples.turned(orientation) if upright else samples


def decode_pages(path: ImageFile, reading: Reading) -> Iterator[Samples]:
    """Decode each page or frame of an image file as an image of its own; pages of other sizes are left out.

    Args:
        path: path of the file.
        reading: settings of reading; its ``pages`` is ignored.

    Yields:
        Samples, upright unless ``reading.exif`` is "ignore": (H, W) grey or (H, W, 3) colour.

    Raises:
        ImageError: as of `decode`.
    """
    with open_image(path, reading.max_pixels) as opened:
        stack = open_stack(opened, None, reading)
        if stack is not None:
            if stack.unlike:
                pages = counted(stack.unlike, "page")
                logger.warning(
                    f"{printable(path)}: {pages} of other sizes than the first left out; save each size in a file"
                )
            for page in range(stack.pages):
                samples = read_choice(stack, choose_page(stack, page, reading))
                yield samples if reading.exif == "ignore" else samples.turned(stack.orientation)
            return
    yield decode(path, None, reading)
