"""Checks of image files: of their headers, and of their pixels."""

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np

from segtrain.data.coco.issues import Issues
from segtrain.data.images.headers import Header
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import ImageEntry, ImageReader
from segtrain.data.images.intensities.intensity import FEW_LEVELS, Range, blank_pixels, grey_levels
from segtrain.data.images.intensities.value_range import measure
from segtrain.data.images.large_image import read_samples
from segtrain.data.images.opening import pillow_settings
from segtrain.io import printable

Result = TypeVar("Result")
LEVELS_OF_CONSTANT = 4  # of 256; noise alone has more
# For slow disks only; elsewhere threads would wait for each other.
_HEADER_THREADS = 16
_PROBES = 32
# Images per task: the overhead of a task equals the time of a header.
_CHUNK = 16
_MOSTLY = 0.5  # share of transparent pixels above which the colours that are read are mostly invisible ones
_GREY = ("1", "L", "LA", "La", "I", "F")


@dataclass(frozen=True)
class ImageReport:
    """Result of the checks of image files.

    Attributes:
        issues: errors, and notes on how images are read.
        unusable: problem of each image that cannot be used, in one line that names its file, by image id.
    """

    issues: Issues
    unusable: dict[int, str]


@dataclass(frozen=True)
class HeaderReport(ImageReport):
    """Result of the checks of image headers.

    Attributes:
        headers: headers of the usable images, by image id.
    """

    headers: dict[int, Header]


@dataclass(frozen=True)
class FormatCount:
    """Count of the images of one format.

    Attributes:
        format: name of the format, such as "PNG".
        content: content of such a file in words, such as "8-bit RGB".
        how: conversion when it is read, such as "as three equal channels"; "" for RGB as it is.
        count: number of images.
    """

    format: str
    content: str
    how: str
    count: int


def count_formats(report: HeaderReport) -> list[FormatCount]:
    """Count the formats of usable images, the most frequent first."""
    found = Counter((header.format, header.content, header.how) for header in report.headers.values())
    return [FormatCount(*kind, count) for kind, count in found.most_common()]


def no_progress() -> None:
    """Ignore progress; the default callback."""


def check_headers(
    images: Sequence[ImageEntry],
    reader: ImageReader,
    advance: Callable[[], None] = no_progress,
    absent: Mapping[int, ImageError] = MappingProxyType({}),
) -> HeaderReport:
    """Check the header of every image: existence, format, stated size, and conversions when it is read.

    A header takes about 0.05 ms if it is in the system's cache.

    Args:
        images: images of the annotation file; their ids are unique.
        reader: reader of their folder.
        advance: called after each image.
        absent: problem of images whose file was not found, by image id; they are not looked for again.
    """

    def look(image: ImageEntry) -> Header:
        if image.id in absent:
            raise absent[image.id]
        return reader.check(image)

    report = HeaderReport(Issues(), {}, {})
    threads = _HEADER_THREADS if reader.lazy or _waits_for_disk(images, reader) else 1
    with closing(_in_threads(look, images, reader.max_pixels, threads)) as results:
        for image, header in results:
            advance()
            if isinstance(header, ImageError):
                _count(report, image, header)
                continue
            report.headers[image.id] = header
            for kind, what in _notes(header):
                report.issues.add(kind, f"{_name(image)}: {what}")
    return report


class Readings:
    """Collector of issues with intensities: images that keep few grey levels, or are nearly constant when read."""

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
        """Return the issues of all images; constant images are an error if there are several images, and most are."""
        issues = Issues()
        issues.merge(self._issues)
        most = 2 * len(self._constant) > self._images > 1
        issues.extend("image-constant-in-most" if most else "image-constant", self._constant, str)
        return issues


