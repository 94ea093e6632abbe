"""Folder of image files behind an address."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from segtrain.data.storage.address import Address
from segtrain.data.storage.disk_cache import DiskCache
from segtrain.data.storage.image_store import ImageStore
from segtrain.data.storage.transfer import transfer

# Schemes whose files are listed without a request for each thousand of them.
_LISTED = ("zip", "memory", "file", "local")


@dataclass(frozen=True)
class RemoteFolder(ImageStore):
    """Folder behind an address.

    Attributes:
        address: address of the folder.
        cache: copies of its files on the local disk; None to transfer each file whenever it is read.
    """

    address: Address
    cache: DiskCache | None = None
    lazy = True

    def __str__(self) -> str:
        return self.address.shown

    @property
    def identity(self) -> str:
        """The address: versions of a folder cannot be told."""
        return self.address.text

    def read(self, name: str) -> bytes:
        """Return the content of a file; see `ImageStore.read`."""
        address = self._address(name)

        def fetch() -> bytes:
            return transfer(address, lambda system, path: bytes(system.cat_file(path)))

        return fetch() if self.cache is None else self.cache.read(address.text, fetch)

    def names(self) -> Sequence[str] | None:
        """Return the names of all files, of archives and local file systems only."""
        return self._listed if self.address.scheme in _LISTED else None

    def _address(self, name: str) -> Address:
        return self.address / name

    @cached_property
    def _listed(self) -> Sequence[str]:
        try:
            start, found = transfer(self.address, lambda system, path: (path, system.find(path)))
        except FileNotFoundError:
            return []
        prefix = start.strip("/")
        skipped = len(prefix) + 1 if prefix else 0
        return [path.strip("/")[skipped:] for path in sorted(found)]

    def holds(self, name: str) -> bool:
        """Tell whether there is such a file."""
        try:
            transfer(self._address(name), lambda system, path: system.info(path))
        except FileNotFoundError:
            return False
        return True

    def place(self, name: str) -> str:
        """Return the address of a file for messages."""
        return self._address(name).shown

    def discard(self, name: str) -> None:
        """Remove the local copy of a file."""
        if self.cache is not None:
            self.cache.remove(self._address(name).text)


class RemoteFile(RemoteFolder):
    """Single file behind an address, as a store of that file alone."""

    def _address(self, name: str) -> Address:
        return self.address
