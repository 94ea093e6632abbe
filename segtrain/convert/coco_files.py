"""Readers of COCO json as other tools export it: CVAT, Label Studio, Roboflow, LIVECELL, and plain ones.

They become one file for each part of the data, with names of images that exist, classes by one numbering, and masks in
COCO's form.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segtrain.convert.label_files import image_size, objects_of
from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request
from segtrain.convert.outlines import Size
from segtrain.convert.picture_files import PictureFiles, picture_size, require_found
from segtrain.data.coco.json_file import read_coco_file, read_document
from segtrain.data.foreign.glance import Glance
from segtrain.data.layouts import part_of, part_of_file
from segtrain.errors import SegtrainError
from segtrain.masks import Rle
from segtrain.masks.forms import usual_box, usual_form
from segtrain.masks.parse import SegmentationError, from_drawable, lacks_mask

_LISTS = {"images", "annotations", "categories"}
Entry = Mapping[str, Any]


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
        read_coco_file(path)  # refuses what is no COCO json, in words
        document, forms = read_document(path)
        for form in forms:
            request.tally.add("mended", f"files with {form}", path.name)
        categories = _categories(document, path, request)
        names += categories.values()
        found = _images(document, categories, path, pictures, request)
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
    objects = [each for image in labels.images for each in image.objects]
    masks = [each for each in objects if each.mask is not None]
    if not all(each.iscrowd for each in masks):
        return labels
    for each in masks:
        request.tally.add("mended", "brush masks with CVAT's crowd flag, taken as objects", each.origin)
    return replace(
        labels,
        images=[
            replace(image, objects=[replace(each, iscrowd=False) for each in image.objects]) for image in labels.images
        ],
    )


def _files(request: Request) -> list[Path]:
    if request.source.is_file():
        return [request.source]
    found = Glance(request.source)
    names = [name for name in found.ending(".json") if set(found.keys(name)) >= _LISTS]
    instances = [name for name in names if "instances" in Path(name).name.lower()]
    if not names:
        raise SegtrainError(f"{request.source}: holds no COCO json; give its path")
    for name in set(names).difference(instances or names):
        request.tally.add("left out", "json files beside those named instances", name)
    return [found.place(name) for name in instances or names]


def _categories(document: Entry, path: Path, request: Request) -> dict[str, str]:
    """Return the names of classes by their ids as text, without a root that is none itself."""
    entries = [entry for _, entry in objects_of(document["categories"])]
    used = {str(entry.get("category_id")) for _, entry in objects_of(document["annotations"])}
    parents = {entry.get("supercategory") for entry in entries}
    found = {}
    for entry in entries:
        key, name = str(entry.get("id")), str(entry.get("name"))
        root = entry.get("supercategory") in (None, "none", "") and name in parents
        if root and key not in used and len(entries) > 1:
            request.tally.add("left out", "a class that is the parent of the others", f"{name} in {path.name}")
        else:
            found[key] = name
    return found


def _images(
    document: Entry, categories: Mapping[str, str], path: Path, pictures: PictureFiles, request: Request
) -> list[tuple[str, LabelledImage | None]]:
    """Return the images of a file by their names; None where there is no image file."""
    annotations: dict[str, list[Entry]] = {}
    for _, entry in objects_of(document["annotations"]):
        annotations.setdefault(str(entry.get("image_id")), []).append(entry)
    part = part_of_file(path.name)
    found: list[tuple[str, LabelledImage | None]] = []
    for _, entry in request.shown(f"reading {path.name}", list(objects_of(document["images"]))):
        name = str(entry.get("file_name"))
        picture = _picture(name, path, part, pictures)
        size = image_size(entry.get("height"), entry.get("width"))
        if size is None and picture is not None:
            size = picture_size(picture, request.tally)
        own = annotations.pop(str(entry.get("id")), [])
        if picture is None or size is None:
            found.append((name, None))
        else:
            objects = list(_objects(own, categories, size, path, request))
            found.append((name, LabelledImage(picture, size, objects, part)))
    for image, own in annotations.items():
        for _ in own:
            request.tally.add("left out", "annotations of images that are not listed", f"image {image} in {path.name}")
    return found


def _picture(name: str, path: Path, part: str | None, pictures: PictureFiles) -> Path | None:
    """Find an image: beside the json, else in the folder of its part, else by its name alone."""
    beside = pictures.find(name, path.parent)
    if beside is not None or part is None:
        return beside
    own = [entry for entry in pictures.names if any(part_of(step) == part for step in Path(entry).parts[:-1])]
    ending = "/" + name.replace("\\", "/")
    fits = [entry for entry in own if f"/{entry}".endswith(ending)]
    return pictures.folder / fits[0] if len(fits) == 1 else None


def _objects(
    entries: Sequence[Entry], categories: Mapping[str, str], size: Size, path: Path, request: Request
) -> Iterator[LabelledObject]:
    for entry in entries:
        origin = f"annotation {entry.get('id')} in {path.name}"
        name = categories.get(str(entry.get("category_id")))
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
