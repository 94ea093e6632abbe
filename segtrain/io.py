"""Atomic file writes, the cache folder, expanded paths, and printable file names."""

import os
import re
import tempfile
from pathlib import Path

from segtrain.errors import SegtrainError

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
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


def expand_path(path: str | Path) -> Path:
    """Replace ``~`` by the home folder, and ``$NAME`` or ``${NAME}`` by the value of an environment variable.

    A shell does so only for words that begin with them, and not for the value in ``output_dir=~/run``.

    Args:
        path: path as typed by the user.

    Raises:
        SegtrainError: a variable is not set, and no file has this very name; or there is no such user.

    >>> expand_path("runs/train").as_posix()
    'runs/train'
    >>> expand_path("~") == Path.home()
    True
    """
    text = str(path)
    if "$" in text and not os.path.lexists(text):
        text = expand_variables(text)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise SegtrainError(f"{path}: there is no such user; write ./{path} for a file of this name") from error


def expand_variables(text: str) -> str:
    """Replace ``$NAME`` and ``${NAME}`` by the values of environment variables.

    Args:
        text: path or address as typed by the user.

    Raises:
        SegtrainError: a variable is not set.

    >>> expand_variables("s3://bucket/data")
    's3://bucket/data'
    """
    return _VARIABLE.sub(lambda match: _environment(match[1] or match[2], text), text)


def _environment(name: str, path: str) -> str:
    if name not in os.environ:
        raise SegtrainError(f"{path}: the environment variable {name} is not set; set it, or write the path out")
    return os.environ[name]
