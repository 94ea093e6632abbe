"""What settings are searched on: some images of the training split, with their truth."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from torch import Tensor

from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import as_tensor
from segtrain.data.splits import Split, readable
from segtrain.errors import SegtrainError
from segtrain.evaluation import Reference

KEPT = 2**29  # bytes of decoded images that are held; the others are read again each time


class TrainingImages:
    """A fixed draw of training images.

    Args:
        split: "train", with its image folder.
        count: how many; None for all.
        seed: of the draw.
        skip: whether images that cannot be read are left out.
        evaluated: files that settings must not be searched on, links resolved.

    Attributes:
        shared: how many images were left out because they are evaluated.
        ids: in the order of the draw, so that the first n of them are a draw as well.
        reference: the truth about them, all categories made one.
        objects: how many labelled objects they hold, crowds not counted.

    Raises:
        SegtrainError: there are no images but evaluated ones, they hold no object, or one cannot be read.
        ValueError: it is another split.
    """

    def __init__(
        self, split: Split, count: int | None, seed: int, *, skip: bool, evaluated: Collection[Path] = ()
    ) -> None:
        if split.name != "train":
            raise ValueError(f"settings are searched on the training split alone, not on {split.name}")
        if split.images is None:
            raise SegtrainError("data.train_images is null; give the image folder, relative to data.root")
        files = files_of(split)
        every = [image.id for image in split.index.images if files.get(image.id) not in evaluated]
        self.shared = len(split.index.images) - len(every)
        if self.shared and not every:
            raise SegtrainError("all training images are among the evaluated ones; name others in data.train_*")
        drawn = np.random.default_rng(seed).permutation(every)[: len(every) if count is None else count].tolist()
        part = Split(split.name, split.index.subset(drawn), split.images)
        part = readable(part) if skip else part
        if not part.index.counts.used:
            images = f"{len(drawn)} training images drawn hold" if len(drawn) > 1 else "training image drawn holds"
            remedy = "raise tune.images" if len(drawn) < len(every) else "name others in data.train_*"
            raise SegtrainError(f"the {images} no object; {remedy}")
        self._images, self._reader = {image.id: image for image in part.index.images}, split.images
        self.ids: Sequence[int] = [image_id for image_id in drawn if image_id in self._images]
        self.reference = Reference.of(part.index).class_agnostic()
        self.objects = sum(not truth["iscrowd"] for truth in self.reference.truths)
        self._kept: dict[int, Tensor] = {}
        self._bytes = 0

    def read(self, ids: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Some of the images: the id, and uint8 RGB (3, H, W)."""
        for image_id in ids:
            if image_id in self._kept:
                yield image_id, self._kept[image_id]
                continue
            pixels = as_tensor(self._reader.read(self._images[image_id]))
            if self._bytes + pixels.numel() <= KEPT:
                self._kept[image_id] = pixels
                self._bytes += pixels.numel()
            yield image_id, pixels


def files_of(split: Split) -> dict[int, Path]:
    """The file of each image, links resolved; images whose names lead nowhere are left out."""
    found: dict[int, Path] = {}
    if split.images is not None:
        for image in split.index.images:
            with suppress(ImageError):
                found[image.id] = split.images.path(image.file_name).resolve()
    return found
