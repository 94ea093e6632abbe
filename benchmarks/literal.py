"""The literal methods as array operations against the pixel loops of tutorials.

    python benchmarks/literal.py --nuclei DIR --check

Both sides get the same grey image of 192x263 and return its mask, or its levels, before components are numbered; in
turns, one thread each.

- ours: ``regions.above_mean``, ``threshold.levels``, ``edges.sobel_edges`` and ``edges.laplace_edges``, which
  ``threshold.mean``, ``threshold.multi``, ``edges.sobel`` and ``edges.laplace`` number the components of, on float32.
- stock: the same definitions as two nested loops over the pixels of a float64 NumPy array, which is what
  ``skimage.color.rgb2gray`` gives. A threshold asks ``grey[i, j] > grey.mean()`` at every pixel; the edges sum the 3x3
  window at every pixel, with skimage's normalisation of Sobel's and the border pixel repeated outside, and take the
  mean of the magnitude once.

The threshold loop in circulation overwrites the very array whose mean it takes at every pixel, so that its threshold
drifts along the image. That is an accident and not a definition: the loops here write elsewhere, and the mean they
take, again at every pixel, is that of the untouched image.

Rows: ``literal_mean``, ``literal_levels`` (configs/segmenter/threshold_multi.yaml), ``literal_sobel`` and
``literal_laplace``. Where the two sides differ in a single pixel the script fails with a message.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from harness import alternate, arguments, finish
from omegaconf import OmegaConf
from rows import Row
from stand_ins import Split, nuclei

from segtrain.data.check.load import load_index
from segtrain.data.images.image_reader import ImageReader
from segtrain.segmenters.classical import edges, regions, threshold

CONFIG = Path(__file__).parent.parent / "configs" / "segmenter" / "threshold_multi.yaml"
SIZE = (192, 263)  # rows, columns
SOBEL = ((1, 2, 1), (0, 0, 0), (-1, -2, -1))
LAPLACE = ((1, 1, 1), (1, -8, 1), (1, 1, 1))

Grey = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[Any]


def above_mean(grey: Grey) -> Mask:
    """Compute the stock side of ``literal_mean``."""
    mask = np.zeros(grey.shape, dtype=bool)
    for i in range(grey.shape[0]):
        for j in range(grey.shape[1]):
            if grey[i, j] > grey.mean():
                mask[i, j] = True
    return mask


def levels(grey: Grey, low: float, high: float) -> Mask:
    """Compute the stock side of ``literal_levels``."""
    level = np.zeros(grey.shape, dtype=np.int64)
    for i in range(grey.shape[0]):
        for j in range(grey.shape[1]):
            if grey[i, j] > grey.mean():
                level[i, j] = 3
            elif grey[i, j] > high:
                level[i, j] = 2
            elif grey[i, j] > low:
                level[i, j] = 1
    return level


def sobel_edges(grey: Grey) -> Mask:
    """Compute the stock side of ``literal_sobel``."""
    framed = np.pad(grey, 1, mode="edge")
    magnitude = np.zeros(grey.shape)
    for i in range(grey.shape[0]):
        for j in range(grey.shape[1]):
            down = across = 0.0
            for k in range(3):
                for l in range(3):  # noqa: E741
                    down += SOBEL[k][l] * framed[i + k, j + l]
                    across += SOBEL[l][k] * framed[i + k, j + l]
            # Each kernel divided by the sum of its positive weights, the magnitude by sqrt(2): so does skimage.
            magnitude[i, j] = math.sqrt((down / 4) ** 2 + (across / 4) ** 2) / math.sqrt(2)
    return strong(magnitude)


def laplace_edges(grey: Grey) -> Mask:
    """Compute the stock side of ``literal_laplace``."""
    framed = np.pad(grey, 1, mode="edge")
    magnitude = np.zeros(grey.shape)
    for i in range(grey.shape[0]):
        for j in range(grey.shape[1]):
            total = 0.0
            for k in range(3):
                for l in range(3):  # noqa: E741
                    total += LAPLACE[k][l] * framed[i + k, j + l]
            magnitude[i, j] = abs(total)
    return strong(magnitude)


def strong(magnitude: Grey) -> Mask:
    """Mark the edges of the stock side: pixels above the mean, which is computed once."""
    mask, mean = np.zeros(magnitude.shape, dtype=bool), magnitude.mean()
    for i in range(magnitude.shape[0]):
        for j in range(magnitude.shape[1]):
            if magnitude[i, j] > mean:
                mask[i, j] = True
    return mask


def crop(splits: Sequence[Split], height: int, width: int) -> tuple[npt.NDArray[np.float32], str]:
    """Cut the centre of the first image that is large enough, as grey in [0, 1], and name its origin."""
    for split in splits:
        for image in load_index(split.annotations).images:
            top, left = ((whole - part) // 2 for whole, part in zip(image.size, (height, width), strict=True))
            if top >= 0 and left >= 0:
                rgb = np.divide(ImageReader(split.images, "auto", 10**8).read(image), 255, dtype=np.float32)
                return regions.luminance(rgb)[top : top + height, left : left + width].copy(), split.name
    sys.exit(f"literal: no image of {height}x{width} or more; leave --nuclei out for drawn ones")


def measure(grey: npt.NDArray[np.float32], name: str, repeats: int) -> list[Row]:
    """Measure the four rows; exit if the sides differ."""
    cuts = {part: float(OmegaConf.load(CONFIG).method[part]) for part in ("low", "high")}
    double = grey.astype(np.float64)
    sides: dict[str, tuple[Callable[[], Mask], Callable[[], Mask], float]] = {
        "literal_mean": (lambda: regions.above_mean(grey), lambda: above_mean(double), 1000),
        "literal_levels": (lambda: threshold.levels(grey, **cuts), lambda: levels(double, **cuts), 1000),
        "literal_sobel": (lambda: edges.sobel_edges(grey), lambda: sobel_edges(double), 1),
        "literal_laplace": (lambda: edges.laplace_edges(grey), lambda: laplace_edges(double), 1),
    }
    return [_row(row, grey.shape, name, repeats, *pair) for row, pair in sides.items()]


def _row(
    row: str,
    size: tuple[int, ...],
    name: str,
    repeats: int,
    ours: Callable[[], Mask],
    stock: Callable[[], Mask],
    bound: float,
) -> Row:
    different = int((ours() != stock()).sum())
    if different:
        sys.exit(f"{row}: {different} of {size[0] * size[1]} pixels differ from the pixel loop's")
    times = alternate(lambda _: ours(), lambda _: stock(), [None], repeats)
    what = f"{size[0]}x{size[1]} of {name}; identical masks"
    return Row(row, what, "ms", times[0] * 1e3, times[1] * 1e3, bound)


def main(options: argparse.Namespace) -> None:
    """Measure the four rows."""
    with nuclei(options) as splits:
        grey, name = crop(splits, *SIZE)
    finish(measure(grey, name, options.repeats), options)


if __name__ == "__main__":
    main(arguments("The literal methods as array operations against the pixel loops of tutorials.").parse_args())
