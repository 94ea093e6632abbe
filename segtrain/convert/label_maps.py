"""Reader of label maps: images whose pixels are the numbers of objects.

A map lies beside its image with an ending (Cellpose's ``_masks``, ``_cp_masks``), or in a folder of its own under the
same name (StarDist, CellProfiler).
"""

import os
from pathlib import Path, PurePosixPath

import numpy as np

from segtrain.arrays import IntArray
from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.picture_files import (
    IMAGE_FOLDERS,
    Match,
    PictureFiles,
    picture_size,
    read_label_plane,
    require_found,
)
from segtrain.data.foreign.label_kinds import MAP_ENDING, RASTERS, names_label_maps
from segtrain.data.foreign.source_files import source_files
from segtrain.data.images.image_files import ImageError
from segtrain.errors import SegtrainError
from segtrain.masks import Rle, encode_labels

_WHITE = 0xFFFFFF


def read_label_maps(request: Request) -> Labels:
    """Read label maps, and pair them with their images by name.

    Args:
        request: source, image folder, the name of the class, and tally.

    Raises:
        SegtrainError: there are no maps, they cannot be read, or no image is found.
    """
    folder, maps = request.folder, _maps(request)
    if not maps:
        raise SegtrainError(
            f"{request.source}: holds no label maps; they are known by a folder (masks, labels) or an ending (_masks), "
            "or all are taken where --images names another folder"
        )
    pictures = PictureFiles.of(request, maps)
    images, missing = list[LabelledImage](), list[str]()
    for name in request.shown("reading label maps", maps):
        match = _picture(name, folder, pictures)
        if match is None:
            missing.append(name)
        elif (image := _image(folder / name, match, request)) is not None:
            images.append(image)
    require_found(images, request, missing)
    mapped = {image.path.absolute() for image in images}
    for name in pictures.names:
        if (pictures.folder / name).absolute() not in mapped:
            request.tally.add("note", "images without a label map, which are not written", name)
    return Labels(images, [request.only_class])


def _maps(request: Request) -> list[str]:
    """List the label maps of a source, relative to its folder: those in folders for them, else those with an ending."""
    if request.source.is_file():
        return [request.source.name]
    rasters = source_files(request.source, *RASTERS)
    in_folders = [name for name in rasters if _map_folder(name) is not None]
    with_ending = {name: bare for name in rasters if (bare := MAP_ENDING.sub("", _stem(name))) != _stem(name)}
    pictures = set(with_ending.values())  # an ending may also be that of an image, as in a_cells and a_cells_masks
    named = in_folders or [name for name in with_ending if _stem(name) not in pictures]
    apart = request.images is not None and os.path.realpath(request.images) != os.path.realpath(request.source)
    whole = apart or any(map(names_label_maps, request.source.absolute().parts[-2:]))
    return named or (rasters if whole else [])


def _stem(name: str) -> str:
    """Return a path without its extension."""
    return str(PurePosixPath(name).with_suffix(""))


def _map_folder(name: str) -> str | None:
    """Return the folder that says that a file is a label map; None if none does, or one inside it is for images."""
    for folder in reversed(PurePosixPath(name).parts[:-1]):
        if folder.lower() in IMAGE_FOLDERS:
            return None
        if names_label_maps(folder):
            return folder
    return None


def _picture(name: str, folder: Path, pictures: PictureFiles) -> Match | None:
    """Find the image of a label map: of the same name in another folder, or of the name without its ending."""
    path, own = PurePosixPath(name), _map_folder(name)
    folders = [tuple(part for part in path.parts[:-1] if part != own)]
    if own is not None:  # beside masks/a.tif, images/a.png
        folders += [tuple(other if part == own else part for part in path.parts[:-1]) for other in IMAGE_FOLDERS]
    folders.append(())  # in any folder
    for stem in dict.fromkeys([MAP_ENDING.sub("", path.stem), path.stem]):
        for wanted in [PurePosixPath(*parts, stem + end) for parts in folders for end in (path.suffix, "")]:
            found = pictures.find(str(wanted), folder / name, [folder])
            if found is not None and found.path.absolute() != (folder / name).absolute():
                return found
    return None


def _image(path: Path, match: Match, request: Request) -> LabelledImage | None:
    try:
        read = read_label_plane(path)
    except ImageError as error:
        request.tally.add("left out", "label maps that cannot be read", f"{path.name} ({error.reason})")
        return None
    size, plane = picture_size(match.path, request.tally), read.values
    if size is None:
        return None
    if size != plane.shape:
        raise SegtrainError(
            f"{path}: has {plane.shape[0]}x{plane.shape[1]} pixels, its image {match.path.name} {size[0]}x{size[1]} "
            "(height x width); resize it without interpolation, or give the images with --images"
        )
    values, masks = labels_of(plane)
    if values in ([1], [255], [_WHITE]):
        request.tally.add("note", "label maps of one value only, taken as one object", path.name)
    objects = [
        LabelledObject(request.only_class, f"{path.name}, label {value}", mask=mask)
        for value, mask in zip(values, masks, strict=True)
    ]
    return LabelledImage(match.path, size, objects, path, match.by_name)


def labels_of(plane: IntArray) -> tuple[list[int], list[Rle]]:
    """Return the values of a label map but 0, and the mask of each.

    >>> values, masks = labels_of(np.array([[7, 7, 0], [9, 7, 0]]))
    >>> values, [mask["counts"] for mask in masks]
    ([7, 9], ['01111', '114'])
    """
    values, places = np.unique(np.append(0, plane.reshape(-1)), return_inverse=True)
    return values[1:].tolist(), encode_labels(places[1:].reshape(plane.shape).astype(np.int64))
