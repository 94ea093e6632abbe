"""Reader of Pascal VOC's PNGs: objects by number in ``SegmentationObject``, classes in ``SegmentationClass``.

The pixels of PNGs with a palette are its indices, of others colours of VOC's table or of a ``labelmap.txt``, as CVAT
writes it. Index 255, drawn around objects and over difficult ones, is void: a region to ignore.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segtrain.arrays import IntArray
from segtrain.convert.label_files import read_text
from segtrain.convert.label_maps import labels_of
from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.picture_files import PictureFiles, read_label_plane, require_found
from segtrain.errors import SegtrainError
from segtrain.masks import encode

_VOID = 255
_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def colour_of(index: int) -> int:
    """Return VOC's colour of an index as red * 65536 + green * 256 + blue: bits of the index, spread over the three.

    >>> [f"{colour_of(index):06x}" for index in (1, 2, 255)]
    ['800000', '008000', 'e0e0c0']
    """
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * place + channel) & 1) << (7 - place)
    red, green, blue = channels
    return red * 65536 + green * 256 + blue


@dataclass(frozen=True)
class _Classes:
    """Names of classes by the values of their pixels.

    Attributes:
        by_index: names by index of a palette, from 1.
        by_colour: names by colour.
        order: all names.
    """

    by_index: Mapping[int, str]
    by_colour: Mapping[int, str]
    order: list[str]

    def name(self, value: int) -> str:
        """Return the name of a value; a name made of it if it has none."""
        return self.by_index.get(value) or self.by_colour.get(value) or f"class_{value}"


def read_pascal_voc(request: Request) -> Labels:
    """Read a folder with ``SegmentationObject``.

    Args:
        request: source, image folder, names of the classes and tally.

    Raises:
        SegtrainError: a PNG cannot be read, two of one image differ in size, or no image is found.
    """
    source = request.source if request.source.name != "SegmentationObject" else request.source.parent
    folders = sorted(path for path in source.rglob("SegmentationObject") if path.is_dir())
    if not folders:
        raise SegtrainError(f"{source}: has no folder SegmentationObject; without it, classes have no single objects")
    images, missing, order = list[LabelledImage](), list[str](), list[str]()
    for folder in folders:
        root = folder.parent
        classes, parts = _classes(root, request), _parts(root)
        order += classes.order
        pictures = PictureFiles(root / "JPEGImages") if request.images is None else PictureFiles.of(request)
        for path in request.shown("reading Pascal VOC's masks", sorted(folder.rglob("*.png"))):
            name = path.relative_to(folder).with_suffix("").as_posix()
            picture = pictures.find(name)
            if picture is None:
                missing.append(name)
                continue
            plane = read_label_plane(path)
            objects = list(_objects(path, plane, classes, request))
            height, width = plane.shape
            images.append(LabelledImage(picture, (height, width), objects, parts.get(name)))
    require_found(images, request, missing)
    used = {each.category for image in images for each in image.objects}
    return Labels(images, [name for name in dict.fromkeys(order) if name in used])


def _classes(root: Path, request: Request) -> _Classes:
    path = root / "labelmap.txt"
    if path.is_file():
        lines = [line.split(":") for line in read_text(path).splitlines() if line.strip() and line[0] != "#"]
        colours = dict[int, str]()
        for name, channels, *_ in lines:
            red, green, blue = (int(part) for part in channels.split(","))
            colours[red * 65536 + green * 256 + blue] = name
        stated = [name for name, *_ in lines]
        of_palette = {index: colours[colour] for index in range(1, 255) if (colour := colour_of(index)) in colours}
        return _Classes(of_palette, colours, stated)
    names = list(request.classes or _NAMES)
    by_index = dict(enumerate(names, 1))
    return _Classes(by_index, {colour_of(index): name for index, name in by_index.items()}, names)


def _parts(root: Path) -> dict[str, str]:
    """Read which image is for training and which for validation."""
    lists = {part: root / "ImageSets" / "Segmentation" / f"{part}.txt" for part in ("train", "val", "test")}
    return {name: part for part, path in lists.items() if path.is_file() for name in read_text(path).split()}


def _as_indices(plane: IntArray) -> IntArray:
    """Replace the colours of VOC's table by their indices; other planes stay as they are."""
    table = np.array([colour_of(index) for index in range(256)])
    values, places = np.unique(plane, return_inverse=True)
    if values[-1] <= _VOID or not np.isin(values, table).all():
        return plane
    order = np.argsort(table)
    return order[np.searchsorted(table[order], values)][places].reshape(plane.shape)


def _objects(path: Path, plane: IntArray, classes: _Classes, request: Request) -> Iterator[LabelledObject]:
    """Yield the objects of an image, then a region to ignore of each of their classes."""
    kinds = path.parent.parent / "SegmentationClass" / path.name
    kind_plane = read_label_plane(kinds) if kinds.is_file() else None
    if kind_plane is None:
        request.tally.add("note", f"PNGs without a SegmentationClass, taken as {request.only_class}", path.name)
    elif kind_plane.shape != plane.shape:
        raise SegtrainError(f"{kinds}: has another size than {path}; export both again")
    plane = _as_indices(plane)
    void = plane == _VOID
    found = dict[str, None]()
    for value, mask in zip(*labels_of(np.where(void, 0, plane)), strict=True):
        name = request.only_class
        if kind_plane is not None:
            within = kind_plane[plane == value]
            counted = Counter(within[(within != 0) & (within != _VOID) & (within != colour_of(_VOID))].tolist())
            if not counted:
                request.tally.add("left out", "objects without a class", f"{path.name}, object {value}")
                continue
            name = classes.name(counted.most_common(1)[0][0])
        found[name] = None
        yield LabelledObject(name, f"{path.name}, object {value}", mask=mask)
    if void.any():
        for name in found:
            request.tally.add("note", "void pixels, written as regions to ignore", path.name)
            yield LabelledObject(name, f"{path.name}, void", mask=encode(void), iscrowd=True)
