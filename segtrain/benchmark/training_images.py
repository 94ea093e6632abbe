"""Images that settings are searched on: a sample of the training split, and parts of them for a first look."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from segtrain import masks
from segtrain.benchmark.setting_scores import ImageTruth
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import as_tensor
from segtrain.data.splits import Split, drop_unreadable
from segtrain.data.storage.image_store import ImageFile
from segtrain.errors import SegtrainError
from segtrain.evaluation import GroundTruthSet
from segtrain.records import GroundTruth, group_by_image

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 2**29  # bytes of decoded images that are kept in memory; the others are read again each time
_PART = 128  # least side of a part of an image in pixels
_PART_OBJECTS = 5.0  # side of a part, as a multiple of the median length of the image's objects
_HARDLY = 1.3  # images of up to this multiple of a part's area stay whole


class View(NamedTuple):
    """Image, or a part of one, that settings are tried on.

    Attributes:
        truth: true objects in the view.
        window: rows and columns of the part; None for the whole image.
    """

    truth: ImageTruth
    window: tuple[slice, slice] | None

    @property
    def objects(self) -> list[GroundTruth]:
        """True objects without crowds."""
        return [truth for truth in self.truth.truths if not truth["iscrowd"]]

    def part(self) -> "View":
        """Cut a square around the object that has most others near it, several times as long as most objects are.

        An image that is hardly larger, as those of large objects often are, stays whole.
        """
        height, width = self.truth.size
        longest = [max(truth["bbox"][2:]) for truth in self.objects]
        side = max(_PART, round(_PART_OBJECTS * float(np.median(longest)))) if longest else 0
        if not side or height * width <= _HARDLY * side**2:
            return self
        boxes = np.array([truth["bbox"] for truth in self.objects])
        centres = boxes[:, :2] + boxes[:, 2:] / 2
        near = np.abs(centres[:, None] - centres).max(axis=2) <= side / 2
        x, y = centres[near.sum(axis=1).argmax()]
        rows, columns = (_around(centre, side, end) for centre, end in ((y, height), (x, width)))
        size = rows.stop - rows.start, columns.stop - columns.start
        truths = []
        for truth in self.truth.truths:
            mask = masks.decode(truth["segmentation"])[rows, columns]
            if mask.any():
                truths.append(GroundTruth({**truth, "segmentation": masks.encode(mask)}))
        return View(ImageTruth(self.truth.image_id, size, truths), (rows, columns))


def _around(centre: float, side: int, end: int) -> slice:
    """Place a side around a point, within 0 and the end."""
    start = min(max(round(centre - side / 2), 0), max(end - side, 0))
    return slice(start, min(start + side, end))


class TrainingImages:
    """Fixed random sample of the training images.

    Args:
        split: "train", with its image folder.
        count: number of images; None for all.
        seed: seed of the sample.
        skip: True to leave out images that cannot be read.
        evaluated: files that settings must not be searched on, links resolved.

    Attributes:
        shared: number of images that were left out because they are evaluated.
        ids: ids in the order of the draw, so that the first n of them are a random sample as well.
        views: the images in the order in which settings are tried on them: in that of the draw, but first those with
            objects.
        ground_truth: ground truth of the images, with a single category.
        objects: number of labelled objects in the images, without crowds.

    Raises:
        SegtrainError: all images are evaluated ones, the sample holds no object, or an image cannot be read.
        ValueError: the split is not "train".
    """

    def __init__(
        self, split: Split, count: int | None, seed: int, *, skip: bool, evaluated: Collection[ImageFile] = ()
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
        part = drop_unreadable(part) if skip else part
        if not part.index.counts.used:
            images = f"{len(drawn)} training images drawn hold" if len(drawn) > 1 else "training image drawn holds"
            remedy = "raise tune.images" if len(drawn) < len(every) else "name others in data.train_*"
            raise SegtrainError(f"the {images} no object; {remedy}")
        self._images, self._reader = {image.id: image for image in part.index.images}, split.images
        self.ids: Sequence[int] = [image_id for image_id in drawn if image_id in self._images]
        self.ground_truth = GroundTruthSet.of(part.index).class_agnostic()
        self.objects = sum(not truth["iscrowd"] for truth in self.ground_truth.truths)
        truths = group_by_image(self.ground_truth.truths)
        sizes = self.ground_truth.sizes
        every_view = [View(ImageTruth(image_id, sizes[image_id], truths[image_id]), None) for image_id in self.ids]
        self.views: Sequence[View] = sorted(every_view, key=lambda view: not view.objects)
        self._kept: dict[int, Tensor] = {}
        self._bytes = 0

    def load(self) -> None:
        """Read all images that memory has room for, so that processes forked later have them."""
        for _ in self.read([image_id for image_id in self.ids if image_id not in self._kept]):
            if self._bytes > KEPT - 2**24:
                break

    def pixels(self, view: "View") -> "Tensor":
        """Read the pixels of a view, uint8 RGB (3, H, W)."""
        ((_, pixels),) = self.read([view.truth.image_id])
        return pixels if view.window is None else pixels[:, view.window[0], view.window[1]].contiguous()

    def read(self, ids: Sequence[int]) -> Iterator[tuple[int, "Tensor"]]:
        """Yield the id and the pixels, uint8 RGB (3, H, W), of some of the images."""
        for image_id in ids:
            if image_id in self._kept:
                yield image_id, self._kept[image_id]
                continue
            pixels = as_tensor(self._reader.read(self._images[image_id]))
            if self._bytes + pixels.numel() <= KEPT:
                self._kept[image_id] = pixels
                self._bytes += pixels.numel()
            yield image_id, pixels


def files_of(split: Split) -> dict[int, ImageFile]:
    """Resolve the file of each image, links included; images without a valid file name are left out."""
    found: dict[int, ImageFile] = {}
    if split.images is not None:
        for image in split.index.images:
            with suppress(ImageError):
                found[image.id] = split.images.path(image.file_name).resolve()
    return found
