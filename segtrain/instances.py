"""The records that everything else exchanges, in NumPy; the one of tensors is in ``segtrain.targets``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from segtrain.masks import Rle

NO_CATEGORY = -1  # the category id in records of what knows no categories


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
