"""Labels made ready to be written: images of one file joined, classes chosen, parts divided, objects drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segtrain.convert.labelled import LabelledImage, LabelledObject, Labels, Request, Tally
from segtrain.data.coco.issues import ISSUE_TYPES
from segtrain.data.layouts import part_above, part_of
from segtrain.errors import SegtrainError
from segtrain.io import common_folder
from segtrain.masks import Rle, area, from_polygons, union
from segtrain.masks.parse import drawable_polygons

_OTHERS = "others"  # part of images that neither the source nor a folder puts into one
_PARTS = ("train", "val", "test", _OTHERS)


def settled_images(images: Sequence[LabelledImage], tally: Tally) -> list[LabelledImage]:
    """Leave out images that were found by name alone, and that other labels are about.

    Args:
        images: images with their objects.
        tally: receives the images that are left out.

    Returns:
        The other images; where the labels hold the image file itself, that file takes the place of the one found.

    Raises:
        SegtrainError: labels of several folders may be about one image.
    """
    # Folders of the labels that state the path of an image, or of another image in its folder.
    owners: dict[Path, set[Path]] = {}
    for image in images:
        path, folder = image.path.absolute(), image.labels.absolute().parent
        for place in () if image.by_name else (path, path.parent):
            owners.setdefault(place, set()).add(folder)
    kept, claims = list[LabelledImage](), dict[Path, Path]()
    for image in images:
        if not image.by_name:
            kept.append(image)
            continue
        path, folder = image.path.absolute(), image.labels.absolute().parent
        own = folder in (owners.get(path) or owners.get(path.parent) or {folder})
        other = claims.setdefault(path, image.labels)
        if own and other.parent == image.labels.parent:
            kept.append(replace(image, held=None))
        elif image.held is not None:
            kept.append(replace(image, path=image.held.path, by_name=False))
        elif not own:
            reason = "images and their objects: the file of this name is another folder's"
            tally.add("left out", reason, f"{image.path.name} of {image.labels}")
        else:
            raise SegtrainError(
                f"{other} and {image.labels} may both be about {image.path}; give the folder of the images with "
                "--images DIR, or convert the folders of labels one by one"
            )
    return kept


def joined_images(images: Sequence[LabelledImage], tally: Tally) -> list[LabelledImage]:
    """Make one image of those of one part that are the same file; objects that are the same are one, too.

    Args:
        images: images with their objects, and their parts in `split`.
        tally: receives the images that several label files are about, and their repeated objects.

    Raises:
        SegtrainError: label files state different sizes of an image, or hold different images of one name.
    """
    same: dict[tuple[str | None, Path], list[LabelledImage]] = {}
    for image in images:
        same.setdefault((image.split, image.path.absolute()), []).append(image)
    return [_joined(own, tally) if len(own) > 1 else own[0] for own in same.values()]


def _joined(images: Sequence[LabelledImage], tally: Tally) -> LabelledImage:
    first, known, objects = images[0], set[tuple[object, ...]](), list[LabelledObject]()
    for number, image in enumerate(images):
        if image.size != first.size:
            sizes = " and ".join(f"{h}x{w} in {each.labels}" for each in (first, image) for h, w in [each.size])
            raise SegtrainError(
                f"{image.path}: has {sizes} (height x width); correct the labels, or convert one of them"
            )
        if image.held is not None and first.held is not None and image.held.read() != first.held.read():
            raise SegtrainError(
                f"{first.labels} and {image.labels} hold different images called {image.path.name}; rename one of them"
            )
        if number:
            tally.add("note", "images that are labelled several times, whose objects are joined", image.path.name)
        contents = list(map(_content, image.objects))
        for each, content in zip(image.objects, contents, strict=True):
            if content in known:
                tally.add("left out", "objects that an earlier label file has, too", each.origin)
            else:  # a group holds within one label file
                objects.append(each if each.group is None else replace(each, group=(number, each.group)))
        known.update(contents)
    return replace(first, objects=objects)


def _content(each: LabelledObject) -> tuple[object, ...]:
    """Return what makes an object the same as another one of its image."""
    mask = None if each.mask is None else each.mask["counts"]
    return each.category, tuple(map(tuple, each.polygons)), mask, tuple(each.box or ()), each.iscrowd


def with_parts(images: Sequence[LabelledImage], request: Request) -> list[LabelledImage]:
    """State in `split` of each image the part of the data that it is in: "train", "val", "test" or "others".

    The source says so, or else the folders of the image file, or those of the label file.

    Args:
        images: images, at least one.
        request: the request.
    """
    folder, base = common_folder([image.path for image in images]), request.folder.absolute()
    found = []
    for image in images:
        part = part_of(image.split) if image.split else part_above(image.path.absolute(), folder)
        if part is None and (labels := image.labels.absolute()).is_relative_to(base):
            part = part_above(labels, base)
        found.append(replace(image, split=part or _OTHERS))
    return found


def divided(images: Sequence[LabelledImage]) -> dict[str, list[LabelledImage]]:
    """Divide images by their parts.

    Args:
        images: images with their parts in `split`.

    Returns:
        Images by the name of the part; all under "" where there is one part alone.
    """
    parts = {part: [image for image in images if image.split == part] for part in _PARTS}
    parts = {part: own for part, own in parts.items() if own}
    return parts if len(parts) > 1 else {"": list(images)}


def chosen_classes(labels: Labels, request: Request) -> tuple[list[LabelledImage], list[str]]:
    """Keep the classes that the user named, in the user's order.

    Args:
        labels: labels of the source.
        request: the request.

    Returns:
        The images with their objects of these classes, and the names of all classes: without a choice in the source's
        order, others after them; sorted where it has none.

    Raises:
        SegtrainError: the source has no class of one of the names.
    """
    order = list(dict.fromkeys(labels.categories or ()))
    used = {each.category for image in labels.images for each in image.objects}
    names = order + sorted(used.difference(order))
    if request.classes is None:
        return list(labels.images), names
    unknown = [name for name in request.classes if name not in {*names, *labels.unused}]
    if unknown and names:
        has = ", ".join([*names, *labels.unused])
        raise SegtrainError(f"--classes: {request.source} has no class {unknown[0]}; it has {has}")
    wanted = frozenset(request.classes)
    kept = []
    for image in labels.images:
        own = [each for each in image.objects if each.category in wanted]
        for each in image.objects if len(own) < len(image.objects) else ():
            if each.category not in wanted:
                reason = f"objects of class {each.category}, which --classes does not name"
                request.tally.add("left out", reason, each.origin)
        kept.append(replace(image, objects=own))
    return kept, list(dict.fromkeys(request.classes))


@dataclass(frozen=True)
class DrawnObject:
    """An object whose mask is known.

    Attributes:
        label: the object.
        polygons: outlines that say all of its mask; none where run lengths are needed.
        mask: its mask; None for a box without one.
    """

    label: LabelledObject
    polygons: Sequence[list[float]]
    mask: Rle | None


def drawn_objects(image: LabelledImage, tally: Tally) -> list[DrawnObject]:
    """Draw the objects of an image; parts of a group become one object.

    Args:
        image: image with its objects.
        tally: receives polygons that cannot be drawn, and objects without a pixel.
    """
    found = []
    for parts in _grouped(image.objects):
        first = parts[0]
        if len(parts) > 1:
            tally.add("note", "objects of several parts, by their group", f"{first.origin}: {len(parts)} parts")
        outlines = [polygon for part in parts for polygon in part.polygons]
        polygons, errors = drawable_polygons(outlines, image.size)
        for error in errors:
            tally.add("left out", ISSUE_TYPES[error.kind].title, f"{first.origin} ({error})")
        masks = [part.mask for part in parts if part.mask is not None]
        if not polygons and not masks:
            if first.box is not None and not errors:
                found.append(DrawnObject(first, [], None))
            else:
                tally.add("left out", "objects without an outline", first.origin)
            continue
        mask = from_polygons(polygons, image.size) if polygons else masks[0]
        if masks:
            mask = union([mask, *masks], image.size)
        if not area([mask])[0]:
            tally.add("left out", "objects without a pixel inside their image", first.origin)
            continue
        found.append(DrawnObject(first, [] if masks else polygons, mask))
    return found


def _grouped(objects: Sequence[LabelledObject]) -> Iterator[list[LabelledObject]]:
    """Yield objects, those of one group and category together, in the order of their first parts."""
    groups: dict[object, list[LabelledObject]] = {}
    for place, each in enumerate(objects):
        key = place if each.group is None else (each.category, each.group, each.iscrowd)
        groups.setdefault(key, []).append(each)
    yield from groups.values()
