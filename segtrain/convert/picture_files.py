"""Image files of a source: found by the names that labels state, and read for their sizes and label maps."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from segtrain.arrays import IntArray
from segtrain.convert.labelled import Request, Tally
from segtrain.data.foreign.source_files import is_file
from segtrain.data.images.decode import decode
from segtrain.data.images.headers import Header, read_header
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.names.name_forms import plain_path
from segtrain.data.images.names.near_files import NearFiles, leads_out, list_files
from segtrain.data.images.opening import open_image
from segtrain.data.images.reading import Reading
from segtrain.data.layouts import part_among
from segtrain.errors import SegtrainError
from segtrain.io import IMAGE_EXTENSIONS

# Only sizes and labels are read here: neither pages nor channels of the images matter.
_READING = Reading(max_pixels=10**9, pages="first", channels=(0,))
_MAPS = Reading(exif="ignore", max_pixels=10**9)
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "raw", "input", "inputs", "originals")
NO_IMAGE = "no image file of this name"


@dataclass(frozen=True)
class Match:
    """An image file that labels mean.

    Attributes:
        path: the file.
        by_name: True if it lies elsewhere than the labels say, and only its name tells that it is meant.
    """

    path: Path
    by_name: bool


class PictureFiles:
    """Image files of a folder, by the names that labels have for them.

    Args:
        folder: folder of the images, searched with all folders in it.
        labels: folder of the labels.
        leave_out: files that are labels, not images, as paths relative to the folder.
        stated: True if the user named the folder, so that it goes before others.
    """

    def __init__(self, folder: Path, labels: Path, leave_out: Iterable[str] = (), *, stated: bool = False) -> None:
        self.folder, self._labels, self._stated = folder, labels.absolute(), stated
        self._leave_out = frozenset(leave_out)
        self._inner: dict[Path, tuple[str, ...]] = {}  # folders in which the labels of a folder lie within all labels

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
            return cls(request.images, request.folder, leave_out, stated=True)
        found = cls(request.folder, request.folder, leave_out)
        beside = None if found.names else _folder_beside(request.folder.absolute())
        return found if beside is None else cls(beside, request.folder)

    @cached_property
    def names(self) -> list[str]:
        """Image files as paths relative to the folder, sorted.

        Raises:
            SegtrainError: the folder holds too many files to be listed.
        """
        listing = list_files(self.folder)
        if not listing.complete:
            raise SegtrainError(f"{self.folder}: holds too many files; give the folder of the images with --images DIR")
        names = [name for name in listing.files if name not in self._leave_out]
        return sorted(name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_EXTENSIONS)

    @cached_property
    def _near(self) -> NearFiles:
        return NearFiles(self.names, ())

    @cached_property
    def _of_stem(self) -> Mapping[str, list[str]]:
        """Files by their names without extensions, as labels that are named for an image state them."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            found.setdefault(PurePosixPath(name).stem, []).append(name)
        return found

    def find(
        self,
        name: str,
        labels: Path,
        places: Sequence[Path] | None = None,
        *,
        part: str | None = None,
        alone: bool = False,
    ) -> Match | None:
        r"""Find the one file that a name means: by its path, else by its name, which must not contradict its folders.

        Args:
            name: name or path as labels state it, with ``/`` or ``\``, with or without what a tool has added.
            labels: label file that states it.
            places: folders that the name may be relative to; None for that of the label file.
            part: part of the data that the labels are of; None for the one that their folders name.
            alone: True if the label file is about this image alone, so that the name is relative to it.

        Returns:
            The file; None if none has the name.

        Raises:
            SegtrainError: several files have the name, and nothing tells which one is meant.
        """
        beside, folders = list(places or [labels.parent]), self._folders_of(labels)
        mirrored = [self.folder.joinpath(*folders)] if self._apart else []
        found = _at(name, [self.folder, *mirrored, *beside] if self._stated else [*beside, *mirrored])
        if found is not None:
            return Match(found, by_name=False)
        if not self._stated and (found := _at(name, [self.folder])) is not None:
            return Match(found, by_name=alone and not self._apart)
        return self._near_to(name, labels, beside, part or part_among(folders))

    def _near_to(self, name: str, labels: Path, beside: Sequence[Path], part: str | None) -> Match | None:
        stated: Sequence[str] = plain_path(name).split("/")[:-1]
        files = self._near.find(name) or self._of_stem.get(name, [])
        if len(files) != 1 and leads_out(name):  # a path of another machine: its folders mean nothing here
            stated, files = (), self._near.find(PurePosixPath(plain_path(name)).name)
        folders = {file: file.split("/")[:-1] for file in files}
        parts = {file: part_among(own) for file, own in folders.items()}
        agreeing = {file: common_end(own, stated or self._folders_of(labels)) for file, own in folders.items()}
        best = [file for file in files if part is None or parts[file] in (None, part)]
        if len(best) > 1:
            ranks = {
                file: (
                    part is not None and parts[file] == part,
                    any((self.folder / file).is_relative_to(place) for place in beside),
                    agreeing[file],
                )
                for file in best
            }
            best = [file for file in best if ranks[file] == max(ranks.values())]
        if len(best) > 1:
            raise SegtrainError(
                f"{labels}: its image {name} may be {self.folder / best[0]} or {self.folder / best[1]}; give the "
                "folder of the one that is meant with --images DIR, or take the other one away"
            )
        return Match(self.folder / best[0], by_name=not agreeing[best[0]]) if best else None

    @cached_property
    def _apart(self) -> bool:
        """True if the images are in another folder than the labels."""
        return self.folder.absolute() != self._labels

    def _folders_of(self, labels: Path) -> tuple[str, ...]:
        """Return the names of the folders in which a label file lies within those of the labels."""
        if (found := self._inner.get(labels.parent)) is None:
            place = labels.parent.absolute()
            found = place.relative_to(self._labels).parts if place.is_relative_to(self._labels) else ()
            self._inner[labels.parent] = found
        return found


