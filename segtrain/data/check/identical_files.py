"""Identical image files: under two ids of a split, or in training and validation."""

import hashlib
import stat
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from segtrain.data.findings import Findings
from segtrain.data.images.files import open_file
from segtrain.errors import SegtrainError
from segtrain.io import printable

Side = Literal["train", "val"]

_HEAD = 2**16  # bytes; most images that have the same size on disk differ in them
_BLOCK = 2**20
_THREADS = 8  # that wait for the disk


@dataclass(frozen=True, slots=True)
class _Use:
    """A file under an id."""

    side: Side
    image_id: int
    path: Path

    def __str__(self) -> str:
        return f"{printable(f'{self.path.parent.name}/{self.path.name}')} (image {self.image_id})"


@dataclass(eq=False, slots=True)
class _File:
    """A file of the disk, and all its uses."""

    path: Path
    bytes: int
    uses: list[_Use] = field(default_factory=list)


_Group = list[_File]


def find_duplicates(paths: Mapping[int, Path]) -> Findings:
    """Images that are the same file, or files of the same content, under several ids.

    Args:
        paths: of one split, by image id; files that cannot be read are passed over.
    """
    findings = Findings()
    uses = [_Use("train", image_id, path) for image_id, path in paths.items()]
    for first, *others in _identical(uses, lambda uses: len(uses) > 1):
        more = f", and {len(others) - 1} more" if len(others) > 1 else ""
        findings.add("image-duplicate", f"{first} and {others[0]} are identical{more}", len(others))
    return findings


def find_leaks(train: Mapping[int, Path], val: Mapping[int, Path]) -> Findings:
    """Validation images that are training images as well: the same file, or files of the same content.

    Args:
        train: by image id; files that cannot be read are passed over.
        val: likewise.
    """
    findings = Findings()
    uses = [_Use("train", image_id, path) for image_id, path in train.items()]
    uses += [_Use("val", image_id, path) for image_id, path in val.items()]
    for group in _identical(uses, lambda uses: len({use.side for use in uses}) == 2):
        learned = next(use for use in group if use.side == "train")
        tested = [use for use in group if use.side == "val"]
        more = f", and {len(tested) - 1} more" if len(tested) > 1 else ""
        findings.add("leak", f"{tested[0]}{more} in validation: identical to {learned} in training", len(tested))
    return findings


def _identical(uses: Iterable[_Use], matters: Callable[[list[_Use]], bool]) -> list[list[_Use]]:
    """The groups of uses with identical content that matter.

    Files of the same size are told apart by their heads first, and read as a whole only if those are the same: most
    files are never opened.
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
        # The same file by whatever way; some network disks have no numbers for files, or not reliable ones.
        place = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) if status.st_ino else str(use.path)
        files.setdefault(place, _File(use.path, status.st_size)).uses.append(use)
    groups: dict[int, _Group] = defaultdict(list)
    for file in files.values():
        groups[file.bytes].append(file)
    return list(groups.values())


def _split(groups: list[_Group], key: Callable[[_File], bytes | None]) -> list[_Group]:
    """The groups divided by a key; files without one are left out."""
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
    """Of the first bytes; None if they cannot be read."""
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
