"""Lock of a file that processes of one machine share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path) -> Iterator[int]:
    """Hold a lock, as a context with the descriptor of its file; a process that ends releases it.

    Args:
        path: file of the lock, which is made with its folder if it does not exist.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            import fcntl  # Windows lacks it; there, processes do not wait for each other
        except ImportError:
            pass
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
