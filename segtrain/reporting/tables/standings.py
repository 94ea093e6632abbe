"""The table at the head of a report, and each method's distance from Mask R-CNN."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from segtrain.reporting.tables.cells import (
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

HEADLINE = ("mask_ap", "mask_ap50", "box_ap", "miou", "f1_50", "pq", "boundary_iou")
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
        chance = number(values.get("p"))
        added = (_difference(values, metric), Cell(chance, MISSING if chance is None else p_text(chance)))
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
                cell, chance = _difference(values, metric), number(values.get("p"))
                found.append(cell if chance is None else replace(cell, details=(*cell.details, _p_said(chance))))
            rows.append(Row(name, tuple(found), oracle=is_oracle(results["methods"][name])))
    return Table(tuple(_column(results, metric) for metric in compared), tuple(rows)) if rows and compared else None


def p_text(p: float) -> str:
    """A p value with as many digits as it deserves."""
    return f"< {_SMALLEST}" if p < _SMALLEST else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _p_said(p: float) -> str:
    text = p_text(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _comparison(results: Results, name: str, key: str) -> Mapping[str, Any]:
    return ((results.get("comparisons") or {}).get(name) or {}).get(key) or {}


def _column(results: Results, metric: Column) -> Column:
    hint = f"Difference to {results.get('reference')}: {metric.hint[0].lower()}{metric.hint[1:]}"
    return Column("difference", f"Δ {metric.title}", hint, None, metric.decimals, metric.scale, signed=True)


def _difference(values: Mapping[str, Any], metric: Column) -> Cell:
    low, high = number(values.get("low")), number(values.get("high"))
    around = None if low is None or high is None else (low, high)
    (cell,) = cells([replace(metric, key="difference", signed=True)], values, {"difference": around})
    return cell
