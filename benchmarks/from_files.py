"""Rate of ``segtrain predict`` from files to files, beside that of the network on decoded images."""

import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
from harness import alternate
from items import Item
from rows import Row

from segtrain.data.images.intensities.intensity import FULL
from segtrain.prediction.applied_model import AppliedModel
from segtrain.prediction.predict_files import DEFAULT_KINDS, PredictionSettings, predict_files
from segtrain.records import Category
from segtrain.score_thresholds import ScoreThresholds
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.segmenters.tiles import TiledSegmenter, Tiling

LEAST = 0.9  # of the rate on decoded images
FILES = 20  # at least, so that the start of the readers does not count


def files_row(
    network: MaskRCNN,
    categories: Sequence[Category],
    segment: Callable[[Item], object],
    items: Sequence[Item],
    what: str,
    repeats: int,
) -> Row:
    """Measure images per second from PNG files to what is written by default but overlays, and of the network alone.

    Args:
        network: the network.
        categories: categories of its labels.
        segment: function from a decoded image to records, the other side.
        items: decoded images; they are written as files before the clock runs.
        what: description of the images.
        repeats: number of repetitions that count.
    """
    items = [items[number % len(items)] for number in range(max(FILES, len(items)))]
    whole = TiledSegmenter(network, Tiling("off"))
    model = AppliedModel(whole, network.title, "benchmark", categories, ScoreThresholds(0.0), None, FULL, "")
    settings = PredictionSettings(save=[kind for kind in DEFAULT_KINDS if kind != "overlays"])
    with tempfile.TemporaryDirectory() as folder:
        images, outs = _written(items, Path(folder) / "images"), count()

        def from_files(_: str) -> None:
            predict_files(model, images, Path(folder) / f"out_{next(outs)}", settings)

        def alone(_: str) -> None:
            for item in items:
                segment(item)

        times = alternate(from_files, alone, ["all"], repeats)
    ours, stock = (len(items) / seconds for seconds in times)
    pixels = mean(item.image[0].numel() for item in items)
    described = (
        f"{len(items)} files of {what}, {pixels / 1e6:.2f} megapixels each, to predictions.json and index.html; "
        "beside decoded"
    )
    return Row("nuclei_files", described, "images/s", ours, stock, LEAST, greater=True)


def _written(items: Sequence[Item], folder: Path) -> list[Path]:
    """Write the images as PNG files."""
    folder.mkdir()
    paths = [folder / f"{number:04d}.png" for number in range(len(items))]
    for item, path in zip(items, paths, strict=True):
        rgb = item.image.permute(1, 2, 0).numpy()
        cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., ::-1]))
    return paths
