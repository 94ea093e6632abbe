"""Data of benchmarks: the user's own, or drawn replacements."""

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from PIL import Image, ImageDraw

from segtrain.nodes import build

CONFIG = Path(__file__).parent.parent / "configs" / "data" / "synthetic.yaml"
DRAWN = "drawn data"


@dataclass(frozen=True)
class Split:
    """Annotation file and image folder.

    Attributes:
        annotations: path of the COCO json.
        images: image folder.
        name: name in the table.
    """

    annotations: Path
    images: Path
    name: str


@contextmanager
def nuclei(options: argparse.Namespace) -> Iterator[list[Split]]:
    """Return the training split of the nuclei; without ``--nuclei``, drawn cells, sparse ones and dense ones."""
    if options.nuclei:
        yield [_split(options.nuclei, "instances_train.json", "images/train", "nuclei train")]
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw_cells(root / "sparse", train_images=24, size=256, cells=[20, 50])
        draw_cells(root / "dense", train_images=3, size=448, cells=[175, 185], radius=[5, 7])
        yield [_split(root / n, "instances_train.json", "images/train", DRAWN) for n in ("sparse", "dense")]


@contextmanager
def splits_of_nuclei(options: argparse.Namespace) -> Iterator[list[Split]]:
    """Return the training and validation split of the nuclei; without ``--nuclei``, as many drawn images."""
    with tempfile.TemporaryDirectory() as folder:
        root, name = options.nuclei or Path(folder), "nuclei train and val" if options.nuclei else DRAWN
        if not options.nuclei:
            draw_cells(root, train_images=441, val_images=100, size=256, cells=[20, 60], radius=[5, 8])
        yield [_split(root, f"instances_{part}.json", f"images/{part}", name) for part in ("train", "val")]


@contextmanager
def coco(options: argparse.Namespace) -> Iterator[list[Split]]:
    """Return both splits of COCO 2017; without ``--coco``, scenes of drawn polygons in the size of photographs."""
    if options.coco:
        names = ("train2017", "val2017")
        yield [_split(options.coco, f"instances_{name}.json", name, f"coco {name}") for name in names]
        return
    with tempfile.TemporaryDirectory() as folder:
        draw_polygons(Path(folder), images=16)
        yield [_split(Path(folder), "instances.json", "images", DRAWN)]


def draw_polygons(root: Path, images: int) -> None:
    """Draw a COCO folder of 640x480 JPEGs: clouds of noise, with 2 to 16 overlapping polygons each."""
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    records: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "shape"}],
    }
    for image_id in range(1, images + 1):
        clouds = Image.fromarray(rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)).resize((640, 480))
        picture = Image.fromarray((np.asarray(clouds) * 0.8 + rng.uniform(0, 50, (480, 640, 3))).astype(np.uint8))
        name = f"{image_id:012d}.jpg"
        for _ in range(rng.integers(2, 17)):
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(8, 40)))
            reach = rng.uniform(0.6, 1, len(angles)) * rng.uniform(10, 120)
            x = (rng.uniform(0, 640) + reach * np.cos(angles)).clip(0, 640)
            y = (rng.uniform(0, 480) + reach * np.sin(angles)).clip(0, 480)
            polygon = np.stack([x, y], axis=1).round(2).ravel().tolist()
            ImageDraw.Draw(picture).polygon(polygon, fill=tuple(rng.integers(0, 256, 3).tolist()))
            width, height = float(np.ptp(x)), float(np.ptp(y))
            records["annotations"].append(
                {
                    "id": len(records["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "segmentation": [polygon],
                    "bbox": [float(x.min()), float(y.min()), width, height],
                    "area": width * height / 2,
                    "iscrowd": 0,
                }
            )
        picture.save(root / "images" / name, quality=90)
        records["images"].append({"id": image_id, "file_name": name, "height": 480, "width": 640})
    (root / "annotations" / "instances.json").write_text(json.dumps(records))


def _split(root: Path, annotations: str, images: str, name: str) -> Split:
    return Split(root / "annotations" / annotations, root / images, name)


def draw_cells(root: Path, **settings: Any) -> None:
    """Draw synthetic cells, without a validation split."""
    generator = {**OmegaConf.load(CONFIG).generator, "val_images": 0, **settings}
    build(generator).ensure(root)
