"""A data set of a TIFF in tiles, which is large beside a small limit of pixels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from segtrain.data.images.pages.tiff_windows import TiffWindows

SIZE = (300, 420)
LIMIT = 10_000  # pixels, a window of which is read at a time


def large_picture(dtype: type = np.uint8) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]]:
    """Return bright squares on a noisy dark ground, and their label map."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(20, 40, SIZE), np.zeros(SIZE, np.int32)
    for number, place in enumerate(rng.permutation(10 * 14)[:50].tolist(), start=1):
        y, x = place // 14 * 30 + int(rng.integers(0, 14)), place % 14 * 30 + int(rng.integers(0, 14))
        labels[y : y + 8 + number % 7, x : x + 15] = number
    pixels[labels > 0] = 100 + 3 * labels[labels > 0]
    return pixels.astype(dtype), labels


def window_samples(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that receives the number of samples of each window of a TIFF that is read."""
    read, sizes = TiffWindows.read, list[int]()

    def reading(self: TiffWindows, box: Any) -> Any:
        part = read(self, box)
        sizes.append(part.array.size)
        return part

    monkeypatch.setattr(TiffWindows, "read", reading)
    return sizes


def write_large_data(folder: Path, dtype: type = np.uint8, **options: Any) -> Path:
    """Write ``labels.json`` and ``images/large.tif``, of 64 x 64 tiles unless options of tifffile say otherwise."""
    pixels, labels = large_picture(dtype)
    (folder / "images").mkdir(parents=True)
    tifffile.imwrite(folder / "images" / "large.tif", pixels, **{"tile": (64, 64), "compression": "zlib", **options})
    annotations = []
    for number in range(1, labels.max() + 1):
        rows, columns = np.nonzero(labels == number)
        x0, y0, x1, y1 = (int(n) for n in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        annotations.append(
            {
                "id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": (x1 - x0) * (y1 - y0),
                "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
            }
        )  # fmt: skip
    content = {
        "images": [{"id": 1, "file_name": "large.tif", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "square"}],
    }
    (folder / "labels.json").write_text(json.dumps(content))
    return folder
