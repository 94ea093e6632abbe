"""Typed content of a comparison of two evaluations."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from segtrain.metrics.bootstrap import CLEAR
from segtrain.metrics.scores import Record
from segtrain.report.tables import is_zero

Outcome = Literal["rose", "fell", "undecided", "same", "untested"]


class Change(Record, frozen=True):
    """Values of a number in two evaluations.

    Attributes:
        before: value in the first evaluation; None where it is undefined.
        after: value in the second evaluation.
        difference: second minus first; None where one of them is undefined.
        low: lower end of its 95 % interval; None without an interval.
        high: upper end.
        p: two-sided p-value, Holm-corrected for the number of changes that are looked at together; None without a test,
            which numbers need not have that are the same on all resamples.
        least_p: smallest p-value that so many resamples allow; None where p does not come from resamples.
    """

    before: float | None
    after: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    least_p: float | None = None

    @property
    def outcome(self) -> Outcome:
        """Direction of a change beyond chance: p is below 0.05, and the difference is not shown as 0.

        "same" is a number that no resample changes, "undecided" a difference that may be chance, and "untested" one
        without a p-value.
        """
        if self.low == self.high == self.difference == 0:
            return "same"
        if self.p is None or self.difference is None:
            return "untested"
        if self.p >= CLEAR or is_zero(self.difference):
            return "undecided"
        return "rose" if self.difference > 0 else "fell"


class MethodChanges(Record, frozen=True):
    """Changes of one method.

    Attributes:
        paired: True if both evaluations were resampled together; False for a comparison of stored intervals.
        class_agnostic: change by ``Metric.key``, all categories taken as one.
        class_aware: change by ``Metric.key``; empty for a method without categories.
        categories: name of a category -> ``Metric.key`` -> its change; empty with a single category.
        strata: trait -> name of a stratum -> change of the AP of its objects.
        seconds: change of the median seconds to segment an image, which is not tested.
        oracle: True for an upper bound, whose changes are shown and not judged.
    """

    paired: bool
    class_agnostic: Mapping[str, Change]
    class_aware: Mapping[str, Change]
    categories: Mapping[str, Mapping[str, Change]]
    strata: Mapping[str, Mapping[str, Change]]
    seconds: Change
    oracle: bool = False


class ComparedSide(Record, frozen=True):
    """One of the two evaluations.

    Attributes:
        path: path of its ``results.json``.
        date: date of the evaluation; None where it is not recorded.
        command: command that repeats it.
        data: name of the annotation file.
        images: number of evaluated images.
        objects: number of true objects.
        contents: fingerprint of the data; None in results of earlier versions.
    """

    path: str
    date: str | None
    command: str
    data: str
    images: int
    objects: int
    contents: str | None


class Drop(Record, frozen=True):
    """Fall of a number beyond the limit that the user has set.

    Attributes:
        method: name of the method.
        metric: ``Metric.key``.
        limit: largest fall that is allowed.
        change: the change; its ``after`` is None where the number is not defined any more.
    """

    method: str
    metric: str
    limit: float
    change: Change


class ComparedResults(Record, frozen=True):
    """Comparison of two evaluations.

    Attributes:
        first: the earlier evaluation.
        second: the later evaluation.
        same_data: True if images and true objects are the same; None where that is not known.
        unpaired: method -> reason why it is compared by stored intervals.
        methods: changes of the methods that both evaluations have.
        only_first: methods of the first evaluation alone.
        only_second: methods of the second evaluation alone.
        differing: facts in which the evaluations differ, such as versions and settings: first and second value.
        notes: further sentences for the reader.
        resamples: number of resamples of the images behind paired changes.
    """

    first: ComparedSide
    second: ComparedSide
    same_data: bool | None
    unpaired: Mapping[str, str]
    methods: Mapping[str, MethodChanges]
    only_first: Sequence[str]
    only_second: Sequence[str]
    differing: Mapping[str, tuple[str, str]]
    notes: Sequence[str]
    resamples: int

    def to_json(self, drops: Sequence[Drop] = ()) -> str:
        """Format as JSON, each change with its outcome.

        Args:
            drops: falls beyond the limits that the user has set.
        """
        content = {**msgspec.to_builtins(self), "drops": msgspec.to_builtins(list(drops))}
        return msgspec.json.format(msgspec.json.encode(_with_outcomes(content)), indent=2).decode() + "\n"


def _with_outcomes(value: object) -> object:
    """Add the outcome to every change in plain values."""
    if isinstance(value, list):
        return [_with_outcomes(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == set(Change.__struct_fields__):
        return {**value, "outcome": msgspec.convert(value, Change).outcome}
    return {key: _with_outcomes(entry) for key, entry in value.items()}
