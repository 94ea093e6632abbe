"""Opening of image folders and files by path, address or tar files."""

from pathlib import Path

from segtrain.data.storage.address import Address, Location
from segtrain.data.storage.disk_cache import DiskCache
from segtrain.data.storage.image_store import ImageFile, ImageFolder, StoredFile
from segtrain.data.storage.remote_folder import RemoteFile, RemoteFolder
from segtrain.data.storage.tar_shards import is_shards, open_shards


def open_folder(location: Location, cache: DiskCache | None = None) -> ImageFolder | None:
    """Open an image folder, or the shards of one; None if this machine has no such folder.

    Args:
        location: path or address of the folder, or of tar files; see `expand_shards`.
        cache: cache of remote images; a local folder is read through it too, as it may lie on a slow network disk.

    Raises:
        SegtrainError: a package that the address needs is missing, or a shard cannot be read.
    """
    if is_shards(location):
        return open_shards(location, cache)
    if isinstance(location, Address):
        return RemoteFolder(location, cache)
    if not location.is_dir():
        return None
    if cache is not None:
        return RemoteFolder(Address(f"file://{Path(location).absolute().as_posix()}"), cache)
    return location


def open_file_of(location: Location) -> ImageFile:
    """Return an image file as readers take it.

    Args:
        location: path or address of the file.
    """
    return location if isinstance(location, Path) else StoredFile(RemoteFile(location), location.name)
