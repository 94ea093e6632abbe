"""Records that all parts exchange, in NumPy: instances, and COCO ground truth and detections."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from segtrain.masks import Rle

NO_CATEGORY = -1  # the category id in records of what knows no categories


@dataclass(frozen=True, slots=True)
class Category:
    """A category of the file.

    Attributes:
        id: the file's own, or what replaces it where that is no whole number.
        name: likewise.
        entry: its place in the file's list.
    """

    id: int
    name: str
    entry: int = 0


@dataclass(frozen=True)
class Instances:
    """What was found in one image, best first.

    Attributes:
        size: (H, W) of the image in pixels.
        boxes: (N, 4) float32, xyxy in pixels of the image's own frame.
        labels: (N,) int64, 1..K; 0 from a segmenter that knows no categories.
        scores: (N,) float32 in [0, 1], not increasing.
        rles: N compressed COCO run-length masks of the image's size.

    Raises:
        ValueError: the fields do not fit together.
    """

    size: tuple[int, int]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    rles: Sequence[Rle]

    def __post_init__(self) -> None:
        count = len(self.rles)
        for name, array, shape, dtype in (
            ("boxes", self.boxes, (count, 4), np.float32),
            ("labels", self.labels, (count,), np.int64),
            ("scores", self.scores, (count,), np.float32),
        ):
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"{name}: {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")
        if not ((self.scores >= 0) & (self.scores <= 1)).all() or (np.diff(self.scores) > 0).any():
            raise ValueError("scores must lie in [0, 1] and must not increase")
        if any(tuple(rle["size"]) != tuple(self.size) for rle in self.rles):
            raise ValueError(f"a mask's size differs from the image's {self.size}")

    def __len__(self) -> int:
        return len(self.rles)

    @classmethod
    def empty(cls, size: tuple[int, int]) -> "Instances":
        """Nothing was found in an image of this (H, W)."""
        return cls(size, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), [])


class Prediction(TypedDict):
    """COCO's result record of a mask; any other tool reads a json list of these."""

    image_id: int
    category_id: int  # -1: from a segmenter that knows no categories, on data with several
    segmentation: Rle
    score: float


class BoxPrediction(TypedDict):
    """COCO's result record of a box."""

    image_id: int
    category_id: int
    bbox: list[float]  # xywh in pixels
    score: float


class GroundTruth(TypedDict):
    """One true instance, usable by any COCO evaluator."""

    id: int  # from 1: COCO's evaluator takes 0 for "unmatched"
    image_id: int
    category_id: int
    segmentation: Rle
    bbox: list[float]  # xywh in pixels
    area: float  # the annotation's own, in pixels; decides small / medium / large
    iscrowd: int  # 1: a region to ignore


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
