"""Atomic file writes, the cache folder, expanded paths, printable names and messages, unread output, image endings."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from segtrain.errors import SegtrainError

# Endings of image files that are read, in lower case.
IMAGE_EXTENSIONS = frozenset(
    [".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga",
     ".tif", ".tiff", ".webp"]
)  # fmt: skip
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
# Of terminals, and those that turn the direction of text around.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_PART = ".part"  # end of the names of files that are being written
# Longer names are cut in messages: a damaged json can hold a megabyte.
_LONGEST = 160


def printable(name: object) -> str:
    """Format a name for one line of a terminal or log: long names are cut, unprintable ones escaped."""
    text = str(name)
    if len(text) > 2 * _LONGEST:
        text = f"{text[:_LONGEST]}...{text[-_LONGEST:]}"
    return text if text.isprintable() else repr(text)


@contextmanager
def unread_output_discarded() -> Iterator[None]:
    """Let a command go on if nobody reads its output any more, as behind ``| head``: what it prints is discarded.

    The block should print only, since a broken pipe to another process would be taken for that of stdout.

    >>> with unread_output_discarded():
    ...     print("a line")
    a line
    """
    try:
        yield
    except BrokenPipeError:
        discard_output()
    except SystemExit as leaving:  # rich's, which has discarded it already
        if not isinstance(leaving.__context__, BrokenPipeError):
            raise


def discard_output() -> None:
    """Discard what is and will be printed, where it cannot be written."""
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nothing:  # stdout may have no file
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def flush_output() -> None:
    """Flush stdout, which may have no reader any more."""
    with unread_output_discarded():
        sys.stdout.flush()


def open_missing_streams() -> None:
    """Open stdout and stderr of a process that was started without them, as by ``>&-``; what is written is lost."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def without_controls(text: str) -> str:
    r"""Replace the characters that control a terminal by escapes, those of JSON; line ends and tabs stay.

    >>> print(without_controls("a\x1b[31m b"))
    a\u001b[31m b
    """
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(message: object) -> str:
    r"""Return an error or another message as a single line, without control characters.

    >>> one_line(ValueError("bad value;\n  see the log"))
    'bad value; see the log'
    """
    return without_controls(" ".join(str(message).split()))


def write_atomically(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Replace a file as a whole: readers see the old content or the new one, even after a loss of power.

    The new content has no name until it is on the disk, so that a process that is killed leaves nothing behind; on file
    systems without unnamed files it is a hidden file beside the old one.

    Args:
        path: path of the file; its folder is made if it is missing.
        content: text, written as UTF-8, or bytes.
        sync: False not to wait for the disk, for files that can be made again; after a loss of power they may be empty.

    Raises:
        OSError: the file cannot be written; it names the path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    umask = os.umask(0)
    os.umask(umask)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_PART}")
    try:
        with naming(path), _unnamed(path.parent, temporary) as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
            _give_name(stream, temporary)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while they wrote a file have left of it in the folder of a run.

    Args:
        folder: folder that no other process writes to; those below it, two levels deep, are cleaned too.
    """
    for below in ("", "*/", "*/*/"):
        for path in folder.glob(f"{below}.*.*{_PART}"):
            path.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to errors of the system that do not name a file, such as a full disk while writing."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error
        raise


def _unnamed(folder: Path, otherwise: Path) -> IO[bytes]:
    """Open a file without a name in a folder, or one of the given name where there are none."""
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except (AttributeError, OSError):  # another system than Linux, or a file system such as NFS
        descriptor = os.open(otherwise, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    return os.fdopen(descriptor, "wb")


def _give_name(stream: IO[bytes], path: Path) -> None:
    """Give an open file a name, if it has none."""
    if os.fstat(stream.fileno()).st_nlink == 0:
        path.unlink(missing_ok=True)  # of an earlier process of the same number
        # With a folder's descriptor the call follows the link to the open file.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.link(f"/proc/self/fd/{stream.fileno()}", path, src_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(folder)


def _sync_folder(folder: Path) -> None:
    """Put a change of a name on the disk; some file systems do not support it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cache_folder() -> Path:
    """Return the user's cache folder: ``$XDG_CACHE_HOME/segtrain``, by default below ``~/.cache``; it may not exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "segtrain"


def plain_path(path: Path) -> Path:
    """Make a path absolute and free of ``..``; links stay, since names are those that the user sees.

    >>> plain_path(Path("/data/plates/../b.png")).as_posix()
    '/data/b.png'
    """
    return Path(os.path.normpath(path.absolute()))


def common_folder(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that holds all files.

    Args:
        paths: paths of the files, at least one.

    >>> common_folder([Path("/data/a/1.png"), Path("/data/a/../b/2.png")]).as_posix()
    '/data'
    """
    return Path(os.path.commonpath([plain_path(path).parent for path in paths]))


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