def check_pixels(
    images: Sequence[ImageEntry], reader: ImageReader, advance: Callable[[], None] = no_progress
) -> ImageReport:
    """Check that every image can be decoded, and that it is not nearly constant when it is read.

    Args:
        images: images with valid headers.
        reader: reader of their folder.
        advance: called after each image.
    """
    report, readings = ImageReport(Issues(), {}), Readings()
    look = partial(_look_at_pixels, reader)
    threads = _HEADER_THREADS if reader.lazy else os.cpu_count() or 1
    with closing(_in_threads(look, images, reader.max_pixels, threads)) as results:
        for image, found in results:
            advance()
            if isinstance(found, ImageError):
                _count(report, image, found)
                continue
            name = _name(image)
            if found.transparent > _MOSTLY:
                report.issues.add("image-transparent", f"{name}: {found.transparent:.0%} of its pixels are transparent")
            if found.ends is not None:
                readings.add(name, found.ends, found.bounds, found.limits)
            if found.blank:
                readings.add_blank(name, found.blank, found.pixels)
    report.issues.merge(readings.issues())
    return report


class _Reading(NamedTuple):
    ends: Range | None  # least and greatest sample; None if no pixel holds data
    bounds: Range
    limits: tuple[int, int] | None
    pixels: int  # that were looked at: of a large image those of its overview
    blank: int  # of them, pixels without data
    transparent: float  # share of the pixels


def _look_at_pixels(reader: ImageReader, image: ImageEntry) -> _Reading:
    samples, _ = read_samples(reader, image)
    bounds, blank = reader.range_of(samples, image), None
    if samples.array.dtype == np.uint8:
        ends: Range | None = Range(int(samples.array.min()), int(samples.array.max()))
    else:
        ends, blank = measure(samples), blank_pixels(samples, bounds)
    pixels, lost = samples.array.shape[0] * samples.array.shape[1], 0 if blank is None else int(blank.sum())
    return _Reading(ends, bounds, samples.limits, pixels, lost, samples.transparent)


def _waits_for_disk(images: Sequence[ImageEntry], reader: ImageReader) -> bool:
    """Return True if reading a sample of headers takes much longer than processing them."""
    wall, work = time.perf_counter(), time.thread_time()
    for image in images[:: len(images) // _PROBES + 1]:
        with suppress(ImageError):
            reader.check(image)
    return time.perf_counter() - wall > 3 * (time.thread_time() - work)


def _count(report: ImageReport, image: ImageEntry, error: ImageError) -> None:
    report.unusable[image.id] = str(error)
    report.issues.add(error.kind, f"{_name(image)}: {error.reason}")


def _name(image: ImageEntry) -> str:
    return f"{printable(image.file_name)} (image {image.id})"


def _notes(header: Header) -> Iterator[tuple[str, str]]:
    if header.orientation != 1:
        height, width = header.size
        how = "turned upright" if header.turned else "as stored"
        yield "image-exif", f"EXIF orientation {header.orientation}, read {how}, {height}x{width}"
    if header.large:
        yield "image-in-windows", f"{header.size[0]}x{header.size[1]}"
    if header.mode == "CMYK":
        yield "image-cmyk", "CMYK"
    if header.mode in _GREY or header.mode.startswith("I;16"):
        yield "image-grey", f"grey ({header.mode})"
    if header.mode in ("P", "PA"):
        yield "image-palette", "palette"
    if header.alpha:
        yield "image-alpha", f"transparency ({header.mode})"
    if header.deep:
        yield "image-deep", f"more than 8 bits ({header.mode or header.content})"
    if header.pages > 1:
        yield "image-pages-joined", f"{header.content}: {header.how}"
    if header.others:
        yield "image-other-sizes", f"{header.others} more pages of other sizes"
    if header.chosen:
        yield "image-channels-chosen", f"{header.content}: {header.how}"


def _in_threads(
    work: Callable[[ImageEntry], Result], images: Sequence[ImageEntry], max_pixels: int, threads: int
) -> Generator[tuple[ImageEntry, Result | ImageError]]:
    """Yield the images in order, with the result or the error of the work; closing the generator stops the work."""

    def attempt(image: ImageEntry) -> Result | ImageError:
        try:
            return work(image)
        except ImageError as error:
            return error

    def attempt_all(chunk: Sequence[ImageEntry]) -> list[Result | ImageError]:
        return [attempt(image) for image in chunk]

    chunks = [images[first : first + _CHUNK] for first in range(0, len(images), _CHUNK)]
    pool = ThreadPoolExecutor(threads)
    try:
        with pillow_settings(max_pixels):
            if threads == 1:
                yield from zip(images, map(attempt, images), strict=True)
                return
            yield from zip(images, chain.from_iterable(pool.map(attempt_all, chunks)), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)
