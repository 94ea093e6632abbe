"""Readers of results that are still plain mappings."""

import math
from collections.abc import Mapping
from typing import Any

from segtrain.metrics import registry
from segtrain.report.tables import metric_column

Results = Mapping[str, Any]
METRICS = tuple(metric_column(metric) for metric in registry.METRICS)
CATEGORY_METRICS = tuple(metric.category_key for metric in registry.METRICS if metric.category_key)


def number(value: object) -> float | None:
    """A finite float, or None for everything that is undefined."""
    if value is None or isinstance(value, (str, bool)):
        return None
    result = float(value)  # type: ignore[arg-type]
    return result if math.isfinite(result) else None


def interval(track: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """The two ends of a number's interval, if it has one."""
    low, high = (number(end) for end in (track.get("intervals") or {}).get(key) or (None, None))
    return None if low is None or high is None else (low, high)


def seconds(method: Mapping[str, Any]) -> float | None:
    """Median seconds per image of the segmentation alone."""
    return number(((method.get("timing") or {}).get("segmentation") or {}).get("median"))


def is_oracle(method: Mapping[str, Any]) -> bool:
    """Whether the row was set with the truth in hand: an upper bound, which takes part in no contest."""
    return bool(method.get("oracle"))


def ranking(results: Results) -> list[str]:
    """Names of the methods, best class-agnostic mask AP first (box AP where a row has no masks), oracles last."""

    def quality(name: str) -> tuple[bool, float, float]:
        method = results["methods"][name]
        track = method.get("class_agnostic") or {}
        mask, box = number(track.get("mask_ap")), number(track.get("box_ap"))
        return (not is_oracle(method), -1.0 if mask is None else mask, -1.0 if box is None else box)

    return sorted(results["methods"], key=quality, reverse=True)


def contenders(results: Results) -> list[str]:
    """The ranking without the oracles."""
    return [name for name in ranking(results) if not is_oracle(results["methods"][name])]


def shown_difference(results: Results, first: str, second: str, key: str) -> float | None:
    """First minus second, class-agnostic, of the numbers as they are shown, so that a reader who subtracts gets it too.

    None where one of them is undefined. ``results.json`` holds the exact difference.
    """
    ends = [
        number(((results["methods"].get(name) or {}).get("class_agnostic") or {}).get(key)) for name in (first, second)
    ]
    decimals = next(column.decimals for column in METRICS if column.key == key)
    known = [round(value, decimals) for value in ends if value is not None]
    return round(known[0] - known[1], decimals) if len(known) == 2 else None


def blank(value: object) -> bool:
    """Whether a number is undefined or shown as 0."""
    return number(value) is None or is_zero(value)


def is_zero(value: object) -> bool:
    """Whether a number is known and shown as 0."""
    known = number(value)
    return known is not None and abs(known) < 0.0005
