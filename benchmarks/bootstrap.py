"""Intervals of all headline numbers by drawing the images again.

    python benchmarks/bootstrap.py --check

100 images of 256x256 with about 40 round objects each are generated for the run, about as many as in the validation
images of the nuclei, and for each of 15 methods about 80 detections an image: half are the objects, shifted and grown
or shrunk, the other half lie anywhere. The scores differ, as those of nearly all methods do.

- ours: ``resample`` and ``compute_uncertainty`` of ``segtrain.benchmark.comparisons`` with 1,000 resamples, in one
  process: matching of masks and of boxes, once for each method, then the fifteen numbers on every
  resample, their intervals, and each method against the first. The numbers on the images themselves come before.
- There is no other side: the bound is on the seconds.

Row: ``bootstrap``.
"""

import argparse
import time
from statistics import median

import numpy as np
import numpy.typing as npt
from harness import arguments, finish
from rows import Row

from segtrain import masks
from segtrain.benchmark.comparisons import Resampled, Uncertainty, compute_uncertainty, draw_resamples, resample
from segtrain.benchmark.runner import MethodResult as Measured
from segtrain.evaluation import Detections, GroundTruthSet, score
from segtrain.records import Category, GroundTruth, Prediction

SIDE, OBJECTS, DETECTIONS, MAX_DETS = 256, 40, 80, 100
Floats = npt.NDArray[np.float64]


def generate(images: int, methods: int) -> tuple[GroundTruthSet, dict[str, Measured]]:
    """Draw the objects and the detections of each method."""
    rng = np.random.default_rng(0)
    sizes = dict.fromkeys(range(1, images + 1), (SIDE, SIDE))
    circles = {image_id: _circles(int(rng.poisson(OBJECTS)), rng) for image_id in sizes}
    truths = [truth for image_id, drawn in circles.items() for truth in _truths(image_id, drawn)]
    reference = GroundTruthSet([Category(1, "object")], sizes, truths)
    rows = {}
    for method in range(methods):
        found = [
            record
            for image_id, drawn in circles.items()
            for record in _predictions(image_id, drawn, 0.1 + 0.02 * method, rng)
        ]
        issues = Detections(found, None, True, 0.5)
        name = f"method_{method}" if method else "mask_rcnn"
        rows[name] = Measured(issues, tracks=score(issues, reference, MAX_DETS))
    return reference, rows


def _circles(count: int, rng: np.random.Generator) -> Floats:
    """Draw circles: centre x and y, and radius, in pixels, (N, 3)."""
    return np.stack([*rng.uniform(0, SIDE, (2, count)), np.exp(rng.normal(2.2, 0.4, count))], axis=1)


def _encoded(circle: Floats) -> masks.Rle:
    x, y, radius = circle.tolist()
    left, top, reach = int(x - radius), int(y - radius), int(2 * radius) + 2
    rows, columns = np.ogrid[top : top + reach, left : left + reach]
    return masks.encode_crop((columns - x) ** 2 + (rows - y) ** 2 <= radius**2, left, top, (SIDE, SIDE))


def _truths(image_id: int, circles: Floats) -> list[GroundTruth]:
    rles = [_encoded(circle) for circle in circles]
    xyxy = masks.boxes(rles)
    boxes = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1).tolist()
    return [
        GroundTruth(id=n, image_id=image_id, category_id=1, segmentation=rle, bbox=box, area=float(area), iscrowd=0)
        for n, (rle, box, area) in enumerate(zip(rles, boxes, masks.area(rles).tolist(), strict=True), 1)
    ]


def _predictions(image_id: int, circles: Floats, error: float, rng: np.random.Generator) -> list[Prediction]:
    """Draw detections, half of which are objects with a mean error of a given share of their radius."""
    chosen = circles[rng.permutation(len(circles))[: DETECTIONS // 2]]
    errors = rng.exponential(error, len(chosen))
    near = chosen + errors[:, None] * chosen[:, 2:] * rng.normal(size=chosen.shape)
    anywhere = _circles(DETECTIONS - len(chosen), rng)
    found = np.concatenate([near, anywhere])
    found[:, 2] = found[:, 2].clip(min=1.5)
    scores = rng.normal(np.concatenate([0.9 - errors, np.full(len(anywhere), 0.4)]), 0.2).clip(0, 1)
    return [
        Prediction(image_id=image_id, category_id=1, segmentation=_encoded(circle), score=value)
        for circle, value in zip(found, scores.tolist(), strict=True)
    ]


def uncertainty(rows: dict[str, Measured], reference: GroundTruthSet, resamples: int) -> Uncertainty:
    """Compute the intervals of all methods, and compare them with the first."""
    draws = draw_resamples(reference, resamples, seed=0)
    assert draws is not None
    resampled: dict[str, Resampled] = {
        name: {
            "class_agnostic": (own := resample(row.detections, reference, MAX_DETS, "class_agnostic", draws)),
            "class_aware": own,
        }
        for name, row in rows.items()
    }
    return compute_uncertainty(rows, resampled, "mask_rcnn")


def main(options: argparse.Namespace) -> None:
    """Measure the row."""
    reference, rows = generate(options.images, options.methods)
    spent = []
    for _ in range(options.repeats + 1):
        started = time.perf_counter()
        uncertainty(rows, reference, options.resamples)
        spent.append(time.perf_counter() - started)
    what = f"{options.resamples:,} resamples of {options.images} images, {options.methods} methods, generated"
    finish([Row("bootstrap", what, "s", median(spent[1:]), None, 30)], options)


if __name__ == "__main__":
    parser = arguments("Intervals of all headline numbers by drawing the images again.")
    parser.add_argument("--images", type=int, default=100, help="to generate")
    parser.add_argument("--methods", type=int, default=15, help="likewise")
    parser.add_argument("--resamples", type=int, default=1_000, help="of the images")
    main(parser.parse_args())
