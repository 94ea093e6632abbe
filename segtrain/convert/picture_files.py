"""Image files of a source: found by the names that labels state, and read for their sizes and label maps."""

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from segtrain.arrays import IntArray
from segtrain.convert.labelled import Request, Tally
from segtrain.data.images.decode import decode
from segtrain.data.images.headers import read_header
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.names.name_forms import plain_path
from segtrain.data.images.names.near_files import NearFiles, leads_out, list_files
from segtrain.data.images.opening import open_image
from segtrain.data.images.reading import Reading
from segtrain.errors import SegtrainError
from segtrain.io import IMAGE_EXTENSIONS

# Only sizes and labels are read here: neither pages nor channels of the images matter.
_READING = Reading(max_pixels=10**9, pages="first", channels=(0,))
_MAPS = Reading(exif="ignore", max_pixels=10**9)
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "raw", "input", "inputs", "originals")
NO_IMAGE = "no image file of this name"


class PictureFiles:
    """Image files of a folder, by the names that labels have for them.

    Args:
        folder: folder of the images, searched with all folders in it.
        leave_out: files that are labels, not images, as paths relative to the folder.
        stated: True if the user named the folder, so that it goes before others.
    """

    def __init__(self, folder: Path, leave_out: Iterable[str] = (), *, stated: bool = False) -> None:
        self.folder, self._leave_out, self._stated = folder, frozenset(leave_out), stated

    @classmethod
    def of(cls, request: Request, leave_out: Iterable[str] = ()) -> "PictureFiles":
        """Return the images of a request: in its folder of images, or else where its source is, or beside it.

        Args:
            request: the request.
            leave_out: files that are labels, not images, as paths relative to the source's folder.

        Raises:
            SegtrainError: there is no such folder.
        """
        if request.images is not None and not request.images.is_dir():
            raise SegtrainError(f"{request.images}: no such folder; give the folder of the images with --images")
        if request.images is not None:
            return cls(request.images, leave_out, stated=True)
        found = cls(request.folder, leave_out)
        beside = None if found.names else _folder_beside(request.folder.absolute())
        return found if beside is None else cls(beside)

    @cached_property
    def names(self) -> list[str]:
        """Image files as paths relative to the folder, sorted."""
        names = [name for name in list_files(self.folder).files if name not in self._leave_out]
        return sorted(name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_EXTENSIONS)

    @cached_property
    def _near(self) -> NearFiles:
        return NearFiles(self.names, ())

    def find(self, name: str, beside: Path | None = None) -> Path | None:
        r"""Find the one file that a name means.

        Args:
            name: name or path as labels state it, with ``/`` or ``\``, with or without what a tool has added.
            beside: folder that the name may be relative to; None for none.

        Returns:
            Its path; None if no file has the name, or several have.
        """
        written = name.replace("\\", "/")
        folders = [self.folder] if beside is None else [beside, self.folder]
        for folder in reversed(folders) if self._stated else folders:
            for form in (written, plain_path(name)):
                if form and (folder / form).is_file():
                    return Path(os.path.normpath(folder / form))  # labels may lie in a folder beside the images
        found = self._near.find(name)
        if len(found) != 1 and leads_out(name):  # a path of another machine: its folders mean nothing here
            found = self._near.find(PurePosixPath(plain_path(name)).name)
        if len(found) > 1 and beside is not None:
            found = [other for other in found if (self.folder / other).is_relative_to(beside)]
        return self.folder / found[0] if len(found) == 1 else None


def _folder_beside(folder: Path) -> Path | None:
    """Find the folder of images for one of labels: ``images`` beside it, or ``images/train`` for ``labels/train``."""
    places = [folder.parent / name for name in IMAGE_FOLDERS]
    for place in reversed(range(1, len(folder.parts))):
        before, after = folder.parts[:place], folder.parts[place + 1 :]
        places += [Path(*before, name, *after) for name in IMAGE_FOLDERS]
    return next((place for place in places if place != folder and place.is_dir()), None)


def picture_size(path: Path, tally: Tally) -> tuple[int, int] | None:
    """Read the (H, W) of an image file, upright; None, which is counted, if it cannot be read."""
    try:
        return read_header(path, None, _READING).size
    except ImageError as error:
        tally.add("left out", "images that cannot be read", f"{path.name} ({error.reason})")
        return None


def require_found(found: Sequence[object], request: Request, missing: Sequence[str]) -> None:
    """Check that images were found at all; single ones that are missing are counted.

    Args:
        found: images that were found.
        request: the request.
        missing: names of those that were not.

    Raises:
        SegtrainError: none was found.
    """
    for name in missing:
        request.tally.add("left out", f"images and their objects: {NO_IMAGE}", name)
    if not found:
        where = request.images or request.folder
        example = f", such as {missing[0]}" if missing else ""
        raise SegtrainError(
            f"{request.source}: none of its images is in {where}{example}; give their folder with --images DIR"
        )


def read_label_plane(path: Path) -> IntArray:
    """Read a picture whose pixels are numbers or colours of objects.

    Args:
        path: PNG, TIFF or another lossless file.

    Returns:
        (H, W) int64: indices of a palette, values of grey, or of colours red * 65536 + green * 256 + blue.

    Raises:
        ImageError: the file cannot be read.
        SegtrainError: its pixels are neither whole numbers nor colours of 8 bits, or it is compressed with losses.
    """
    with open_image(path, _MAPS.max_pixels) as opened:
        if opened.image is not None:
            if opened.image.format == "JPEG":
                raise SegtrainError(f"{path}: JPEG changes labels; save it as PNG or TIFF")
            if opened.image.mode in ("P", "PA", "1"):
                plane = opened.image.getchannel(0) if opened.image.mode == "PA" else opened.image
                return np.asarray(plane).astype(np.int64)
    array = decode(path, None, _MAPS).array
    if array.ndim == 3:
        if array.dtype != np.uint8:
            raise SegtrainError(f"{path}: colours of {array.dtype}; save the labels as whole numbers in one channel")
        red, green, blue = (array[:, :, channel].astype(np.int64) for channel in range(3))
        return red if (red == green).all() and (red == blue).all() else red * 65536 + green * 256 + blue
    numbers = array.astype(np.int64)
    if array.dtype.kind == "f" and not (numbers == array).all():
        raise SegtrainError(f"{path}: its values are no whole numbers; give label maps, not probabilities")
    return np.maximum(numbers, 0)


def common_folder(paths: Sequence[Path]) -> Path:
    """Return the deepest folder that holds all files.

    Args:
        paths: paths of the files, at least one.
    """
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))
