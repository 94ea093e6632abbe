"""Labels as COCO json."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

import segtrain
from segtrain.convert.labelled import LabelledImage, LabelledObject, Tally
from segtrain.data.coco.issues import ISSUE_TYPES
from segtrain.io import write_atomically
from segtrain.masks import Rle, area, boxes, from_polygons, union
from segtrain.masks.parse import drawable_polygons


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


def sort_categories(images: Sequence[LabelledImage], stated: Sequence[str] | None) -> list[str]:
    """List the names of all classes: in the source's order, others after them; sorted where it has none.

    Args:
        images: images with their objects.
        stated: names in the source's order; None if it has none.
    """
    used = {each.category for image in images for each in image.objects}
    order = list(dict.fromkeys(stated or ()))
    return order + sorted(used.difference(order))


@dataclass(frozen=True)
class Written:
    """Summary of a COCO json that was written.

    Attributes:
        path: path of the file.
        images: number of images.
        empty: number of images without objects.
        polygons: number of annotations written as polygons.
        masks: number of those written as run lengths.
        boxes: number of those with a box alone.
        counts: number of annotations by the name of their class.
    """

    path: Path
    images: int
    empty: int
    polygons: int
    masks: int
    boxes: int
    counts: Mapping[str, int]

    def __str__(self) -> str:
        """Return one line that says what was written."""
        total = self.polygons + self.masks + self.boxes
        forms = ((self.polygons, "as polygons"), (self.masks, "as run lengths"), (self.boxes, "with a box alone"))
        how = ", ".join(f"{count:,} {form}" for count, form in forms if count)
        classes = ", ".join(f"{name} {count:,}" for name, count in self.counts.items())
        empty = f" ({self.empty:,} without objects)" if self.empty else ""
        objects = f"{total:,} objects" + (f": {how}" if total else "")
        return f"written: {self.path}, {self.images:,} images{empty}, {objects}; classes: {classes}"


def write_coco(
    images: Sequence[LabelledImage], categories: Sequence[str], folder: Path, path: Path, tally: Tally
) -> Written:
    """Write labels as COCO json; the same labels give the same bytes.

    Args:
        images: images with their objects.
        categories: names of all classes; their ids count from 1.
        folder: folder that the names of the images are relative to.
        path: path of the file.
        tally: receives what cannot be drawn.

    Raises:
        OSError: the file cannot be written.
    """
    ids = {name: number for number, name in enumerate(categories, 1)}
    named = sorted(((_name(image, folder), image) for image in images), key=lambda pair: pair[0])
    entries: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    counts: defaultdict[str, int] = defaultdict(int, dict.fromkeys(categories, 0))
    forms: defaultdict[str, int] = defaultdict(int)
    for number, (name, image) in enumerate(named, 1):
        height, width = image.size
        entries["images"].append({"id": number, "file_name": name, "height": height, "width": width})
        drawn = drawn_objects(image, tally)
        forms["empty"] += not drawn
        for each, values in zip(drawn, _masks(drawn), strict=True):
            forms["box" if each.mask is None else "polygon" if each.polygons else "mask"] += 1
            counts[each.label.category] += 1
            entry = {"id": len(entries["annotations"]) + 1, "image_id": number, **values}
            entries["annotations"].append({**entry, "category_id": ids[each.label.category]})
    document = {
        "info": {"description": "Converted by segtrain", "version": segtrain.__version__},
        **entries,
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
    write_atomically(path, msgspec.json.encode(document))
    return Written(path, len(named), forms["empty"], forms["polygon"], forms["mask"], forms["box"], counts)


def _name(image: LabelledImage, folder: Path) -> str:
    return image.path.absolute().relative_to(folder).as_posix()


def _masks(drawn: Sequence[DrawnObject]) -> list[dict[str, Any]]:
    """Return the fields of each object's annotation that describe its mask."""
    masks = [each.mask for each in drawn if each.mask is not None]
    measured = iter(zip(area(masks).tolist(), boxes(masks).tolist(), strict=True))
    found = []
    for each in drawn:
        fields: dict[str, Any] = {"iscrowd": int(each.label.iscrowd)}
        if each.mask is None:
            box = list(map(float, each.label.box or ()))
            fields |= {"segmentation": [], "bbox": box, "area": box[2] * box[3]}
        else:
            pixels, (x0, y0, x1, y1) = next(measured)
            segmentation = list(each.polygons) or each.mask
            fields |= {"segmentation": segmentation, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": pixels}
        found.append(fields | ({"attributes": dict(each.label.attributes)} if each.label.attributes else {}))
    return found


def joined_images(images: Sequence[LabelledImage], tally: Tally) -> list[LabelledImage]:
    """Make one image of those that are the same file; objects that are the same are one, too.

    Args:
        images: images with their objects.
        tally: receives the images that several label files are about, and their repeated objects.
    """
    found: dict[Path, LabelledImage] = {}
    for image in images:
        if (path := image.path.absolute()) in found:
            tally.add("note", "images with several label files, whose objects are joined", image.path.name)
            known = {_content(each) for each in found[path].objects}
            new = [each for each in image.objects if _content(each) not in known]
            for each in image.objects:
                if _content(each) in known:
                    tally.add("left out", "objects that an earlier label file has, too", each.origin)
            image = replace(image, objects=[*found[path].objects, *new])
        found[path] = image
    return list(found.values())


def _content(each: LabelledObject) -> tuple[object, ...]:
    """Return what makes an object the same as another one of its image."""
    mask = None if each.mask is None else each.mask["counts"]
    return each.category, tuple(map(tuple, each.polygons)), mask, tuple(each.box or ())


def only_classes(images: Sequence[LabelledImage], classes: Sequence[str], tally: Tally) -> list[LabelledImage]:
    """Leave out the objects of other classes.

    Args:
        images: images with their objects.
        classes: names of the classes that stay.
        tally: receives the objects that are left out.
    """
    kept = []
    for image in images:
        for each in image.objects:
            if each.category not in classes:
                tally.add("left out", f"objects of class {each.category}, which --classes does not name", each.origin)
        own = [each for each in image.objects if each.category in classes]
        kept.append(replace(image, objects=own))
    return kept
