"""Image files to segment, as the arguments of a command name them, each listed once, in a fixed order."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segtrain.errors import SegtrainError
from segtrain.io import IMAGE_EXTENSIONS, expand_path, printable

_PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class Source:
    """Image file to segment.

    Attributes:
        path: absolute path.
        name: path relative to the common folder of all sources, with ``/`` between its parts.
        key: name of the files that are written for it, without ending; unique among the sources.
    """

    path: Path
    name: str
    key: str


def find_sources(given: Sequence[str], stdin: Iterable[str] = (), leave_out: Path | None = None) -> list[Source]:
    """List the image files that arguments name.

    Args:
        given: paths of files and of folders (searched with all folders below, hidden ones left out), patterns such as
            ``plates/*.tif``, and ``-`` for the lines of standard input.
        stdin: lines of standard input, a path each.
        leave_out: folder whose files are left out, such as that of the results.

    Returns:
        Each file once, in the order of the arguments, those of a folder or pattern by name.

    Raises:
        SegtrainError: an argument names no file, a folder holds no images, or there are no arguments.
    """
    paths: dict[Path, None] = {}
    beside = None if leave_out is None else leave_out.absolute()
    for argument in given:
        found = [path.absolute() for path in _named(argument, stdin)]
        paths.update(dict.fromkeys(path for path in found if beside is None or not path.is_relative_to(beside)))
    if not paths:
        raise SegtrainError("no images to segment; give files, folders, patterns, or - for a list on standard input")
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    names = [path.relative_to(folder).as_posix() for path in paths]
    return [Source(*values) for values in zip(paths, names, _keys(names), strict=True)]


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


def _keys(names: Sequence[str]) -> list[str]:
    """Name the outputs of each file: its path without ending, with the ending where two files would share that.

    >>> _keys(["a/x.png", "a/x.tif", "b.png"])
    ['a/x_png', 'a/x_tif', 'b']
    """
    stems = [PurePosixPath(name).with_suffix("").as_posix() for name in names]
    counts: dict[str, int] = {}
    for stem in stems:
        counts[stem.casefold()] = counts.get(stem.casefold(), 0) + 1
    taken: set[str] = set()
    keys = []
    for name, stem in zip(names, stems, strict=True):
        shared = counts[stem.casefold()] > 1
        key = base = f"{stem}_{PurePosixPath(name).suffix.lstrip('.')}" if shared else stem
        number = 1
        while key.casefold() in taken:
            number += 1
            key = f"{base}_{number}"
        taken.add(key.casefold())
        keys.append(key)
    return keys
