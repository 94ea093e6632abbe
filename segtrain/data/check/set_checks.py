"""Checks of a data set as a whole: rare categories, hidden objects, duplicate files, leaks between splits."""

import hashlib
import stat
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import Issues
from segtrain.data.images.image_files import open_file
from segtrain.errors import SegtrainError
from segtrain.io import printable

# Gupta et al., LVIS, 2019: categories in 1 to 10 images are rare.
_RARE = 10
Side = Literal["train", "val"]
_HEAD = 2**16  # bytes; most images that have the same size on disk differ in them
_BLOCK = 2**20
_THREADS = 8  # they wait for the disk most of the time


@dataclass(frozen=True)
class CategoryCount:
    """Row of the category histogram.

    Attributes:
        id: id of the category.
        name: name of the category.
        objects: number of true objects, crowds left out.
        images: number of images with a true object.
    """

    id: int
    name: str
    objects: int
    images: int


def category_histogram(index: CocoIndex) -> list[CategoryCount]:
    """Count the objects and images of each category, in the order of the index."""
    counts, many = index.category_counts(), len(index.categories)
    objects = np.bincount(counts.labels - 1, counts.objects, minlength=many).astype(np.int64)
    images = np.bincount(counts.labels - 1, minlength=many)
    return [
        CategoryCount(category.id, category.name, int(objects[place]), int(images[place]))
        for place, category in enumerate(index.categories)
    ]


def check_set(index: CocoIndex, max_dets: int) -> Issues:
    """Find rare and unused categories, and images with none or too many objects.

    Args:
        index: data set to check.
        max_dets: detections per image that the model returns and AP uses.
    """
    issues = Issues()
    rows = index.annotations.rows
    annotated = np.bincount(rows["image"][rows["image"] >= 0], minlength=len(index.images))
    empty = np.flatnonzero(annotated == 0)
    issues.extend("images-empty", empty, lambda place: _image(index, place))
    objects = index.objects_per_image
    over = np.flatnonzero(objects > max_dets)
    fullest = over[np.argsort(-objects[over], kind="stable")]
    issues.extend("over-max-dets", fullest, lambda place: (
        f"{_image(index, place)}: {objects[place]} objects, max_dets is {max_dets}"
    ))  # fmt: skip
    counts = index.counts
    if not counts.used:
        crowds = f"{counts.crowd} crowds, {counts.dropped} left out"
        issues.add("no-objects", f"{index.path.name}: {_many(counts.annotations, 'annotation')}, {crowds}")
    histogram = category_histogram(index)
    unused = [category for category in histogram if not category.objects]
    issues.extend("category-unused", unused, lambda category: f"category {category.id} ({printable(category.name)})")
    rare = sorted((c for c in histogram if 0 < c.images <= _RARE), key=lambda category: category.images)
    issues.extend("category-rare", rare, lambda c: (
        f"category {c.id} ({printable(c.name)}): {_many(c.objects, 'object')} in {_many(c.images, 'image')}"
    ))  # fmt: skip
    return issues


def check_visibility(index: CocoIndex, factors: Sequence[float], stride: int) -> Issues:
    """Find the objects that cover less than one cell of the network's finest feature map.

    Args:
        index: data set to check.
        factors: factor by which the network enlarges each image.
        stride: side of such a cell, in pixels of the network's input.
    """
    issues = Issues()
    rows = index.annotations.rows
    rows = rows[rows["usable"] & ~rows["crowd"]]
    sides: npt.NDArray[np.float64] = np.sqrt(rows["area"]) * np.asarray(factors)[rows["image"]]
    small = np.flatnonzero(sides < stride)  # a missing area is nan, and not small
    issues.extend("object-too-small", small[np.argsort(sides[small], kind="stable")], lambda place: (
        f"{_image(index, rows['image'][place])}, annotation {rows['id'][place]}: {sides[place]:.1f} pixels wide at the "
        f"network's input, which it sees in cells of {stride}"
    ))  # fmt: skip
    return issues


def _image(index: CocoIndex, place: int) -> str:
    image = index.images[int(place)]
    return f"{printable(image.file_name)} (image {image.id})"


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class _Use:
    """Use of a file by an image id."""

    side: Side
    image_id: int
    path: Path

    def __str__(self) -> str:
        return f"{printable(f'{self.path.parent.name}/{self.path.name}')} (image {self.image_id})"


@dataclass(eq=False, slots=True)
class _File:
    """File on the disk, and all its uses."""

    path: Path
    bytes: int
    uses: list[_Use] = field(default_factory=list)


_Group = list[_File]


