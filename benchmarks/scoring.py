"""COCO's twelve numbers of many run-length masks.

    python benchmarks/scoring.py --check

2,000 images of 640x480 with 80 categories are generated for the run: about seven true instances each, one in a hundred
a crowd, and 139,000 detections. Half of those are truths, shifted and grown or shrunk, one in ten of another category;
the other half lie anywhere. Good ones score higher, and many scores are equal. Both sides begin with the same lists of
Python records and end with the twelve numbers, in one process, in turns; the run fails where a number differs by more
than 1e-12.

- ours: ``segtrain.metrics.average_precision.average_precision(truths, predictions, iou_type="segm", max_dets=100)``;
  its backend uses all cores. ``evaluate.py`` computes the same numbers from matches that its other metrics use too
  (``coco_summary``), which takes longer for these numbers alone: see ``evaluation.py``.
- stock: pycocotools, which uses one: ``COCO().createIndex()``, ``loadRes``, then ``COCOeval``'s ``evaluate``,
  ``accumulate`` and ``summarize``; what it prints is thrown away. Since it writes into the records, each turn of either
  side gets copies of its own, made while the clock stands.

Row: ``scoring``.
"""

import argparse
import contextlib
import io
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from harness import alternate, arguments, finish
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rows import Row

from segtrain import masks
from segtrain.metrics.average_precision import average_precision
from segtrain.records import GroundTruth, Prediction

HEIGHT, WIDTH = 480, 640
CATEGORIES = 80
TRUTHS = 7.2  # an image, on average
CROWDS = 0.01  # of the truths
SCORES = 1000  # that differ, at most
TOLERANCE = 1e-12

Floats = npt.NDArray[np.float64]


@dataclass
class Scene:
    """Records of drawn images.

    Attributes:
        images: ids of the images.
        truths: true instances.
        predictions: detections.
    """

    images: list[int]
    truths: list[GroundTruth] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)

    def copy(self) -> "Scene":
        """Return a scene with copies of all records."""
        return Scene(self.images, [t.copy() for t in self.truths], [p.copy() for p in self.predictions])


def generate(images: int, detections: int, method: int = 0) -> Scene:
    """Draw the records of one image after the other.

    Args:
        images: number of images.
        detections: number of detections in all of them.
        method: number of the method whose detections are drawn; the true instances are the same for all.
    """
    true_rng, rng = np.random.default_rng(0), np.random.default_rng([1, method])
    scene = Scene(list(range(1, images + 1)))
    for image_id in scene.images:
        truths = _ellipses(int(true_rng.poisson(TRUTHS)), true_rng)
        labels = true_rng.integers(1, CATEGORIES + 1, len(truths))
        _add_truths(scene, image_id, truths, labels, true_rng)
        count = detections * image_id // images - len(scene.predictions)
        found, categories = _ellipses(count, rng), rng.integers(1, CATEGORIES + 1, count)
        scores = np.clip(rng.normal(0.3, 0.2, count), 0, 1)
        hits = np.flatnonzero(rng.random(count) < 0.5) if len(truths) else np.zeros(0, dtype=np.int64)
        errors, sources = rng.exponential(0.15, len(hits)), rng.integers(0, max(len(truths), 1), len(hits))
        found[hits] = _moved(truths[sources], errors, rng)
        categories[hits] = np.where(rng.random(len(hits)) < 0.9, labels[sources], categories[hits])
        scores[hits] = np.clip(rng.normal(0.9 - errors, 0.2), 0, 1)
        columns = categories.tolist(), _encoded(found), (np.round(scores * SCORES) / SCORES).tolist()
        for category_id, rle, score in zip(*columns, strict=True):
            scene.predictions.append(
                Prediction(image_id=image_id, category_id=category_id, segmentation=rle, score=score)
            )
    return scene


def _add_truths(
    scene: Scene, image_id: int, ellipses: Floats, labels: npt.NDArray[np.int64], rng: np.random.Generator
) -> None:
    rles = _encoded(ellipses)
    xyxy = masks.boxes(rles)
    boxes = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
    crowds = (rng.random(len(rles)) < CROWDS).astype(int)
    columns = labels.tolist(), rles, boxes.tolist(), masks.area(rles).tolist(), crowds.tolist()
    for label, rle, box, area, crowd in zip(*columns, strict=True):
        number = len(scene.truths) + 1
        scene.truths.append(
            GroundTruth(
                id=number,
                image_id=image_id,
                category_id=label,
                segmentation=rle,
                bbox=box,
                area=float(area),
                iscrowd=crowd,
            )
        )


