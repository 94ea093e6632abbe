"""Local copies of remote annotation files."""

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segtrain.data.storage.address import Address, Location, locate
from segtrain.data.storage.transfer import TransferError, transfer
from segtrain.data.storage.versions import file_version
from segtrain.errors import SegtrainError
from segtrain.io import cache_folder, write_atomically
from segtrain.locks import locked_file

logger = logging.getLogger(__name__)
_KEPT = 20  # copies; those that were not used for the longest time go
_ORIGIN, _LOCK = "origin.json", "lock"


def local_copy(address: Address, *beside: str) -> Path:
    """Return the path of a local copy of a remote file, which is transferred unless the current version is there.

    A version is identified by the file's size, and by its ETag or modification time. A file without either is copied
    each time.

    Args:
        address: address of the file.
        beside: names of files in the same folder that are copied too where they exist.

    Raises:
        SegtrainError: the file is missing or cannot be transferred, or the copy cannot be written.
    """
    version = file_version(address)
    folder = copies_folder() / _hash(version)
    copy = folder / _readable(address)
    try:
        with locked_file(folder / _LOCK):  # of several processes that train together, one transfers the file
            if version.state is None or not _is_whole(folder, copy):
                _download(address, copy, version.size)
                for name in beside:
                    _download_beside(address, name, copy.with_name(name))
                write_atomically(folder / _ORIGIN, json.dumps({"address": address.text, "size": copy.stat().st_size}))
                logger.info("%s: copied to %s", address.shown, copy)
                _forget_oldest(folder.parent)
        os.utime(folder)
    except OSError as error:
        reason = f"cannot write the copy of {address.shown} ({error.strerror})"
        raise SegtrainError(f"{copy}: {reason}; set XDG_CACHE_HOME to another folder") from error
    return copy


def origin(path: Path) -> Location:
    """Return the path or address that a local copy was made of; the path itself for any other file.

    >>> origin(Path("train.json")).as_posix()
    'train.json'
    """
    copies = copies_folder()
    if not path.is_relative_to(copies):
        return path
    try:
        known = json.loads((copies / path.relative_to(copies).parts[0] / _ORIGIN).read_bytes())
        return locate(known["address"])
    except (OSError, ValueError, KeyError):
        return path


def keep(path: Path, content: bytes, location: Location) -> None:
    """Write annotations that were made of remote or packed files, so that `origin` knows what they were made of.

    Args:
        path: path of the new file; two levels below `copies_folder`.
        content: its content.
        location: path or address of what it was made of.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(path, content)
    write_atomically(path.parent / _ORIGIN, json.dumps({"address": str(location), "size": len(content)}))
    _forget_oldest(path.parents[1])


def copies_folder() -> Path:
    """Return the folder of the copies."""
    return cache_folder() / "annotations"


def is_whole(copy: Path) -> bool:
    """Tell whether a file that `keep` wrote is there."""
    return _is_whole(copy.parent, copy)


def _is_whole(folder: Path, copy: Path) -> bool:
    try:
        known: dict[str, Any] = json.loads((folder / _ORIGIN).read_bytes())
        return bool(copy.stat().st_size == known["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _download(address: Address, copy: Path, size: int | None) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=copy.parent, prefix=".new-")
    os.close(handle)
    try:
        transfer(address, lambda system, path: _get(system, path, temporary, size))
        Path(temporary).replace(copy)
    except FileNotFoundError as error:
        raise SegtrainError(f"{address.shown}: no such file") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _get(system: Any, path: str, copy: str, size: int | None) -> None:
    system.get_file(path, copy)
    held = Path(copy).stat().st_size
    if size is not None and held != size:
        raise ConnectionError(f"{held} of {size} bytes arrived")


def _download_beside(address: Address, name: str, copy: Path) -> None:
    folder, _, rest = address.text.partition("::")
    base, mark, query = folder.partition("?")
    beside = Address(f"{base.rpartition('/')[0]}/{name}{mark}{query}" + (f"::{rest}" if rest else ""))
    try:
        content = transfer(beside, lambda system, path: bytes(system.cat_file(path)))
    except (FileNotFoundError, TransferError):  # most data sets have none
        return
    write_atomically(copy, content)


def _readable(address: Address) -> Path:
    """Return a path that shows the address in messages, such as ``https/host/data/train.json``."""
    text = "/".join(reversed(address.shown.split("::"))).replace("://", "/")
    return Path(*(re.sub(r"[^\w.:@+=,-]", "_", part)[:100] for part in text.split("/") if part not in ("", ".", "..")))


def _hash(values: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode("ascii")).hexdigest()[:16]


def _forget_oldest(folder: Path) -> None:
    for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