def identical_files(paths: Mapping[int, Path]) -> list[list[int]]:
    """Group the ids of images whose files have the same content.

    Args:
        paths: image files by image id; files that cannot be read are skipped.
    """
    uses = [_Use("train", image_id, path) for image_id, path in paths.items()]
    return [[use.image_id for use in group] for group in _identical(uses, lambda uses: len(uses) > 1)]


def find_duplicates(paths: Mapping[int, Path]) -> Issues:
    """Find images with several ids that are the same file, or files of the same content.

    Args:
        paths: image files of one split, by image id; unreadable files are skipped.
    """
    issues = Issues()
    uses = [_Use("train", image_id, path) for image_id, path in paths.items()]
    for first, *others in _identical(uses, lambda uses: len(uses) > 1):
        more = f", and {len(others) - 1} more" if len(others) > 1 else ""
        issues.add("image-duplicate", f"{first} and {others[0]} are identical{more}", len(others))
    return issues


def find_leaks(train: Mapping[int, Path], val: Mapping[int, Path]) -> Issues:
    """Find validation images that are training images as well: the same file, or files of the same content.

    Args:
        train: training files by image id; files that cannot be read are skipped.
        val: validation files by image id; files that cannot be read are skipped.
    """
    issues = Issues()
    uses = [_Use("train", image_id, path) for image_id, path in train.items()]
    uses += [_Use("val", image_id, path) for image_id, path in val.items()]
    for group in _identical(uses, lambda uses: len({use.side for use in uses}) == 2):
        learned = next(use for use in group if use.side == "train")
        tested = [use for use in group if use.side == "val"]
        more = f", and {len(tested) - 1} more" if len(tested) > 1 else ""
        issues.add("leak", f"{tested[0]}{more} in validation: identical to {learned} in training", len(tested))
    return issues


def find_shared_names(train: CocoIndex, val: CocoIndex) -> Issues:
    """Find validation images that have the name of a training image in the same store, whose content is not compared.

    Args:
        train: index of the training set.
        val: index of the validation set.
    """
    issues = Issues()
    learned = set(train.images.names())
    shared = [place for place, name in enumerate(val.images.names()) if name in learned]
    issues.extend("leak", shared, lambda place: f"{_image(val, place)} in validation: in training as well")
    return issues


def _identical(uses: Iterable[_Use], matters: Callable[[list[_Use]], bool]) -> list[list[_Use]]:
    """Group the uses of files with identical content, and select the groups that matter.

    Files of the same size are compared by their first bytes, and read as a whole only if these are equal; most files
    are never opened.
    """
    groups = _by_size(uses)
    for key in (_hash_of_head, _hash_of_all):
        groups = _split([group for group in groups if matters(_uses(group))], key)
    return [_uses(group) for group in groups if matters(_uses(group))]


def _uses(group: _Group) -> list[_Use]:
    return [use for file in group for use in file.uses]


def _by_size(uses: Iterable[_Use]) -> list[_Group]:
    files: dict[Hashable, _File] = {}
    for use in uses:
        try:
            status = use.path.stat()
        except (OSError, ValueError):
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        # Links lead to the same file; some network disks have no inode numbers, or unreliable ones.
        place = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) if status.st_ino else str(use.path)
        files.setdefault(place, _File(use.path, status.st_size)).uses.append(use)
    groups: dict[int, _Group] = defaultdict(list)
    for file in files.values():
        groups[file.bytes].append(file)
    return list(groups.values())


def _split(groups: list[_Group], key: Callable[[_File], bytes | None]) -> list[_Group]:
    """Divide groups by a key; files without one are left out."""
    files = [file for group in groups if len(group) > 1 for file in group]
    with ThreadPoolExecutor(_THREADS) as pool:
        keys = dict(zip(files, pool.map(key, files), strict=True))
    divided: list[_Group] = []
    for group in groups:
        if len(group) == 1:
            divided.append(group)
            continue
        parts: dict[bytes, _Group] = defaultdict(list)
        for file in group:
            if (value := keys[file]) is not None:
                parts[value].append(file)
        divided.extend(parts.values())
    return divided


def _hash_of_head(file: _File) -> bytes | None:
    return _hash(file.path, _HEAD)


def _hash_of_all(file: _File) -> bytes | None:
    return b"" if file.bytes <= _HEAD else _hash(file.path, file.bytes)


def _hash(path: Path, limit: int) -> bytes | None:
    """Hash the first bytes of a file; None if they cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        stream, _ = open_file(path)
        with stream:
            while limit > 0 and (block := stream.read(min(limit, _BLOCK))):
                digest.update(block)
                limit -= len(block)
    except (OSError, SegtrainError):
        return None
    return digest.digest()
