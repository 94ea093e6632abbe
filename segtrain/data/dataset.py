"""Training samples: image, instances, augmentation."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segtrain import masks
from segtrain.data.coco import CocoIndex
from segtrain.data.images import ImageReader, RgbArray, as_tensor
from segtrain.data.layers import Crop, pack, unpack
from segtrain.data.pixel_cache import PixelCache
from segtrain.data.transforms import Augmentation
from segtrain.errors import SegtrainError
from segtrain.targets import Target

OnBadImage = Literal["error", "skip"]


@dataclass(frozen=True)
class Sample:
    """What the network learns from.

    Attributes:
        image: (3, H, W) uint8 RGB.
        target: its true instances, crowds left out.
        image_id: the file's own.
    """

    image: Tensor
    target: Target
    image_id: int


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read.

    Attributes:
        image_id: the file's own.
        reason: one line.
    """

    image_id: int
    reason: str


class CocoDataset(Dataset[Sample | Skipped]):
    """The images of an index with their instances, by (epoch, position).

    The key holds the epoch, so that workers that live for many epochs need not be told of it. A sample is a function of
    (seed, epoch, position) alone: the same whatever the worker count, the order, or the point of resumption.

    Args:
        index: images and instances; images without instances are kept as negatives.
        images: reads them.
        augmentation: None, or an empty one, for the images and instances as they are.
        seed: not negative.
        on_bad_image: whether an image that cannot be read is an error or a ``Skipped``.
        min_object_pixels: instances that augmentation leaves with fewer pixels are dropped.
        cache: holds the decoded images; None to read the files.
    """

    def __init__(
        self,
        index: CocoIndex,
        images: ImageReader,
        augmentation: Augmentation | None,
        *,
        seed: int,
        on_bad_image: OnBadImage = "error",
        min_object_pixels: int = 1,
        cache: PixelCache | None = None,
    ) -> None:
        self.index = index
        self.images = images
        self.augmentation = augmentation
        self.seed = seed
        self.on_bad_image = on_bad_image
        self.min_object_pixels = max(min_object_pixels, 1)
        self.cache = cache

    def __len__(self) -> int:
        return len(self.index.images)

    def __getitem__(self, key: tuple[int, int]) -> Sample | Skipped:
        """The sample of an image.

        Args:
            key: the epoch, and the image's position in the index.

        Raises:
            SegtrainError: the image cannot be read (unless skipped), or the augmentation does not suit it.
        """
        epoch, position = key
        info = self.index.images[position]
        try:
            image = self.cache.read(info) if self.cache else self.images.read(info)
        except SegtrainError as error:
            if self.on_bad_image == "error":
                raise
            return Skipped(info.id, str(error))
        labels, crops = self._instances(position)
        if self.augmentation:
            seed = int(np.random.SeedSequence([self.seed, epoch, position]).generate_state(1)[0])
            image, kept = self._augment(self.augmentation, image, crops, seed)
            labels, crops = [labels[i] for i in kept], list(kept.values())
        return Sample(as_tensor(image), _target(labels, crops), info.id)

    def _instances(self, position: int) -> tuple[list[int], list[Crop]]:
        labels, rles = self.index.objects(position)
        return labels.tolist(), [Crop(*masks.decode_crop(rle)) for rle in rles]

    def _augment(
        self, augmentation: Augmentation, image: RgbArray, crops: list[Crop], seed: int
    ) -> tuple[RgbArray, dict[int, Crop]]:
        """The transformed image, and the instances that remain in it by their former position."""
        layers = pack(crops, (image.shape[0], image.shape[1]))
        image, planes = augmentation(image, layers.planes, seed)
        found = unpack(planes, layers.owners)
        return image, {i: crop for i, crop in found.items() if crop.mask.sum() >= self.min_object_pixels}


def _target(labels: list[int], crops: list[Crop]) -> Target:
    return Target(
        boxes=torch.tensor([crop.box for crop in crops], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        masks=[torch.from_numpy(crop.mask) for crop in crops],
    )
