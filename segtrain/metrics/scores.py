"""Scores of one method in one track, and the base class of all records of results; undefined numbers are None."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np

from segtrain.metrics.registry import METRICS

_METRIC_KEYS = frozenset(metric.key for metric in METRICS)
_CATEGORY_KEYS = frozenset(metric.category_key for metric in METRICS if metric.category_key)


class Record(msgspec.Struct, frozen=True):
    """Base of all parts of the results."""

    @classmethod
    def of(cls, values: object) -> Self:
        """Convert a mapping or a dataclass with the fields of this record; NaN and infinities become None.

        Args:
            values: fields by their names in ``results.json``; NumPy numbers are allowed.

        Raises:
            msgspec.ValidationError: a field is missing or of another type.

        >>> F1Curve.of({"thresholds": np.array([0.5]), "f1": [float("nan")]})
        F1Curve(thresholds=[0.5], f1=[None])
        """
        return msgspec.convert(plain(values), cls)


class Interval(NamedTuple):
    """Ends of a 95 % interval."""

    low: float
    high: float


class CategoryScores(Record, frozen=True):
    """Class-aware scores of one category.

    Attributes:
        id: category id of the annotation file.
        name: name of the category.
        annotations: number of its true objects, crowds left out.
        metrics: value by ``Metric.category_key``.
    """

    id: int
    name: str
    annotations: int
    metrics: Mapping[str, float | None]


class F1Curve(Record, frozen=True):
    """F1 at the operating point over the IoU threshold of a match."""

    thresholds: Sequence[float]
    f1: Sequence[float | None]


class CocoStats(Record, frozen=True):
    """COCO's twelve numbers of masks and of boxes; None where the method has none."""

    segm: Sequence[float | None] | None
    bbox: Sequence[float | None] | None


class PrecisionRecall(Record, frozen=True):
    """Precision at the recalls 0, 0.01, ..., 1, at IoU .50 and as the mean over IoU .50 to .95."""

    iou50: Sequence[float | None]
    mean: Sequence[float | None]


class TrackScores(Record, frozen=True):
    """Scores of one method in one track.

    Attributes:
        metrics: value by ``Metric.key``.
        per_category: scores of single categories, in the order of the annotation file.
        precision_recall: curves of the masks, or of the boxes where there are no masks.
        f1_curve: F1 over IoU; None if it was not computed.
        coco: COCO's numbers as its own program lists them.
        intervals: 95 % interval by ``Metric.key``; metrics without one are left out.
    """

    metrics: Mapping[str, float | None]
    per_category: Sequence[CategoryScores]
    precision_recall: PrecisionRecall | None
    coco: CocoStats
    f1_curve: F1Curve | None = None
    intervals: Mapping[str, Interval] = {}

    def __repr__(self) -> str:
        defined = [f"{key} {value:.3f}" for key, value in self.metrics.items() if value is not None]
        return f"<TrackScores: {', '.join(defined)}>"

    @classmethod
    def of(cls, values: object) -> Self:
        """Convert the numbers of a track, metrics beside the other fields as in ``results.json``."""
        return msgspec.convert(nested_track(plain(values)), cls)

    def value(self, key: str) -> float:
        """Look up a metric; nan where it is undefined or was not computed.

        Args:
            key: ``Metric.key``.
        """
        value = self.metrics.get(key)
        return math.nan if value is None else value


def plain(value: Any) -> Any:
    """Convert to JSON's types: NumPy scalars unwrapped, records and dataclasses as dictionaries, paths as text.

    NaN and infinities become None: JSON has neither.

    >>> plain({"ap": float("nan"), "counts": (np.int64(1), 2)})
    {'ap': None, 'counts': [1, 2]}
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return plain(msgspec.to_builtins(value)) if isinstance(value, msgspec.Struct) else str(value)


def nested_track(track: Mapping[str, Any]) -> dict[str, Any]:
    """Gather the metrics of a track, and of its categories, under one key."""
    nested = _nested(track, _METRIC_KEYS)
    nested["per_category"] = [_nested(entry, _CATEGORY_KEYS) for entry in track["per_category"]]
    return nested


def _nested(scores: Mapping[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    rest = {key: value for key, value in scores.items() if key not in keys}
    return {"metrics": {key: value for key, value in scores.items() if key in keys}, **rest}


def flat_track(track: Mapping[str, Any]) -> dict[str, Any]:
    """Put the metrics of a track, and of its categories, beside the other fields."""
    return {**_flat(track), "per_category": [_flat(entry) for entry in track["per_category"]]}


def _flat(scores: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in scores.items() if key != "metrics"}
    return {**scores["metrics"], **rest}
