"""Least scores of the detections that count: one for all categories, and those of single ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from segtrain.arrays import FloatArray
from segtrain.errors import SegtrainError
from segtrain.nodes import nearest
from segtrain.records import Category

_NAMED = 5  # categories whose thresholds are said one by one
GivenThreshold = float | Mapping[str, float] | None  # for all categories, for some by name, or none


@dataclass(frozen=True)
class ScoreThresholds:
    """Operating point of learned scores.

    Attributes:
        overall: least score of class-agnostic numbers, and of categories without a threshold of their own.
        by_category: least score of single categories, by name.
    """

    overall: float
    by_category: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        own = self.by_category
        if len(own) > _NAMED:
            return f"{self.overall:g}, {min(own.values()):g} to {max(own.values()):g} for {len(own)} categories"
        return ", ".join([f"{self.overall:g}", *(f"{name} {value:g}" for name, value in own.items())])

    def changed(self, given: GivenThreshold, names: Sequence[str], key: str) -> "ScoreThresholds":
        """Return the thresholds with those that a user gives.

        Args:
            given: threshold of all categories; thresholds by name, which replace those of the named categories alone;
                or None to change nothing.
            names: names of all categories.
            key: name of the setting, for the error.

        Raises:
            SegtrainError: there is no category of that name.

        >>> str(ScoreThresholds(0.5, {"cat": 0.4}).changed({"dog": 0.7}, ["cat", "dog"], "score_threshold"))
        '0.5, cat 0.4, dog 0.7'
        >>> str(ScoreThresholds(0.5, {"cat": 0.4}).changed(0.3, ["cat", "dog"], "score_threshold"))
        '0.3'
        """
        if given is None:
            return self
        if not isinstance(given, Mapping):
            return ScoreThresholds(given)
        if unknown := [name for name in given if name not in names]:
            raise SegtrainError(f"{key}: there is no category {unknown[0]!r}; {nearest(unknown[0], names)}")
        if len(names) == 1:  # whose numbers are the class-agnostic ones
            return ScoreThresholds(given.get(names[0], self.overall))
        return replace(self, by_category={**self.by_category, **given})

    def of_labels(self, names: Sequence[str]) -> FloatArray:
        """Return the least score of each label 0..K, (K + 1,); label 0 has no category.

        Args:
            names: names of labels 1..K.

        >>> ScoreThresholds(0.5, {"cat": 0.4}).of_labels(["cat", "dog"]).tolist()
        [0.5, 0.4, 0.5]
        """
        return np.array([self.overall, *(self.by_category.get(name, self.overall) for name in names)])

    def by_id(self, categories: Sequence[Category]) -> dict[int, float]:
        """Return the least score of the categories that have their own, by their ids; spaces around names are ignored.

        >>> ScoreThresholds(0.5, {"cat": 0.4}).by_id([Category(17, "cat", 0), Category(18, "dog", 1)])
        {17: 0.4}
        """
        own = {name.strip(): value for name, value in self.by_category.items()}
        return {c.id: own[c.name.strip()] for c in categories if c.name.strip() in own}
