"""Members of tar files with their positions, so that each can be read without those before it."""

import hashlib
import io
import json
import logging
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import msgspec
import numpy as np
import numpy.typing as npt

from segtrain.data.storage.address import Address, Location, shown
from segtrain.data.storage.transfer import TransferError, transfer
from segtrain.data.storage.versions import FileVersion
from segtrain.errors import SegtrainError
from segtrain.io import cache_folder, write_atomically

logger = logging.getLogger(__name__)
_PIECE = 2**14  # bytes of a remote shard that are read at a time while its members are listed
_BLOCK = 512  # bytes in which tar files are divided


class Members(NamedTuple):
    """Regular files in a tar file, in its order.

    Attributes:
        names: UTF-8 names, each ended by a zero byte.
        offsets: (N,) position of the first byte of each.
        sizes: (N,) number of its bytes.
    """

    names: bytes
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    def texts(self) -> list[str]:
        """Decode the names."""
        return self.names.decode("utf-8", "surrogateescape").split("\0")[:-1]


class _Kept(msgspec.Struct):
    """Members in the form in which they are kept in the cache."""

    names: bytes
    offsets: bytes
    sizes: bytes


def members_of(shard: Location, version: FileVersion) -> Members:
    """List the members of a shard; the list is kept in the user's cache until the shard changes.

    Args:
        shard: path or address of an uncompressed tar file.
        version: its version; see ``file_version``.

    Raises:
        SegtrainError: the shard is damaged, compressed, or cannot be read.
    """
    key = hash_of(version)
    path = cache_folder() / "shards" / f"{key}.msgpack"
    if version.state is not None:
        try:
            kept = msgspec.msgpack.decode(path.read_bytes(), type=_Kept)
            return Members(kept.names, np.frombuffer(kept.offsets, np.int64), np.frombuffer(kept.sizes, np.int64))
        except (OSError, ValueError):
            pass
    found = _list_members(shard, version.size)
    try:
        kept = _Kept(found.names, found.offsets.tobytes(), found.sizes.tobytes())
        write_atomically(path, msgspec.msgpack.encode(kept))
    except OSError as error:
        logger.info("the members of %s are not kept (%s)", shown(shard), error)
    return found


def read_part(shard: Location, start: int, size: int) -> bytes:
    """Read some bytes of a file.

    Args:
        shard: path or address of the file.
        start: position of the first byte.
        size: number of bytes.

    Raises:
        OSError: the file cannot be read.
        TransferError: the file cannot be transferred, or its server sends whole files only.
    """
    if not isinstance(shard, Address):
        with shard.open("rb", buffering=0) as stream:
            stream.seek(start)
            return stream.read(size)
    if not size:
        return b""
    found = transfer(shard, lambda system, path: bytes(system.cat_file(path, start=start, end=start + size)))
    if len(found) > size:
        raise TransferError(
            shard,
            "the server sends whole files only, and shards are read in parts",
            "serve it from another, or copy it",
        )
    return found


def hash_of(*versions: FileVersion) -> str:
    """Return a short text that identifies the versions of some files."""
    return hashlib.sha256(json.dumps(versions).encode("ascii")).hexdigest()[:32]


def _list_members(shard: Location, size: int | None) -> Members:
    names: list[bytes] = []
    places: list[tuple[int, int]] = []
    try:
        with closing(_open(shard, size)) as stream:
            for member in _regular_files(stream):
                if isinstance(member, str):
                    logger.warning("%s: %s", shown(shard), member)
                    continue
                names.append(member.name.removeprefix("./").encode("utf-8", "surrogateescape") + b"\0")
                places.append((member.offset_data, member.size))
    except (tarfile.TarError, EOFError, ValueError) as error:
        reason = f"cannot be read as an uncompressed tar file ({' '.join(str(error).split())})"
        raise SegtrainError(f"{shown(shard)}: {reason}; write it again") from error
    except OSError as error:
        raise SegtrainError(f"{shown(shard)}: cannot be read ({error.strerror})") from error
    table = np.array(places, dtype=np.int64).reshape(-1, 2)
    return Members(b"".join(names), table[:, 0].copy(), table[:, 1].copy())


def _regular_files(stream: BinaryIO) -> Iterator[tarfile.TarInfo | str]:
    """Yield the regular files of a tar file, and last a text if its end is damaged."""
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        while (member := archive.next()) is not None:
            if member.isreg():
                yield member
        end = archive.offset
    stream.seek(end)
    block = stream.read(_BLOCK)
    if block.strip(b"\0"):  # tarfile takes a damaged header for the end
        raise tarfile.ReadError(f"damaged at byte {end}")
    if not block:
        yield "lacks its end mark, and may have been cut off"


def _open(shard: Location, size: int | None) -> BinaryIO:
    if isinstance(shard, Path):
        return shard.open("rb")
    if size is None:
        raise SegtrainError(f"{shown(shard)}: its server does not tell its size, which shards need; copy it")
    return cast(BinaryIO, io.BufferedReader(_RemoteParts(shard, size), _PIECE))


class _RemoteParts(io.RawIOBase):
    """Remote file as a stream that transfers only the parts that are read."""

    def __init__(self, address: Address, size: int) -> None:
        self._address, self._size, self._position = address, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: object) -> int:
        room = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        found = read_part(self._address, self._position, max(min(len(room), self._size - self._position), 0))
        room[: len(found)] = found
        self._position += len(found)
        return len(found)
