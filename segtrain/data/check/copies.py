"""Copies of the same image in a data set, which belong on the same side of a split."""

import hashlib
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np

from segtrain.arrays import IntArray
from segtrain.console import progress
from segtrain.data.check.cache import cached, fingerprints
from segtrain.data.check.set_checks import identical_files
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import Issues
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.names.name_forms import roboflow_source, source_name
from segtrain.data.images.opening import pillow_settings
from segtrain.errors import SegtrainError
from segtrain.io import printable

logger = logging.getLogger(__name__)
# Pixels of all images up to which they are decoded and compared (some ten seconds); beyond, only files are compared.
MOST_PIXELS = 300_000_000


class _Pixels(msgspec.Struct):
    """Hash of the pixels of each image; empty for one that cannot be read."""

    hashes: list[str]


def group_copies(index: CocoIndex, images: ImageReader | None) -> IntArray | None:
    """Group the images that are copies of each other.

    Copies have the same source name (Roboflow's versions, another extension), the same bytes, or the same pixels;
    pixels are compared if all images together have at most ``MOST_PIXELS``.

    Args:
        index: index of the images.
        images: reader of the images; None to compare names alone, as those of a store are compared.

    Returns:
        (N,) number of each image's group; None if no image is a copy. The number of copies is logged.
    """
    keys: list[Sequence[Hashable]] = [[source_name(name) for name in index.images.names()]]
    if images is not None and isinstance(images.folder, Path):
        keys += [_by_bytes(index, images), _by_pixels(index, images)]
    groups = join_groups(keys)
    copies = len(groups) - len(np.unique(groups))
    if not copies:
        return None
    sizes = np.bincount(groups)
    logger.info(
        f"{index.path}: {copies:,} images are copies of {int((sizes > 1).sum()):,} others (one source by name, or the "
        "same pixels); copies stay on one side of the drawn split"
    )
    return groups


def join_groups(keys: Iterable[Sequence[Hashable]]) -> IntArray:
    """Number the groups of items that are connected by equal keys.

    Args:
        keys: sequences of N keys each; items with an equal key in one of them are connected, None connects nothing.

    Returns:
        (N,) numbers of the groups, from 0 in the order of their first items.

    >>> join_groups([["a", "b", "c", "d"], [1, None, None, 1], ["x", "y", "y", "z"]]).tolist()
    [0, 1, 1, 0]
    """
    parent: list[int] = []

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for own in keys:
        parent = parent or list(range(len(own)))
        first: dict[Hashable, int] = {}
        for place, key in enumerate(own):
            if key is not None:
                one, other = root(first.setdefault(key, place)), root(place)
                parent[max(one, other)] = min(one, other)
    return np.unique([root(place) for place in range(len(parent))], return_inverse=True)[1].astype(np.int64)


def find_one_source(index: CocoIndex) -> Issues:
    """Find the images of a data set whose names show that they were made of the same source."""
    issues = Issues()
    sources: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(index.images.names()):
        sources[source_name(name)].append(place)
    for places in sources.values():
        if len(places) > 1:
            first, second = (index.images[place] for place in places[:2])
            more = f", and {len(places) - 2} more" if len(places) > 2 else ""
            issues.add("image-one-source", f"{_name(first)} and {_name(second)}{more}", len(places) - 1)
    return issues


def find_source_leaks(train: CocoIndex, val: CocoIndex) -> Issues:
    """Find validation images that Roboflow made of the source of a training image.

    Args:
        train: index of the training set.
        val: index of the validation set.
    """
    issues = Issues()
    learned: dict[str, ImageInfo] = {}
    for place, name in enumerate(train.images.names()):
        if source := roboflow_source(PurePosixPath(name).name):
            learned.setdefault(source, train.images[place])
    for place, name in enumerate(val.images.names()):
        source = roboflow_source(PurePosixPath(name).name)
        if source in learned and learned[source].file_name != name:  # equal names may be equal files, found as such
            issues.add("leak-of-source", f"{_name(val.images[place])} in validation and {_name(learned[source])}")
    return issues


def _name(image: ImageInfo) -> str:
    return f"{printable(image.file_name)} (image {image.id})"


def _by_bytes(index: CocoIndex, images: ImageReader) -> list[int | None]:
    """Give images whose files are identical the id of the first of them."""
    keys: dict[int, int] = {}
    for group in identical_files(_paths(index, images)):
        (place,) = index.images.places(group[:1])
        if _hash(index.images[place], images) != "":
            keys.update(dict.fromkeys(group, group[0]))
    return [keys.get(identifier) for identifier in index.images.rows["id"].tolist()]


def _paths(index: CocoIndex, images: ImageReader) -> Mapping[int, Path]:
    paths: dict[int, Path] = {}
    for image in index.images:
        try:
            path = images.path(image.file_name)
        except SegtrainError:
            continue  # counted as an error of its own
        if isinstance(path, Path):
            paths[image.id] = path
    return paths


def _by_pixels(index: CocoIndex, images: ImageReader) -> list[str | None]:
    """Give each image a hash of its pixels; None for those that are not compared."""
    rows = index.images.rows
    sizes = Counter(zip(rows["height"].tolist(), rows["width"].tolist(), strict=True))
    pixels = rows["height"].astype(np.int64) * rows["width"]
    shared = [
        sizes[height, width] > 1 for height, width in zip(rows["height"].tolist(), rows["width"].tolist(), strict=True)
    ]
    if int(pixels[shared].sum()) > MOST_PIXELS:
        logger.info("%s: files are compared, but not their pixels, to find copies: there are too many", index.path)
        return [None] * len(rows)
    compared = [image for image, alike in zip(index.images, shared, strict=True) if alike]
    names = [image.file_name for image in compared]
    asked = [str(images), [(image.size, image.file_name) for image in compared], fingerprints(images.folder, names)]
    hashes = iter(cached(asked, _Pixels, lambda: _Pixels(_hashes(compared, images))).hashes)
    return [(next(hashes) or None) if alike else None for alike in shared]


def _hashes(entries: Sequence[ImageInfo], images: ImageReader) -> list[str]:
    found = []
    with (
        progress("looking for copies", len(entries), transient=True) as stage,
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
        pillow_settings(images.max_pixels),
    ):
        for digest in pool.map(partial(_hash, images=images), entries):
            found.append(digest)
            stage.advance()
    return found


def _hash(image: ImageInfo, images: ImageReader) -> str:
    """Hash the pixels of an image; empty if it cannot be read, or has a single colour."""
    try:
        pixels = images.read(image)
    except ImageError:
        return ""
    if (pixels == pixels[:1, :1]).all():
        return ""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.tobytes())
    return digest.hexdigest()
