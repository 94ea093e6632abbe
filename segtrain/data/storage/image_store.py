"""Interface of stores of image files other than local folders."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


class ImageStore(ABC):
    """Store of image files; its string is its address, as messages show it.

    It is sent to worker processes, which may read at the same time.

    Attributes:
        lazy: True if it takes too long to look at each file before the start.
    """

    lazy: bool

    @property
    @abstractmethod
    def identity(self) -> str:
        """Text that differs between stores, and between versions of a store as far as they can be distinguished."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Args:
            name: path of the file in the store, with ``/`` between its parts.

        Raises:
            FileNotFoundError: there is no such file.
            TransferError: it cannot be transferred.
        """

    @abstractmethod
    def names(self) -> Sequence[str] | None:
        """Return the names of all files; None if to list them takes too long."""

    @abstractmethod
    def holds(self, name: str) -> bool:
        """Tell whether there is such a file."""

    @abstractmethod
    def place(self, name: str) -> str:
        """Return the address of a file for messages."""

    @abstractmethod
    def discard(self, name: str) -> None:
        """Forget a copy of a file whose content is damaged; the next reading transfers it again."""


@dataclass(frozen=True)
class StoredFile:
    """File of a store, in place of a path.

    Attributes:
        store: the store.
        name: path of the file in the store.
    """

    store: ImageStore
    name: str

    def __str__(self) -> str:
        return self.store.place(self.name)

    def read(self) -> bytes:
        """Return the content; see `ImageStore.read`."""
        return self.store.read(self.name)

    def resolve(self) -> "StoredFile":
        """Return the file itself, as a path returns the file that links lead to."""
        return self


ImageFolder: TypeAlias = Path | ImageStore
ImageFile: TypeAlias = Path | StoredFile
