"""Names and first bytes of some files of a folder, by which formats of labels are recognised; each is read once."""

import json
import mmap
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from segtrain.data.foreign.source_files import is_file, sample_files
from segtrain.io import IMAGE_EXTENSIONS

FIRST = 8  # files of one ending that are looked at
_HEAD = 2**16  # bytes of a file that are looked at
_LARGE = 2**26  # bytes of a json that is searched for keys, not decoded
_UTF8_MARK = b"\xef\xbb\xbf"
_NUMBERS = re.compile(rb"\s*\d+(?:\s+[-+.\deE]+){4,}\s*")
_LISTS = {"images", "annotations", "categories"}  # of COCO json
# Keys by which kinds of labels are told apart.
_KEYS = re.compile(rb'"(images|annotations|categories|shapes|imagePath|_via_img_metadata)"\s*:\s*')


class Glance:
    """Some of the files of a source, and their first bytes, from which its kind of labels is recognised.

    Readers of labels list all files by `source_files` instead.

    Args:
        path: the file or folder.

    Attributes:
        path: the file or folder.
        is_folder: True for a folder.
        names: paths of files relative to the folder, with slashes, sorted; of a file, its own name.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.is_folder = path, path.is_dir()
        self.names = sample_files(path) if self.is_folder else [path.name]
        self._keys: dict[str, Mapping[str, Any]] = {}

    def place(self, name: str) -> Path:
        """Return the path of one of the files."""
        return self.path / name if self.is_folder else self.path

    def ending(self, *endings: str) -> list[str]:
        """List the files whose names end so, in any case."""
        return [name for name in self.names if name.lower().endswith(endings)]

    @property
    def images(self) -> list[str]:
        """Files that are images by their names."""
        return [name for name in self.names if PurePosixPath(name).suffix.lower() in IMAGE_EXTENSIONS]

    def head(self, name: str) -> bytes:
        """Read the beginning of a file; empty if it cannot be read."""
        return read_head(self.place(name))

    def keys(self, name: str) -> Mapping[str, Any]:
        """Read the keys of a json object with their values as text; of the first entry if the json is a list."""
        if name not in self._keys:
            self._keys[name] = read_keys(self.place(name))
        return self._keys[name]

    def jsons(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the first json files with their keys."""
        for name in self.ending(".json")[:FIRST]:
            yield name, self.keys(name)

    def holds_numbers(self, name: str) -> bool:
        """Return True for a text whose first line is a whole number and four numbers or more."""
        return _NUMBERS.fullmatch(self.head(name).lstrip().split(b"\n", 1)[0]) is not None


def read_head(path: Path) -> bytes:
    """Read the beginning of a file; empty if it cannot be read."""
    if not is_file(path):  # opening a pipe would wait for a writer
        return b""
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError:
        return b""


def keys_of(value: Any) -> Mapping[str, Any]:
    """Decode the keys of a piece of json that is an object; none of anything else."""
    try:
        found: Mapping[str, Any] = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        return found
    except (ValueError, RecursionError):
        pass
    try:  # with NaN or infinities, as Python writes them
        decoded = json.loads(bytes(value))
    except (ValueError, RecursionError):
        return {}
    return {str(key): json.dumps(own).encode() for key, own in decoded.items()} if isinstance(decoded, dict) else {}


def read_keys(path: Path) -> Mapping[str, Any]:
    """Read the keys of a json object with their values as text; of the first entry if the json is a list.

    Args:
        path: the file. A large one is searched for the keys by which labels are recognised, and values are truncated.

    Returns:
        Text by key; empty for a file that cannot be read.
    """
    if not is_file(path):  # opening a pipe would wait for a writer
        return {}
    try:
        if path.stat().st_size > _LARGE:
            return _search_keys(path)
        content = path.read_bytes().removeprefix(_UTF8_MARK)
        if content.lstrip()[:1] != b"[":
            return keys_of(content)
        entries = msgspec.json.decode(content, type=list[msgspec.Raw])
    except (OSError, ValueError, RecursionError):
        return {}
    return keys_of(entries[0]) if entries else {}


def _search_keys(path: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for match in _KEYS.finditer(content):
            found.setdefault(match[1].decode(), content[match.end() : match.end() + _HEAD])
            if found.keys() >= _LISTS:
                break
    return found
