"""Stacks of pages and channels of a file, and the choice of those that are the image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segtrain.data.images.image_files import ImageError
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import Samples
from segtrain.data.storage.image_store import ImageFile

_PAGES = "set data.pages=first, max or mean, or give each image a file of its own"


@dataclass(frozen=True)
class Stack:
    """Pages of a file that may be its image, and the channels of each.

    Attributes:
        path: path of the file.
        size: (H, W) of a page as stored.
        orientation: EXIF orientation 1..8 of a page.
        kind: content of a page in words, such as "3 channels of float32".
        channels: channels of a page, alpha among them.
        colour: True if the file says that the first three are red, green and blue.
        alpha: index of the channel that is alpha; None if there is none.
        pages: pages of this size.
        axes: axes of the pages in words, such as "5 slices"; "" if nothing is known of them.
        uniform: True if the pages hold samples of the same kind.
        single: True if a page is stored as one channel, so that pages may be the channels of one image.
        others: pages of other sizes: thumbnails, and levels of a pyramid.
        unlike: those of them that are neither, by their shape.
        deep: True for more than 8 bits per channel, and for signed ones.
        read: decodes a page as stored, with all of its channels: (H, W) or (H, W, C).
    """

    path: ImageFile
    size: tuple[int, int]
    orientation: int
    kind: str
    channels: int
    colour: bool
    alpha: int | None
    pages: int
    axes: str
    uniform: bool
    single: bool
    others: int
    unlike: int
    deep: bool
    read: Callable[[int], Samples]


@dataclass(frozen=True)
class Choice:
    """Choice of the pages and channels of a stack that become the image.

    Attributes:
        pages: numbers of the pages.
        mean: True for the mean of the pages, False for their maximum; of one page either is that page.
        channels: numbers of the channels that become red, green and blue, or of the one that is grey.
        as_channels: True if the pages are the channels.
    """

    pages: Sequence[int]
    mean: bool
    channels: Sequence[int]
    as_channels: bool = False


def choose_channels(
    number: int, *, colour: bool, alpha: int | None, channels: Sequence[int] | None
) -> tuple[int, ...] | None:
    """Choose the channels that become red, green and blue, or the one that is grey.

    Args:
        number: channels of the file, alpha among them.
        colour: True if the file says that the first three are red, green and blue.
        alpha: index of the channel that is alpha; None if there is none.
        channels: value of ``data.channels``: one number or three; None for what the file says.

    Returns:
        One number or three; None if there is no such channel, or if the file does not say which of them to take.

    >>> choose_channels(4, colour=False, alpha=3, channels=None)
    (0, 1, 2)
    >>> choose_channels(5, colour=False, alpha=None, channels=None) is None
    True
    >>> choose_channels(5, colour=False, alpha=None, channels=(4, 2, 0))
    (4, 2, 0)
    """
    if channels is not None:
        return tuple(channels) if max(channels) < number else None
    if colour and number >= 3:
        return 0, 1, 2
    seen = tuple(channel for channel in range(number) if channel != alpha)
    return seen if len(seen) in (1, 3) else None


def choose(stack: Stack, reading: Reading) -> Choice:
    """Choose the pages and channels of a stack that become the image; pages are compared where this is needed.

    Args:
        stack: pages of the file.
        reading: settings of reading.

    Raises:
        ImageError: the pages differ, or the file does not say which channels to take.
    """
    if reading.channels and reading.pages == "error" and stack.single and stack.pages > 1 and not stack.axes:
        if max(reading.channels) < stack.pages:
            return Choice((), False, reading.channels, as_channels=True)
        raise _channel_error(stack, stack.pages, reading)
    pages = range(stack.pages)
    if reading.pages in ("error", "first"):
        if reading.pages == "error" and not _equal(stack):
            raise _page_error(stack)
        pages = range(1)
    elif not stack.uniform:
        raise ImageError(
            "image-pages",
            stack.path,
            f"{stack.pages} pages of samples of different kinds, of which there is no {reading.pages}",
            "set data.pages=first, or give each image a file of its own",
        )
    return Choice(pages, reading.pages == "mean", _channels(stack, reading))


def choose_page(stack: Stack, page: int, reading: Reading) -> Choice:
    """Choose the channels of one page.

    Args:
        stack: pages of the file.
        page: number of the page, from 0.
        reading: settings of reading.

    Raises:
        ImageError: the file does not say which channels to take.
    """
    return Choice([page], False, _channels(stack, reading))


def _channels(stack: Stack, reading: Reading) -> Sequence[int]:
    chosen = choose_channels(stack.channels, colour=stack.colour, alpha=stack.alpha, channels=reading.channels)
    if chosen is None:
        raise _channel_error(stack, stack.channels, reading)
    return chosen


def read_choice(stack: Stack, choice: Choice) -> Samples:
    """Decode the chosen pages and channels of a stack.

    Args:
        stack: pages of the file.
        choice: pages and channels of them.

    Returns:
        Samples, (H, W) grey or (H, W, 3) colour.
    """
    if choice.as_channels:
        planes = {page: stack.read(page) for page in set(choice.channels)}
        parts = [planes[page] for page in choice.channels]
        array = np.stack([part.array for part in parts], axis=2)
        return _squeezed(replace(parts[0], array=array))
    samples = stack.read(choice.pages[0])
    if len(choice.pages) > 1:
        samples = _project(stack, samples, choice)
    if samples.array.ndim == 2:
        return samples if len(choice.channels) == 1 else replace(samples, array=samples.array[:, :, None].repeat(3, 2))
    if tuple(choice.channels) == tuple(range(samples.array.shape[2])):
        return _squeezed(samples)
    return _squeezed(replace(samples, array=np.ascontiguousarray(samples.array[:, :, list(choice.channels)])))


def _project(stack: Stack, first: Samples, choice: Choice) -> Samples:
    """Project pages along their axis, sample by sample; no more than two of them are held at once."""
    total = first.array.astype(np.float64 if choice.mean else first.array.dtype)
    valid = first.valid
    for page in choice.pages[1:]:
        other = stack.read(page)
        # The maximum is NaN only where all are.
        (np.add if choice.mean else np.fmax)(total, other.array, out=total)
        if valid is not None and other.valid is not None:
            valid = valid & other.valid
    if choice.mean:
        np.divide(total, len(choice.pages), out=total)
        if np.issubdtype(first.array.dtype, np.integer):
            np.rint(total, out=total)
    return replace(first, array=total.astype(first.array.dtype, copy=False), valid=valid)


def _squeezed(samples: Samples) -> Samples:
    return replace(samples, array=samples.array[:, :, 0]) if samples.array.shape[2] == 1 else samples


def _equal(stack: Stack) -> bool:
    """Return True if all pages hold the same samples."""
    if stack.pages == 1:
        return True
    if not stack.uniform:
        return False
    first = stack.read(0).array
    return all(
        np.array_equal(first, stack.read(page).array, equal_nan=first.dtype.kind == "f")
        for page in range(1, stack.pages)
    )


def _page_error(stack: Stack) -> ImageError:
    axes = f" ({stack.axes})" if stack.axes else ""
    remedy = _PAGES
    if stack.single and not stack.axes and stack.pages in (2, 3, 4, 5, 6):
        example = f"[0,1,{min(stack.pages, 3) - 1}]"
        remedy += f"; if they are the channels of one image, set data.channels, such as {example}"
    what = f"{stack.pages} pages that differ{axes}, {stack.kind} each"
    if not stack.uniform:
        what = f"{stack.pages} pages of different kinds, the first of them {stack.kind}"
    return ImageError("image-pages", stack.path, what, remedy)


def _channel_error(stack: Stack, number: int, reading: Reading) -> ImageError:
    counted = f"{number} channel{'s' if number > 1 else ''}"
    if reading.channels is not None:
        reason = f"{counted}, numbered from 0, and channel {max(reading.channels)} is asked for"
        return ImageError("image-channels", stack.path, reason, "correct data.channels")
    example = "[0]" if number == 2 else "[2,1,0]"
    reason = f"{counted}, and nothing says which are red, green and blue"
    remedy = f"set data.channels to one number or three, counted from 0, such as data.channels={example}"
    return ImageError("image-channels", stack.path, reason, remedy)
