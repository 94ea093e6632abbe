"""Readers of COCO json as other tools export it: CVAT, Label Studio, Roboflow, LIVECELL, and plain ones.

They become one file for each part of the data, with names of images that exist, classes by one numbering, and masks in
COCO's form.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from segtrain.convert.label_files import image_size, json_keys, label_files, left_out_if_broken, those_that_are
from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size
from segtrain.convert.picture_files import PictureFiles, picture_size, require_found
from segtrain.data.coco.file_forms import loads
from segtrain.data.coco.json_file import RawFile, read_coco_file
from segtrain.data.layouts import part_of_file
from segtrain.errors import SegtrainError
from segtrain.masks import Rle
from segtrain.masks.forms import usual_box, usual_form
from segtrain.masks.parse import SegmentationError, from_drawable, lacks_mask

_LISTS = {"images", "annotations", "categories"}
Entry = Mapping[str, Any]


class _Ids(msgspec.Struct):
    """Ids of an annotation."""

    image_id: Any = None
    category_id: Any = None


class _Annotation(NamedTuple):
    """An annotation that is not decoded yet: its class, its position in the list, and its text."""

    category: str
    place: int
    text: msgspec.Raw


_decoder = msgspec.json.Decoder(_Ids)


def read_coco(request: Request) -> Labels:
    """Read a COCO json, or a folder of several.

    Args:
        request: source, image folder and tally.

    Raises:
        SegtrainError: a file cannot be read, or no image is found.
    """
    paths = _files(request)
    pictures = PictureFiles.of(request)
    images, missing, names = list[LabelledImage](), list[str](), list[str]()
    for path in paths:
        file = read_coco_file(path)
        for form in file.forms:
            request.tally.add("mended", f"files with {form}", path.name)
        annotations = _by_image(file, request)
        categories = _categories(file, {each.category for own in annotations.values() for each in own}, request)
        names += categories.values()
        found = _images(file, annotations, categories, pictures, request)
        images += [image for _, image in found if image is not None]
        missing += [name for name, image in found if image is None]
    require_found(images, request, missing)
    return Labels(images, list(dict.fromkeys(names)))


def read_cvat_coco(request: Request) -> Labels:
    """Read CVAT's COCO export, whose brush masks carry crowd flags although they are objects.

    Args:
        request: source, image folder and tally.

    Raises:
        SegtrainError: a file cannot be read, or no image is found.
    """
    labels = read_coco(request)
    masks = [each for image in labels.images for each in image.objects if each.mask is not None]
    if not masks or not all(each.iscrowd for each in masks):
        return labels
    for each in masks:
        request.tally.add("mended", "brush masks with CVAT's crowd flag, taken as objects", each.origin)
    images = [replace(image, objects=list(map(_without_flag, image.objects))) for image in labels.images]
    return replace(labels, images=images)


def _without_flag(each: LabelledObject) -> LabelledObject:
    """Return a mask without its crowd flag; other objects stay as they are."""
    return replace(each, iscrowd=False) if each.mask is not None else each


def _files(request: Request) -> list[Path]:
    """List the COCO json files of a source; where some are named instances, those alone."""
    if request.source.is_file():
        return [request.source]
    found = those_that_are(label_files(request.source, ".json"), _is_coco, "COCO files", request.tally)
    instances = [path for path in found if "instances" in path.name.lower()]
    if not found:
        raise SegtrainError(f"{request.source}: holds no COCO json; give its path")
    for path in found if instances else ():
        if path not in instances:
            request.tally.add("left out", "json files beside those named instances", path.name)
    return instances or found


def _is_coco(path: Path) -> bool:
    return path.name == "_annotations.coco.json" or _LISTS.issubset(json_keys(path))


def _entry(text: msgspec.Raw) -> Entry:
    """Decode an entry of a list.

    Raises:
        ValueError: it is no json object.
    """
    try:
        entry = msgspec.json.decode(text)
    except (ValueError, RecursionError):  # such as numbers that are too large
        entry = loads(bytes(text).decode("utf-8", "replace"))
    if not isinstance(entry, dict):
        raise ValueError("it is no json object")
    return entry


def _key(value: Any) -> str:
    """Return an id as text, the same for 1, 1.0 and "1"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _entries(texts: Sequence[msgspec.Raw], what: str, path: Path, request: Request, first: int = 0) -> Iterator[Entry]:
    for place, text in enumerate(texts, first):
        with left_out_if_broken(request.tally, f"entries of {what}", f"{what}[{place}] of {path.name}"):
            yield _entry(text)


