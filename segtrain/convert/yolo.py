"""Reader of YOLO's polygons: a text for each image, with a line for each object.

A line is the number of the class, then x and y of each point as fractions of width and height; four numbers are a box
(centre, width, height) without a mask. ``data.yaml`` names the classes and the folders of the parts; labels of
``images/a.png`` are in ``labels/a.txt``.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from segtrain.convert.label_files import number, read_text
from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size
from segtrain.convert.picture_files import PictureFiles, picture_size, require_found
from segtrain.errors import SegtrainError
from segtrain.io import IMAGE_EXTENSIONS

_PARTS = ("train", "val", "valid", "test")
_FARTHEST = 0.5  # share of the image by which a point may lie outside; beyond, the values are no fractions


def read_yolo(request: Request) -> Labels:
    """Read the labels that a ``data.yaml`` names, or those of a folder without one.

    Args:
        request: source, image folder, names of the classes and tally.

    Raises:
        SegtrainError: a file cannot be read, or no image is found.
    """
    path = _settings_file(request.source)
    settings = {} if path is None else _settings(path)
    names = _names(settings.get("names"), request)
    found: Sequence[tuple[Path, str | None]] = []
    if path is not None and request.images is None:
        found = [(picture, part) for part in _PARTS for picture in _of_part(path, settings, part)]
    if not found:
        pictures = PictureFiles.of(request)
        found = [(pictures.folder / name, None) for name in pictures.names]
    images = []
    used = set[Path]()
    for picture, part in request.shown("reading YOLO's labels", found):
        text = _text_of(picture, request.folder)
        if text is None:
            request.tally.add("note", "images without a label file, taken as images without objects", picture.name)
        else:
            used.add(text)
        size = picture_size(picture, request.tally)
        if size is not None:
            objects = [] if text is None else list(_objects(text, size, names, request))
            images.append(LabelledImage(picture, size, objects, part))
    if used:
        for text in sorted({other for folder in {text.parent for text in used} for other in folder.glob("*.txt")}):
            if text not in used and not text.stem.startswith("classes"):
                request.tally.add("left out", "label files without an image", text.name)
    require_found([image for image in images if used], request, [] if used else ["none of them has a label file"])
    return Labels(images, list(names.values()))


def _settings_file(source: Path) -> Path | None:
    if source.is_file():
        return source if source.suffix.lower() in (".yaml", ".yml") else None
    found = [source / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (source / name).is_file()]
    found += sorted(path for path in source.glob("*.y*ml") if "names:" in read_text(path))
    return found[0] if found else None


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise SegtrainError(f"{path}: not a YAML file ({' '.join(str(error).split())}); correct it") from error
    if not isinstance(settings, dict):
        raise SegtrainError(f"{path}: no YAML file of keys; it has to name the classes as names: [...]")
    return settings


def _names(value: Any, request: Request) -> dict[int, str]:
    """Return the names of classes by their numbers."""
    if isinstance(value, Mapping):
        return {int(number(key)): str(name) for key, name in sorted(value.items(), key=lambda item: number(item[0]))}
    if isinstance(value, list):
        return dict(enumerate(map(str, value)))
    if request.classes:
        return dict(enumerate(request.classes))
    listed = next((path for path in sorted(request.folder.rglob("classes.txt"))), None)
    return dict(enumerate(read_text(listed).split("\n"))) if listed is not None else {}


def _of_part(path: Path, settings: Mapping[str, Any], part: str) -> Iterator[Path]:
    """Yield the images of a part, which is a folder, a list of paths, or several of these."""
    stated = settings.get(part) or []
    for entry in stated if isinstance(stated, list) else [stated]:
        place = _existing(path.parent, str(settings.get("path") or "."), str(entry))
        if place is None:
            raise SegtrainError(f"{path}: {part} names {entry}, which does not exist; correct the path in the file")
        if place.is_file():
            for line in read_text(place).split():
                if (listed := _existing(place.parent, str(settings.get("path") or "."), line)) is not None:
                    yield listed
        else:
            yield from sorted(file for file in place.rglob("*") if file.suffix.lower() in IMAGE_EXTENSIONS)


def _existing(folder: Path, base: str, entry: str) -> Path | None:
    """Return the place that a path of a ``data.yaml`` means; Roboflow writes ``../train`` for ``train``."""
    inner = entry.replace("\\", "/")
    shorter = inner.removeprefix("../").removeprefix("./")
    tried = [folder / base / inner, folder / inner, folder / base / shorter, folder / shorter]
    return next((path.resolve() for path in tried if path.exists()), None)


def _text_of(picture: Path, folder: Path) -> Path | None:
    """Find the label file of an image: in ``labels`` beside ``images``, beside it, or in the source's folders."""
    parts = list(picture.parts)
    places = [place for place, part in enumerate(parts) if part.lower() == "images"]
    tried = [Path(*parts[:place], "labels", *parts[place + 1 :]).with_suffix(".txt") for place in reversed(places)]
    name = f"{picture.stem}.txt"
    tried += [picture.with_suffix(".txt"), folder / name, folder / "labels" / name]
    return next((path for path in tried if path.is_file()), None)


def _objects(path: Path, size: Size, names: dict[int, str], request: Request) -> Iterator[LabelledObject]:
    height, width = size
    for place, line in enumerate(read_text(path).splitlines(), 1):
        if not (words := line.split()):
            continue
        origin = f"{path.name}, line {place}"
        try:
            kind, *values = map(number, words)
            if not kind.is_integer() or kind < 0:
                raise ValueError(f"{words[0]} is no number of a class")
            if len(values) < 4 or len(values) % 2:
                raise ValueError(f"{len(values)} numbers after the class are neither points nor a box")
            if not all(-_FARTHEST <= value <= 1 + _FARTHEST for value in values):
                raise ValueError("its values are no fractions of width and height")
        except ValueError as error:
            request.tally.add("left out", "lines that are neither polygons nor boxes", f"{origin} ({error})")
            continue
        if int(kind) not in names:
            names[int(kind)] = f"class_{int(kind)}"
            request.tally.add("note", "class numbers without a name; give names with --classes", f"{int(kind)}")
        scaled = [value * (height if place % 2 else width) for place, value in enumerate(values)]
        if len(values) == 4:
            x, y, w, h = scaled
            request.tally.add("note", "boxes without a mask; data.boxes_without_masks says what they are", origin)
            yield LabelledObject(names[int(kind)], origin, box=[x - w / 2, y - h / 2, w, h])
        else:
            yield LabelledObject(names[int(kind)], origin, polygons=[scaled])