def _ellipses(count: int, rng: np.random.Generator) -> Floats:
    """Draw ellipses: centre x and y, half axes, in pixels, and a phase, (N, 5); sides are log-normal as in COCO."""
    axes = np.exp(rng.normal(np.log([27, 21]), 1, (count, 2))).clip(1.5, [300, 220])
    return np.concatenate([rng.uniform(0, [WIDTH, HEIGHT], (count, 2)), axes, rng.uniform(0, 6.28, (count, 1))], axis=1)


def _moved(ellipses: Floats, errors: Floats, rng: np.random.Generator) -> Floats:
    """Shift and scale ellipses by a share of their sizes."""
    changes = errors[:, None] * rng.normal(size=(len(ellipses), 4))
    centres = ellipses[:, :2] + changes[:, :2] * ellipses[:, 2:4]
    return np.concatenate([centres, ellipses[:, 2:4] * np.exp(changes[:, 2:]), ellipses[:, 4:]], axis=1)


def _encoded(ellipses: Floats) -> list[masks.Rle]:
    """Encode ellipses with wavy outlines as masks, by the first and last row of each column."""
    first = np.clip(ellipses[:, 0] - ellipses[:, 2], 0, WIDTH).astype(np.int64)
    last = np.clip(ellipses[:, 0] + ellipses[:, 2] + 1, 0, WIDTH).astype(np.int64)
    lengths = np.maximum(last - first, 0)
    owners = np.repeat(np.arange(len(ellipses)), lengths)
    columns = np.arange(len(owners)) + (first - np.cumsum(lengths) + lengths)[owners]
    x, y, a, b, phase = ellipses[owners].T
    across = (columns - x) / a
    half = b * np.sqrt(np.maximum(1 - across**2, 0)) * (0.85 + 0.15 * np.sin(phase + 9 * across))
    rows = np.clip(np.round(np.stack([y - half, y + half], axis=1)), 0, HEIGHT).astype(np.int64)
    flips = (columns[:, None] * HEIGHT + rows).ravel()
    return masks.from_flips(flips, np.repeat(owners, 2), len(ellipses), (HEIGHT, WIDTH))


def ours(scene: Scene) -> list[float]:
    """Compute the twelve numbers by our side."""
    return average_precision(
        scene.truths,
        scene.predictions,
        image_ids=scene.images,
        category_ids=range(1, CATEGORIES + 1),
        max_dets=100,
        iou_type="segm",
        sizes=dict.fromkeys(scene.images, (HEIGHT, WIDTH)),
    ).stats


def stock(scene: Scene) -> list[float]:
    """Compute the twelve numbers by pycocotools, which returns -1 without ground truth."""
    dataset: dict[str, Any] = {
        "images": [{"id": image_id, "height": HEIGHT, "width": WIDTH} for image_id in scene.images],
        "categories": [{"id": number, "name": str(number)} for number in range(1, CATEGORIES + 1)],
        "annotations": scene.truths,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(scene.predictions), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return list(map(float, np.where(evaluator.stats < 0, np.nan, evaluator.stats)))


def main(options: argparse.Namespace) -> None:
    """Measure the row."""
    scene = generate(options.images, options.detections)
    numbers: dict[str, list[float]] = {}
    times = alternate(
        lambda item: numbers.update(ours=ours(item)),
        lambda item: numbers.update(stock=stock(item)),
        [scene],
        options.repeats,
        fresh=Scene.copy,
    )
    if not np.allclose(numbers["ours"], numbers["stock"], rtol=0, atol=TOLERANCE, equal_nan=True):
        sys.exit(f"scoring: the numbers are {numbers['ours']}, but pycocotools' are {numbers['stock']}")
    what = f"{options.images:,} images, {options.detections:,} masks, {CATEGORIES} categories, generated"
    finish([Row("scoring", what, "s", *times, 20)], options)


if __name__ == "__main__":
    parser = arguments("Average precision of masks: segtrain against pycocotools.")
    parser.add_argument("--images", type=int, default=2_000, help="to generate")
    parser.add_argument("--detections", type=int, default=139_000, help="likewise, in all images")
    main(parser.parse_args())
