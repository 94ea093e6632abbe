"""Atomic file writes, the cache folder, and printable file names."""

import os
import tempfile
from pathlib import Path

# Longer names are cut in messages: a damaged json can hold a megabyte.
_LONGEST = 160


def printable(name: object) -> str:
    """Format a name for one line of a terminal or log: long names are cut, unprintable ones escaped."""
    text = str(name)
    if len(text) > 2 * _LONGEST:
        text = f"{text[:_LONGEST]}...{text[-_LONGEST:]}"
    return text if text.isprintable() else repr(text)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a temporary file beside it, then rename: readers see the old file or the new one, never half."""
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
    """Return the user's cache folder: ``$XDG_CACHE_HOME/segtrain``, by default below ``~/.cache``; it may not exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "segtrain"
