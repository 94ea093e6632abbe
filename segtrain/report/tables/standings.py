"""The table at the head of a report, and each method's distance from Mask R-CNN."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any

from segtrain.metrics import registry
from segtrain.metrics.bootstrap import CLEAR
from segtrain.report.tables.cells import (
    METRICS,
    MISSING,
    Cell,
    Column,
    Results,
    Row,
    Table,
    cells,
    is_oracle,
    number,
    ranking,
    track_table,
)

HEADLINE = tuple(metric.key for metric in registry.METRICS if metric.headline)
_SMALLEST = 0.001  # p values below are not told apart


def headline_table(results: Results) -> Table:
    """The numbers that decide, with their intervals; the difference to Mask R-CNN and its p where they are known."""
    table = track_table(results, "class_agnostic", HEADLINE)
    if not results.get("comparisons"):
        return table
    metric = next(column for column in METRICS if column.key == "mask_ap")
    p = Column("p", "p", f"How easily chance alone gives such a difference of {metric.title}", None)
    rows = []
    for row in table.rows:
        values = _comparison(results, row.method, metric.key)
        chance, least = number(values.get("p")), number(values.get("least_p"))
        text = MISSING if chance is None else p_text(chance, least)
        added = (_difference(results, row.method, metric), Cell(chance, text))
        rows.append(replace(row, cells=(*row.cells, *added)))
    return Table((*table.columns, _column(results, metric), p), tuple(rows))


def difference_table(results: Results) -> Table | None:
    """Every difference to Mask R-CNN with its interval and p; None where nothing was compared."""
    comparisons = results.get("comparisons") or {}
    compared = [c for c in METRICS if any(c.key in (values or {}) for values in comparisons.values())]
    rows = []
    for name in ranking(results):
        if name in comparisons:
            found = []
            for metric in compared:
                values = _comparison(results, name, metric.key)
                cell, chance = _difference(results, name, metric), number(values.get("p"))
                said = () if chance is None else (p_said(chance, number(values.get("least_p"))),)
                found.append(replace(cell, details=(*cell.details, *said)))
            rows.append(Row(name, tuple(found), oracle=is_oracle(results["methods"][name])))
    return Table(tuple(_column(results, metric) for metric in compared), tuple(rows)) if rows and compared else None


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


def p_text(p: float, least: float | None = None) -> str:
    """A p value with as many digits as it deserves, never on the other side of 0.05 than p itself.

    Args:
        p: in (0, 1].
        least: the least that it can be with so many resamples; None if it is not known.
    """
    if p < _SMALLEST:
        return f"< {_SMALLEST}"
    decimals = 3 if p < 0.1 else 2
    bound = least is not None and p <= least and p < 1
    rounded = ceil(p * 10**decimals - 1e-9) / 10**decimals if bound else round(p, decimals)
    if p < CLEAR <= rounded:
        return f"< {CLEAR}"
    return f"{'≤ ' if bound else ''}{rounded:.{decimals}f}"


def p_said(p: float, least: float | None = None) -> str:
    """The same in a sentence."""
    text = p_text(p, least)
    return f"p = {text}" if text[0].isdigit() else f"p {text}"


def certainty_definitions(results: Results) -> list[tuple[str, str]]:
    """What intervals, differences and p are, with their sources; nothing where the images were not resampled."""
    resamples = (results.get("bootstrap") or {}).get("resamples")
    if not resamples or not any((m.get("class_agnostic") or {}).get("intervals") for m in results["methods"].values()):
        return []
    found = [
        (
            "95 % interval",
            f"The images are drawn again {resamples:,} times, with replacement, the same draws for all methods. The "
            "middle 95 % of the numbers that this gives make the interval (Efron and Tibshirani, 1993).",
        )
    ]
    if results.get("comparisons"):
        standard = results["reference"]
        found.append(
            (
                "Δ, p",
                f"Δ is a method's number less that of {standard}, as both are shown. p says how easily chance alone "
                "gives such a difference on the same draws, two-sided; ≤ stands before the least p that so many draws "
                "can give. It is corrected for the number of methods (Holm, 1979), intervals are not: one without 0 "
                "may stand beside a p of 0.05 or more, and then the data cannot tell. Where the verdict compares the "
                f"best two and neither is {standard}, p is that of the pair alone.",
            )
        )
    return found


def _comparison(results: Results, name: str, key: str) -> Mapping[str, Any]:
    return ((results.get("comparisons") or {}).get(name) or {}).get(key) or {}


def _column(results: Results, metric: Column) -> Column:
    hint = f"Difference to {results.get('reference')}: {metric.hint[0].lower()}{metric.hint[1:]}"
    return Column("difference", f"Δ {metric.title}", hint, None, metric.decimals, metric.scale, signed=True)


def _difference(results: Results, name: str, metric: Column) -> Cell:
    """What the row's number lies above Mask R-CNN's, with its interval; undefined where the two were not compared."""
    values, standard = _comparison(results, name, metric.key), results.get("reference")
    difference = shown_difference(results, name, standard, metric.key) if values and standard else None
    low, high = number(values.get("low")), number(values.get("high"))
    around = None if low is None or high is None else (low, high)
    column = replace(metric, key="difference", signed=True)
    (cell,) = cells([column], {"difference": difference}, {"difference": around})
    return cell