def _by_image(file: RawFile, request: Request) -> dict[str, list[_Annotation]]:
    """Return the annotations by their images."""
    found: dict[str, list[_Annotation]] = {}
    for place, text in enumerate(file.annotations):
        try:
            ids = _decoder.decode(text)
            image, category = ids.image_id, ids.category_id
        except (ValueError, RecursionError):  # numbers that are too large, or no object
            entry = next(_entries([text], "annotations", file.path, request, place), None)
            if entry is None:
                continue
            image, category = entry.get("image_id"), entry.get("category_id")
        found.setdefault(_key(image), []).append(_Annotation(_key(category), place, text))
    return found


def _categories(file: RawFile, used: Collection[str], request: Request) -> dict[str, str]:
    """Return the names of classes by their ids as text, without a root that is none itself."""
    entries = list(_entries(file.categories, "categories", file.path, request))
    parents = {str(entry.get("supercategory")) for entry in entries}
    found = {}
    for entry in entries:
        key, name = _key(entry.get("id")), str(entry.get("name"))
        root = entry.get("supercategory") in (None, "none", "") and name in parents
        if root and key not in used and len(entries) > 1:
            request.tally.add("left out", "a class that is the parent of the others", f"{name} in {file.path.name}")
        else:
            found[key] = name
    return found


def _images(
    file: RawFile,
    annotations: dict[str, list[_Annotation]],
    categories: Mapping[str, str],
    pictures: PictureFiles,
    request: Request,
) -> list[tuple[str, LabelledImage | None]]:
    """Return the images of a file by their names; None where there is no image file."""
    path, part = file.path, part_of_file(file.path.name)
    found: list[tuple[str, LabelledImage | None]] = []
    entries = list(_entries(file.images, "images", path, request))
    for entry in request.shown(f"reading {path.name}", entries):
        name = str(entry.get("file_name"))
        match = pictures.find(name, path, part=part)
        size = image_size(entry.get("height"), entry.get("width"))
        if size is None and match is not None:
            size = picture_size(match.path, request.tally)
        own = [
            decoded
            for each in annotations.pop(_key(entry.get("id")), [])
            for decoded in _entries([each.text], "annotations", path, request, each.place)
        ]
        if match is None or size is None:
            found.append((name, None))
        else:
            objects = list(_objects(own, categories, size, path, request))
            found.append((name, LabelledImage(match.path, size, objects, path, match.by_name, part)))
    for image, others in annotations.items():
        for _ in others:
            request.tally.add("left out", "annotations of images that are not listed", f"image {image} in {path.name}")
    return found


def _objects(
    entries: Sequence[Entry], categories: Mapping[str, str], size: Size, path: Path, request: Request
) -> Iterator[LabelledObject]:
    for entry in entries:
        origin = f"annotation {entry.get('id')} in {path.name}"
        name = categories.get(_key(entry.get("category_id")))
        if name is None:
            request.tally.add("left out", "annotations of a class that is not listed", origin)
            continue
        extra = entry.get("attributes")
        attributes = {key: value for key, value in extra.items() if value} if isinstance(extra, dict) else {}
        label = LabelledObject(name, origin, iscrowd=bool(entry.get("iscrowd")), attributes=attributes)
        box = usual_box(entry.get("bbox"))
        segmentation, form = usual_form(entry.get("segmentation"), size, box)
        if form is not None:
            request.tally.add("mended", f"masks as {form}", origin)
        if lacks_mask(segmentation):
            yield replace(label, box=box)
        elif isinstance(segmentation, list):
            yield replace(label, polygons=segmentation)
        elif (mask := _mask(segmentation, size, origin, request)) is not None:
            yield replace(label, mask=mask)


def _mask(segmentation: Any, size: Size, origin: str, request: Request) -> Rle | None:
    try:
        return from_drawable(segmentation, size)[0]
    except SegmentationError as error:
        request.tally.add("left out", "masks that cannot be read", f"{origin} ({error})")
        return None
