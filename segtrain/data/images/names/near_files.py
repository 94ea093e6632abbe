"""Files that a folder holds under other names than a json states."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from segtrain.data.foreign.source_files import is_hidden
from segtrain.data.images.names.name_forms import LOOSEST, Fit, closeness, parts_of, plain_path, without_affixes
from segtrain.data.storage.image_store import ImageFolder, ImageStore

MOST_ENTRIES = 1_000_000  # files and folders that are listed; a larger folder takes too long
_ALIKE = 20_000  # files that are compared letter by letter
# Names of folders that hold masks or labels with the same file names as the images.
SIDE_FOLDERS = frozenset(
    ["annotations", "gt", "groundtruth", "ground_truth", "instances", "labels", "mask", "masks", "segmentation",
     "segmentationclass", "segmentationobject", "segmentations", "thumbnails", "thumbs", "__macosx"]
)  # fmt: skip


def leads_out(file_name: str) -> bool:
    """Return True for a name that is no path inside a folder: absolute, with a drive, with ``..``, or empty."""
    parts = file_name.replace("\\", "/").split("/")
    return not parts[0] or ".." in parts or (file_name[1:2] == ":" and file_name[0].isalpha())


def is_missing(folder: str, file_name: str) -> bool:
    """Return True if a folder holds nothing of exactly this name; one that cannot be looked at is not missing.

    Args:
        folder: path of the folder.
        file_name: relative path.
    """
    if leads_out(file_name):
        return True
    try:
        os.stat(os.path.join(folder, file_name))  # noqa: PTH116, PTH118 - a Path each would take ten times as long
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True
    except OSError as error:
        return error.filename is not None and len(os.fsencode(file_name)) > 255
    return False


def missing_in(folder: ImageFolder) -> Callable[[str], bool]:
    """Return a function that tells whether a folder, or a store that lists its files, lacks a file of a name."""
    if isinstance(folder, ImageStore):
        if (names := folder.names()) is None:
            return leads_out
        held = frozenset(names)
        return lambda name: name not in held
    place = os.fspath(folder)
    return lambda name: is_missing(place, name)


class Listing(NamedTuple):
    """Files below a folder.

    Attributes:
        files: their paths, relative to the folder.
        complete: False if the folder holds more entries than are listed.
    """

    files: list[str]
    complete: bool


def list_files(folder: Path, most: int = MOST_ENTRIES) -> Listing:
    """List the files below a folder; hidden ones are left out.

    Folders that usually hold masks or labels are left out too, and those behind links.

    Args:
        folder: the folder.
        most: number of entries after which the list ends.
    """
    found: list[str] = []
    waiting = [("", os.fspath(folder))]
    seen = 0
    while waiting:
        prefix, place = waiting.pop()
        try:
            with os.scandir(place) as found_here:
                entries = sorted(found_here, key=lambda entry: entry.name)
        except OSError:  # such as a folder that only others may enter
            continue
        for entry in entries:
            seen += 1
            if seen > most:
                return Listing(found, complete=False)
            if is_hidden(entry.name):
                continue
            if not entry.is_dir(follow_symlinks=False):
                if _is_text(entry.name):
                    found.append(prefix + entry.name)
            elif entry.name.lower() not in SIDE_FOLDERS:
                waiting.append((f"{prefix}{entry.name}/", entry.path))
    return Listing(found, complete=True)


def list_folder(folder: ImageFolder) -> Listing:
    """List the files below a folder, or in a store; see `list_files`."""
    if isinstance(folder, ImageStore):
        return Listing(list(folder.names() or ()), complete=True)
    return list_files(folder)


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode("utf-8"))
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False


class Found(NamedTuple):
    """Files that a name may mean.

    Attributes:
        files: files that fit best, as paths relative to the folder.
        rival: another name of the json that fits the only file as well; None for none.
    """

    files: list[str]
    rival: str | None


class NearFiles:
    """Files of a folder, found by names that differ from theirs as `closeness` allows.

    Args:
        files: paths relative to the folder.
        taken: files that are named exactly by an entry of the json; no other entry means them.
    """

    def __init__(self, files: Iterable[str], taken: Collection[str]) -> None:
        self._files = [file for file in files if file not in taken]
        self._plain: dict[str, list[str]] = defaultdict(list)
        self._bare: dict[str, list[str]] = defaultdict(list)
        for file in self._files:
            if key := _key(file):
                self._plain[key].append(file)
            for bare in without_affixes(file):
                self._bare[_key(bare)].append(file)

    def find(self, name: str) -> list[str]:
        """Return the files that fit a name best: several if it is ambiguous."""
        key = _key(name)
        candidates = {*self._plain.get(key, ()), *self._bare.get(key, ())} if key else set[str]()
        for bare in without_affixes(name):
            candidates.update(self._plain.get(_key(bare), ()))
        fits: dict[Fit, list[str]] = defaultdict(list)
        for file in sorted(candidates):
            if (fit := closeness(name, file)) is not None:
                fits[fit].append(file)
        return fits[min(fits)] if fits else []

    def find_all(self, names: Iterable[str]) -> dict[str, Found]:
        """Find the files that several names mean.

        Args:
            names: names as written in a json, all different. Two that mean the same file are rivals, unless they differ
                only in their separators.
        """
        files = {name: self.find(name) for name in names}
        claims: dict[str, list[str]] = defaultdict(list)
        for name, fitting in files.items():
            if len(fitting) == 1:
                claims[fitting[0]].append(name)
        rivals: dict[str, str] = {}
        for claimants in claims.values():
            if len(set(map(plain_path, claimants))) > 1:
                rivals.update(zip(claimants, [*claimants[1:], claimants[0]], strict=True))
        return {name: Found(fitting, rivals.get(name)) for name, fitting in files.items()}

    def alike(self, name: str, used: Collection[str] = ()) -> str | None:
        """Return the file whose name has the most letters in common with a name; None if none is alike.

        Args:
            name: name as written in a json.
            used: files that other names mean.
        """
        files: dict[str, str] = {}
        for file in self._files[:_ALIKE]:
            if file not in used and (parts := parts_of(file, 0)) is not None:
                files.setdefault(parts.stem, file)
        wanted = parts_of(name, 0)
        near = get_close_matches(wanted.stem, files, n=1, cutoff=0.7) if wanted is not None else []
        return files[near[0]] if near else None


def _key(name: str) -> str:
    """Return a key that is equal for names that may mean the same file; empty for a name of no file."""
    parts = parts_of(name, LOOSEST)
    return "" if parts is None else parts.stem
