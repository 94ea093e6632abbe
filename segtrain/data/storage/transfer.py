"""Transfers of remote files through fsspec: file systems, retries, and errors."""

import errno
import logging
import time
from collections.abc import Callable
from random import SystemRandom
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

from segtrain.data.storage.address import Address
from segtrain.errors import SegtrainError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

logger = logging.getLogger(__name__)
T = TypeVar("T")
ATTEMPTS = 5
_FIRST_WAIT = 0.5  # seconds after the first attempt; doubled after each further one
_CONNECT, _SILENCE = 15, 60  # seconds that a web server has to answer, and between two pieces of an answer
_EXTRA = 'pip install "segtrain[remote]"'
# Packages that addresses of a scheme need besides the extra.
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
    "hf": "huggingface_hub", "sftp": "paramiko", "ssh": "paramiko",
}  # fmt: skip
_FINAL = (
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    NotImplementedError,
    ValueError,
    BadZipFile,
)
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_GONE = (404, 410)
_BUSY = (408, 425, 429)  # answers of a web server below 500 that are worth another attempt


class TransferError(SegtrainError):
    """A remote file that could not be transferred.

    Args:
        address: address of the file.
        reason: problem, without the address.
        remedy: action that may solve it.
    """

    def __init__(self, address: Address, reason: str, remedy: str) -> None:
        super().__init__(f"{address.shown}: {reason}; {remedy}")
        self.reason, self.remedy = reason, remedy
        self._given = address, reason, remedy

    def __reduce__(self) -> tuple[type["TransferError"], tuple[Address, str, str]]:
        return type(self), self._given  # picklable: raised inside DataLoader workers


def file_system(address: Address) -> tuple["AbstractFileSystem", str]:
    """Return the file system of an address, and the path in it.

    fsspec keeps file systems for reuse, and makes new ones in a forked process.

    Raises:
        SegtrainError: a package is missing, or there is no such protocol.
    """
    try:
        from fsspec.core import url_to_fs

        found: tuple[AbstractFileSystem, str] = url_to_fs(address.text, **_options(address))
    except ImportError as error:
        package = next((_PACKAGES[link] for link in _schemes(address) if link in _PACKAGES), None)
        remedy = _EXTRA if package is None else f"pip install {package}"
        raise SegtrainError(f"{address.shown}: a package is missing ({describe(error)}); {remedy}") from error
    except ValueError as error:
        raise SegtrainError(f"{address.shown}: {describe(error)}; give an address that fsspec knows") from error
    return found


def transfer(address: Address, action: Callable[["AbstractFileSystem", str], T]) -> T:
    """Apply an action to a remote file, and try again after errors that may be temporary.

    Args:
        address: address of the file.
        action: action on the file system and the path in it.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the local disk is full.
        TransferError: all attempts failed, or the error is not temporary.
        SegtrainError: a package is missing, or there is no such protocol.
    """
    wait = _FIRST_WAIT
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action(*file_system(address))
        except SegtrainError:
            raise
        except Exception as error:  # libraries raise what they like
            cause = _cause(error)
            if getattr(cause, "errno", None) in _OF_THE_DISK:
                raise
            if isinstance(cause, FileNotFoundError):
                raise FileNotFoundError(2, "there is no such file", address.shown) from error
            if not _is_temporary(cause):
                raise TransferError(address, f"cannot be read ({describe(cause)})", "check the address") from error
            if attempt == ATTEMPTS:
                reason = f"cannot be read, {ATTEMPTS} attempts failed, the last one with: {describe(cause)}"
                raise TransferError(address, reason, "check the connection and the server, and start again") from error
            logger.debug("%s: attempt %d failed (%s)", address.shown, attempt, describe(cause))
        # Of its own randomness: several workers do not come back at once, and seeded draws stay as they are.
        time.sleep(wait * SystemRandom().uniform(0.5, 1))
        wait *= 2
    raise AssertionError("unreachable")


def describe(error: BaseException) -> str:
    """Describe an error in one line."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _options(address: Address) -> dict[str, Any]:
    """Return options of the file systems: limits of time for web servers, whose default is none between two pieces."""
    schemes = set(_schemes(address)) & {"http", "https"}
    if not schemes:
        return {}
    from aiohttp import ClientTimeout

    limits = {"client_kwargs": {"timeout": ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)}}
    return limits if address.scheme in schemes else dict.fromkeys(schemes, limits)


def _schemes(address: Address) -> list[str]:
    return [Address(link).scheme for link in address.text.split("::")]


def _cause(error: Exception) -> BaseException:
    """Return the error behind another one: fsspec reports any failure to look up a web file as a missing file."""
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or cause is None or isinstance(cause, FileNotFoundError | KeyError):
        return error
    return error if getattr(cause, "status", None) in _GONE else cause


def _is_temporary(error: BaseException) -> bool:
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(status, int):
        return status >= 500 or status in _BUSY
    return not isinstance(error, _FINAL)
