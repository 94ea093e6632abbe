"""Cache of check results, valid until a file changes."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import segtrain
from segtrain.data.storage.image_store import ImageFolder, ImageStore
from segtrain.io import cache_folder, write_atomically

logger = logging.getLogger(__name__)
T = TypeVar("T")
# Part of every key, as another version may have other results.
_VERSION = 7
_KEPT = 500  # results; the oldest ones go


def cached(question: Sequence[Any] | None, kind: type[T], answer: Callable[[], T]) -> T:
    """Return a result from the cache, or compute and store it.

    A cache that cannot be read or written is no error: the result is then computed.

    Args:
        question: plain values that determine the result, such as fingerprints of files; None to compute it each time,
            as for remote files, whose changes are not noticed.
        kind: type of the result, for msgspec.
        answer: function that computes the result.
    """
    if question is None:
        return answer()
    name = f"{kind.__module__}.{kind.__qualname__}"
    # By json: a path may be no text for msgspec.
    text = json.dumps([_VERSION, segtrain.__version__, name, *question]).encode("ascii")
    path = cache_folder() / "checks" / f"{hashlib.sha256(text).hexdigest()[:32]}.msgpack"
    try:
        known = msgspec.msgpack.decode(path.read_bytes(), type=kind)
        os.utime(path)  # results that are used are kept
        return known
    except (OSError, ValueError):
        pass
    found = answer()
    try:
        write_atomically(path, msgspec.msgpack.encode(found))
        _forget_oldest(path.parent)
    except OSError as error:
        logger.info("the result of the check is not kept (%s)", error)
    return found


def fingerprint(path: Path) -> tuple[str, int, int]:
    """Fingerprint a file: its path, size, and time of change; zeros if it does not exist."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return str(path.absolute()), 0, 0
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def fingerprints(folder: ImageFolder, names: Iterable[str]) -> list[tuple[int, int]]:
    """Fingerprint the files of a folder: size and time of change of each; zeros for files that do not exist.

    For a store, whose identity contains its version, no file is looked at.
    """
    if isinstance(folder, ImageStore):
        return []
    found = []
    for name in names:
        if os.path.isabs(name) or ".." in name:  # noqa: PTH117 - nothing is asked about what lies elsewhere
            found.append((0, 0))
            continue
        try:
            status = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - a Path each would take ten times as long
            found.append((status.st_size, status.st_mtime_ns))
        except (OSError, ValueError):
            found.append((0, 0))
    return found


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.msgpack"), key=lambda path: path.stat().st_mtime)
    for path in files[:-_KEPT]:
        path.unlink(missing_ok=True)
