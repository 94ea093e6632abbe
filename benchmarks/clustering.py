"""k-means of an image's colours: fitted to their histogram against fitted to all pixels.

    python benchmarks/clustering.py --coco DIR --check

Both sides get the same float32 RGB in [0, 1] and return a cluster number for every pixel; one thread each, in turns.

- ours: ``segtrain.segmenters.classical.kmeans.cluster`` with the settings of configs/segmenter/kmeans.yaml: a
  histogram of the colours, fitted by scikit-learn with the cells' pixels as weights, and every pixel to
  its truly nearest centre.
- stock: ``sklearn.cluster.KMeans(n_clusters=5, n_init=10).fit_predict`` on all pixels, with a fixed seed.

The row ``clustering`` takes the median over six photographs of 640x480 (COCO has many) of each side's median time.
Inertia is the sum of squared distances of the pixels to the mean of their cluster, computed in the same way from either
side's numbers; where ours is more than 1 % above scikit-learn's on any image, the script fails with a message.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
from harness import alternate, arguments, finish
from omegaconf import OmegaConf
from rows import Row
from sklearn.cluster import KMeans
from stand_ins import Split, coco
from threadpoolctl import threadpool_limits

from segtrain.data.check.load import load_index
from segtrain.data.images.image_reader import ImageReader
from segtrain.segmenters.classical.kmeans import cluster

CONFIG = Path(__file__).parent.parent / "configs" / "segmenter" / "kmeans.yaml"
SETTINGS = {name: int(OmegaConf.load(CONFIG).method[name]) for name in ("bits", "restarts", "seed")}
IMAGES = 6
SIZE = (480, 640)  # rows, columns
CLUSTERS = 5
BOUND = 40
MOST = 1.01  # times scikit-learn's inertia

Pixels = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.integer]


def ours(pixels: Pixels) -> Numbers:
    """Cluster by our side."""
    return cluster(pixels, clusters=CLUSTERS, **SETTINGS)


def stock(pixels: Pixels) -> Numbers:
    """Cluster by scikit-learn on all pixels."""
    model = KMeans(n_clusters=CLUSTERS, n_init=10, random_state=0)
    labels: Numbers = model.fit_predict(pixels.reshape(-1, 3)).reshape(pixels.shape[:2])
    return labels


def inertia(pixels: Pixels, numbers: Numbers) -> float:
    """Compute the sum of squared distances of all pixels to the mean of their cluster."""
    colours = pixels.astype(np.float64)
    clusters = [colours[numbers == number] for number in np.unique(numbers)]
    return sum(float(((members - members.mean(axis=0)) ** 2).sum()) for members in clusters)


def photographs(splits: Sequence[Split]) -> list[Pixels]:
    """Read images of 640x480, in equal numbers from all splits."""
    found = [
        (ImageReader(split.images, "auto", 10**8), image)
        for split in splits
        for image in load_index(split.annotations).images
        if image.size == SIZE
    ]
    if not found:
        sys.exit("clustering: no image of 640x480; leave --coco out for drawn ones")
    places = np.linspace(0, len(found) - 1, min(IMAGES, len(found))).astype(int)
    return [reader.read(image) / np.float32(255) for reader, image in (found[place] for place in places)]


def measure(images: Sequence[Pixels], name: str, repeats: int) -> Row:
    """Measure the row; exit if an inertia is too high."""
    with threadpool_limits(limits=1):
        worse = [inertia(pixels, ours(pixels)) / inertia(pixels, stock(pixels)) for pixels in images]
        times = [alternate(ours, stock, [pixels], repeats) for pixels in images]
    worst = max(worse)
    if worst > MOST:
        place = worse.index(worst) + 1
        sys.exit(f"clustering: inertia {worst:.4f} times scikit-learn's on image {place}, {MOST:g} is the most")
    height, width = images[0].shape[:2]
    what = f"{len(images)} images of {name}, {width}x{height}; inertia at most {worst:.4f} times scikit-learn's"
    mine, theirs = (median(pair[side] for pair in times) * 1e3 for side in (0, 1))
    return Row("clustering", what, "ms", mine, theirs, BOUND)


def main(options: argparse.Namespace) -> None:
    """Measure the row."""
    with coco(options) as splits:
        images, name = photographs(splits), " and ".join(dict.fromkeys(split.name for split in splits))
    finish([measure(images, name, options.repeats)], options)


if __name__ == "__main__":
    main(arguments("k-means of colours: fitted to their histogram against fitted to all pixels.").parse_args())
