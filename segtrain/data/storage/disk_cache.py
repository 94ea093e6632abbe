"""Cache of remote image files on the local disk, of bounded size (``data.cache=disk``)."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from segtrain.errors import SegtrainError
from segtrain.io import cache_folder
from segtrain.locks import locked_file

logger = logging.getLogger(__name__)
_DIGEST = 16  # bytes at the end of an entry, by which damage is found
_BLOCK = 4096  # bytes in which disks allocate
_TEMPORARY = ".new-"
_COUNTER = ".size"
# The folder is listed when it is full, and then emptied to this share of its limit, so that this happens rarely.
_REFILLED = 0.9


@dataclass(frozen=True)
class DiskCache:
    """Cache of files in a folder that the processes of a machine share.

    The folder never holds more bytes than the limit: the least recently used files are removed. Only complete files are
    visible, and a damaged one is fetched again.

    Attributes:
        folder: folder of the cache, which is made when it is first used.
        limit: greatest size of all files together, in bytes.

    Raises:
        SegtrainError: the folder cannot be written.
    """

    folder: Path
    limit: int

    @classmethod
    def open(cls, gigabytes: float) -> "DiskCache":
        """Open the user's cache.

        Args:
            gigabytes: value of ``data.cache_gb``.

        Raises:
            SegtrainError: its folder cannot be written.
        """
        opened = cls(cache_folder() / "images", int(gigabytes * 1e9))
        try:
            with opened._locked() as size:
                if size.value > opened._room:
                    size.value = opened._make_room(0)
        except OSError as error:
            reason = f"data.cache=disk: the cache cannot be written ({error.strerror})"
            raise SegtrainError(f"{opened.folder}: {reason}; set XDG_CACHE_HOME to another folder") from error
        return opened

    def read(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """Return the content of a file, from the cache if it is there.

        Args:
            key: text that identifies the file, such as its address.
            fetch: function that transfers the content.
        """
        path = self._path(key)
        with suppress(OSError):
            entry = path.read_bytes()
            content = entry[:-_DIGEST]
            if _digest(content) == entry[-_DIGEST:]:
                os.utime(path)
                return content
        content = fetch()
        try:
            self._keep(path, content)
        except OSError as error:  # such as a full disk; the images are read without the cache then
            _warn_once(f"{self.folder}: the cache cannot be written ({error.strerror})")
        return content

    def remove(self, key: str) -> None:
        """Remove a file from the cache."""
        self._path(key).unlink(missing_ok=True)

    @property
    def _room(self) -> int:
        return self.limit - _BLOCK  # for the counter

    def _path(self, key: str) -> Path:
        return self.folder / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _keep(self, path: Path, content: bytes) -> None:
        entry = content + _digest(content)
        needed = _allocated(len(entry))
        if needed > self._room:
            return
        with self._locked() as size:
            if path.exists():
                size.value -= _allocated(path.stat().st_size)
                path.unlink()
            if size.value + needed > self._room:
                size.value = self._make_room(needed)
            size.value += needed
            size.write()  # before the file: a process that is killed leaves a number that is too large, never too small
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=_TEMPORARY)
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(entry)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    def _make_room(self, needed: int) -> int:
        """Remove the oldest files, and what killed processes left; return the size of the others in bytes."""
        files: list[tuple[int, int, str]] = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith(_TEMPORARY):  # only the holder of the lock writes one
                    Path(entry.path).unlink(missing_ok=True)
                elif not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        status = entry.stat()
                        files.append((status.st_mtime_ns, _allocated(status.st_size), entry.path))
        left, goal = sum(size for _, size, _ in files), min(int(_REFILLED * self._room), self._room - needed)
        for _, size, path in sorted(files):
            if left <= goal:
                break
            Path(path).unlink(missing_ok=True)
            left -= size
        return left

    @contextmanager
    def _locked(self) -> Iterator["_Size"]:
        """Hold the cache's lock, as a context with the size of its files; a process that ends releases it."""
        with locked_file(self.folder / _COUNTER) as handle:
            text = os.pread(handle, 32, 0)
            # A new folder, or a counter that was damaged: count.
            size = _Size(handle, int(text) if text.isdigit() else self._make_room(0))
            before = size.value if text.isdigit() else -1
            yield size
            if size.value != before:
                size.write()


@dataclass
class _Size:
    """Size of the files of a cache, and the open file that holds it."""

    handle: int
    value: int

    def write(self) -> None:
        os.pwrite(self.handle, b"%020d" % max(self.value, 0), 0)


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()


def _allocated(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
