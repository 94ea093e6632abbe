"""COCO result records of masks, kept by column, and the columns of records of any kind."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Self, overload

import numpy as np

from segtrain.arrays import BoolArray, FloatArray, IntArray
from segtrain.masks import Rle
from segtrain.records import Prediction

_BLOCK = 2**14  # records that are made at a time; bounds the memory


class MaskRecords(Sequence[Prediction]):
    """Sequence of result records that takes a fifth of the memory of as many dictionaries.

    Each record is made when it is asked for, so changing it does not change the sequence.

    Args:
        image_ids: (N,) ids of the images.
        category_ids: (N,) ids of the categories.
        scores: (N,) scores.
        sizes: distinct [H, W] of the images in pixels.
        size_numbers: (N,) index of each mask's size in ``sizes``.
        codes: N run-length codes.

    >>> mask = {"size": [2, 3], "counts": "222"}
    >>> records = MaskRecords.of([{"image_id": 7, "category_id": 3, "segmentation": mask, "score": 0.5}])
    >>> records[0]
    {'image_id': 7, 'category_id': 3, 'segmentation': {'size': [2, 3], 'counts': '222'}, 'score': 0.5}
    """

    def __init__(
        self,
        image_ids: IntArray,
        category_ids: IntArray,
        scores: FloatArray,
        sizes: Sequence[list[int]],
        size_numbers: IntArray,
        codes: Sequence[str],
    ) -> None:
        self.image_ids, self.category_ids, self.scores = image_ids, category_ids, scores
        self._sizes, self._size_numbers, self._codes = sizes, size_numbers, codes

    @classmethod
    def of(cls, records: Sequence[Prediction]) -> Self:
        """Take the columns of records.

        Args:
            records: result records of masks; other keys than those of ``Prediction`` are lost.
        """
        rles = rles_of(records)
        numbers: dict[tuple[int, ...], int] = {}
        size_numbers = [numbers.setdefault(tuple(rle["size"]), len(numbers)) for rle in rles]
        return cls(
            column(records, "image_id"),
            column(records, "category_id"),
            column(records, "score"),
            [list(size) for size in numbers],
            np.array(size_numbers, dtype=np.int64),
            [rle["counts"] for rle in rles],
        )

    def __len__(self) -> int:
        return len(self._codes)

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
            segmentation=Rle(size=[*self._sizes[self._size_numbers[place]]], counts=self._codes[place]),
            score=float(self.scores[place]),
        )

    def __iter__(self) -> Iterator[Prediction]:
        for start in range(0, len(self), _BLOCK):
            block = slice(start, start + _BLOCK)
            columns = (self.image_ids, self.category_ids, self.scores, self._size_numbers)
            values = (values[block].tolist() for values in columns)
            for image_id, category_id, score, number, code in zip(*values, self._codes[block], strict=True):
                rle = Rle(size=[*self._sizes[number]], counts=code)
                yield Prediction(image_id=image_id, category_id=category_id, segmentation=rle, score=score)

    def columns(self) -> tuple[IntArray, IntArray, FloatArray, Sequence[list[int]], IntArray, Sequence[str]]:
        """Return the columns, in the order of the arguments.

        >>> mask = {"size": [2, 3], "counts": "222"}
        >>> records = MaskRecords.of([{"image_id": 7, "category_id": 3, "segmentation": mask, "score": 0.5}])
        >>> MaskRecords(*records.columns())[0] == records[0]
        True
        """
        return self.image_ids, self.category_ids, self.scores, self._sizes, self._size_numbers, self._codes

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
        return MaskRecords(
            self.image_ids[places],
            self.category_ids[places],
            self.scores[places],
            self._sizes,
            self._size_numbers[places],
            [self._codes[place] for place in places.tolist()],
        )

    def rles(self) -> list[Rle]:
        """Return the masks; those of one size share their ``size``, which must not be changed.

        >>> mask = {"size": [2, 3], "counts": "222"}
        >>> MaskRecords.of([{"image_id": 7, "category_id": 3, "segmentation": mask, "score": 0.5}]).rles()
        [{'size': [2, 3], 'counts': '222'}]
        """
        sizes = self._sizes
        return [
            Rle(size=sizes[n], counts=code) for n, code in zip(self._size_numbers.tolist(), self._codes, strict=True)
        ]

    def with_category(self, category_id: int) -> "MaskRecords":
        """Give all records one category.

        >>> mask = {"size": [2, 3], "counts": "222"}
        >>> records = MaskRecords.of([{"image_id": 7, "category_id": 3, "segmentation": mask, "score": 0.5}])
        >>> records.with_category(1)[0]["category_id"]
        1
        """
        category_ids = np.full_like(self.category_ids, category_id)
        return MaskRecords(self.image_ids, category_ids, self.scores, self._sizes, self._size_numbers, self._codes)


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


def rles_of(records: Sequence[Any]) -> list[Rle]:
    """Return the mask of each record.

    >>> rles_of([{"segmentation": {"size": [2, 3], "counts": "222"}}])
    [{'size': [2, 3], 'counts': '222'}]
    """
    return records.rles() if isinstance(records, MaskRecords) else [record["segmentation"] for record in records]


def select(records: Sequence[Any], chosen: IntArray) -> Sequence[Any]:
    """Select records by their indices, in the order of these.

    >>> select(["a", "b", "c"], np.array([2, 0]))
    ['c', 'a']
    """
    return records.where(chosen) if isinstance(records, MaskRecords) else [records[n] for n in chosen.tolist()]


def reaching(records: Sequence[Any], score_threshold: float) -> Sequence[Any]:
    """Select the detections whose score reaches a threshold, in their order.

    >>> reaching([{"score": 0.2}, {"score": 0.7}], 0.5)
    [{'score': 0.7}]
    """
    return select(records, np.flatnonzero(column(records, "score") >= score_threshold))
