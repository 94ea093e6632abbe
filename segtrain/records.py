"""Types that all parts exchange, in NumPy: instances, and COCO records of true objects and detections."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

from segtrain.errors import SegtrainError
from segtrain.masks import PackedRles, Rle, decode, decode_crop
from segtrain.masks import to_polygons as outlines

NO_CATEGORY = -1  # category id in records of class-agnostic segmenters; files have another, see `class_agnostic_id`


@dataclass(frozen=True, slots=True)
class Category:
    """A category of an annotation file.

    Attributes:
        id: id in the file, or its replacement where the file has no valid one.
        name: name in the file, or its replacement where the file has none.
        entry: position in the file's list of categories.

    >>> Category(3, "cell")
    Category(id=3, name='cell', entry=0)
    """

    id: int
    name: str
    entry: int = 0


OBJECT = Category(1, "object")  # the single category where all are treated as one


@dataclass(frozen=True, repr=False)
class Instances:
    """Detected instances of one image, best first.

    Attributes:
        size: (H, W) of the image in pixels.
        boxes: (N, 4) float32, xyxy in pixels of the image's own frame.
        labels: (N,) int64, 1..K; 0 from a class-agnostic segmenter.
        scores: (N,) float32 in [0, 1], not increasing.
        rles: N compressed COCO run-length masks of the image's size.
        predicted_boxes: (N, 4) float32, boxes that the segmenter itself predicts; None if `boxes` are these.
        complete_above: score below which instances may be missing, since the segmenter has returned as many as it
            returns at most; 0 if it has found fewer.

    Raises:
        ValueError: the fields do not fit together.

    >>> boxes, scores = np.array([[1, 0, 2, 2]], np.float32), np.array([0.9], np.float32)
    >>> found = Instances((2, 3), boxes, np.array([1]), scores, [{"size": [2, 3], "counts": "222"}])
    >>> found
    <Instances: 1 in 2 x 3 pixels>
    """

    size: tuple[int, int]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    rles: Sequence[Rle]
    predicted_boxes: npt.NDArray[np.float32] | None = None
    complete_above: float = 0.0

    def __post_init__(self) -> None:
        count = len(self.rles)
        predicted = self.boxes if self.predicted_boxes is None else self.predicted_boxes
        for name, array, shape, dtype in (
            ("boxes", self.boxes, (count, 4), np.float32),
            ("predicted_boxes", predicted, (count, 4), np.float32),
            ("labels", self.labels, (count,), np.int64),
            ("scores", self.scores, (count,), np.float32),
        ):
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"{name}: {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")
        if not ((self.scores >= 0) & (self.scores <= 1)).all() or (np.diff(self.scores) > 0).any():
            raise ValueError("scores must lie in [0, 1] and must not increase")
        if any(tuple(size) != tuple(self.size) for size in _sizes(self.rles)):
            raise ValueError(f"a mask's size differs from the image's {self.size}")

    def __repr__(self) -> str:
        height, width = self.size
        return f"<Instances: {len(self)} in {height} x {width} pixels>"

    def __len__(self) -> int:
        return len(self.rles)

    def __getitem__(
        self, chosen: int | slice | Sequence[int] | npt.NDArray[np.integer] | npt.NDArray[np.bool_]
    ) -> Self:
        """Select instances.

        Args:
            chosen: an index, a slice, indices without repetitions, or a bool for each instance.

        Returns:
            The selected instances, best first whatever the order of the indices.

        Raises:
            IndexError: an index is out of range, or the number of bools is not that of the instances.

        >>> mask = {"size": [2, 3], "counts": "222"}
        >>> boxes, scores = np.array([[1, 0, 2, 2]] * 2, np.float32), np.array([0.9, 0.3], np.float32)
        >>> found = Instances((2, 3), boxes, np.array([1, 1]), scores, [mask, mask])
        >>> len(found[found.scores >= 0.5])
        1
        """
        places = np.arange(len(self))[chosen if isinstance(chosen, slice | np.ndarray) else np.asarray(chosen, int)]
        places = np.unique(places)
        return type(self)(
            self.size,
            self.boxes[places],
            self.labels[places],
            self.scores[places],
            self.rles.where(places) if isinstance(self.rles, PackedRles) else [self.rles[place] for place in places],
            None if self.predicted_boxes is None else self.predicted_boxes[places],
            self.complete_above,
        )

    def with_predicted_boxes(self) -> Self:
        """Return the instances with the boxes that the segmenter itself predicts.

        >>> Instances.empty((4, 6)).with_predicted_boxes().boxes.shape
        (0, 4)
        """
        return self if self.predicted_boxes is None else replace(self, boxes=self.predicted_boxes, predicted_boxes=None)

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Self:
        """Return an empty set of instances in an image of this (H, W).

        >>> len(Instances.empty((4, 6)))
        0
        """
        return cls(size, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), [])


def _sizes(rles: Sequence[Rle]) -> list[list[int]]:
    """List the sizes of the masks' images; of packed masks each once."""
    if isinstance(rles, PackedRles):
        return [rles.sizes[number] for number in np.unique(rles.size_numbers).tolist()]
    return [rle["size"] for rle in rles]


