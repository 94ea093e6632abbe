"""Image files to segment, as the arguments of a command name them, each listed once, in a fixed order."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath

from segtrain.errors import SegtrainError
from segtrain.io import IMAGE_EXTENSIONS, expand_path, printable

_PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class Source:
    """Image file to segment.

    Attributes:
        path: absolute path.
        name: path relative to the root of all sources, with ``/`` between its parts.
        key: name of what is written for the file, without ending; no two sources share one.
    """

    path: Path
    name: str
    key: str


def find_images(given: Sequence[str], stdin: Iterable[str] = (), leave_out: Path | None = None) -> list[Path]:
    """List the image files that arguments name.

    Args:
        given: paths of files and of folders (searched with all folders below, hidden ones left out), patterns such as
            ``plates/*.tif``, and ``-`` for the lines of standard input.
        stdin: lines of standard input, a path each.
        leave_out: folder whose files are left out, such as that of the results.

    Returns:
        The absolute path of each file once, in the order of the arguments, those of a folder or pattern by name.

    Raises:
        SegtrainError: an argument names no file, a folder holds no images, or there are no arguments.
    """
    beside = None if leave_out is None else _absolute(leave_out)
    found = (_absolute(path) for argument in given for path in _named(argument, stdin))
    paths = list(dict.fromkeys(path for path in found if beside is None or not path.is_relative_to(beside)))
    if not paths:
        raise SegtrainError("no images to segment; give files, folders, patterns, or - for a list on standard input")
    return paths


def _absolute(path: Path) -> Path:
    """Make a path absolute without ``..``; links stay, since names are those that the user sees."""
    return Path(os.path.normpath(path.absolute()))


def common_root(paths: Sequence[Path]) -> Path:
    """Return the folder that all files lie in or below."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def name_sources(paths: Sequence[Path], root: Path, taken: Iterable[str] = ()) -> list[Source]:
    """Name image files and what is written for them.

    Args:
        paths: absolute paths of files.
        root: folder that names are relative to.
        taken: keys that other sources have.

    Raises:
        SegtrainError: a file lies outside the folder.

    >>> found = name_sources([Path("/d/a/x.png"), Path("/d/a/x.tif"), Path("/d/b.png")], Path("/d"))
    >>> [source.key for source in found]
    ['a/x_png', 'a/x_tif', 'b']
    """
    outside = [path for path in paths if not path.is_relative_to(root)]
    if outside:
        raise SegtrainError(
            f"{printable(outside[0])}: outside {printable(root)}, the folder of the images that --out holds "
            "results of; choose another --out"
        )
    names = [path.relative_to(root).as_posix() for path in paths]
    return [Source(*values) for values in zip(paths, names, _keys(names, taken), strict=True)]


def _named(argument: str, stdin: Iterable[str]) -> Iterator[Path]:
    if argument == "-":
        for line in filter(None, map(str.strip, stdin)):
            yield _file(expand_path(line), "the list on standard input")
        return
    path = expand_path(argument)
    if path.is_dir():
        found = list(_images_below(path))
        if not found:
            raise SegtrainError(f"{printable(path)}: holds no images ({', '.join(sorted(IMAGE_EXTENSIONS))})")
        yield from found
    elif _PATTERN & set(argument) and not path.exists():
        relative = path.relative_to(path.anchor) if path.is_absolute() else path
        found = sorted(file for file in Path(path.anchor).glob(str(relative)) if file.is_file())
        if not found:
            raise SegtrainError(f"{printable(argument)}: matches no file")
        yield from found
    else:
        yield _file(path, "the arguments")


def _file(path: Path, where: str) -> Path:
    if not path.is_file():
        raise SegtrainError(f"{printable(path)}: no such file or folder, which {where} name; check the path")
    return path


def _images_below(folder: Path) -> Iterator[Path]:
    """Yield the image files of a folder and of those below it, by name; hidden ones are left out."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_EXTENSIONS:
                yield Path(place, name)


def _keys(names: Sequence[str], taken: Iterable[str]) -> list[str]:
    """Take the path without ending as key, with the ending where files would share that; upper case does not count."""
    stems = [PurePosixPath(name).with_suffix("").as_posix() for name in names]
    counts = Counter(stem.casefold() for stem in stems)
    used = {key.casefold() for key in taken}
    keys = []
    for name, stem in zip(names, stems, strict=True):
        shared = counts[stem.casefold()] > 1 or stem.casefold() in used
        base = f"{stem}_{PurePosixPath(name).suffix.lstrip('.')}" if shared else stem
        candidates = (base if number == 1 else f"{base}_{number}" for number in count(1))
        keys.append(next(key for key in candidates if key.casefold() not in used))
        used.add(keys[-1].casefold())
    return keys
