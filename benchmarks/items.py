"""Images for the benchmarks of inference."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from stand_ins import Split
from torch import Tensor

from segtrain.data.check.load import load_index
from segtrain.data.images.image_reader import ImageReader, as_tensor

MAX_PIXELS = 10**8  # of an image


@dataclass(frozen=True)
class Item:
    """Image to segment.

    Attributes:
        image_id: id in the annotation file.
        image: uint8 (3, H, W).
        objects: number of true objects.
    """

    image_id: int
    image: Tensor
    objects: int


def items_of(split: Split, size: tuple[int, int] | None = None) -> list[Item]:
    """List the images of a split with at least one object, all or of one (H, W), by size and number of objects."""
    index, reader = load_index(split.annotations), ImageReader(split.images, "auto", MAX_PIXELS)
    objects = index.objects_per_image
    places = [p for p, image in enumerate(index.images) if objects[p] and size in (None, image.size)]
    places.sort(key=lambda place: (index.images[place].size, objects[place]))
    return [Item(index.images[p].id, as_tensor(reader.read(index.images[p])), int(objects[p])) for p in places]


def spread_over(items: Sequence[Item], number: int) -> list[Item]:
    """Select a number of images at equal distances in the list, and the densest one."""
    chosen = items[:: max(len(items) // max(number - 1, 1), 1)][: number - 1]
    return [*chosen, max(items, key=lambda item: item.objects)]


def validation(options: argparse.Namespace, training: Split) -> Split:
    """Return the split to segment: validation images of the nuclei, or drawn ones."""
    if not options.nuclei:
        return training
    return Split(options.nuclei / "annotations" / "instances_val.json", options.nuclei / "images" / "val", "nuclei val")
