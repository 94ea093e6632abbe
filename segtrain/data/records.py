"""What was found in an image as COCO's result records."""

from collections.abc import Sequence

import numpy as np

from segtrain.data.index.coco import Category
from segtrain.instances import NO_CATEGORY, BoxPrediction, Instances, Prediction


def to_predictions(instances: Instances, image_id: int, categories: Sequence[Category]) -> list[Prediction]:
    """COCO's result records of an image's masks."""
    return [
        Prediction(image_id=image_id, category_id=_category_id(label, categories), segmentation=rle, score=score)
        for label, score, rle in zip(instances.labels, instances.scores.tolist(), instances.rles, strict=True)
    ]


def to_box_predictions(instances: Instances, image_id: int, categories: Sequence[Category]) -> list[BoxPrediction]:
    """COCO's result records of an image's boxes."""
    return [
        BoxPrediction(
            image_id=image_id,
            category_id=_category_id(label, categories),
            bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]],
            score=score,
        )
        for label, score, box in zip(
            instances.labels, instances.scores.tolist(), instances.boxes.astype(np.float64).tolist(), strict=True
        )
    ]


def _category_id(label: int, categories: Sequence[Category]) -> int:
    if label > 0:
        return categories[label - 1].id
    return categories[0].id if len(categories) == 1 else NO_CATEGORY
