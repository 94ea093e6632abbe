"""Image files and videos to segment, as the arguments of a command name them, each listed once, in a fixed order."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path, PurePosixPath

from segtrain.convert.outputs import require_short
from segtrain.data.foreign.source_files import is_file, is_folder, source_files
from segtrain.errors import SegtrainError
from segtrain.io import IMAGE_EXTENSIONS, expand_path, plain_path, printable
from segtrain.prediction.videos import VIDEO_EXTENSIONS

_PATTERN = frozenset("*?[")
RESULTS = ".predict"  # folder by which a later run knows the output folder of a prediction
_ENDINGS = (".png", ".tif", ".mp4", ".geojson")  # of what is written for an image


@dataclass(frozen=True)
class Source:
    """Image file or video to segment.

    Attributes:
        path: absolute path.
        name: path relative to the root of all sources, with ``/`` between its parts.
        key: name of what is written for the file, without ending; no two sources share one.
    """

    path: Path
    name: str
    key: str


def find_images(given: Sequence[str], stdin: Iterable[str] = (), leave_out: Path | None = None) -> list[Path]:
    """List the image files and videos that arguments name.

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
    beside = None if leave_out is None else plain_path(leave_out)
    found = (plain_path(path) for argument in given for path in _named(argument, stdin))
    paths = list(dict.fromkeys(path for path in found if beside is None or not path.is_relative_to(beside)))
    if not paths:
        raise SegtrainError("no images to segment outside --out; give files, folders, patterns, or - for a list")
    return paths


def name_sources(paths: Sequence[Path], root: Path, taken: Collection[str] = ()) -> list[Source]:
    """Name image files and what is written for them.

    Args:
        paths: absolute paths of files.
        root: folder that names are relative to.
        taken: keys that other sources have.

    Raises:
        SegtrainError: a file lies outside the folder, or its results would have a name that the system does not permit.

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
    keys = _keys(names, taken)
    _require_places(keys, taken)
    return [Source(*values) for values in zip(paths, names, keys, strict=True)]


def _require_places(keys: Sequence[str], taken: Collection[str]) -> None:
    """Check that no result would be a file where another one needs a folder, and that names are not too long."""
    every = [*keys, *taken]
    folders = {parent.as_posix() for key in every for parent in PurePosixPath(key.casefold()).parents}
    for name in (f"{key}{ending}" for key in every for ending in _ENDINGS):
        if name.casefold() in folders:
            raise SegtrainError(f"{printable(name)}: would be both a file and a folder of results; rename the images")
    for key in map(PurePosixPath, keys):  # an unfinished file has a longer name
        require_short(Path(key.parent, f".{key.name}{_ENDINGS[-1]}.{'0' * 7}"))


def _named(argument: str, stdin: Iterable[str]) -> Iterator[Path]:
    if argument == "-":
        for path in map(expand_path, filter(None, map(str.strip, stdin))):
            # A list may be older than the files: what is missing is counted where it is read.
            yield from _files(path) if is_folder(path) else (path,)
        return
    path = expand_path(argument)
    if _PATTERN & set(argument) and not path.exists():
        relative = path.relative_to(path.anchor) if path.is_absolute() else path
        try:
            found = sorted(file for file in Path(path.anchor).glob(str(relative)) if file.is_file())
        except ValueError as error:
            raise SegtrainError(f"{printable(argument)}: no pattern of files ({error})") from None
        if not found:
            raise SegtrainError(f"{printable(argument)}: matches no file")
        yield from found
    else:
        yield from _files(path)


def _files(path: Path) -> Iterator[Path]:
    """Yield a file, or the images and videos of a folder and those below it, without hidden ones and predictions."""
    if is_file(path):
        yield path
        return
    if not is_folder(path):
        raise SegtrainError(f"{printable(path)}: no such file or folder; check the path")
    holds_results = cache(lambda folder: (path / folder / RESULTS).is_dir())
    names = source_files(path, *sorted(IMAGE_EXTENSIONS | VIDEO_EXTENSIONS))
    found = [name for name in names if not any(map(holds_results, PurePosixPath(name).parents))]
    if not found:
        raise SegtrainError(f"{printable(path)}: holds no images ({', '.join(sorted(IMAGE_EXTENSIONS))})")
    yield from (path / name for name in found)


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
