"""Comparison of an exported network with the one that it was made from, and the images for it."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from segtrain import masks
from segtrain.arrays import BoolArray, RgbArray
from segtrain.console import counted
from segtrain.data.images.decode import decode
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import as_tensor, range_of_image
from segtrain.data.images.intensities.intensity import to_rgb
from segtrain.data.open_data import data_root
from segtrain.errors import SegtrainError
from segtrain.io import IMAGE_EXTENSIONS, expand_path, printable
from segtrain.records import Instances
from segtrain.segmenters import Trainable
from segtrain.training.checkpoint import Checkpoint

# Rounding makes differences of a hundredth of these.
BOX, SCORE, MASK = 0.5, 0.01, 0.02  # pixels, score, share of an object's pixels
_TRIED = 8  # images of a folder
_NOISE = 1e-6  # of weights, as large as rounding
_SMALLEST = (128, 128)  # (H, W), where there is no image to compare
_LARGER = (8, 40)  # pixels by which the black image is higher and wider, so that its size is another


@dataclass(frozen=True)
class Found:
    """Objects that an exported network has found.

    Attributes:
        boxes: (N, 4) xyxy in pixels.
        labels: (N,) in 1..K.
        scores: (N,).
        planes: mask (H, W) of each object.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    planes: Sequence[BoolArray]


@dataclass(frozen=True)
class Differences:
    """Largest differences between the objects of two networks in one image.

    Attributes:
        objects: objects of the original network.
        unmatched: objects of either network without a counterpart.
        box: largest difference of a side of a box, in pixels.
        score: largest difference of a score.
        mask: largest share of differing pixels among the pixels of an object.
    """

    objects: int
    unmatched: int
    box: float = 0.0
    score: float = 0.0
    mask: float = 0.0

    @property
    def large(self) -> bool:
        """True if they are more than rounding."""
        return self.unmatched > 0 or self.box > BOX or self.score > SCORE or self.mask > MASK

    def __str__(self) -> str:
        if self.unmatched:
            return f"{counted(self.objects, 'object')}, {self.unmatched} without a counterpart"
        if not self.objects:
            return "no object in both"
        return (
            f"{counted(self.objects, 'object')}, largest differences {self.box:.2g} pixels of a box, "
            f"{self.score:.2g} of a score, {100 * self.mask:.2g} % of the pixels of a mask"
        )


def sample_images(checkpoint: Checkpoint, given: Sequence[str | Path] = ()) -> list[tuple[str, RgbArray]]:
    """Read the images that are given, or else some of the data that the network was trained with.

    Args:
        checkpoint: content of the network's checkpoint.
        given: paths of image files.

    Returns:
        Name and uint8 RGB pixels (H, W, 3) of each image; nothing if none is given and the data are gone.

    Raises:
        SegtrainError: a given file cannot be read.
    """
    reading, intensity = replace(checkpoint.reading, pages="first"), checkpoint.intensity_of_new_images
    images = []
    for path in [expand_path(one) for one in given] or list(_images_of_run(checkpoint)):
        try:
            samples = decode(path, None, reading)
            images.append((path.name, to_rgb(samples, range_of_image(samples, intensity, path))))
        except ImageError as error:
            if given:
                raise SegtrainError(f"{printable(path)}: {error.reason}; give another --image") from None
    return images