class Prediction(TypedDict):
    """COCO's result record of a mask; a result file is a json list of these."""

    image_id: int
    category_id: int  # `NO_CATEGORY` from a class-agnostic segmenter, on data with several categories
    segmentation: Rle
    score: float


class BoxPrediction(TypedDict):
    """COCO's result record of a box."""

    image_id: int
    category_id: int
    bbox: list[float]  # xywh in pixels
    score: float


class GroundTruth(TypedDict):
    """One true object, usable by any COCO evaluator."""

    id: int  # at least 1: COCO's evaluator uses 0 for "unmatched"
    image_id: int
    category_id: int
    segmentation: Rle
    bbox: list[float]  # xywh in pixels
    area: float  # the annotation's own, in pixels; decides small / medium / large
    iscrowd: int  # 1: a region to ignore


def to_planes(instances: Instances) -> npt.NDArray[np.bool_]:
    """Decode all masks into planes of the image's size.

    Returns:
        (N, H, W); as large as N images, so that a large image with many instances may not fit in memory.

    >>> box, score = np.array([[1, 0, 2, 2]], np.float32), np.array([0.9], np.float32)
    >>> found = Instances((2, 3), box, np.array([1]), score, [{"size": [2, 3], "counts": "222"}])
    >>> to_planes(found).astype(int).tolist()
    [[[0, 1, 0], [0, 1, 0]]]
    """
    planes = np.zeros((len(instances), *instances.size), dtype=np.bool_)
    for plane, rle in zip(planes, instances.rles, strict=True):
        plane[:] = decode(rle)
    return planes


