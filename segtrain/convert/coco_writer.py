"""Labels as COCO json."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import segtrain
from segtrain.console import counted
from segtrain.convert.labelled import LabelledImage, Tally
from segtrain.convert.preparation import DrawnObject, drawn_objects
from segtrain.io import write_atomically
from segtrain.masks import area, boxes


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
        objects = counted(total, "object") + (f": {how}" if total else "")
        return f"written: {self.path}, {counted(self.images, 'image')}{empty}, {objects}; classes: {classes}"


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