def _at(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the file at a path that is relative to one of some folders; the first there is."""
    forms = [form for form in dict.fromkeys([name.replace("\\", "/"), plain_path(name)]) if form]
    paths = (folder / form for folder in dict.fromkeys(folders) for form in forms)
    found = next(filter(is_file, paths), None)
    # Labels may lie in a folder beside the images.
    return found if found is None or ".." not in found.parts else Path(os.path.normpath(found.absolute()))


def common_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the names in which two paths agree, from their ends."""
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count


def _folder_beside(folder: Path) -> Path | None:
    """Find the folder of images for one of labels: ``images`` beside it, or ``images/train`` for ``labels/train``."""
    places = [folder.parent / name for name in IMAGE_FOLDERS]
    for place in reversed(range(1, len(folder.parts))):
        before, after = folder.parts[:place], folder.parts[place + 1 :]
        places += [Path(*before, name, *after) for name in IMAGE_FOLDERS]
    return next((place for place in places if place != folder and place.is_dir()), None)


def picture_header(path: Path, tally: Tally) -> Header | None:
    """Read the header of an image file; None, which is counted, if it cannot be read."""
    try:
        return read_header(path, None, _READING)
    except ImageError as error:
        tally.add("left out", "images that cannot be read", f"{path.name} ({error.reason})")
        return None


def picture_size(path: Path, tally: Tally) -> tuple[int, int] | None:
    """Read the (H, W) of an image file, upright; None, which is counted, if it cannot be read."""
    header = picture_header(path, tally)
    return None if header is None else header.size


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


@dataclass(frozen=True)
class LabelPlane:
    """Pixels of a picture of labels.

    Attributes:
        values: (H, W) int64: indices of a palette, values of grey, or colours red * 65536 + green * 256 + blue.
        colours: True if the values are colours.
        palette: colour of each index; empty where there is no palette.
    """

    values: IntArray
    colours: bool = False
    palette: Sequence[int] = ()


def read_label_plane(path: Path) -> LabelPlane:
    """Read a picture whose pixels are numbers or colours of objects; its mode tells which, not its values.

    Args:
        path: PNG, TIFF or another lossless file.

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
                triples = np.reshape(opened.image.getpalette("RGB") or [], (-1, 3)) if opened.image.palette else ()
                return LabelPlane(np.asarray(plane).astype(np.int64), palette=[_colour(*triple) for triple in triples])
    array = decode(path, None, _MAPS).array
    if array.ndim == 3:
        if array.dtype != np.uint8:
            raise SegtrainError(f"{path}: colours of {array.dtype}; save the labels as whole numbers in one channel")
        red, green, blue = (array[:, :, channel].astype(np.int64) for channel in range(3))
        return LabelPlane(red * 65536 + green * 256 + blue, colours=True)
    numbers = array.astype(np.int64)
    if array.dtype.kind == "f" and not (numbers == array).all():
        raise SegtrainError(f"{path}: its values are no whole numbers; give label maps, not probabilities")
    return LabelPlane(np.maximum(numbers, 0))


def _colour(red: int, green: int, blue: int) -> int:
    return int(red) * 65536 + int(green) * 256 + int(blue)
