"""Training samples: augmented images with their instances."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segtrain.arrays import RgbArray
from segtrain.data.coco.index import CocoIndex
from segtrain.data.images.image_reader import ImageReader, as_tensor
from segtrain.data.images.pixel_cache import PixelCache
from segtrain.data.label_layers import Layers, Scene, flatten, pack
from segtrain.errors import SegtrainError
from segtrain.targets import Target

if TYPE_CHECKING:  # its libraries take seconds and 200 MB, and an evaluation does not need them
    from segtrain.data.augmentation import Augmentation

OnBadImage = Literal["error", "skip"]


@dataclass(frozen=True)
class Sample:
    """Training sample.

    Attributes:
        image: (3, H, W) uint8 RGB.
        target: true objects of the image, and its crowds as regions to ignore.
        image_id: id of the image.
    """

    image: Tensor
    target: Target
    image_id: int


@dataclass(frozen=True)
class Skipped:
    """Image that could not be read.

    Attributes:
        image_id: id of the image.
        reason: problem in one line.
    """

    image_id: int
    reason: str


class CocoDataset(Dataset[Sample | Skipped]):
    """Images of an index with their instances, by (epoch, position).

    The epoch is part of the key because workers stay alive for many epochs. A sample is a function of (seed, epoch,
    position) alone, independent of the number of workers, the order, and interruptions.

    Args:
        index: images and instances; images without instances are kept as negatives.
        images: reader of the images.
        augmentation: augmentation of the samples; None for unchanged images and instances.
        seed: seed of the augmentation, not negative.
        on_bad_image: "error" if an unreadable image raises, "skip" if it becomes a ``Skipped``.
        min_object_pixels: least number of pixels of an instance after augmentation; smaller ones are dropped.
        cache: cache of the decoded images; None to read the files.
    """

    def __init__(
        self,
        index: CocoIndex,
        images: ImageReader,
        augmentation: "Augmentation | None",
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
        """Load and augment an image.

        Args:
            key: epoch, and position of the image in the index.

        Raises:
            SegtrainError: the image cannot be read (unless skipped), or the augmentation fails on it.
        """
        epoch, position = key
        try:
            scene = self._scene(position)
        except SegtrainError as error:
            if self.on_bad_image == "error":
                raise
            return Skipped(self.index.images[position].id, str(error))
        if self.augmentation:
            scene = self._augment(self.augmentation, scene, np.random.SeedSequence([self.seed, epoch, position]))
        target = _target(scene)
        return Sample(as_tensor(scene.image), target, self.index.images[position].id)

    def _scene(self, position: int) -> Scene:
        """Load an image without augmentation."""
        info = self.index.images[position]
        return _scene(self.index, position, self.cache.read(info) if self.cache else self.images.read(info))

    def _augment(self, augmentation: "Augmentation", scene: Scene, seed: np.random.SeedSequence) -> Scene:
        own, mixing, others = (int(word) for word in seed.generate_state(3))
        scene = self._transform(augmentation, scene, own)
        if augmentation.mix is None:
            return scene
        rng = np.random.default_rng(mixing)
        partner = augmentation.mix.partner(rng, len(self))
        if partner is None:
            return scene
        try:
            source = self._scene(partner)
        except SegtrainError:
            if self.on_bad_image == "error":
                raise
            return scene
        return augmentation.mix.paste(rng, scene, self._transform(augmentation, source, others))

    def _transform(self, augmentation: "Augmentation", scene: Scene, seed: int) -> Scene:
        image, planes, ignored = augmentation(scene.image, scene.layers.planes, seed, scene.ignored)
        least = np.full_like(scene.min_pixels, self.min_object_pixels)
        return Scene(image, Layers(planes, scene.layers.owners), scene.labels, least, ignored)


def plain_sample(index: CocoIndex, position: int, image: Tensor) -> Sample:
    """Return an image with its true objects, without augmentation.

    Args:
        index: images and instances.
        position: position of the image in the index.
        image: (3, H, W) uint8 RGB.
    """
    pixels: RgbArray = image.permute(1, 2, 0).numpy()
    return Sample(image, _target(_scene(index, position, pixels)), index.images[position].id)


def _scene(index: CocoIndex, position: int, image: RgbArray) -> Scene:
    size = index.images[position].size
    labels, rles = index.objects(position)
    regions = index.ignored(position)
    ignored = flatten(regions, size) if regions else None
    # Unchanged instances are kept, however small they are.
    return Scene(image, pack(rles, size), labels, np.ones_like(labels), ignored)


def _target(scene: Scene) -> Target:
    crops, ignored = scene.crops(), scene.ignored_crops()
    return Target(
        boxes=torch.from_numpy(crops.boxes.astype(np.float32)),
        labels=torch.from_numpy(scene.labels[crops.instances]),
        masks=[torch.from_numpy(mask) for mask in crops.masks],
        ignored_boxes=torch.from_numpy(ignored.boxes.astype(np.float32)),
        ignored_masks=[torch.from_numpy(mask) for mask in ignored.masks],
    )
