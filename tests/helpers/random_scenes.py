"""Small random scenes with cases in which evaluators differ: ties, crowds, stated areas, images without records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtrain import masks
from segtrain.evaluation import GroundTruthSet
from segtrain.metrics.metric import MetricInput
from segtrain.records import BoxPrediction, Category, GroundTruth, Prediction
from tests.helpers.builders import xywh

CATEGORIES = [90, 3, 7]  # with gaps, and out of order
NAMED = [Category(3, "spindle"), Category(7, "round"), Category(90, "lobed")]  # the same


@dataclass
class Scene:
    sizes: dict[int, tuple[int, int]]
    truths: list[GroundTruth]
    predictions: list[Prediction]

    @property
    def box_predictions(self) -> list[BoxPrediction]:
        return [
            BoxPrediction(
                image_id=p["image_id"], category_id=p["category_id"], bbox=xywh(p["segmentation"]), score=p["score"]
            )
            for p in self.predictions
        ]


def ground_truth_of(drawn: Scene, categories: Sequence[Category] = NAMED) -> GroundTruthSet:
    """The true objects of the scene, as evaluations take them."""
    return GroundTruthSet(categories, drawn.sizes, drawn.truths)


def inputs_of(drawn: Scene, **changes: Any) -> MetricInput:
    """Convert a scene to the input of metrics; keyword arguments replace its attributes."""
    attributes: dict[str, Any] = {
        "truths": drawn.truths,
        "masks": drawn.predictions,
        "boxes": None,
        "category_ids": sorted(CATEGORIES),
        "sizes": dict(sorted(drawn.sizes.items())),
        "max_dets": 100,
        "score_threshold": 0.5,
    }
    return MetricInput(**(attributes | changes))


def scene(seed: int, truths: int = 60, predictions: int = 150) -> Scene:
    rng = np.random.default_rng(seed)
    # Ids neither in order nor from 1. The first image has no detections, the seventh no truths, the last two neither.
    sizes = {int(i): (int(rng.integers(12, 40)), int(rng.integers(12, 40))) for i in rng.permutation(50)[:9]}
    used = list(sizes)[:7]
    real: list[GroundTruth] = []
    for number in range(1, truths + 1):
        image_id = int(rng.choice(used[:-1]))
        rle = _blob(rng, sizes[image_id])
        # The annotation's own area, which need not be that of the mask, and often lies at COCO's borders.
        area = float(rng.choice([masks.area([rle])[0], 10, 32**2, 5000, 96**2, 96**2 + 0.5, 1e10, 2e10]))
        real.append(
            GroundTruth(
                id=number,
                image_id=image_id,
                category_id=int(rng.choice(CATEGORIES)),
                segmentation=rle,
                bbox=xywh(rle),
                area=area,
                iscrowd=int(rng.random() < 0.15),
            )
        )
    sources = [t for t in real if t["image_id"] != used[0]]
    found: list[Prediction] = []
    for _ in range(predictions):
        source: Any = sources[rng.integers(len(sources))] if sources and rng.random() < 0.6 else None
        image_id = source["image_id"] if source else int(rng.choice(used[1:]))
        if source and rng.random() < 0.5:
            rle = source["segmentation"]
        elif source:
            rle = masks.union([source["segmentation"], _blob(rng, sizes[image_id])], sizes[image_id])
        else:
            rle = _blob(rng, sizes[image_id])
        category_id = source["category_id"] if source and rng.random() < 0.8 else int(rng.choice(CATEGORIES))
        score = float(rng.integers(1, 6)) / 5  # few values: many ties
        found.append(Prediction(image_id=image_id, category_id=category_id, segmentation=rle, score=score))
    return Scene(sizes, real, found)


def _blob(rng: np.random.Generator, size: tuple[int, int]) -> masks.Rle:
    """Draw a rectangle with a ragged edge; some are empty."""
    crop = rng.random((int(rng.integers(1, 16)), int(rng.integers(1, 16)))) < rng.choice([0.0, 0.6, 1.0, 1.0, 1.0])
    return masks.encode_crop(crop, int(rng.integers(0, size[1])), int(rng.integers(0, size[0])), size)
