"""From an image to COCO records: segtrain's Mask R-CNN against torchvision's with pasted planes.

    python benchmarks/predict.py --nuclei DIR --coco DIR --weights FILE --check

Both sides hold the same network with the same weights, take a uint8 image tensor (3, H, W) and end with records of
image id, category id, score and compressed run-length mask; all cores, in turns, image by image.

- ours: ``MaskRCNN.segment`` and ``segtrain.records.to_predictions`` as ``evaluate.py`` runs them, in bfloat16
  where the machine computes it natively.
- stock: ``torchvision.models.detection.MaskRCNN`` as its documentation calls it: ``model([image / 255])`` in evaluation
  mode without gradients, float32, default memory layout. It pastes each mask into a plane of the image itself
  (``paste_masks_in_image``); then ``> 0.5``, ``pycocotools.mask.encode`` mask by mask and records, as torchvision's
  references/detection/coco_eval.py does. ``transform.min_size`` makes the inputs as large as ours.

Rows: ``nuclei``, the network of experiment=nuclei on validation images of all sizes, the densest among them;
``coco_resnet50``, ResNet-50-FPN at torchvision's 800 pixels on photographs; ``nuclei_rate``, ours alone on nuclei
images of 256x256; ``nuclei_files``, ``segtrain predict`` without overlays from files to files beside ours alone. The
nuclei's network is the one of ``--checkpoint``; without one it starts at ``--weights`` (or at random), learns for
``--steps`` steps, and its background class is shifted until it finds as many objects in the median image as there
are. The ResNet is random: frozen statistics are the photographs', each class knows one region of them, and the
background class is shifted until ``--detections`` are found in the median photograph. Before the clock runs, both
sides must find the same in float32, from the same proposals.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from statistics import mean
from typing import Any

from segtrain.data.augmentation import Augmentation

import albumentations  # isort: skip
import numpy as np
import torch
from agreement import require_agreement
from detectors import find_as_many, from_checkpoint, recognise_regions, stock_detections, train_briefly
from from_files import files_row
from harness import alternate, arguments, finish
from items import MAX_PIXELS, Item, items_of, spread_over, validation
from networks import pair, settings_of
from pycocotools import mask as coco_mask
from rows import Row
from stand_ins import Split, coco, nuclei
from torchvision.models.detection import MaskRCNN as StockMaskRCNN

from segtrain.data.check.load import load_index
from segtrain.data.dataset import CocoDataset
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.loader import Batch, TrainingLoader
from segtrain.device import resolve_precision
from segtrain.records import Category, Prediction, to_predictions
from segtrain.runtime import thread_count
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.segmenters.mask_rcnn.preprocess import InputSize

RATE_SIZE = (256, 256)  # pixels of the images of nuclei_rate
CROP, BATCH = 192, 4  # of the short training: experiment=nuclei's


@dataclass(frozen=True)
class Sides:
    """Both versions of a network, and the categories of its labels."""

    ours: MaskRCNN
    stock: StockMaskRCNN
    categories: Sequence[Category]

    def run_ours(self, item: Item) -> list[Prediction]:
        """Segment an image as ``evaluate.py`` does."""
        (found,) = self.ours.segment([item.image])
        return to_predictions(found, item.image_id, self.categories)

    def run_stock(self, item: Item) -> list[dict[str, Any]]:
        """Segment an image as torchvision's references do."""
        found = stock_detections(self.stock, self.ours.input_size, item.image)
        planes = found["masks"] > 0.5
        rles = [
            coco_mask.encode(np.array(plane.numpy()[0, :, :, None], dtype=np.uint8, order="F"))[0] for plane in planes
        ]
        for rle in rles:
            rle["counts"] = rle["counts"].decode("utf-8")
        ids = [self.categories[label - 1].id for label in found["labels"].tolist()]
        return [
            {"image_id": item.image_id, "category_id": category, "segmentation": rle, "score": score}
            for category, rle, score in zip(ids, rles, found["scores"].tolist(), strict=True)
        ]

    def row(self, name: str, what: str, items: Sequence[Item], bound: float, repeats: int) -> Row:
        """Measure both sides in turns, after a check that they agree."""
        require_agreement(self.ours, self.stock, items)
        self.ours.precision = resolve_precision("auto", self.ours.device)
        times = alternate(self.run_ours, self.run_stock, items, repeats)
        ours, stock = (mean(len(run(item)) for item in items) for run in (self.run_ours, self.run_stock))
        what = (
            f"{len(items)} images of {what}; {ours:.1f} detections an image in {self.ours.precision}, stock {stock:.1f}"
        )
        return Row(name, what, "ms", times[0] * 1e3, times[1] * 1e3, bound)


