"""Image files on disk: paths that stay in their folder, opening, and errors."""

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

from segtrain.data.storage.image_store import ImageFile, ImageFolder, ImageStore, StoredFile
from segtrain.errors import SegtrainError
from segtrain.io import printable

REPLACE = "replace the file, or set data.on_bad_image=skip"
# O_NONBLOCK: opening a pipe would wait for a writer. O_BINARY: Windows opens files as text by default.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class ImageError(SegtrainError):
    """An image that cannot be used.

    Args:
        kind: type of the issue, a key of ``segtrain.data.coco.issues.ISSUE_TYPES``.
        place: path of the file, or of its folder.
        reason: problem, without the name of the file.
        remedy: action that solves it.
    """

    def __init__(self, kind: str, place: ImageFile | ImageFolder, reason: str, remedy: str) -> None:
        super().__init__(f"{printable(place)}: {reason}; {remedy}")
        self.kind, self.place, self.reason = kind, place, reason
        self._given = kind, place, reason, remedy

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, ImageFile | ImageFolder, str, str]]:
        return type(self), self._given  # picklable: raised inside DataLoader workers


class FileStatus(NamedTuple):
    """Size of a file in bytes, and the time of its last change in nanoseconds; 0 if that is not known."""

    bytes: int
    mtime_ns: int


def image_path(folder: ImageFolder, file_name: str) -> ImageFile:
    """Return the path of an image, or its place in a store.

    Links below the folder are followed as long as they stay in it; the folder itself may be a link. Paths without a
    link are not resolved: that takes two system calls for most names instead of twenty.

    Args:
        folder: image folder.
        file_name: path relative to the folder, as in the json.

    Raises:
        ImageError: the name is empty, leads out of the folder, or is not a valid file name. A missing file is not an
            error here, but when it is opened.
    """
    parts = file_name.replace("\\", "/").split("/")
    drive = file_name[1:2] == ":" and file_name[0].isalpha()
    if not parts[0] or ".." in parts or drive:
        raise _outside(folder, file_name, "", "make it relative")
    if isinstance(folder, ImageStore):
        return StoredFile(folder, "/".join(parts))
    step = os.fspath(folder)
    try:
        for part in Path(file_name).parts:
            step = os.path.join(step, part)  # noqa: PTH118 - a Path for every step would double the cost
            if stat.S_ISLNK(os.lstat(step).st_mode):
                _follow(folder, file_name)
                break
    except (OSError, ValueError) as error:  # most often a missing file
        if why := _why_impossible(folder / file_name):
            reason = f"there is no file of the name {_quoted(file_name)}: {why}"
            raise ImageError("image-missing", folder, reason, "correct the json") from error
    return folder / file_name


def open_file(path: ImageFile) -> tuple[BinaryIO, FileStatus]:
    """Open a regular file, and return it with its status.

    Raises:
        ImageError: the path is a directory, a pipe or a device.
        OSError: the file cannot be opened.
        TransferError: the file is remote, and cannot be transferred.
    """
    if isinstance(path, StoredFile):
        content = path.read()
        return io.BytesIO(content), FileStatus(len(content), 0)
    descriptor = os.open(path, _FLAGS)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ImageError("image-unreadable", path, "cannot read the image (a directory, pipe or device)", REPLACE)
    return os.fdopen(descriptor, "rb"), FileStatus(status.st_size, status.st_mtime_ns)


def _why_impossible(path: Path) -> str | None:
    try:
        os.lstat(path)
    except ValueError:  # a zero byte, or a character that the file system cannot encode
        return "it holds a character that no file name can hold"
    except OSError as error:
        return "it is too long" if error.errno == errno.ENAMETOOLONG else None
    return None


def _follow(folder: Path, file_name: str) -> None:
    target = os.path.realpath(folder / file_name)
    if not Path(target).is_relative_to(os.path.realpath(folder)):
        raise _outside(
            folder,
            file_name,
            f" through a symbolic link, to {printable(target)}",
            "put the files themselves into it, or name the folder that holds them",
        )


def _outside(folder: ImageFolder, file_name: str, how: str, remedy: str) -> ImageError:
    reason = f"the file name {_quoted(file_name)} leads out of the image folder{how}"
    return ImageError("image-outside-folder", folder, reason, remedy)


def _quoted(name: str) -> str:
    text = printable(name)
    return text if text.startswith(("'", '"')) else repr(text)
