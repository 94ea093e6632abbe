"""Reader of a mask file for each object: ``ID/images/*.png`` and ``ID/masks/*.png``, or ``masks/ID/*.png``."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size
from segtrain.convert.picture_files import Match, PictureFiles, picture_size, read_label_plane, require_found
from segtrain.data.foreign.source_files import source_files
from segtrain.data.images.image_files import ImageError
from segtrain.errors import SegtrainError
from segtrain.io import IMAGE_EXTENSIONS
from segtrain.masks import encode

_SAMPLE = 20  # files that are read to tell masks from label maps


def read_mask_folders(request: Request) -> Labels:
    """Read the layout of the 2018 Data Science Bowl, or a folder of masks for each image.

    Args:
        request: source, the name of the class, and tally.

    Raises:
        SegtrainError: a mask cannot be read or has another size than its image, it holds several values and the format
            was not named, or there are no images.
    """
    images = []
    pairs = list(_pairs(request))
    for match, masks in request.shown("reading masks", pairs):
        size = picture_size(match.path, request.tally)
        if size is not None:
            objects = list(_objects(masks, size, request))
            images.append(LabelledImage(match.path, size, objects, masks[0], match.by_name))
    require_found(images, request, [])
    return Labels(images, [request.only_class])


def are_label_maps(source: Path) -> bool:
    """Return True if what lies in folders of masks are label maps: one for each image, some with several values.

    Args:
        source: folder that is laid out as one of masks.
    """
    masks, _ = _layout(source)
    if any(len(own) > 1 for own in masks.values()):
        return False
    files = islice((path for own in masks.values() for path in own), _SAMPLE)
    try:
        return any(_value_count(path) > 1 for path in files)
    except (ImageError, SegtrainError):  # the reader says so
        return False


def _value_count(path: Path) -> int:
    """Count the values of a picture but 0."""
    return int(np.count_nonzero(np.unique(read_label_plane(path).values)))


def _layout(source: Path) -> tuple[dict[PurePosixPath, list[Path]], dict[PurePosixPath, list[Path]]]:
    """Return the mask files and the images of each sample's folder; the masks of ``masks/ID`` under that folder."""
    masks: dict[PurePosixPath, list[Path]] = {}
    pictures: dict[PurePosixPath, list[Path]] = {}
    for name in source_files(source, *IMAGE_EXTENSIONS):
        path = PurePosixPath(name)
        if path.parent.name.lower() == "masks":
            masks.setdefault(path.parent.parent, []).append(source / name)
        elif path.parent.name.lower() in ("images", "image"):
            pictures.setdefault(path.parent.parent, []).append(source / name)
        elif path.parent.parent.name.lower() == "masks":
            masks.setdefault(path.parent, []).append(source / name)
    return masks, pictures


def _pairs(request: Request) -> Iterator[tuple[Match, list[Path]]]:
    """Yield each image with its mask files."""
    masks, pictures = _layout(request.folder)
    files, used = PictureFiles.of(request), set[Path]()
    for place, own in masks.items():
        inside = pictures.get(place, ())
        match = Match(inside[0], by_name=False) if len(inside) == 1 else _picture(place, own[0], files)
        if match is None:
            request.tally.add("left out", "folders of masks without an image", str(place))
        else:
            used.add(match.path.absolute())
            yield match, own
    for name in files.names:
        if (files.folder / name).absolute() not in used:
            request.tally.add("left out", "images without a folder of masks", name)


def _picture(place: PurePosixPath, mask: Path, files: PictureFiles) -> Match | None:
    """Find the image of a folder of masks, ``images/ID.png`` for ``masks/ID``."""
    above = place.parent.parent
    tried = (files.find(str(above / folder / place.name), mask, [files.folder]) for folder in ("images", "image", ""))
    return next((found for found in tried if found is not None), None)


def _objects(paths: Sequence[Path], size: Size, request: Request) -> Iterator[LabelledObject]:
    for path in paths:
        try:
            plane = read_label_plane(path).values
        except ImageError as error:
            request.tally.add("left out", "masks that cannot be read", f"{path.name} ({error.reason})")
            continue
        if plane.shape != size:
            raise SegtrainError(
                f"{path}: has {plane.shape[0]}x{plane.shape[1]} pixels, its image {size[0]}x{size[1]} (height x "
                "width); correct the mask"
            )
        drawn = plane[plane != 0]
        if not request.stated and (drawn != drawn[:1]).any():
            raise SegtrainError(
                f"{path}: holds several values; if each is an object, convert it with --format labelmaps, and with "
                "--format masks if all of them are one"
            )
        yield LabelledObject(request.only_class, path.name, mask=encode(plane))
