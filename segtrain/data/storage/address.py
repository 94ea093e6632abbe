"""Addresses of remote files, and settings that are either an address or a local path."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from segtrain.io import expand_path, expand_variables

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?=://|::)")
# `zip:///data/all.zip/images`, which fsspec writes as `zip://images::/data/all.zip`.
_ZIP = re.compile(r"zip://(.+?\.zip)(?:/(.*))?", re.IGNORECASE)
_PASSWORD = re.compile(r"(?<=://)[^/@\s]+@")
_QUOTING = ("http", "https")
_PLAIN = "/{},*"  # signs that stay: separators, and those of several shards


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a file or folder as fsspec takes it, such as ``s3://bucket/data``.

    Attributes:
        text: the address; chained ones (``zip://images::https://host/all.zip``) as well.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> "Address":
        """Return the address of a file or folder below this one.

        Args:
            name: relative path, with ``/`` between its parts.

        >>> str(Address("zip://images::https://host/all.zip") / "train/1.png")
        'zip://images/train/1.png::https://host/all.zip'
        """
        links = self.text.split("::")
        place = next(number for number, link in enumerate(links) if "://" in link)
        if self.scheme in _QUOTING:
            folder, mark, query = links[place].partition("?")
            links[place] = f"{folder.rstrip('/')}/{quote(name, safe='/{},*')}{mark}{query}"
        else:
            links[place] = links[place] + ("" if links[place].endswith("/") else "/") + name
        return Address("::".join(links))

    @property
    def scheme(self) -> str:
        """Name of the protocol, in lower case, such as "s3"."""
        found = _SCHEME.match(self.text)
        return "" if found is None else found[0].lower()

    @property
    def name(self) -> str:
        """Last part of the path.

        >>> Address("https://host/data/train.json?key=1").name
        'train.json'
        """
        link = next(link for link in self.text.split("::") if "://" in link)
        path = link.partition("://")[2]
        if self.scheme in _QUOTING:
            path = path.partition("?")[0]
        return path.rstrip("/").rpartition("/")[2]

    @property
    def shown(self) -> str:
        """Address for messages: without a user's name and password, and without the query of a signed address.

        >>> Address("https://me:secret@host/a.png?signature=1").shown
        'https://host/a.png'
        """
        text = _PASSWORD.sub("", self.text)
        return text.partition("?")[0] if self.scheme in _QUOTING else text

    def absolute(self) -> "Address":
        """Return the address itself, as a path returns its absolute form."""
        return self

    def resolve(self) -> "Address":
        """Return the address itself, as a path returns the file that links lead to."""
        return self


Location: TypeAlias = Path | Address


def is_address(text: str | Path | Address) -> bool:
    """Return True for an address, False for a path.

    >>> is_address("s3://bucket/data"), is_address("data/train"), is_address("C:/data")
    (True, False, False)
    """
    return isinstance(text, Address) or (isinstance(text, str) and "://" in text and _SCHEME.match(text) is not None)


def locate(given: str | Path | Address, root: Location = Path()) -> Location:
    """Return the local path or the address that a setting names.

    Args:
        given: path or address.
        root: folder that it is relative to, unless it is absolute or an address.

    >>> str(locate("images", Address("s3://bucket/data"))), locate("images", Path("data")).as_posix()
    ('s3://bucket/data/images', 'data/images')
    """
    if isinstance(given, Address):
        return given
    if isinstance(given, str) and is_address(given):
        return Address(_usual(given))
    path = Path(given)
    if isinstance(root, Path):
        return root / path
    return path if path.is_absolute() else root / path.as_posix()


def shown(location: Location) -> str:
    """Return a path or an address as messages show it; see `Address.shown`."""
    return location.shown if isinstance(location, Address) else str(location)


def expand_location(given: str | Path | Address) -> Location:
    """Return the path or address that a user names, with environment variables and ``~`` expanded.

    Args:
        given: path or address.

    Raises:
        SegtrainError: a variable is not set.
    """
    if isinstance(given, str) and is_address(given):
        return locate(expand_variables(given))
    return given if isinstance(given, Address) else expand_path(given)


def _usual(text: str) -> str:
    """Write an address inside a zip archive as fsspec does, with an absolute path of the archive."""
    if "::" not in text and (found := _ZIP.fullmatch(text)):
        text = f"zip://{found[2] or ''}::{found[1]}"
    *links, last = text.split("::")
    if links and "://" not in last:
        last = str(expand_path(last).absolute())
    return "::".join([*links, last])
