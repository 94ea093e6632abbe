"""Search for the image files of a data set: by exact name, else by the only name that fits; others are reported."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import Issues
from segtrain.data.images.image_files import ImageError, image_path
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.names.name_forms import plain_path
from segtrain.data.images.names.near_files import SIDE_FOLDERS, Found, NearFiles, is_missing, list_folder, missing_in
from segtrain.data.storage.address import Location
from segtrain.data.storage.image_store import ImageFile, ImageFolder, ImageStore, StoredFile
from segtrain.errors import SegtrainError
from segtrain.io import printable

_TRIED = 50  # names, to find the folder that holds them
_PROBING = 16  # threads, which wait for the network most of the time
_FOLDERS = 200  # folders that are looked into for them
_DESCRIBED = 3  # missing names for which a similar one is looked for
_WRITE = "write the name of the file into the json"


@dataclass(frozen=True)
class Elsewhere:
    """Another folder that holds images which the image folder lacks.

    Attributes:
        folder: that folder.
        count: number of the missing images that it holds, of those that were looked for.
        tried: number of missing images that were looked for.
    """

    folder: Path
    count: int
    tried: int

    def __str__(self) -> str:
        """Return the number of images that the folder holds, and its path, in words."""
        which = "all" if self.count == self.tried else f"{self.count} of {self.tried}"
        return f"{which} that were looked for are in {printable(self.folder)}"


@dataclass(frozen=True)
class AbsentImages:
    """Images whose file was not found.

    Attributes:
        problems: problem of each, by image id.
        elsewhere: folder that holds them; None if none near by does.
    """

    problems: Mapping[int, ImageError] = field(default_factory=dict)
    elsewhere: Elsewhere | None = None

    def refuse(self, index: CocoIndex, key: str, root: Location | None = None) -> None:
        """Raise an error if there are any.

        Args:
            index: index of the images.
            key: setting that names the image folder.
            root: folder that the setting is relative to; None for the working directory.

        Raises:
            SegtrainError: there are absent images; one line with their number, and where they are.
        """
        if not self.problems:
            return
        own = [
            self.problems[identifier] for identifier in index.images.rows["id"].tolist() if identifier in self.problems
        ]
        if not own:
            return
        first = own[0]
        if first.kind != "image-missing":
            raise SegtrainError(f"{first}{f' (1 of {len(own)} images that are not found)' if len(own) > 1 else ''}")
        said = f"{printable(first.place)}: no such image ({len(own)} of {len(index.images)} are missing)"
        if self.elsewhere is not None:
            there = self.elsewhere.folder
            relative = there.relative_to(root) if isinstance(root, Path) and there.is_relative_to(root) else there
            raise SegtrainError(f"{said}; {self.elsewhere}: set {key}={relative}")
        alike = first.reason.partition(", but ")[2]
        raise SegtrainError(
            f"{said}{f'; there is {alike}' if alike else ''}; set {key} to the folder of the images of "
            f"{index.path.name}, or correct the json"
        )


def locate_images(index: CocoIndex, folder: ImageFolder) -> tuple[CocoIndex, AbsentImages]:
    r"""Find the file of each image of an index.

    A name is used as it is if there is such a file; else with ``\`` as a separator; else the folder is listed, and the
    only file that fits the name by ``closeness`` is used. Each name that is not used as it is becomes an issue.

    Args:
        index: index of a json.
        folder: image folder, which exists, or store of images. In a store whose files cannot be listed quickly, some
            names are looked up, and all others are used as they are.

    Returns:
        The index with the names of the files, and with an issue for each name that differs; and the images whose file
        was not found.
    """
    names = index.images.names()
    if isinstance(folder, ImageStore) and folder.names() is None:
        return index, _probe(index, names, folder)
    lacks = missing_in(folder)
    missing = [number for number, name in enumerate(names) if lacks(name)]
    if not missing:
        return index, AbsentImages()
    turned = {number: names[number].replace("\\", "/") for number in missing if "\\" in names[number]}
    new = {number: name for number, name in turned.items() if not lacks(name)}
    backslashed = list(new)
    left = [number for number in missing if number not in new]
    _folders_above.cache_clear()  # folders may have been made since
    absent: dict[int, ImageError] = {}
    elsewhere = None
    if left:
        named_exactly = {names[number] for number in set(range(len(names))).difference(left)} | set(new.values())
        listing = list_folder(folder)
        near = NearFiles(listing.files, named_exactly)
        found = near.find_all(dict.fromkeys(names[number] for number in left))
        for number in left:
            name = names[number]
            problem = _ambiguity(folder, name, found[name])
            if problem is not None:
                absent[number] = problem
            elif found[name].files:
                new[number] = found[name].files[0]
        unknown = [number for number in left if number not in new and number not in absent]
        if unknown and isinstance(folder, Path):
            elsewhere = _find_folder([names[number] for number in unknown], folder, index.path)
        used = frozenset(new.values())
        for rank, number in enumerate(unknown):
            alike = near.alike(names[number], used) if rank < _DESCRIBED else None
            absent[number] = _missing(folder, names[number], alike, elsewhere, complete=listing.complete)
    issues = Issues()
    issues.merge(index.issues)
    for kind, numbers in (("image-backslash", backslashed), ("image-renamed", list(new)[len(backslashed) :])):
        issues.extend(kind, numbers, lambda number: f"{_name(index, number)} is read from {printable(new[number])}")
    ids = index.images.rows["id"]
    problems = {int(ids[number]): absent[number] for number in sorted(absent)}
    return replace(index, images=index.images.with_names(new), issues=issues), AbsentImages(problems, elsewhere)


def _probe(index: CocoIndex, names: Sequence[str], store: ImageStore) -> AbsentImages:
    """Look for some of the images of a store."""
    numbers = range(0, len(names), len(names) // _TRIED + 1)

    def look(number: int) -> ImageError | None:
        try:
            name = image_path(store, names[number])
            held = not isinstance(name, StoredFile) or store.holds(name.name)
        except ImageError as error:
            return error
        return None if held else _missing(store, names[number], None, None, complete=True)

    with ThreadPoolExecutor(_PROBING) as threads:
        found = list(threads.map(look, numbers))
    ids = index.images.rows["id"]
    return AbsentImages(
        {int(ids[number]): problem for number, problem in zip(numbers, found, strict=True) if problem is not None}
    )


def size_reader(images: ImageReader) -> Callable[[str], tuple[int, int]]:
    """Return a function that reads the (H, W) of an image by its name in a json, which may differ from the file's.

    Args:
        images: reader of the folder; it is listed when a name is first not found.
    """
    near: list[NearFiles] = []
    lacks = missing_in(images.folder)

    def size(name: str) -> tuple[int, int]:
        if lacks(name):
            if not near:
                near.append(NearFiles(list_folder(images.folder).files, ()))
            files = near[0].find(name)
            name = files[0] if len(files) == 1 else name
        return images.size(name)

    return size


def count_images(index: CocoIndex, folders: Sequence[Path]) -> list[int]:
    """Count the images of an index that each of several folders holds; a sample of them is looked for."""
    some = index.images.names()[:: len(index.images) // _TRIED + 1]
    return [
        sum(any(not is_missing(os.fspath(folder), end) for end in _endings(name)) for name in some)
        for folder in folders
    ]


def _name(index: CocoIndex, number: int) -> str:
    image = index.images[number]
    return f"{printable(image.file_name)} (image {image.id})"


def _ambiguity(folder: ImageFolder, name: str, found: Found) -> ImageError | None:
    """Return the problem of a name that may mean several files; None if it means one or none."""
    files = [_file(folder, file) for file in found.files]
    if len(files) == 1 and isinstance(folder, Path) and (other := _file_above(folder, name, found.files[0])):
        files.append(other)
    if len(files) > 1 and not all(_is_same(file, files[0]) for file in files[1:]):
        both = " and ".join(printable(file) for file in files[:2])
        more = f", and {len(files) - 2} more" if len(files) > 2 else ""
        return ImageError("image-ambiguous", _file(folder, name), f"there is no such file; {both} fit{more}", _WRITE)
    if found.rival is not None:
        reason = f"there is no such file; {printable(files[0])} fits, and fits {printable(found.rival)} as well"
        return ImageError("image-ambiguous", _file(folder, name), reason, _WRITE)
    return None


def _file(folder: ImageFolder, name: str) -> ImageFile:
    return folder / name if isinstance(folder, Path) else StoredFile(folder, name)


def _is_same(file: ImageFile, other: ImageFile) -> bool:
    return isinstance(file, Path) and isinstance(other, Path) and file.samefile(other)


def _file_above(folder: Path, name: str, file: str) -> Path | None:
    """Find a file that a name with folders means if it starts from a folder above the image folder.

    ``train/1.png`` does not mean ``1.png`` in the folder ``val`` if there is a folder ``train`` beside it.
    """
    folders, _, base = plain_path(name).rpartition("/")
    if not folders or folders.count("/") < file.count("/"):
        return None
    for other in _folders_above(folder, folders):
        path = other / base
        if path.is_file() and not path.samefile(folder / file):
            return path
    return None


@lru_cache
def _folders_above(folder: Path, path: str) -> list[Path]:
    """Return the folders that a relative path leads to from the folders above another one."""
    found = (above / path for above in list(folder.absolute().parents)[: path.count("/") + 1])
    return [other for other in found if other.is_dir()]


def _missing(
    folder: ImageFolder, name: str, alike: str | None, elsewhere: Elsewhere | None, *, complete: bool
) -> ImageError:
    if elsewhere is None:
        try:
            image_path(folder, name)
        except ImageError as error:
            return error
    reason = "there is no such file"
    if elsewhere is not None:
        reason += f"; {elsewhere}"
    elif alike is not None:
        reason += f", but one of a similar name: {printable(alike)}"
    if not complete:
        reason += "; the folder holds too many files to look for one that fits"
    return ImageError(
        "image-missing", _file(folder, name), reason, "correct the json, or give the folder of its images"
    )


def _find_folder(names: Sequence[str], folder: Path, json: Path) -> Elsewhere | None:
    """Find the folder near by that holds the most of some images."""
    some = names[:: len(names) // _TRIED + 1]
    best = None
    for other in _folders_near(folder, json):
        place = os.fspath(other)
        count = sum(any(not is_missing(place, ending) for ending in _endings(name)) for name in some)
        if count > (0 if best is None else best.count):
            best = Elsewhere(other, count, len(some))
    return best


def _folders_near(folder: Path, json: Path) -> Iterator[Path]:
    """Yield the folders beside the image folder and near the json, each once."""
    seen = {folder.resolve()}
    own = json.absolute().parent
    beside = [own.parent] if own.name.lower() in SIDE_FOLDERS else []
    for above in (folder.absolute().parent, own, *beside):
        for path in (above, *_subfolders(above)):
            if len(seen) > _FOLDERS:
                return
            if (real := path.resolve()) not in seen:
                seen.add(real)
                yield path


def _subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder, and those in them."""
    found: list[Path] = []
    for parent in (folder, None):
        for path in [parent] if parent is not None else found[:]:
            try:
                with os.scandir(path) as entries:
                    found += sorted(Path(entry) for entry in entries if entry.is_dir() and entry.name[0] != ".")
            except OSError:  # such as a folder that only others may enter
                continue
    return found


def _endings(name: str) -> list[str]:
    """List the paths that a name may be inside a folder: as written, without its outermost folder, and so on."""
    steps = plain_path(name).split("/")
    return [name, *("/".join(steps[start:]) for start in range(len(steps)))]
