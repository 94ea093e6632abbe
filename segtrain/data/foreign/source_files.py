"""Files of a folder of labels, without those that systems and editors hide in it."""

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from segtrain.errors import SegtrainError

# Files that Windows writes without hiding them by their names, and the folder of macOS's archives.
_HIDDEN = frozenset(["thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "$recycle.bin"])
# Of the sample by which labels are recognised.
_FOLDERS = 2_000  # folders that are looked into
_INNER = 60  # folders in one folder
_FILES = 200  # files of one ending in one folder


def is_hidden(name: str) -> bool:
    """Return True for the name of a file or folder that is no part of the data.

    >>> is_hidden("._a.json"), is_hidden("Thumbs.db"), is_hidden("a.json")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in _HIDDEN


def is_file(path: Path) -> bool:
    """Return True for a file; False for anything else, including names that the system does not permit."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for names that are too long


def is_folder(entry: "os.DirEntry[str] | Path") -> bool:
    """Return True for a folder; False for anything else, including links to themselves and names that are too long."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def source_files(folder: Path, *endings: str) -> list[str]:
    """List all files of a folder of labels, with the folders in it; hidden ones are left out.

    Links to folders elsewhere are followed, each folder once.

    Args:
        folder: the folder.
        *endings: endings of the names, in lower case, such as ".json"; none for all files.

    Returns:
        Their paths relative to the folder, with slashes, sorted.

    Raises:
        SegtrainError: a folder in it cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise SegtrainError(f"{error.filename}: cannot be read ({error.strerror}); make it readable") from error

    found = (name for place, files in _walk(folder, refuse) for name in _relative(place, files))
    return sorted(name for name in found if not endings or name.lower().endswith(endings))


def sample_files(folder: Path) -> list[str]:
    """List some files of a folder of any size, by which labels are recognised: the first of each ending in each folder.

    Args:
        folder: the folder; parts of it that cannot be read are left out.

    Returns:
        Paths relative to the folder, with slashes, sorted.
    """
    found = list[str]()
    for _, (place, files) in zip(range(_FOLDERS), _walk(folder, lambda _: None, most=_INNER), strict=False):
        of_ending: defaultdict[str, int] = defaultdict(int)
        for name in files:
            ending = PurePosixPath(name).suffix.lower()
            of_ending[ending] += 1
            if of_ending[ending] <= _FILES:
                found += _relative(place, [name])
    return sorted(found)


def _relative(place: str, files: list[str]) -> Iterator[str]:
    yield from (f"{place}/{name}" if place else name for name in files)


def _walk(
    folder: Path, on_error: Callable[[OSError], None], most: int | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Yield folders, the outermost first, with the names of the files in them.

    Args:
        folder: where to begin; it is named "".
        on_error: receives the error of a folder that cannot be read.
        most: number of folders in one folder that are entered; None for all.
    """
    waiting, seen = deque([""]), {Path(os.path.realpath(folder))}
    while waiting:
        place = waiting.popleft()
        inner, files = list[str](), list[str]()
        try:
            with os.scandir(os.path.join(folder, place)) as found:  # noqa: PTH118 - called for each of many folders
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            on_error(error)
            continue
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if not is_folder(entry):
                files.append(entry.name)
            elif not entry.is_symlink() or _is_new(entry.path, seen):
                inner.append(entry.name)
        yield place, files
        waiting.extend(_relative(place, inner[:most]))


def _is_new(link: str, seen: set[Path]) -> bool:
    """Return True for a link that leads to a folder which is not listed otherwise, and remember that folder."""
    target = Path(os.path.realpath(link))
    if any(target.is_relative_to(other) or other.is_relative_to(target) for other in seen):
        return False
    seen.add(target)
    return True
