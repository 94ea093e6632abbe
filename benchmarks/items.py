"""The images that the benchmarks of inference segment."""

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
    """An image to segment.

    Attributes:
        image_id: the file's.
        image: uint8 (3, H, W).
        objects: how many it shows.
    """

    image_id: int
    image: Tensor
    objects: int


def items_of(split: Split, size: tuple[int, int] | None = None) -> list[Item]:
    """Images of a split with at least an object, all or of one (H, W), by size and number of objects."""
    index, reader = load_index(split.annotations), ImageReader(split.images, "auto", MAX_PIXELS)
    objects = index.objects_per_image
    places = [p for p, image in enumerate(index.images) if objects[p] and size in (None, image.size)]
    places.sort(key=lambda place: (index.images[place].size, objects[place]))
    return [Item(index.images[p].id, as_tensor(reader.read(index.images[p])), int(objects[p])) for p in places]


def spread_over(items: Sequence[Item], number: int) -> list[Item]:
    """So many of them at even distances, and the densest."""
    chosen = items[:: max(len(items) // max(number - 1, 1), 1)][: number - 1]
    return [*chosen, max(items, key=lambda item: item.objects)]


def validation(options: argparse.Namespace, training: Split) -> Split:
    """The split to segment: nuclei that the network has not seen, where there are any."""
    if not options.nuclei:
        return training
    return Split(options.nuclei / "annotations" / "instances_val.json", options.nuclei / "images" / "val", "nuclei val")