def to_label_map(instances: Instances) -> npt.NDArray[np.int32]:
    """Draw all masks into one plane; where masks overlap, the higher score lies on top.

    Returns:
        (H, W): n + 1 inside instance n, 0 elsewhere.

    >>> masks = [{"size": [2, 3], "counts": "222"}, {"size": [2, 3], "counts": "24"}]
    >>> boxes, scores = np.array([[1, 0, 2, 2], [1, 0, 3, 2]], np.float32), np.array([0.9, 0.3], np.float32)
    >>> to_label_map(Instances((2, 3), boxes, np.array([1, 1]), scores, masks)).tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    labels = np.zeros(instances.size, dtype=np.int32)
    for number in range(len(instances), 0, -1):
        crop, x, y = decode_crop(instances.rles[number - 1])
        labels[y : y + crop.shape[0], x : x + crop.shape[1]][crop.astype(np.bool_)] = number
    return labels


def to_polygons(instances: Instances) -> list[list[npt.NDArray[np.int64]]]:
    """Trace the outlines of all masks, see `segtrain.masks.to_polygons`.

    Returns:
        For each instance its outlines, (P, 2) corners (x, y) in pixels each.

    >>> box, score = np.array([[1, 0, 2, 2]], np.float32), np.array([0.9], np.float32)
    >>> found = Instances((2, 3), box, np.array([1]), score, [{"size": [2, 3], "counts": "222"}])
    >>> to_polygons(found)[0][0].tolist()
    [[1, 0], [2, 0], [2, 2], [1, 2]]
    """
    return [outlines(rle) for rle in instances.rles]


def to_predictions(instances: Instances, image_id: int, categories: Sequence[Category]) -> list[Prediction]:
    """Convert the masks of an image to COCO's result records.

    Args:
        instances: instances of the image.
        image_id: id of the image in the annotation file.
        categories: categories of labels 1..K.

    Raises:
        SegtrainError: a label has no category.

    >>> box, score = np.array([[1, 0, 2, 2]], np.float32), np.array([0.5], np.float32)
    >>> found = Instances((2, 3), box, np.array([1]), score, [{"size": [2, 3], "counts": "222"}])
    >>> to_predictions(found, 7, [Category(3, "cell")])
    [{'image_id': 7, 'category_id': 3, 'segmentation': {'size': [2, 3], 'counts': '222'}, 'score': 0.5}]
    """
    return [
        Prediction(image_id=image_id, category_id=id_of_label(label, categories), segmentation=rle, score=score)
        for label, score, rle in zip(instances.labels, instances.scores.tolist(), instances.rles, strict=True)
    ]


def to_box_predictions(instances: Instances, image_id: int, categories: Sequence[Category]) -> list[BoxPrediction]:
    """Convert the boxes of an image to COCO's result records.

    Args:
        instances: instances of the image.
        image_id: id of the image in the annotation file.
        categories: categories of labels 1..K.

    Raises:
        SegtrainError: a label has no category.

    >>> box, score = np.array([[1, 0, 2, 2]], np.float32), np.array([0.5], np.float32)
    >>> found = Instances((2, 3), box, np.array([1]), score, [{"size": [2, 3], "counts": "222"}])
    >>> to_box_predictions(found, 7, [Category(3, "cell")])
    [{'image_id': 7, 'category_id': 3, 'bbox': [1.0, 0.0, 1.0, 2.0], 'score': 0.5}]
    """
    return [
        BoxPrediction(
            image_id=image_id,
            category_id=id_of_label(label, categories),
            bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]],
            score=score,
        )
        for label, score, box in zip(
            instances.labels, instances.scores.tolist(), instances.boxes.astype(np.float64).tolist(), strict=True
        )
    ]


def class_agnostic_id(categories: Sequence[Category]) -> int:
    """Return the category id that records without a category have in files.

    Of several categories it is an id that none of them has; COCO's evaluator takes ids from 0 alone, and finds true
    objects of this id in ``ground_truth.class_agnostic.json``. A single category's own id serves as well.

    >>> class_agnostic_id([Category(3, "cell"), Category(9, "clump")])
    10
    """
    return categories[0].id if len(categories) == 1 else max((category.id for category in categories), default=0) + 1


_Instance = TypeVar("_Instance", GroundTruth, Prediction)


def group_by_image(instances: Iterable[_Instance]) -> defaultdict[int, list[_Instance]]:
    """Group true objects or detections by the id of their image, in their order; images without any have none.

    >>> group_by_image([{"image_id": 7, "score": 0.9}, {"image_id": 7, "score": 0.4}])[7]
    [{'image_id': 7, 'score': 0.9}, {'image_id': 7, 'score': 0.4}]
    """
    groups: defaultdict[int, list[_Instance]] = defaultdict(list)
    for instance in instances:
        groups[instance["image_id"]].append(instance)
    return groups


def id_of_label(label: int, categories: Sequence[Category]) -> int:
    """Return the id of a label's category; ``NO_CATEGORY`` for label 0 of several categories.

    Args:
        label: 1..K; 0 for no category.
        categories: categories of labels 1..K.

    Raises:
        SegtrainError: the label has no category.

    >>> id_of_label(2, [Category(3, "cell"), Category(9, "nucleus")])
    9
    """
    if label > len(categories):
        raise SegtrainError(f"label {label} has no category among the {len(categories)} given; give one for each label")
    if label > 0:
        return categories[label - 1].id
    return categories[0].id if len(categories) == 1 else NO_CATEGORY
