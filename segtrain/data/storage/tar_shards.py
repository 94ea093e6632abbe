"""Images in tar files (shards of WebDataset), each read from its position."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from segtrain.console import progress
from segtrain.data.storage.address import Address, Location, shown
from segtrain.data.storage.disk_cache import DiskCache
from segtrain.data.storage.image_store import ImageStore
from segtrain.data.storage.tar_members import Members, hash_of, members_of, read_part
from segtrain.data.storage.transfer import transfer
from segtrain.data.storage.versions import FileVersion, file_version
from segtrain.errors import SegtrainError

_THREADS = 16  # they wait for the network most of the time
_SUFFIX = re.compile(r"\.tar$", re.IGNORECASE)
_COMPRESSED = re.compile(r"\.(tar\.(gz|bz2|xz|zst|lz4)|tgz)$", re.IGNORECASE)
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_MAGIC = re.compile(r"[*?\[]")


def is_shards(location: Location) -> bool:
    """Tell whether a path or an address names tar files: by its ending, ``.tar``.

    Raises:
        SegtrainError: they are compressed.
    """
    if _COMPRESSED.search(location.name):
        raise SegtrainError(
            f"{shown(location)}: parts of a compressed file cannot be read; give uncompressed .tar files"
        )
    return _SUFFIX.search(location.name) is not None


def expand_shards(location: Location) -> list[Location]:
    """List the shards that a path or an address names, in order.

    Args:
        location: name of one, or of several: with ``{000000..000117}``, ``{a,b}``, or ``*`` where files can be listed.

    Raises:
        SegtrainError: there are none.

    >>> [path.name for path in expand_shards(Path("train-{08..10}.tar"))]
    ['train-08.tar', 'train-09.tar', 'train-10.tar']
    """
    found: list[Location] = []
    for text in _expand(str(location)):
        if not _MAGIC.search(text):
            found.append(Address(text) if isinstance(location, Address) else Path(text))
        elif isinstance(location, Address):
            found += _listed(Address(text))
        else:
            path = Path(text)
            root = Path(path.anchor) if path.is_absolute() else Path()
            found += sorted(root.glob(str(path.relative_to(root))))
    if not found:
        raise SegtrainError(f"{shown(location)}: there are no such shards")
    return found


def _expand(text: str) -> Iterator[str]:
    if numbers := _RANGE.search(text):
        first, last = int(numbers[1]), int(numbers[2])
        for number in range(first, last + 1):
            yield from _expand(f"{text[: numbers.start()]}{number:0{len(numbers[1])}d}{text[numbers.end() :]}")
    elif choices := _CHOICES.search(text):
        for choice in choices[1].split(","):
            yield from _expand(text[: choices.start()] + choice + text[choices.end() :])
    else:
        yield text


def _listed(pattern: Address) -> list[Location]:
    if pattern.scheme in ("http", "https"):
        raise SegtrainError(f"{pattern.shown}: a web server does not list its files; write {{000..117}} in place of *")
    link, chain, rest = pattern.text.partition("::")
    scheme = link.partition("://")[0]
    paths = transfer(pattern, lambda system, path: sorted(system.glob(path)))
    return [Address(f"{scheme}://{path}{chain}{rest}") for path in paths]


@dataclass(frozen=True)
class ShardSet(ImageStore):
    """Image files in tar files, which can be read in any order at the same cost.

    Attributes:
        location: path or address as it was given.
        shards: the tar files.
        versions: version of each.
        cache: copies of remote images on the local disk; None to transfer each image whenever it is read.
        keys: (N,) increasing hashes of the members' names.
        numbers: (N,) position of each member's shard.
        offsets: (N,) position of its first byte.
        sizes: (N,) number of its bytes.
    """

    location: Location
    shards: tuple[Location, ...]
    versions: tuple[FileVersion, ...]
    cache: DiskCache | None = None
    keys: npt.NDArray[np.uint64] = field(kw_only=True, compare=False, repr=False)
    numbers: npt.NDArray[np.int32] = field(kw_only=True, compare=False, repr=False)
    offsets: npt.NDArray[np.int64] = field(kw_only=True, compare=False, repr=False)
    sizes: npt.NDArray[np.int64] = field(kw_only=True, compare=False, repr=False)

    def __str__(self) -> str:
        return shown(self.location)

    @property
    def lazy(self) -> bool:  # type: ignore[override]
        """True if shards are remote."""
        return any(isinstance(shard, Address) for shard in self.shards)

    @property
    def identity(self) -> str:
        """Versions of all shards."""
        return hash_of(*self.versions)

    def read(self, name: str) -> bytes:
        """Return the content of a member; see `ImageStore.read`."""
        place = self._find(name)
        if place is None:
            raise FileNotFoundError(2, "there is no such member in the shards", name)
        shard = self.shards[self.numbers[place]]
        start, size = int(self.offsets[place]), int(self.sizes[place])
        if self.cache is None:
            return read_part(shard, start, size)
        return self.cache.read(self._key(name), lambda: read_part(shard, start, size))

    def names(self) -> Sequence[str]:
        """Return the names of all members, shard by shard."""
        return self._names

    @cached_property
    def _names(self) -> Sequence[str]:
        versions = zip(self.shards, self.versions, strict=True)
        return [name for shard, version in versions for name in members_of(shard, version).texts()]

    def __getstate__(self) -> dict[str, object]:
        return {
            name: value for name, value in self.__dict__.items() if name != "_names"
        }  # workers read, and do not list

    def holds(self, name: str) -> bool:
        """Tell whether there is such a member."""
        return self._find(name) is not None

    def place(self, name: str) -> str:
        """Return shard and name of a member for messages."""
        place = self._find(name)
        return f"{self if place is None else shown(self.shards[self.numbers[place]])}/{name}"

    def discard(self, name: str) -> None:
        """Remove the local copy of a member."""
        if self.cache is not None:
            self.cache.remove(self._key(name))

    def _key(self, name: str) -> str:
        place = self._find(name)
        return "" if place is None else f"{self.versions[self.numbers[place]]} {name}"

    def _find(self, name: str) -> int | None:
        key = _hash(name.encode("utf-8", "surrogateescape"))
        place = int(np.searchsorted(self.keys, key))
        return place if place < len(self.keys) and self.keys[place] == key else None


def open_shards(location: Location, cache: DiskCache | None = None) -> ShardSet:
    """Open shards; their members are listed once, and the lists kept in the user's cache.

    Args:
        location: path or address of one or several tar files; see `expand_shards`.
        cache: cache of remote images.

    Raises:
        SegtrainError: a shard is missing or damaged, or two members have one name.
    """
    shards = expand_shards(location)

    def look(shard: Location) -> tuple[FileVersion, Members]:
        version = file_version(shard)
        found = members_of(shard, version)
        stage.advance()
        return version, found

    with ThreadPoolExecutor(_THREADS) as threads, progress("shards", len(shards), transient=True) as stage:
        looked = list(threads.map(look, shards))
    members = [found for _, found in looked]
    keys = np.array([_hash(name) for own in members for name in own.names.split(b"\0")[:-1]], dtype=np.uint64)
    numbers = np.repeat(np.arange(len(members), dtype=np.int32), [len(own.offsets) for own in members])
    order = np.argsort(keys, kind="stable")
    _refuse_repetitions(keys[order], numbers[order], shards, members, order)
    return ShardSet(
        location,
        tuple(shards),
        tuple(version for version, _ in looked),
        cache,
        keys=keys[order],
        numbers=numbers[order],
        offsets=np.concatenate([own.offsets for own in members])[order],
        sizes=np.concatenate([own.sizes for own in members])[order],
    )


def member_key(name: str) -> str:
    """Return the common part of the names of a sample's members: up to the first dot of the file name.

    >>> member_key("train/0001.seg.png")
    'train/0001'
    """
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0] or path.name))


def _refuse_repetitions(
    keys: npt.NDArray[np.uint64],
    numbers: npt.NDArray[np.int32],
    shards: Sequence[Location],
    members: Sequence[Members],
    order: npt.NDArray[np.int64],
) -> None:
    """Raise an error if two members have one name."""
    same = np.flatnonzero(keys[1:] == keys[:-1])
    if not len(same):
        return
    first = numbers[same[0]]
    before = sum(len(own.offsets) for own in members[:first])
    name = members[first].texts()[order[same[0]] - before]
    both = f"{shown(shards[first])} and {shown(shards[numbers[same[0] + 1]])}"
    raise SegtrainError(f"{both}: two members have the name {name} (1 of {len(same)}); give each a name of its own")


def _hash(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little")