def _images_of_run(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield image files of the validation and of the training, those that are there."""
    data = checkpoint.config.get("data", {})
    for folder in (data.get("val_images"), data.get("train_images")):
        root = data_root(data) if isinstance(folder, str) else None
        if isinstance(root, Path) and (root / folder).is_dir():
            files = (path for path in sorted((root / folder).iterdir()) if path.suffix.lower() in IMAGE_EXTENSIONS)
            yield from islice(files, _TRIED)


def compare(ours: Instances, theirs: Found) -> Differences:
    """Compare the objects of an image, each with the nearest of the same label.

    >>> nothing = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0), [])
    >>> print(compare(Instances.empty((4, 5)), nothing))
    no object in both
    """
    count = len(ours)
    if count != len(theirs.boxes) or not count:
        return Differences(count, abs(count - len(theirs.boxes)))
    distance = np.abs(ours.boxes[:, None] - theirs.boxes).max(axis=2)
    distance = np.where(ours.labels[:, None] == theirs.labels, distance, np.inf)
    partner = distance.argmin(axis=1)
    nearest = distance[np.arange(count), partner]
    unmatched = int((nearest > BOX).sum()) + count - len(set(partner.tolist()))
    if unmatched:
        return Differences(count, unmatched)
    shares = []
    for rle, other in zip(ours.rles, partner, strict=True):
        own, plane = masks.decode(rle).astype(bool), theirs.planes[other]
        shares.append(float((own != plane).sum()) / max(int((own | plane).sum()), 1))
    score = float(np.abs(ours.scores - theirs.scores[partner]).max())
    return Differences(count, 0, float(nearest.max()), score, max(shares))


def require_agreement(
    network: Trainable,
    exported: Callable[[RgbArray], Found],
    images: Sequence[tuple[str, RgbArray]],
    least_scores: Sequence[float],
) -> list[str]:
    """Check that an exported network finds what the original one finds, in an image and where there is nothing.

    Images are tried in their order, up to the first with an object. Those whose objects change when the weights change
    by as little as rounding does, such as those in which many scores are equal, are left out.

    Args:
        network: the original network, in evaluation mode.
        exported: function from an image to the objects whose scores reach the threshold.
        images: name and pixels of each image.
        least_scores: least score of an object of each label 1..K.

    Returns:
        A line for each comparison.

    Raises:
        SegtrainError: the differences are larger than rounding.
    """
    lines, shown, size = [], False, _SMALLEST
    for name, image in images:
        size = image.shape[0], image.shape[1]
        differences = compare(_objects(network, image, least_scores), exported(image))
        if differences.large and _is_undecided(network, image, least_scores):
            lines.append(f"{name}: left out, since there the network's own answer depends on rounding")
            continue
        _refuse_large(name, differences)
        if shown := differences.objects > 0:
            lines.append(f"{name}: {differences}")
            break
    if not shown:
        lines.append(f"no object to compare in {counted(len(images), 'image')}; give others with --image")
    height, width = (side + more for side, more in zip(size, _LARGER, strict=True))
    blank = np.zeros((height, width, 3), np.uint8)
    differences = compare(_objects(network, blank, least_scores), exported(blank))
    if not (differences.large and _is_undecided(network, blank, least_scores)):
        _refuse_large("a black image", differences)
    return [*lines, f"black image of {height} x {width} pixels: {differences}"]


def _refuse_large(name: str, differences: Differences) -> None:
    if differences.large:
        raise SegtrainError(
            f"the exported network differs from the original one on {name} ({differences}); nothing was written, "
            "please report it with the versions of segtrain --version"
        )


def _objects(network: Trainable, image: RgbArray, least_scores: Sequence[float]) -> Instances:
    found = network.segment([as_tensor(image)])[0]
    return found[found.scores >= np.array(least_scores)[found.labels - 1]]


@torch.no_grad()
def _is_undecided(network: Trainable, image: RgbArray, least_scores: Sequence[float]) -> bool:
    """Tell whether the network's own answer changes with noise of the size of rounding."""
    expected = _objects(network, image, least_scores)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        other = copy.deepcopy(network)
        for weight in other.parameters():
            weight.mul_(1 + _NOISE * torch.randn(weight.shape, generator=generator))
        found = _objects(other, image, least_scores)
        planes = [masks.decode(rle).astype(bool) for rle in found.rles]
        if compare(expected, Found(found.boxes, found.labels, found.scores, planes)).large:
            return True
    return False
