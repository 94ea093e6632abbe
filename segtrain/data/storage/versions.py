"""Versions of files, by which outdated copies and indices of them are recognised."""

from typing import Any, NamedTuple

from segtrain.data.storage.address import Address, Location, shown
from segtrain.data.storage.transfer import transfer
from segtrain.errors import SegtrainError

# What file systems call the version of a file, in the order of preference.
_KEYS = (
    "ETag", "etag", "Content-MD5", "md5Hash", "version_id", "generation", "Last-Modified", "LastModified",
    "last_modified", "updated", "mtime", "modified", "created", "CRC", "date_time",
)  # fmt: skip


class FileVersion(NamedTuple):
    """Version of a file.

    Attributes:
        place: path or address of the file.
        size: size in bytes; None if the server does not tell.
        state: ETag or time of change; None if the server tells neither, so that a change may go unnoticed.
    """

    place: str
    size: int | None
    state: str | None


def file_version(location: Location) -> FileVersion:
    """Look up the version of a file.

    Args:
        location: path or address of the file.

    Raises:
        SegtrainError: there is no such file, or it cannot be looked up.
    """
    try:
        if not isinstance(location, Address):
            status = location.stat()
            return FileVersion(str(location.absolute()), status.st_size, str(status.st_mtime_ns))
        info: dict[str, Any] = transfer(location, lambda system, path: dict(system.info(path)))
    except FileNotFoundError as error:
        raise SegtrainError(f"{shown(location)}: no such file") from error
    except OSError as error:
        raise SegtrainError(f"{shown(location)}: cannot be read ({error.strerror})") from error
    if info.get("type") == "directory":
        raise SegtrainError(f"{shown(location)}: this is a folder; give a file")
    state = next((f"{key} {info[key]}" for key in _KEYS if info.get(key) is not None), None)
    return FileVersion(location.text, info.get("size"), state)
