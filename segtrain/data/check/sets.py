"""What can be said of an index as a whole, without its images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segtrain.data.findings import Findings
from segtrain.data.index.coco import CocoIndex
from segtrain.io import printable

# Gupta et al., LVIS, 2019: categories in 1 to 10 images are rare.
_RARE = 10


@dataclass(frozen=True)
class CategoryCount:
    """A row of the category histogram.

    Attributes:
        id: of the category.
        name: likewise.
        objects: true instances, crowds left out.
        images: images that hold one of them.
    """

    id: int
    name: str
    objects: int
    images: int


def category_histogram(index: CocoIndex) -> list[CategoryCount]:
    """Objects and images of each category, in the index's order."""
    counts, many = index.category_counts(), len(index.categories)
    objects = np.bincount(counts.labels - 1, counts.objects, minlength=many).astype(np.int64)
    images = np.bincount(counts.labels - 1, minlength=many)
    return [
        CategoryCount(category.id, category.name, int(objects[place]), int(images[place]))
        for place, category in enumerate(index.categories)
    ]


def check_set(index: CocoIndex, max_dets: int) -> Findings:
    """Notes on categories and on images with none or too many objects.

    Args:
        index: to be looked at.
        max_dets: detections per image that the model returns and AP uses.
    """
    findings = Findings()
    rows = index.annotations.rows
    annotated = np.bincount(rows["image"][rows["image"] >= 0], minlength=len(index.images))
    empty = np.flatnonzero(annotated == 0)
    findings.extend("images-empty", empty, lambda place: _image(index, place))
    objects = index.objects_per_image
    over = np.flatnonzero(objects > max_dets)
    fullest = over[np.argsort(-objects[over], kind="stable")]
    findings.extend("over-max-dets", fullest, lambda place: (
        f"{_image(index, place)}: {objects[place]} objects, max_dets is {max_dets}"
    ))  # fmt: skip
    counts = index.counts
    if not counts.used:
        crowds = f"{counts.crowd} crowds, {counts.dropped} left out"
        findings.add("no-objects", f"{index.path.name}: {_many(counts.annotations, 'annotation')}, {crowds}")
    histogram = category_histogram(index)
    unused = [category for category in histogram if not category.objects]
    findings.extend("category-unused", unused, lambda category: f"category {category.id} ({printable(category.name)})")
    rare = sorted((c for c in histogram if 0 < c.images <= _RARE), key=lambda category: category.images)
    findings.extend("category-rare", rare, lambda c: (
        f"category {c.id} ({printable(c.name)}): {_many(c.objects, 'object')} in {_many(c.images, 'image')}"
    ))  # fmt: skip
    return findings


def check_visibility(index: CocoIndex, factors: Sequence[float], stride: int) -> Findings:
    """Note the objects that cover less than one cell of the network's finest feature map.

    Args:
        index: to be looked at.
        factors: how much the network enlarges each image.
        stride: pixels of its input that one such cell covers, per side.
    """
    findings = Findings()
    rows = index.annotations.rows
    rows = rows[rows["usable"] & ~rows["crowd"]]
    sides: npt.NDArray[np.float64] = np.sqrt(rows["area"]) * np.asarray(factors)[rows["image"]]
    small = np.flatnonzero(sides < stride)  # a missing area is nan, and not small
    findings.extend("object-too-small", small[np.argsort(sides[small], kind="stable")], lambda place: (
        f"{_image(index, rows['image'][place])}, annotation {rows['id'][place]}: {sides[place]:.1f} pixels wide at the "
        f"network's input, which it sees in cells of {stride}"
    ))  # fmt: skip
    return findings


def _image(index: CocoIndex, place: int) -> str:
    image = index.images[int(place)]
    return f"{printable(image.file_name)} (image {image.id})"


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
