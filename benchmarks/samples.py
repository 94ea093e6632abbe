"""One training sample: label layers against one plane for each instance.

    python benchmarks/samples.py --nuclei DIR --coco DIR --check

Both sides read the same images, apply the same albumentations transforms (flip, colour, affine, crop) with chances of
their own, and end with a uint8 image tensor, labels, boxes and masks; one thread each, in turns, image by image.

- ours: ``CocoDataset[epoch, position]``: Pillow, run lengths painted into label layers, the chain on the layers, mask
  crops and tight boxes out of them.
- stock: ``torchvision.datasets.CocoDetection`` (Pillow, the records of pycocotools), crowds left out and one plane for
  each instance by pycocotools' ``annToMask`` as in torchvision's references/detection/coco_utils.py, the chain on the
  list of planes, empty planes dropped, boxes by ``torchvision.ops.masks_to_boxes`` on the planes that are left, since
  boxes that albumentations carries along are no longer tight after it turns them.

Rows: every fourth image of the nuclei's training split (``sample_mean``), all of its images with 150 objects or more
(``sample_dense``), both splits of COCO (``sample_coco``). The crop is 192 pixels on nuclei, as experiment=nuclei has
it, and 384 on photographs.
"""

import argparse
import contextlib
from collections.abc import Callable, Sequence
from functools import partial

from segtrain.data.augmentation import Augmentation

import albumentations  # isort: skip
import numpy as np
import torch
from harness import alternate, arguments, finish
from rows import Row
from stand_ins import Split, coco, nuclei
from torch import Tensor
from torchvision.datasets import CocoDetection
from torchvision.ops import masks_to_boxes

from segtrain.data.check.load import load_index
from segtrain.data.dataset import CocoDataset
from segtrain.data.images.image_reader import ImageReader

DENSE = 150  # objects
EVERY = 4  # images of the nuclei: a sample of a few seconds
NUCLEI_CROP = 192  # pixels
COCO_CROP = 384

Side = Callable[[int], object]


def chain(crop: int) -> dict[str, albumentations.BasicTransform]:
    """Build the transforms of both sides."""
    return {
        "flip": albumentations.HorizontalFlip(p=0.5),
        "colour": albumentations.RandomBrightnessContrast(p=1),
        "affine": albumentations.Affine(scale=(0.8, 1.25), rotate=(-15, 15), translate_percent=(-0.1, 0.1), p=1),
        "crop": albumentations.RandomCrop(crop, crop, pad_if_needed=True, p=1),
    }


class Stock:
    """Reference path of torchvision, with masks, on albumentations.

    Args:
        split: data of the samples.
        crop: side of the crop in pixels.
    """

    def __init__(self, split: Split, crop: int) -> None:
        with contextlib.redirect_stdout(None):  # pycocotools prints
            self._images = CocoDetection(str(split.images), str(split.annotations))
        self._chain = albumentations.Compose(list(chain(crop).values()))
        self._position = {image_id: position for position, image_id in enumerate(self._images.ids)}

    def sample(self, image_id: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Load an image and its target, as torchvision's Mask R-CNN takes them."""
        image, records = self._images[self._position[image_id]]
        records = [record for record in records if record["iscrowd"] == 0]
        masks = [self._images.coco.annToMask(record) for record in records]
        moved = self._chain(image=np.array(image), masks=masks)
        tensor = torch.from_numpy(moved["image"]).permute(2, 0, 1).contiguous()
        left = [number for number, mask in enumerate(moved["masks"]) if mask.any()]
        if not left:
            empty = torch.zeros(0, *tensor.shape[1:], dtype=torch.uint8)
            return tensor, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": empty}
        planes = torch.from_numpy(np.stack([moved["masks"][number] for number in left]))
        labels = torch.tensor([records[number]["category_id"] for number in left])
        return tensor, {"boxes": masks_to_boxes(planes), "labels": labels, "masks": planes}


def sides(split: Split, crop: int, least: int, every: int) -> tuple[Side, Side, list[int]]:
    """Return both sides as functions of an image id, and the ids of the images; see ``measure``."""
    index = load_index(split.annotations)
    dataset = CocoDataset(index, ImageReader(split.images, "auto", 10**8), Augmentation(chain(crop), mix=None), seed=0)
    positions = [p for p in range(0, len(index.images), every) if len(index.objects(p)[0]) >= least]
    position = {index.images[p].id: p for p in positions}
    return lambda image_id: dataset[0, position[image_id]], Stock(split, crop).sample, list(position)


def measure(
    name: str, splits: Sequence[Split], crop: int, bound: float, repeats: int, *, least: int = 0, every: int = 1
) -> Row:
    """Measure a row over some splits.

    Args:
        name: name of the row.
        splits: splits of the images.
        crop: side of the crop in pixels.
        bound: bound on the ratio.
        repeats: repetitions of each image.
        least: least number of objects of an image.
        every: step between images.
    """
    pairs = [sides(split, crop, least, every) for split in splits]
    items = [(number, image_id) for number, (_, _, ids) in enumerate(pairs) for image_id in ids]
    ours, stock = (partial(_call, both) for both in ([own for own, _, _ in pairs], [other for _, other, _ in pairs]))
    times = alternate(ours, stock, items, repeats)
    what = f"{len(items)} images of {' and '.join(dict.fromkeys(split.name for split in splits))}"
    return Row(name, what, "ms", times[0] * 1e3, times[1] * 1e3, bound)


def _call(functions: Sequence[Side], item: tuple[int, int]) -> None:
    functions[item[0]](item[1])


def main(options: argparse.Namespace) -> None:
    """Measure the three rows."""
    torch.set_num_threads(1)
    rows = []
    with nuclei(options) as splits:
        rows.append(measure("sample_mean", splits, NUCLEI_CROP, 5, options.repeats, every=EVERY))
        rows.append(measure("sample_dense", splits, NUCLEI_CROP, 10, options.repeats, least=DENSE))
    with coco(options) as splits:
        rows.append(measure("sample_coco", splits, COCO_CROP, 1.5, options.repeats))
    finish(rows, options)


if __name__ == "__main__":
    main(arguments("One training sample: label layers against one plane for each instance.").parse_args())
