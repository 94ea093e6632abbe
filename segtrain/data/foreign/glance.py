"""Names in a folder, and the first bytes of its files, each read once, by which label formats are recognised."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from segtrain.io import IMAGE_EXTENSIONS

_MOST = 20_000  # files of a folder that are looked at
_HEAD = 2**16  # bytes of a file that are looked at
_LARGEST = 2**27  # bytes of a json whose keys are looked at
_UTF8_MARK = b"\xef\xbb\xbf"
_NUMBERS = re.compile(rb"\s*\d+(?:\s+[-+.\deE]+){4,}\s*")


class Glance:
    """Names and first bytes of the files of a source, from which its kind of labels is recognised.

    Args:
        path: the file or folder.

    Attributes:
        path: the file or folder.
        is_folder: True for a folder.
        names: paths of the files relative to the folder, with slashes, sorted; of a file, its own name.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.is_folder = path, path.is_dir()
        self.names = list(_walk(path)) if self.is_folder else [path.name]
        self._keys: dict[str, Mapping[str, Any]] = {}

    def place(self, name: str) -> Path:
        """Return the path of one of the files."""
        return self.path / name if self.is_folder else self.path

    def ending(self, *endings: str) -> list[str]:
        """List the files whose names end so, in any case; without hidden ones."""
        return [name for name in self.names if name.lower().endswith(endings)]

    @property
    def images(self) -> list[str]:
        """Files that are images by their names."""
        return [name for name in self.names if PurePosixPath(name).suffix.lower() in IMAGE_EXTENSIONS]

    def folders(self) -> set[str]:
        """List the names of the folders that the files lie in, lower case."""
        return {part.lower() for name in self.names for part in PurePosixPath(name).parts[:-1]}

    def head(self, name: str) -> bytes:
        """Read the beginning of a file; empty if it cannot be read."""
        path = self.place(name)
        if not path.is_file():  # opening a pipe would wait for a writer
            return b""
        try:
            with path.open("rb") as stream:
                return stream.read(_HEAD)
        except OSError:
            return b""

    def keys(self, name: str) -> Mapping[str, Any]:
        """Read the keys of a json, with what stands behind each as text; of its first entry if it is a list."""
        if name not in self._keys:
            self._keys[name] = _read_keys(self.place(name))
        return self._keys[name]

    def jsons(self, most: int = 3) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the first json files with their keys."""
        for name in self.ending(".json")[:most]:
            yield name, self.keys(name)

    def holds_numbers(self, name: str) -> bool:
        """Return True for a text whose first line is a whole number and four numbers or more."""
        return _NUMBERS.fullmatch(self.head(name).lstrip().split(b"\n", 1)[0]) is not None


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


def _read_keys(path: Path) -> Mapping[str, Any]:
    if not path.is_file():  # opening a pipe would wait for a writer
        return {}
    try:
        content = path.read_bytes().removeprefix(_UTF8_MARK) if path.stat().st_size <= _LARGEST else b""
        if content.lstrip()[:1] != b"[":
            return keys_of(content)
        entries = msgspec.json.decode(content, type=list[msgspec.Raw])
    except (OSError, ValueError, RecursionError):
        return {}
    return keys_of(entries[0]) if entries else {}


def _walk(folder: Path) -> Iterator[str]:
    count = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        prefix = Path(place).relative_to(folder).as_posix()
        for name in sorted(files):
            if not name.startswith("."):
                yield name if prefix == "." else f"{prefix}/{name}"
                count += 1
                if count == _MOST:
                    return
