"""Reader of YOLO's polygons: a text for each image, with a line for each object.

A line is the number of the class, then x and y of each point as fractions of width and height; four numbers are a box
(centre, width, height) without a mask, and where ``data.yaml`` states ``kpt_shape``, keypoints follow the box.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segtrain.convert.label_files import left_out_if_broken, number, read_text
from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size
from segtrain.convert.picture_files import PictureFiles, picture_size, require_found
from segtrain.convert.yolo_layout import (
    LabelTexts,
    class_names,
    images_of_parts,
    names_parts,
    read_settings,
    settings_file,
)
from segtrain.errors import SegtrainError

_FARTHEST = 0.5  # share of the image by which a point may lie outside; beyond, the values are no fractions


def read_yolo(request: Request) -> Labels:
    """Read the labels that a ``data.yaml`` names, or those of a folder without one.

    Args:
        request: source, image folder, names of the classes and tally.

    Raises:
        SegtrainError: a file cannot be read, a class has no name among those given, or no image is found.
    """
    path = settings_file(request.source)
    settings = {} if path is None else read_settings(path)
    base, found = request.folder, list[tuple[Path, str | None]]()
    pictures = PictureFiles.of(request)
    led = request.images is None and names_parts(settings)
    if path is not None and led:
        found += images_of_parts(path, settings, pictures, request.tally)
    else:
        base, found = pictures.folder, [(pictures.folder / name, None) for name in pictures.names]
    if not found:
        raise SegtrainError(f"{request.source}: leads to no image; give the folder of the images with --images DIR")
    names = class_names(settings, path, request.folder)
    lines = _Lines(names or dict(enumerate(request.classes or ())), bool(names), "kpt_shape" in settings, request)
    images, texts = list[LabelledImage](), LabelTexts(request.folder, anywhere=led)
    for picture, part in request.shown("reading YOLO's labels", found):
        text = texts.find(picture, base, part)
        if text is None:
            request.tally.add("note", "images without a label file, taken as images without objects", picture.name)
        size = picture_size(picture, request.tally)
        if size is not None:
            objects = [] if text is None else list(lines.read(text, size))
            images.append(LabelledImage(picture, size, objects, text or request.source, split=part))
    for text in texts.unused():
        request.tally.add("left out", "label files without an image", text.name)
    if not texts.used:
        raise SegtrainError(
            f"{request.source}: holds no label file of an image in {base}; texts have the names of the images"
        )
    require_found(images, request, [])
    return Labels(images, [lines.names[kind] for kind in sorted(lines.names)])


@dataclass
class _Lines:
    """Reader of lines.

    Attributes:
        names: names of classes by their numbers; numbers without one are added.
        stated: True if the source names its classes, False if the user does, if anyone.
        keypoints: True if keypoints follow the box of an object.
        request: the request.
    """

    names: dict[int, str]
    stated: bool
    keypoints: bool
    request: Request

    def read(self, path: Path, size: Size) -> Iterator[LabelledObject]:
        """Yield the objects of a text."""
        for place, line in enumerate(read_text(path).splitlines(), 1):
            if words := line.split():
                origin = f"{path.name}, line {place}"
                with left_out_if_broken(self.request.tally, "lines", origin):
                    kind, values = self._numbers(words)
                    yield self._object(self._name(kind, path, place), values, origin, size)

    def _numbers(self, words: list[str]) -> tuple[int, list[float]]:
        kind, *values = map(number, words)
        if not kind.is_integer() or kind < 0:
            raise ValueError(f"{words[0]} is no number of a class")
        if self.keypoints:
            values = values[:4]
        if len(values) < 4 or len(values) % 2:
            raise ValueError(f"{len(values)} numbers after the class are neither points nor a box")
        if not all(-_FARTHEST <= value <= 1 + _FARTHEST for value in values):
            raise ValueError("its values are no fractions of width and height")
        return int(kind), values

    def _name(self, kind: int, path: Path, place: int) -> str:
        if kind not in self.names:
            if self.request.classes and not self.stated:
                raise SegtrainError(
                    f"{path}: line {place} has class {kind}, and --classes names {len(self.names)} classes, from 0; "
                    "name all of them"
                )
            self.names[kind] = f"class_{kind}"
            remedy = "" if self.stated else "; give names with --classes"
            self.request.tally.add("note", f"class numbers without a name{remedy}", f"{kind}")
        return self.names[kind]

    def _object(self, name: str, values: list[float], origin: str, size: Size) -> LabelledObject:
        height, width = size
        scaled = [value * (height if place % 2 else width) for place, value in enumerate(values)]
        if len(values) > 4:
            return LabelledObject(name, origin, polygons=[scaled])
        x, y, w, h = scaled
        what = "keypoints; their boxes stay" if self.keypoints else "boxes without a mask"
        self.request.tally.add("note", f"{what}; data.boxes_without_masks says what they are", origin)
        return LabelledObject(name, origin, box=[x - w / 2, y - h / 2, w, h])
