"""Reader of a mask file for each object: ``ID/images/*.png`` and ``ID/masks/*.png``, or ``masks/ID/*.png``."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size
from segtrain.convert.picture_files import PictureFiles, picture_size, read_label_plane, require_found
from segtrain.data.foreign.glance import Glance
from segtrain.data.images.image_files import ImageError
from segtrain.errors import SegtrainError
from segtrain.masks import encode


def read_mask_folders(request: Request) -> Labels:
    """Read the layout of the 2018 Data Science Bowl, or a folder of masks for each image.

    Args:
        request: source, the name of the class, and tally.

    Raises:
        SegtrainError: a mask cannot be read or has another size than its image, or there are no images.
    """
    images = []
    pairs = list(_pairs(request))
    for picture, masks in request.shown("reading masks", pairs):
        size = picture_size(picture, request.tally)
        if size is not None:
            images.append(LabelledImage(picture, size, list(_objects(masks, size, request))))
    require_found(images, request, [])
    return Labels(images, [request.only_class])


def _pairs(request: Request) -> Iterator[tuple[Path, list[Path]]]:
    """Yield each image with its mask files."""
    found = Glance(request.source)
    masks: dict[PurePosixPath, list[Path]] = {}
    pictures: dict[PurePosixPath, list[Path]] = {}
    for name in found.images:
        path = PurePosixPath(name)
        if path.parent.name.lower() == "masks":
            masks.setdefault(path.parent.parent, []).append(found.place(name))
        elif path.parent.name.lower() in ("images", "image"):
            pictures.setdefault(path.parent.parent, []).append(found.place(name))
        elif path.parent.parent.name.lower() == "masks":
            masks.setdefault(path.parent, []).append(found.place(name))
    files = PictureFiles.of(request)
    for place, own in masks.items():
        if len(pictures.get(place, ())) == 1:
            yield pictures[place][0], own
        elif (picture := _picture(place, files)) is not None:
            yield picture, own
        else:
            request.tally.add("left out", "folders of masks without an image", str(place))
    for place, own in pictures.items():
        if place not in masks and not any(place == other.parent.parent for other in masks):
            request.tally.add("left out", "images without a folder of masks", own[0].name)


def _picture(place: PurePosixPath, files: PictureFiles) -> Path | None:
    """Find the image of a folder of masks, ``images/ID.png`` for ``masks/ID``."""
    tried = (files.find(str(place.parent.parent / folder / place.name)) for folder in ("images", "image", ""))
    return next((found for found in tried if found is not None), None)


def _objects(paths: list[Path], size: Size, request: Request) -> Iterator[LabelledObject]:
    for path in sorted(paths):
        try:
            plane = read_label_plane(path)
        except ImageError as error:
            request.tally.add("left out", "masks that cannot be read", f"{path.name} ({error.reason})")
            continue
        if plane.shape != size:
            raise SegtrainError(
                f"{path}: has {plane.shape[0]}x{plane.shape[1]} pixels, its image {size[0]}x{size[1]} (height x "
                "width); correct the mask"
            )
        yield LabelledObject(request.only_class, path.name, mask=encode(plane))
