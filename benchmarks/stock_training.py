"""torchvision's reference training on the data and the network of a run of ours: the other side of time_to_quality.py.

    python benchmarks/stock_training.py --run runs/train/NAME --minutes 10 --out stock.json --exact-out exact.json

The code path is that of torchvision's references/detection (train.py, engine.py, coco_utils.py), with its settings:

- ``torchvision.models.detection.MaskRCNN`` with the run's backbone, widths, anchors and backbone weights, normalisation
  frozen if there are weights, the run's frozen stages (two of five, as torchvision chooses), and torchvision's defaults
  for every count: 2000 candidates and proposals, 512 regions an image. Two settings are not its own: at most
  ``data.max_dets`` detections an image instead of 100, so that it may find all objects, and a shorter side of 512
  pixels instead of 800, which shows images of 256 pixels at twice their size as experiment=nuclei does, and takes less
  time a step.
- ``torchvision.datasets.CocoDetection``, crowds left out, one plane for each instance by pycocotools, a horizontal
  flip, batches of like aspect ratio.
- SGD with a learning rate of .02 / 16 for each image of a batch, momentum .9, weight decay 1e-4, a linear warm-up from
  a thousandth over the first epoch (``min(1000, batches - 1)`` steps), a tenth of the rate after 16/26 and 22/26 of the
  training; float32, the default memory layout, all cores.

Then each validation image goes through the model. Its masks are written twice, so that a reader sees what training and
pasting each bring: as the model pastes them, by ``paste_masks_in_image`` and ``pycocotools.mask.encode`` (``--out``);
and pasted exactly (``--exact-out``), moved back by half an input pixel, which is what RoIAlign without ``aligned``
teaches at whole scales: most images of nuclei are shown at twice their size. Waiting for data counts as training,
loading in this process as the run does.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import CocoDetection
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.transforms.functional import to_tensor

from segtrain.data.sampling import EpochBatches, aspect_bins
from segtrain.segmenters.mask_rcnn.factory import Shape, build_network
from segtrain.segmenters.mask_rcnn.mask_paste import paste_masks
from segtrain.segmenters.mask_rcnn.weights import load_weights

MIN_SIZE, MAX_SIZE = 512, 1333  # pixels of the input
RATE = 0.02 / 16  # for each image of a batch
WARMUP_STEPS, WARMUP_FACTOR = 1000, 0.001
DROPS = (16 / 26, 22 / 26)  # of the training; a tenth of the rate behind each
LOG_EVERY = 10  # steps
LEARNED_SHIFT = 0.5  # input pixels

Sample = tuple[Tensor, dict[str, Tensor]]


class Samples(Dataset[Sample]):
    """Images with objects, as torchvision's reference prepares them.

    Args:
        data: ``data`` settings of the run.
        labels: label 1..K by category id.
    """

    def __init__(self, data: dict[str, Any], labels: dict[int, int]) -> None:
        with contextlib.redirect_stdout(None):  # pycocotools prints
            self._images = CocoDetection(_path(data, "train_images"), _path(data, "train_annotations"))
        coco = self._images.coco
        self._labels = labels
        self._positions = [p for p, i in enumerate(self._images.ids) if _objects(coco.imgToAnns[i])]
        records = [coco.imgs[self._images.ids[position]] for position in self._positions]
        self.sizes = [(record["height"], record["width"]) for record in records]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        image, records = self._images[self._positions[key[1]]]
        records = _objects(records)
        boxes = torch.tensor([record["bbox"] for record in records]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes[:, 0::2].clamp_(0, image.width)
        boxes[:, 1::2].clamp_(0, image.height)
        masks = torch.from_numpy(np.stack([self._images.coco.annToMask(record) for record in records]))
        labels = torch.tensor([self._labels[record["category_id"]] for record in records])
        keep = (boxes[:, 3] > boxes[:, 1]) & (boxes[:, 2] > boxes[:, 0])
        boxes, masks, labels, pixels = boxes[keep], masks[keep], labels[keep], to_tensor(image)
        if torch.rand(1) < 0.5:
            pixels, masks = pixels.flip(-1), masks.flip(-1)
            boxes[:, [0, 2]] = image.width - boxes[:, [2, 0]]
        return pixels, {"boxes": boxes, "labels": labels, "masks": masks}


def _objects(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in records if not record.get("iscrowd", 0)]


def build_stock(config: dict[str, Any], class_names: list[str]) -> StockMaskRCNN:
    """Build torchvision's network with the shape and the backbone of the run, and its own defaults."""
    given, weights = config["segmenter"], config["segmenter"]["weights"]
    names = ("architecture", "fpn_channels", "box_head_width", "mask_head_widths", "anchor_sizes", "anchor_ratios")
    network = build_network(
        Shape(**{name: given[name] for name in names if name in given}),
        len(class_names) + 1,
        norm="batch" if weights is None else "frozen",
        frozen_stages=given["frozen_stages"],
        box_detections_per_img=config["data"]["max_dets"],
        min_size=MIN_SIZE,
        max_size=MAX_SIZE,
    )
    if weights is not None:
        load_weights(network, weights, given["architecture"], class_names)
    return network


