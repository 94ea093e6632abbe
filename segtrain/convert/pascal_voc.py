"""Reader of Pascal VOC's PNGs: objects by number in ``SegmentationObject``, classes in ``SegmentationClass``.

The mode of a PNG says whether its pixels are indices of a palette or colours. A ``labelmap.txt``, as CVAT writes it,
names classes by colours, and a ``class_names.txt``, as labelme writes it, by indices; without one, names and colours
are those of VOC. Index 255, drawn around objects and over difficult ones, is void: a region to ignore.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from segtrain.arrays import BoolArray, IntArray
from segtrain.convert.label_files import read_text
from segtrain.convert.label_maps import labels_of
from segtrain.convert.labelled import NO_CLASS, LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.picture_files import LabelPlane, PictureFiles, read_label_plane, require_found
from segtrain.data.foreign.source_files import is_file, source_files
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
        by_index: names by index, from 1.
        by_colour: names by colour.
    """

    by_index: Mapping[int, str]
    by_colour: Mapping[int, str]

    def name(self, value: int, plane: LabelPlane) -> str:
        """Return the name of a value; a name made of it if it has none."""
        if plane.colours:
            return self.by_colour.get(value) or f"class_{value:06x}"
        colours = [plane.palette[value] if value < len(plane.palette) else 0, colour_of(value)]
        named = (self.by_colour[colour] for colour in colours if colour in self.by_colour)
        return self.by_index.get(value) or next(named, f"class_{value}")


def read_pascal_voc(request: Request) -> Labels:
    """Read a folder with ``SegmentationObject``.

    Args:
        request: source, image folder, names of the classes and tally.

    Raises:
        SegtrainError: a PNG cannot be read, two of one image differ in size, or no image is found.
    """
    source = request.source if request.source.name != "SegmentationObject" else request.source.parent
    objects_of: dict[Path, list[Path]] = {}
    for name in source_files(source, ".png") if source.is_dir() else ():
        parts = PurePosixPath(name).parts
        if "SegmentationObject" in parts[:-1]:
            place = parts.index("SegmentationObject")
            objects_of.setdefault(source.joinpath(*parts[:place]), []).append(source / name)
    if not objects_of:
        raise SegtrainError(f"{source}: has no folder SegmentationObject; without it, classes have no single objects")
    images, missing, order = list[LabelledImage](), list[str](), list[str]()
    for root, paths in objects_of.items():
        classes, sets = _classes(root), _sets(root)
        order += dict.fromkeys([*classes.by_index.values(), *classes.by_colour.values()])
        kinds = {path: root / "SegmentationClass" / path.relative_to(root / "SegmentationObject") for path in paths}
        unnamed = NO_CLASS if any(map(is_file, kinds.values())) else request.only_class
        if request.images is None:
            pictures = PictureFiles(root / "JPEGImages", root / "SegmentationObject")
        else:
            pictures = PictureFiles.of(request)
        for path in request.shown("reading Pascal VOC's masks", paths):
            name = path.relative_to(root / "SegmentationObject").with_suffix("").as_posix()
            match = pictures.find(name, path, [pictures.folder], part=sets.get(name))
            if match is None:
                missing.append(name)
                continue
            plane = read_label_plane(path)
            objects = list(_objects(path, plane, kinds[path], classes, unnamed, request))
            height, width = plane.values.shape
            images.append(LabelledImage(match.path, (height, width), objects, path, match.by_name, sets.get(name)))
    require_found(images, request, missing)
    used = {each.category for image in images for each in image.objects}
    names = list(dict.fromkeys(order))
    return Labels(images, [name for name in names if name in used], [name for name in names if name not in used])


def _classes(root: Path) -> _Classes:
    path = root / "labelmap.txt"
    if path.is_file():
        return _Classes({}, {colour: name for colour, name in _colours(path) if colour})  # black is the background
    path = root / "class_names.txt"
    names = read_text(path).splitlines() if path.is_file() else list(_NAMES)
    names = names[1:] if names and "background" in names[0].lower() else names
    by_index = {index: name.strip() for index, name in enumerate(names, 1) if name.strip()}
    return _Classes(by_index, {colour_of(index): name for index, name in by_index.items()})


def _colours(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the colours of a ``labelmap.txt`` with their names."""
    for place, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(":")
            try:
                channels = [int(part) for part in rest.split(":")[0].split(",")]
                if len(channels) != 3 or not all(0 <= channel <= 255 for channel in channels):
                    raise ValueError
            except ValueError:
                raise SegtrainError(
                    f"{path}: line {place} ({line[:40]}) is not as in cell:128,0,0::, a name and red,green,blue; "
                    "correct it"
                ) from None
            yield channels[0] * 65536 + channels[1] * 256 + channels[2], name


def _sets(root: Path) -> dict[str, str]:
    """Read which image is for training and which for validation."""
    lists = {part: root / "ImageSets" / "Segmentation" / f"{part}.txt" for part in ("train", "val", "test")}
    return {name: part for part, path in lists.items() if path.is_file() for name in read_text(path).split()}


def _without_void(plane: LabelPlane) -> tuple[IntArray, BoolArray]:
    """Return numbers of objects, in the order of VOC's table if they are its colours, and where there is void."""
    void = plane.values == (colour_of(_VOID) if plane.colours else _VOID)
    numbers = np.where(void, 0, plane.values)
    table = np.array([colour_of(index) for index in range(256)])
    values, places = np.unique(numbers, return_inverse=True)
    if plane.colours and np.isin(values, table).all():
        order = np.argsort(table)
        numbers = order[np.searchsorted(table[order], values)][places].reshape(numbers.shape)
    return numbers, void


def _objects(
    path: Path, plane: LabelPlane, kinds: Path, classes: _Classes, unnamed: str, request: Request
) -> Iterator[LabelledObject]:
    """Yield the objects of an image, then a region to ignore of each of their classes."""
    numbers, void = _without_void(plane)
    if is_file(kinds):
        names = _names_of(path, numbers, kinds, classes)
    else:
        names = dict.fromkeys(np.unique(numbers).tolist(), unnamed)
        request.tally.add("note", f"PNGs without a SegmentationClass, taken as {unnamed}", path.name)
    found = dict[str, None]()
    for value, mask in zip(*labels_of(numbers), strict=True):
        name = names.get(value)
        if name is None:
            request.tally.add("left out", "objects without a class", f"{path.name}, object {value}")
            continue
        found[name] = None
        yield LabelledObject(name, f"{path.name}, object {value}", mask=mask)
    if void.any():
        for name in found:
            request.tally.add("note", "void pixels, written as regions to ignore", path.name)
            yield LabelledObject(name, f"{path.name}, void", mask=encode(void), iscrowd=True)


def _names_of(path: Path, objects: IntArray, kinds: Path, classes: _Classes) -> dict[int, str]:
    """Return the class that most pixels of each object have."""
    plane = read_label_plane(kinds)
    if plane.values.shape != objects.shape:
        raise SegtrainError(f"{kinds}: has another size than {path}; export both again")
    named = (objects != 0) & (plane.values != 0) & (plane.values != (colour_of(_VOID) if plane.colours else _VOID))
    pairs, counts = np.unique(np.stack([objects[named], plane.values[named]]), axis=1, return_counts=True)
    found: dict[int, str] = {}
    for place in np.argsort(counts, kind="stable").tolist():  # the most frequent one of each object is the last
        found[int(pairs[0, place])] = classes.name(int(pairs[1, place]), plane)
    return found
