"""Large images in windows: what is found in a mosaic, against its tiles one by one.

    python benchmarks/tiles.py --checkpoint runs/train/NAME/checkpoints/best.pt --check

The mosaic holds 64 validation images of the demo, 128 pixels a side, 640 objects. The network is the demo's, of
``--checkpoint``; without one, or with one of other categories, it is trained for ``--minutes``. Tiles are ordered by
brightness, as neighbouring parts of one picture are alike. The tiles still cut objects at their borders, and in the
mosaic such a piece continues into something else, which no picture of one piece shows: AP falls there, whatever joins
the windows. Therefore ``tiles_ap_within`` is the AP of the other objects alone, and each row also says what the tiles
give with 32 pixels of their surroundings, where the objects of a tile are those whose centre it holds.

- ours: ``TiledSegmenter`` with ``tile=auto overlap=0.25``: windows as large as the images of the training.
- beside it: each tile segmented alone.

Rows: ``tiles_found``, objects above the score threshold, as a share of those in the tiles; ``tiles_ap``, class-agnostic
mask AP of the tiles minus that of the windows; ``tiles_ap_within``, the same with objects ignored that touch a border
of a tile; ``tiles_cut_ap``, the same as ``tiles_ap`` for the mosaic without its outer half tiles, so that windows begin
in the middle of tiles and cut their objects; those that the new border cuts are ignored. ``tiles_time``, the time of
ours as a multiple of that of its windows alone.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from harness import alternate, arguments, finish
from items import MAX_PIXELS
from rows import Row
from stand_ins import draw_cells
from torch import Tensor

from segtrain import masks
from segtrain.data.check.load import load_index
from segtrain.data.images.image_reader import ImageReader, as_tensor
from segtrain.evaluation import Detections, GroundTruthSet, score
from segtrain.mask_records import MaskRecords
from segtrain.masks import PackedRles
from segtrain.masks.placing import placed
from segtrain.records import Category, GroundTruth, Instances
from segtrain.runtime import thread_count
from segtrain.segmenters import Trainable
from segtrain.segmenters.inputs import KnownInputs
from segtrain.segmenters.tiles import TiledSegmenter, tiled
from segtrain.segmenters.windows import Window
from segtrain.training.checkpoint import load_checkpoint, load_segmenter

SIDE, TILE = 8, 128  # tiles along a side of the mosaic, and pixels along one of a tile
SURROUNDINGS = 32  # pixels
CATEGORIES = ["round", "spindle", "lobed"]
ALL = 10**6  # detections, more than there are


@dataclass(frozen=True)
class Mosaic:
    """Picture of tiles with its true objects.

    Attributes:
        image: uint8 (3, H, W).
        truths: true objects; those that the border cuts are crowds, which are ignored.
        categories: categories of the labels.
    """

    image: Tensor
    truths: Sequence[GroundTruth]
    categories: Sequence[Category]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.image.shape[1]), int(self.image.shape[2])

    @property
    def tiles(self) -> list[Window]:
        """Tiles row by row."""
        places = [(x * TILE, y * TILE) for y in range(SIDE) for x in range(SIDE)]
        return [Window(x, y, x + TILE, y + TILE) for x, y in places]

    def ap(self, found: Instances) -> float:
        """Compute the class-agnostic mask AP of detections of the whole picture."""
        records = MaskRecords.of_image(found, 1, self.categories)
        truth = GroundTruthSet(self.categories, {1: self.size}, self.truths)
        track = score(Detections(records, None, True, 0.0), truth, ALL, ["class_agnostic"])["class_agnostic"]
        assert track is not None
        return track.value("mask_ap")

    def within_tiles(self) -> "Mosaic":
        """Make crowds, which are ignored, of objects that touch a border of a tile."""
        edges = masks.boxes([truth["segmentation"] for truth in self.truths]) % TILE
        touches = (edges == 0).any(axis=1)
        truths = [with_crowd(truth, own) for truth, own in zip(self.truths, touches.tolist(), strict=True)]
        return Mosaic(self.image, truths, self.categories)

    def inner(self) -> "Mosaic":
        """Cut half a tile off at every side."""
        height, width = self.size
        window = Window(TILE // 2, TILE // 2, width - TILE // 2, height - TILE // 2)
        whole = masks.area([truth["segmentation"] for truth in self.truths])
        rles = cropped([truth["segmentation"] for truth in self.truths], window)
        truths = list[GroundTruth]()
        for truth, rle, before, left in zip(self.truths, rles, whole, masks.area(rles), strict=True):
            if left:
                ((x0, y0, x1, y1),) = masks.boxes([rle]).tolist()
                own = {"id": len(truths) + 1, "segmentation": rle, "bbox": [x0, y0, x1 - x0, y1 - y0]}
                truths.append(cast("GroundTruth", {**truth, **own, "area": float(left), "iscrowd": int(left < before)}))
        return Mosaic(self.image[:, window.y0 : window.y1, window.x0 : window.x1], truths, self.categories)


def with_crowd(truth: GroundTruth, is_crowd: bool) -> GroundTruth:
    """Return a true object that is a crowd, or none."""
    return {**truth, "iscrowd": int(is_crowd)}


def mosaic_of(root: Path) -> Mosaic:
    """Lay the validation images of the demo out by brightness, line by line to and fro."""
    index = load_index(root / "annotations" / "instances_val.json")
    reader = ImageReader(root / "images" / "val", "auto", MAX_PIXELS)
    pixels = {image.id: as_tensor(reader.read(image)) for image in index.images}
    ordered = sorted(index.images, key=lambda image: float(pixels[image.id].float().median()))
    size = SIDE * TILE, SIDE * TILE
    picture, truths = torch.zeros((3, *size), dtype=torch.uint8), list[GroundTruth]()
    for number, image in enumerate(ordered):
        row, column = divmod(number, SIDE)
        x, y = (column if row % 2 == 0 else SIDE - 1 - column) * TILE, row * TILE
        picture[:, y : y + TILE, x : x + TILE] = pixels[image.id]
        own = index.truths(image.id)
        rles = placed(PackedRles.of([truth["segmentation"] for truth in own]), (x, y), size)
        for truth, rle in zip(own, rles, strict=True):
            left, top, width, height = truth["bbox"]
            box = [left + x, top + y, width, height]
            truths.append({**truth, "id": len(truths) + 1, "image_id": 1, "segmentation": rle, "bbox": box})
    return Mosaic(picture, truths, index.categories)


def cropped(rles: Sequence[masks.Rle], window: Window) -> list[masks.Rle]:
    """Cut masks to a window, in its own frame."""
    crops = masks.decode_crops(list(rles))
    return [masks.encode_crop(crop, x - window.x0, y - window.y0, window.size) for crop, x, y in crops]


def one_by_one(network: Trainable, mosaic: Mosaic, surroundings: int) -> Instances:
    """Segment each tile alone, or with some pixels around it, and keep what has its centre in the tile."""
    height, width = mosaic.size
    parts = []
    for tile in mosaic.tiles:
        x0, y0 = max(tile.x0 - surroundings, 0), max(tile.y0 - surroundings, 0)
        x1, y1 = min(tile.x1 + surroundings, width), min(tile.y1 + surroundings, height)
        (found,) = network.segment([mosaic.image[:, y0:y1, x0:x1]])
        rles = placed(PackedRles.of(found.rles), (x0, y0), mosaic.size)
        boxes = masks.boxes(rles)
        x, y = (boxes[:, :2] + boxes[:, 2:]).T / 2
        own = np.flatnonzero((x >= tile.x0) & (x < tile.x1) & (y >= tile.y0) & (y < tile.y1))
        parts.append((boxes[own], found.labels[own], found.scores[own], rles.where(own)))
    boxes, labels, scores = (np.concatenate(column) for column in list(zip(*parts, strict=True))[:3])
    order = np.argsort(-scores, kind="stable")
    rles = PackedRles.joined([own for *_, own in parts]).where(order)
    return Instances(mosaic.size, boxes[order].astype(np.float32), labels[order], scores[order], rles)


def inside(found: Instances, window: Window) -> Instances:
    """Cut instances to a window; those without a pixel in it are left out."""
    rles = cropped(found.rles, window)
    kept = np.flatnonzero(masks.area(rles))
    boxes = masks.boxes([rles[place] for place in kept.tolist()]).astype(np.float32)
    return Instances(
        window.size, boxes, found.labels[kept], found.scores[kept], [rles[place] for place in kept.tolist()]
    )


def time_row(segmenter: TiledSegmenter, mosaic: Mosaic, repeats: int) -> Row:
    """Measure the time of a picture against that of its windows alone."""
    network, grid = segmenter.segmenter, segmenter.tiling.grid(mosaic.size)
    assert grid is not None

    def windows(image: Tensor) -> None:
        for window in grid:
            network.segment([image[:, window.y0 : window.y1, window.x0 : window.x1]])

    ours, alone = alternate(lambda image: segmenter.segment([image]), windows, [mosaic.image], repeats)
    what = f"{mosaic.size[0]}x{mosaic.size[1]} pixels, {len(grid)} windows: {ours:.2f} s, {alone:.2f} s for them alone"
    return Row("tiles_time", what, "x", ours / alone, None, 1.3)


def rows(path: Path, mosaic: Mosaic, repeats: int) -> list[Row]:
    """Measure all rows with the network of a checkpoint."""
    network, threshold = load_segmenter(path), load_checkpoint(path).score_threshold
    network.inputs = network.inputs or KnownInputs.of(network.input_scale, [(TILE, TILE)], [])
    segmenter = tiled(network)
    (ours,), alone = segmenter.segment([mosaic.image]), one_by_one(network, mosaic, 0)
    near = one_by_one(network, mosaic, SURROUNDINGS)
    counts = [int((found.scores >= threshold).sum()) for found in (ours, alone, near)]
    aps = [mosaic.ap(found) for found in (ours, alone, near)]
    within = [mosaic.within_tiles().ap(found) for found in (ours, alone, near)]
    inner = mosaic.inner()
    window = Window(TILE // 2, TILE // 2, mosaic.size[1] - TILE // 2, mosaic.size[0] - TILE // 2)
    cut_aps = [inner.ap(segmenter.segment([inner.image])[0]), *(inner.ap(inside(own, window)) for own in (alone, near))]
    said = f"with {SURROUNDINGS} px around them"
    what = (
        f"{len(mosaic.truths)} objects: {counts[0]} in windows, {counts[1]} in the tiles one by one, {counts[2]} {said}"
    )
    return [
        Row("tiles_found", what, "of them", counts[0] / counts[1], None, 0.98, greater=True),
        Row("tiles_ap", _aps(aps, said), "AP", max(aps[1] - aps[0], 0.0), None, 0.01),
        Row("tiles_ap_within", _aps(within, said), "AP", max(within[1] - within[0], 0.0), None, 0.01),
        Row("tiles_cut_ap", _aps(cut_aps, said), "AP", max(cut_aps[1] - cut_aps[0], 0.0), None, 0.02),
        time_row(segmenter, mosaic, repeats),
    ]


def _aps(aps: Sequence[float], said: str) -> str:
    return f"mask AP {aps[0]:.4f} in windows, {aps[1]:.4f} in the tiles one by one, {aps[2]:.4f} {said}"


def trained(folder: Path, minutes: float) -> Path:
    """Train the demo's network briefly, and return its checkpoint."""
    script = Path(__file__).parent.parent / "train.py"
    settings = [f"trainer.max_minutes={minutes}", f"output_dir={folder / 'run'}", f"data.root={folder / 'data'}"]
    subprocess.run([sys.executable, str(script), *settings], check=True, stdout=subprocess.DEVNULL)
    return folder / "run" / "checkpoints" / "best.pt"


def main(options: argparse.Namespace) -> None:
    """Measure the rows."""
    torch.set_num_threads(thread_count("auto", busy_workers=0))
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), options.checkpoint
        if path is None or load_checkpoint(path).class_names != CATEGORIES:
            path = trained(folder, options.minutes)
        draw_cells(folder / "cells", train_images=1, val_images=SIDE**2)
        finish(rows(path, mosaic_of(folder / "cells"), options.repeats), options)


if __name__ == "__main__":
    parser = arguments("Large images in windows, against tiles one by one.")
    parser.add_argument("--minutes", type=float, default=4.25, help="of the network's training, without --checkpoint")
    main(parser.parse_args())