def train(network: StockMaskRCNN, samples: Samples, batch_size: int, seconds: float) -> int:
    """Train for some time, and return the number of steps."""
    batches = EpochBatches(len(samples), batch_size, 0, bins=aspect_bins(samples.sizes))
    loader = DataLoader(samples, batch_sampler=batches, collate_fn=lambda batch: tuple(zip(*batch, strict=True)))
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, RATE * batch_size, momentum=0.9, weight_decay=1e-4)
    warmup = max(min(WARMUP_STEPS, len(batches) - 1), 1)
    network.train()
    started = time.perf_counter()
    step, passed = 0, 0.0
    for images, targets in _forever(loader, batches):
        factor = WARMUP_FACTOR + (1 - WARMUP_FACTOR) * min(step / warmup, 1)
        drops = sum(passed >= drop * seconds for drop in DROPS)
        optimizer.param_groups[0]["lr"] = RATE * batch_size * factor * 0.1**drops
        loss = torch.stack(list(network(images, targets).values())).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        step, passed = step + 1, time.perf_counter() - started
        if step % LOG_EVERY == 0 or passed >= seconds:
            print(f"stock: step {step}, {passed / 60:.1f} min, loss {loss.item():.3f}", flush=True)
        if passed >= seconds:
            break
    return step


def _forever(loader: DataLoader[Sample], batches: EpochBatches) -> Iterator[Any]:
    while True:
        yield from loader
        batches.epoch += 1


@torch.inference_mode()
def detect(
    network: StockMaskRCNN, data: dict[str, Any], category_ids: list[int]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Segment the validation images, one at a time, into COCO records: as torchvision pastes, and pasted exactly."""
    network.eval()
    for info in json.loads(Path(_path(data, "val_annotations")).read_text())["images"]:
        with Image.open(Path(_path(data, "val_images")) / info["file_name"]) as file:
            image = to_tensor(file.convert("RGB"))
        size = (image.shape[1], image.shape[2])
        resized, _ = network.transform([image])
        features = network.backbone(resized.tensors)
        proposals, _ = network.rpn(resized, features)
        found, _ = network.roi_heads(features, proposals, resized.image_sizes)
        probabilities = found[0]["masks"][:, 0]
        (pasted,) = network.transform.postprocess(found, resized.image_sizes, [size])
        (height, width) = resized.image_sizes[0]
        shift = (LEARNED_SHIFT * size[1] / width, LEARNED_SHIFT * size[0] / height)
        exact = paste_masks(probabilities, pasted["boxes"], size, shift)
        labels, scores = pasted["labels"].tolist(), pasted["scores"].tolist()
        for label, score, plane, rle in zip(labels, scores, pasted["masks"], exact, strict=True):
            stock = coco_mask.encode(np.asfortranarray((plane[0] > 0.5).numpy().astype(np.uint8)))
            record = {"image_id": info["id"], "category_id": category_ids[label - 1], "score": score}
            segmentation = {"size": stock["size"], "counts": stock["counts"].decode()}
            yield record | {"segmentation": segmentation}, record | {"segmentation": rle}


def _path(data: dict[str, Any], key: str) -> str:
    return str(Path(data["root"] or "") / data[key])


def main(options: argparse.Namespace) -> None:
    """Train, and write the detections of the network and the number of steps."""
    config: Any = OmegaConf.to_container(OmegaConf.load(options.run / ".hydra" / "config.yaml"))
    torch.manual_seed(config["seed"])
    categories = json.loads(Path(_path(config["data"], "train_annotations")).read_text())["categories"]
    names = {category["id"]: category["name"] for category in categories}
    category_ids = sorted(names)
    network = build_stock(config, [names[i] for i in category_ids])
    samples = Samples(config["data"], {identifier: label for label, identifier in enumerate(category_ids, 1)})
    steps = train(network, samples, config["trainer"]["batch_size"], options.minutes * 60)
    found = list(detect(network, config["data"], category_ids))
    for path, records in zip((options.out, options.exact_out), zip(*found, strict=True), strict=True):
        path.write_text(json.dumps(records))
    options.out.with_suffix(".steps").write_text(str(steps))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="torchvision's reference training on a run's data and network.")
    parser.add_argument("--run", type=Path, required=True, help="folder of a training by segtrain")
    parser.add_argument("--minutes", type=float, required=True, help="of training")
    parser.add_argument("--out", type=Path, required=True, help="COCO records of the validation images, to be written")
    parser.add_argument("--exact-out", type=Path, required=True, help="the same detections with masks pasted exactly")
    main(parser.parse_args())
