"""COCO result records of masks, kept by column, and the columns of records of any kind."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self, overload

import numpy as np

from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.masks import PackedRles, Rle
from segtrain.records import Category, Instances, Prediction, id_of_label

NO_THRESHOLDS: Mapping[int, float] = {}  # no category has a score threshold of its own


class MaskRecords(Sequence[Prediction]):
    """Sequence of result records that takes a tenth of the memory of as many dictionaries.

    Each record is made when it is asked for, so changing it does not change the sequence.

    Args:
        image_ids: (N,) ids of the images.
        category_ids: (N,) ids of the categories.
        scores: (N,) scores.
        rles: the masks.

    >>> mask = {"size": [2, 3], "counts": "222"}
    >>> records = MaskRecords.of([{"image_id": 7, "category_id": 3, "segmentation": mask, "score": 0.5}])
    >>> records[0]
    {'image_id': 7, 'category_id': 3, 'segmentation': {'size': [2, 3], 'counts': '222'}, 'score': 0.5}
    """

    def __init__(self, image_ids: IntArray, category_ids: IntArray, scores: FloatArray, rles: PackedRles) -> None:
        self.image_ids, self.category_ids, self.scores, self.rles = image_ids, category_ids, scores, rles

    @classmethod
    def of(cls, records: Sequence[Prediction]) -> "MaskRecords":
        """Convert records to columns; return them as they are if they are kept by column already.

        Args:
            records: result records of masks; other keys than those of ``Prediction`` are lost.

        >>> mask = {"size": [2, 3], "counts": "222"}
        >>> MaskRecords.of([{"image_id": 7, "category_id": 3, "segmentation": mask, "score": 0.5}]).scores.tolist()
        [0.5]
        """
        if isinstance(records, MaskRecords):
            return records
        columns = column(records, "image_id"), column(records, "category_id"), column(records, "score")
        return cls(*columns, PackedRles.of(rles_of(records)))

    @classmethod
    def of_image(cls, instances: Instances, image_id: int, categories: Sequence[Category]) -> Self:
        """Take the columns of the records that ``to_predictions`` makes of an image.

        Args:
            instances: instances of the image.
            image_id: id of the image in the annotation file.
            categories: categories of labels 1..K.

        Raises:
            SegtrainError: a label has no category.

        >>> box, score = np.array([[1, 0, 2, 2]], np.float32), np.array([0.5], np.float32)
        >>> found = Instances((2, 3), box, np.array([1]), score, [{"size": [2, 3], "counts": "222"}])
        >>> MaskRecords.of_image(found, 7, [Category(3, "cell")]).category_ids.tolist()
        [3]
        """
        labels, numbers = np.unique(instances.labels, return_inverse=True)
        ids = np.array([id_of_label(label, categories) for label in labels.tolist()], dtype=np.int64)
        image_ids = np.full(len(instances), image_id, dtype=np.int64)
        return cls(image_ids, ids[numbers], instances.scores.astype(np.float64), PackedRles.of(instances.rles))

    @classmethod
    def joined(cls, parts: Sequence["MaskRecords"]) -> "MaskRecords":
        """Concatenate several sequences.

        >>> len(MaskRecords.joined([MaskRecords.of([]), MaskRecords.of([])]))
        0
        """
        if len(parts) == 1:
            return parts[0]
        ids = np.zeros(0, dtype=np.int64)
        return cls(
            np.concatenate([ids, *(part.image_ids for part in parts)]),
            np.concatenate([ids, *(part.category_ids for part in parts)]),
            np.concatenate([np.zeros(0), *(part.scores for part in parts)]),
            PackedRles.joined(part.rles for part in parts),
        )

    def __len__(self) -> int:
        return len(self.rles)

    @overload
    def __getitem__(self, place: int) -> Prediction: ...
    @overload
    def __getitem__(self, place: slice) -> "MaskRecords": ...
    def __getitem__(self, place: int | slice) -> "Prediction | MaskRecords":
        if isinstance(place, slice):
            return self.where(np.arange(len(self))[place])
        return Prediction(
            image_id=int(self.image_ids[place]),
            category_id=int(self.category_ids[place]),
            segmentation=self.rles[place],
            score=float(self.scores[place]),
        )

    def __iter__(self) -> Iterator[Prediction]:
        columns = (self.image_ids, self.category_ids, self.scores)
        values = zip(*(own.tolist() for own in columns), self.rles, strict=True)
        for image_id, category_id, score, rle in values:
            yield Prediction(image_id=image_id, category_id=category_id, segmentation=rle, score=score)

    def where(self, chosen: BoolArray | IntArray) -> "MaskRecords":
        """Select records.

        Args:
            chosen: (N,) true for those that are kept, or their indices in a new order.

        >>> mask = {"size": [2, 3], "counts": "222"}
        >>> records = MaskRecords.of([{"image_id": 7, "category_id": 3, "segmentation": mask, "score": 0.5}])
        >>> len(records.where(records.scores > 0.5))
        0
        """
        places = np.arange(len(self))[chosen]
        columns = self.image_ids[places], self.category_ids[places], self.scores[places]
        return MaskRecords(*columns, self.rles.where(places))

    def with_category(self, category_id: int) -> "MaskRecords":
        """Give all records one category.

        >>> mask = {"size": [2, 3], "counts": "222"}
        >>> records = MaskRecords.of([{"image_id": 7, "category_id": 3, "segmentation": mask, "score": 0.5}])
        >>> records.with_category(1)[0]["category_id"]
        1
        """
        category_ids = np.full_like(self.category_ids, category_id)
        return MaskRecords(self.image_ids, category_ids, self.scores, self.rles)


def column(records: Iterable[Any], key: Literal["image_id", "category_id", "score"]) -> Any:
    """Return a number of each record, (N,): ids as int64, scores as float64.

    Args:
        records: true objects or detections, of masks or boxes.
        key: name of the number.

    >>> column([{"image_id": 7, "score": 1}, {"image_id": 9, "score": 0.5}], "score").tolist()
    [1.0, 0.5]
    """
    if isinstance(records, MaskRecords):
        return {"image_id": records.image_ids, "category_id": records.category_ids, "score": records.scores}[key]
    return np.array([record[key] for record in records], dtype=np.float64 if key == "score" else np.int64)


def rles_of(records: Sequence[Any]) -> Sequence[Rle]:
    """Return the mask of each record; packed, if the records are kept by column.

    >>> rles_of([{"segmentation": {"size": [2, 3], "counts": "222"}}])
    [{'size': [2, 3], 'counts': '222'}]
    """
    return records.rles if isinstance(records, MaskRecords) else [record["segmentation"] for record in records]


def select(records: Sequence[Any], chosen: IntArray) -> Sequence[Any]:
    """Select records by index.

    Args:
        records: records of any kind.
        chosen: indices of the records, in the order of the result.

    >>> select(["a", "b", "c"], np.array([2, 0]))
    ['c', 'a']
    """
    return records.where(chosen) if isinstance(records, MaskRecords) else [records[n] for n in chosen.tolist()]


def reaching(
    records: Sequence[Any], score_threshold: float, category_thresholds: Mapping[int, float] = NO_THRESHOLDS
) -> Sequence[Any]:
    """Select the detections whose score reaches a threshold, in their order.

    Args:
        records: detections of masks or boxes.
        score_threshold: least score of a detection that is selected.
        category_thresholds: least score of the categories that have their own, by their ids.

    >>> reaching([{"score": 0.2}, {"score": 0.7}], 0.5)
    [{'score': 0.7}]
    """
    least: float | FloatArray = score_threshold
    if category_thresholds:
        category = column(records, "category_id")
        least = np.full(len(category), score_threshold)
        for category_id, own in category_thresholds.items():
            least[category == category_id] = own
    return select(records, np.flatnonzero(column(records, "score") >= least))


def by_image(records: Sequence[Any]) -> dict[int, IntArray]:
    """Find the indices of each image's records, by the id of the image; images without any are left out.

    >>> {image_id: own.tolist() for image_id, own in by_image([{"image_id": n} for n in (7, 2, 7)]).items()}
    {2: [1], 7: [0, 2]}
    """
    image = column(records, "image_id")
    order = np.argsort(image, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(image[order])) + 1) if len(order) else []
    return {int(image[own[0]]): own for own in groups}
