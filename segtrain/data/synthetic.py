"""Synthetic data set of drawn cells, written as an ordinary COCO folder."""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segtrain import masks
from segtrain.console import with_progress
from segtrain.data.cells import KINDS, Drawing, Interval, Look, draw
from segtrain.errors import SegtrainError
from segtrain.locks import mark_in_use, replaceable

SPLITS = ("train", "val")
DIFFICULTIES = ("easy", "hard")
DESCRIPTION = "segtrain synthetic cells"
VERSION = "1"  # version of the drawing; increased when the same settings give other images

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generator:
    """Generator of images with cells of three categories that differ in shape; every second image is hard.

    An image depends only on the settings, its split and its number.

    Attributes:
        seed: seed of all random draws.
        train_images: number of training images.
        val_images: number of validation images.
        size: side of an image in pixels.
        cells: least and greatest number of cells in an image.
        radius: radius of a round cell in pixels; the other kinds have a similar area.
        dark: share of images with dark cells on a bright background.
        easy: look of the images 1, 3, 5, ...
        hard: look of the others.
    """

    seed: int
    train_images: int
    val_images: int
    size: int
    cells: tuple[int, int]
    radius: Interval
    dark: float
    easy: Look
    hard: Look

    def ensure(self, root: Path) -> None:
        """Write the data set into ``root``, unless it is there already, and lock it against other processes.

        Raises:
            SegtrainError: ``root`` holds something else, is read by another process, or cannot be written.
        """
        if not self._is_in(root):
            self._replace(root)
        mark_in_use(root)

    def _replace(self, root: Path) -> None:
        """Write the data set into ``root``."""
        if root.exists() and not _is_replaceable(root):
            raise SegtrainError(f"{root} holds files that were not generated; set data.root to a new folder")
        try:
            if root.exists():
                with replaceable(root):  # or they would be drawn in vain
                    pass
            log.info("Drawing %d synthetic images into %s", self.train_images + self.val_images, root)
            root.parent.mkdir(parents=True, exist_ok=True)
            # Written to a sibling folder, which is then renamed, so that no incomplete folder is visible.
            with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as sibling:
                self.write(Path(sibling) / "new")
                with replaceable(root) if root.exists() else nullcontext():
                    if root.exists():
                        root.replace(Path(sibling) / "old")
                    (Path(sibling) / "new").replace(root)
        except OSError as error:
            if self._is_in(root):
                return  # another process was faster
            reason = error.strerror or error
            raise SegtrainError(f"{root} cannot be written ({reason}); set data.root to another folder") from error

    def write(self, folder: Path) -> None:
        """Write annotations and images into a new or empty folder."""
        (folder / "annotations").mkdir(parents=True)
        for split in SPLITS:
            (folder / "images" / split).mkdir(parents=True)
            records = self._records(split, folder / "images" / split)
            (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(records))

    def drawing(self, split: str, number: int) -> tuple[str, Drawing]:
        """Difficulty and content of an image; numbers count from 1."""
        difficulty = DIFFICULTIES[(number - 1) % 2]
        rng = np.random.default_rng([self.seed, SPLITS.index(split), number])
        look = self.easy if difficulty == "easy" else self.hard
        settings: dict[str, Any] = {"cells": self.cells, "radius": self.radius, "dark": self.dark}
        return difficulty, draw(rng, look, size=self.size, **settings)

    def _records(self, split: str, image_folder: Path) -> dict[str, Any]:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        numbers = range(1, (self.train_images if split == "train" else self.val_images) + 1)
        for number in with_progress(f"drawing {split} images", numbers, transient=True):
            difficulty, drawing = self.drawing(split, number)
            name = f"{number:06d}.png"
            Image.fromarray(drawing.rgb).save(image_folder / name)
            images.append(
                {"id": number, "file_name": name, "height": self.size, "width": self.size, "difficulty": difficulty}
            )
            for annotation in _annotations(drawing):
                annotations.append({"id": len(annotations) + 1, "image_id": number, **annotation})
        categories = [{"id": index + 1, "name": name} for index, name in enumerate(KINDS)]
        return {"info": self._info(), "images": images, "annotations": annotations, "categories": categories}

    def _info(self) -> dict[str, Any]:
        # Converted to json and back, so that it equals the content of the file.
        info: dict[str, Any] = json.loads(json.dumps({"description": DESCRIPTION, "version": VERSION, **asdict(self)}))
        return info

    def _is_in(self, root: Path) -> bool:
        """Return True if both splits hold exactly this data set."""
        counts = {"train": self.train_images, "val": self.val_images}
        return all(
            _read_info(root, split) == self._info()
            and len(list((root / "images" / split).glob("*.png"))) == counts[split]
            for split in SPLITS
        )


def _annotations(drawing: Drawing) -> Iterator[dict[str, Any]]:
    rles = masks.encode_labels(drawing.cells)
    for kind, rle, area, (x0, y0, x1, y1) in zip(drawing.kinds, rles, masks.area(rles), masks.boxes(rles), strict=True):
        yield {
            "category_id": kind + 1,
            "segmentation": rle,
            "area": int(area),
            "bbox": [float(v) for v in (x0, y0, x1 - x0, y1 - y0)],
            "iscrowd": 0,
        }


def _is_replaceable(root: Path) -> bool:
    """Return True if ``root`` may be replaced: it is empty, or a drawn data set with other settings."""
    if not root.is_dir():
        return False
    found = {path.name for path in root.iterdir()}
    ours = all((_read_info(root, split) or {}).get("description") == DESCRIPTION for split in SPLITS)
    return not found or (found == {"annotations", "images"} and ours)


def _read_info(root: Path, split: str) -> dict[str, Any] | None:
    """Read the ``info`` of a split's annotations; None if there is none."""
    try:
        records = json.loads((root / "annotations" / f"instances_{split}.json").read_bytes())
    except (OSError, ValueError):
        return None
    info = records.get("info") if isinstance(records, dict) else None
    return info if isinstance(info, dict) else None
