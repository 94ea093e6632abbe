"""Headers of the images of a data set, checked once and remembered until a file changes."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath

import msgspec

from segtrain.console import progress
from segtrain.data.check.cache import cached, fingerprints
from segtrain.data.check.image_checks import HeaderReport, check_headers
from segtrain.data.coco.issues import Issue, Issues
from segtrain.data.coco.record_tables import ImageInfo, ImageTable
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.large_image import large_images
from segtrain.io import printable

# Formats whose samples have 8 bits at most.
_SHALLOW = frozenset({".jpg", ".jpeg", ".webp", ".gif", ".bmp"})


_LOOKED_AT = 100  # headers of each kind of file, before remote images are used


class KnownHeaders(msgspec.Struct):
    """Result of the checks of image headers.

    Attributes:
        issues: errors, and notes on how images are read.
        unusable: problem of each image that cannot be used, by image id.
        deep: ids of the images of more than 8 bits, by the content of the files, such as "16-bit grey".
    """

    issues: list[Issue] = []
    unusable: dict[int, str] = {}
    deep: dict[str, list[int]] = {}


def known_headers(reader: ImageReader, images: Sequence[ImageInfo], absent: Mapping[int, ImageError]) -> KnownHeaders:
    """Check the headers of images, unless the result is known already; see `check_headers`."""

    def look() -> KnownHeaders:
        with progress("image headers", len(images), transient=True) as stage:
            report = check_headers(images, reader, stage.advance, absent)
        return KnownHeaders(list(report.issues), report.unusable, deep_images(report))

    stated = [(image.id, image.file_name, image.height, image.width) for image in images]
    found = fingerprints(reader.folder, (image.file_name for image in images))
    problems = {str(identifier): str(error) for identifier, error in absent.items()}
    asked = [place_of(reader), str(reader.reading), stated, found, problems]
    return cached(None if reader.lazy else asked, KnownHeaders, look)


def to_be_read_whole(headers: KnownHeaders, reader: ImageReader, images: ImageTable) -> KnownHeaders:
    """Count images as unusable of which only windows could be read, as training reads whole images.

    Args:
        headers: headers of the images.
        reader: reader of the images.
        images: images of the training split.
    """
    large = [image for image in large_images(reader, images) if image.id not in headers.unusable]
    if not large:
        return headers
    issues = Issues()
    issues.merge(issue for issue in headers.issues if issue.kind != "image-in-windows")
    why = "too many to be read whole"
    lines = {
        image.id: f"{printable(image.file_name)} (image {image.id}): {image.height}x{image.width} pixels, {why}"
        for image in large
    }
    issues.extend("image-too-large-to-train", list(lines.values()), str)
    return KnownHeaders(list(issues), {**headers.unusable, **lines}, headers.deep)


def place_of(reader: ImageReader) -> str:
    """Return a text that identifies the image folder of a reader."""
    return str(reader.folder.absolute()) if isinstance(reader.folder, Path) else reader.folder.identity


def some_images(images: ImageTable, chosen: Callable[[str], bool]) -> list[ImageInfo]:
    """Choose a sample of images whose headers are checked: up to 100 of each file extension, evenly spread.

    Args:
        images: images of a remote data set; the other headers are checked when the images are read.
        chosen: function of a file name that returns True if the image may be chosen.
    """
    kinds: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(images.names()):
        if chosen(name):
            kinds[PurePath(name).suffix.lower()].append(place)
    some = [place for places in kinds.values() for place in places[:: len(places) // _LOOKED_AT + 1]]
    return [images[place] for place in sorted(some)]


def may_be_deep(file_name: str) -> bool:
    """Return True if an image may have more than 8 bits, by its file extension."""
    return PurePath(file_name).suffix.lower() not in _SHALLOW


def deep_images(report: HeaderReport) -> dict[str, list[int]]:
    """Group the images of more than 8 bits by the mode of the file, as ids."""
    found = defaultdict(list)
    for identifier, header in report.headers.items():
        if header.deep:
            found[header.content].append(identifier)
    return dict(found)
