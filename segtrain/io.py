"""Atomic file writes, the cache folder, and printable file names."""

import os
import tempfile
from pathlib import Path

# Longer names are cut in messages: a damaged json can hold a megabyte.
_LONGEST = 160


def printable(name: object) -> str:
    """A name as it can stand in one line of any terminal or log: cut if it is long, escaped if it is odd."""
    text = str(name)
    if len(text) > 2 * _LONGEST:
        text = f"{text[:_LONGEST]}...{text[-_LONGEST:]}"
    return text if text.isprintable() else repr(text)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write to a temporary name beside the file, then rename: a reader sees the old file or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def cache_folder() -> Path:
    """Where this user's programs keep what they can find out again: ``$XDG_CACHE_HOME/segtrain``, by default below
    ``~/.cache``. It need not exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "segtrain"