def nuclei_sides(options: argparse.Namespace, split: Split, items: Sequence[Item]) -> Sides:
    """Load the network of the checkpoint, or train one briefly and adjust its number of detections."""
    categories = load_index(split.annotations).categories
    if options.checkpoint:
        return Sides(*from_checkpoint(options.checkpoint), categories)
    weights = f"segmenter.weights={options.weights or 'null'}"
    names, images = [category.name for category in categories], [item.image for item in items]
    settings = settings_of("experiment=nuclei", weights)
    size = InputSize(settings["min_size"], settings["max_size"], settings["scale"])
    ours, stock = pair(settings, names, [images[0]], min_size=int(min(images[0].shape[1:]) * settings["scale"]))
    ours.input_size = size
    ours.precision = resolve_precision("auto", ours.device)
    if options.steps:
        train_briefly(ours, _training_batches(split, options.steps))
    ours.precision = "fp32"
    stock.load_state_dict(ours.state_dict())
    sides = Sides(ours.eval(), stock.eval(), categories)
    find_as_many(stock, size, images, [item.objects for item in items])
    ours.load_state_dict(stock.state_dict())
    return sides


def _training_batches(split: Split, steps: int) -> Iterator[Batch]:
    crop = {"crop": albumentations.RandomCrop(CROP, CROP, pad_if_needed=True, p=1)}
    reader = ImageReader(split.images, "auto", MAX_PIXELS)
    dataset = CocoDataset(load_index(split.annotations), reader, Augmentation(crop, mix=None), seed=0)
    loader = TrainingLoader(dataset, batch_size=BATCH, workers=0, seed=0)
    return islice((batch for epoch in count() for batch in loader.epoch(epoch)), steps)


def photograph_sides(split: Split, items: Sequence[Item], detections: int) -> Sides:
    """Build the random ResNet-50 on both sides."""
    categories = load_index(split.annotations).categories
    names, images = [category.name for category in categories], [item.image for item in items]
    settings = settings_of("segmenter=mask_rcnn_resnet50_fpn", "segmenter.weights=null")
    ours, stock = pair(settings, names, images, min_size=settings["min_size"])
    recognise_regions(stock.eval(), ours.input_size, images)
    find_as_many(stock, ours.input_size, images, [detections] * len(images))
    ours.load_state_dict(stock.state_dict())
    return Sides(ours.eval(), stock, categories)


def nuclei_rows(options: argparse.Namespace) -> Iterator[Row]:
    """Measure the rows ``nuclei``, ``nuclei_rate`` and ``nuclei_files``."""
    with nuclei(options) as splits:
        items = [item for split in splits for item in items_of(validation(options, split))]
        name = validation(options, splits[0]).name
        chosen = spread_over(items, options.images)
        squares = [item for item in items if item.image.shape[1:] == RATE_SIZE]
        if not squares:
            sys.exit(f"{validation(options, splits[0]).annotations}: no image of 256x256 pixels with an object")
        sides = nuclei_sides(options, splits[0], chosen)
    yield sides.row("nuclei", name, chosen, 3, options.repeats)
    square = spread_over(squares, options.images)
    seconds, _ = alternate(sides.run_ours, lambda item: None, square, options.repeats)
    found = mean(len(sides.run_ours(item)) for item in square)
    what = f"{len(square)} images of {name}, 256x256; {found:.1f} detections an image"
    yield Row("nuclei_rate", what, "images/s", 1 / seconds, None, 10, greater=True)
    yield files_row(sides.ours, sides.categories, sides.run_ours, chosen, name, options.repeats)


def photograph_row(options: argparse.Namespace) -> Row:
    """Measure the row ``coco_resnet50``."""
    with coco(options) as splits:
        items = spread_over(items_of(splits[-1]), options.photographs)
        sides = photograph_sides(splits[-1], items, options.detections)
    return sides.row("coco_resnet50", splits[-1].name, items, 1.5, options.repeats)


def main(options: argparse.Namespace) -> None:
    """Measure the rows."""
    torch.set_num_threads(thread_count("auto", busy_workers=0))
    wanted = options.rows
    rows = [*nuclei_rows(options)] if "nuclei" in wanted else []
    if "coco" in wanted:
        rows.insert(1, photograph_row(options))
    finish(rows, options)


if __name__ == "__main__":
    parser = arguments("From an image to COCO records: segtrain against torchvision with pasted planes.")
    parser.add_argument("--images", type=int, default=10, help="of the nuclei's rows")
    parser.add_argument("--photographs", type=int, default=3, help="of the row of COCO")
    parser.add_argument("--steps", type=int, default=80, help="of the nuclei network's training, without --checkpoint")
    parser.add_argument("--detections", type=int, default=30, help="of the random network in a photograph")
    parser.add_argument("--rows", nargs="+", choices=("nuclei", "coco"), default=("nuclei", "coco"))
    main(parser.parse_args())
