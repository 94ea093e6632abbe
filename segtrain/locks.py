"""Locks that processes share: of a run's folder, of a drawn data set that is read, of files in a cache."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from segtrain.errors import SegtrainError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_LOCK = ".lock"  # file in the folder of a run
_held: set[Path] = set()  # by this process, whose own locks the system does not hold against it


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a folder while the block runs.

    The system releases the lock when the process ends, however it ends, so that the file of a process that was killed
    is taken over.

    Args:
        folder: folder of a run; it exists.

    Raises:
        SegtrainError: another run writes there; the message names its process and machine.
    """
    path = folder.resolve() / _LOCK
    if path in _held:
        raise _in_use(folder, _owner())
    descriptor = _acquire(folder, path)
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(folder: Path, path: Path) -> int:
    """Lock the file of a folder, and write its owner into it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        # The lock is of the process: workers that outlive it do not keep it.
        if fcntl is not None and not _lock_file(descriptor):
            owner = _read_owner(descriptor)
            os.close(descriptor)
            raise _in_use(folder, owner)
        with suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:  # noqa: PTH116 - beside fstat
                break
        os.close(descriptor)  # its owner has just removed it
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(_owner()).encode(), 0)
    return descriptor


def _lock_file(descriptor: int) -> bool:
    """Try to lock a file; True as well where the file system has no locks."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def _owner() -> dict[str, str]:
    return {
        "process": str(os.getpid()),
        "host": socket.gethostname(),
        "since": f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}",
    }


def _read_owner(descriptor: int) -> dict[str, str]:
    with suppress(OSError, ValueError):
        owner = json.loads(os.pread(descriptor, 4096, 0))
        if isinstance(owner, dict):
            return {str(key): str(value) for key, value in owner.items()}
    return {}


def _in_use(folder: Path, owner: dict[str, str]) -> SegtrainError:
    process, host, since = (owner.get(key, "?") for key in ("process", "host", "since"))
    return SegtrainError(
        f"{folder} is in use by process {process} on {host}, since {since}; wait for it, stop it, or choose another "
        "folder"
    )


_read: dict[Path, int] = {}  # descriptors of the folders that this process reads


def mark_in_use(folder: Path) -> None:
    """Mark a folder as being read, until this process and the workers that it has started end.

    Args:
        folder: the folder; it exists.
    """
    path = folder.resolve()
    if fcntl is not None and path not in _read:
        descriptor = os.open(path, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        _read[path] = descriptor


@contextmanager
def replaceable(folder: Path) -> Iterator[None]:
    """Make sure that no other process reads a folder, which is then replaced in the block.

    Args:
        folder: the folder; it exists.

    Raises:
        SegtrainError: another process reads it.
    """
    path = folder.resolve()
    if path in _read:
        os.close(_read.pop(path))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise SegtrainError(
            f"{folder} would be drawn anew, and another process is reading it; set data.root to another folder"
        ) from None
    finally:
        os.close(descriptor)


@contextmanager
def locked_file(path: Path) -> Iterator[int]:
    """Wait for the lock of a file and hold it, as a context with its descriptor; a process that ends releases it.

    Args:
        path: file of the lock, which is made with its folder if it does not exist.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:  # without it, processes do not wait for each other
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file that several processes may write, whole and on the disk.

    A line that a killed process has cut is ended first, so that it spoils no other.

    Args:
        path: path of the file; made with its folder if it is missing.
        line: text without line ends.

    Raises:
        OSError: the file cannot be written.
    """
    with locked_file(path) as descriptor:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        cut = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        os.write(descriptor, f"{chr(10) * cut}{line}\n".encode())
        os.fsync(descriptor)
