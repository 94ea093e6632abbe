"""The tables of what methods get wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segtrain.report.figures.error_plot import ErrorPlot, error_plot
from segtrain.report.tables.cells import (
    Cell,
    Column,
    Results,
    Row,
    Table,
    Track,
    cells,
    is_oracle,
    ranking,
    track_table,
)
from segtrain.report.tables.reasons import blank, explained, with_reasons

LOSSES = (
    Column("category", "category", "AP50 gained if objects that were found had the right category", None),
    Column("location", "location", "AP50 gained if masks that overlap an object too little fitted it", None),
    Column("both", "both", "AP50 gained without detections of wrong category and too little overlap", None),
    Column("duplicates", "duplicates", "AP50 gained without second detections of an object", None),
    Column("background", "background", "AP50 gained without detections where there is no object", None),
    Column("misses", "misses", "AP50 gained if objects that nothing was near to did not count", None),
)
_AP50 = Column("ap50", "AP50", "Average precision of masks at IoU 0.50, with all errors")
TOUCHING = (
    Column("found", "found", "Touching objects that are found at all", None, 0),
    Column("merged", "merged", "Touching objects that share a detection with another", None, 0),
    Column("merged_share", "merged, %", "Share of the touching objects", None, 1, 100.0),
    Column("split", "split", "Touching objects that were found in pieces", None, 0),
    Column("split_share", "split, %", "Share of the touching objects", None, 1, 100.0),
)
_APART = ("merged", "split")


@dataclass(frozen=True)
class ErrorSection:
    """All that the report says of errors.

    Attributes:
        agnostic: AP50 and what each type costs of it.
        aware: the same, class-aware; None where it says nothing new.
        plots: the same as bars, each for a desktop and for a phone.
        touching: merges and splits; None without objects that touch.
        objects: that touch.
    """

    agnostic: Table
    aware: Table | None
    plots: tuple[tuple[ErrorPlot, ErrorPlot], ...]
    touching: Table | None
    objects: int


def error_section(results: Results, wide: float = 780.0, narrow: float = 340.0) -> ErrorSection | None:
    """The section of the report; None where results have no errors.

    Args:
        results: the content of ``results.json``.
        wide: pixels of a figure for a desktop.
        narrow: pixels of the same for a phone.
    """
    agnostic = _loss_table(results, "class_agnostic")
    if agnostic is None:
        return None
    aware = _loss_table(results, "class_aware")
    if aware is not None and len(aware.columns) == len(agnostic.columns):
        aware = None  # of a single category
    drawn: list[tuple[Track, str]] = [("class_agnostic", "AP50 lost to each type of error")]
    if aware is not None:
        drawn.append(("class_aware", "Class-aware: AP50 lost to each type of error"))
    plots = [[error_plot(results, track, LOSSES, title, width) for width in (wide, narrow)] for track, title in drawn]
    pairs = tuple((first, second) for first, second in plots if first is not None and second is not None)
    return ErrorSection(agnostic, aware, pairs, *_touching(results))


def _loss_table(results: Results, track: Track) -> Table | None:
    found = {name: values for name in ranking(results) if (values := _errors(results, name).get(track))}
    losses = tuple(c for c in LOSSES if any(c.key in values["lost"] for values in found.values()))
    columns = (_AP50, *losses)
    rows = [
        Row(
            name, cells(columns, {"ap50": values["ap50"], **values["lost"]}), oracle=is_oracle(results["methods"][name])
        )
        for name, values in found.items()
    ]
    precision = explained(track_table(results, track, ("mask_ap50",)), results, track)
    whys = {row.method: row.cells[0].why for row in precision.rows}

    def why(row: Row, column: Column, cell: Cell) -> str:
        if column is _AP50 or cell.value is None:
            return whys.get(row.method, "")
        return _costless(found[row.method]["counts"].get(column.key)) if blank(cell.value) else ""

    return with_reasons(Table(columns, tuple(rows)), why) if rows else None


def _costless(count: int | None) -> str:
    """Why a type of error costs nothing."""
    if not count:
        return "There is no such error."
    such = f"{count:,} such errors; without them" if count > 1 else "One such error; without it"
    return f"{such} AP50 would hardly rise."


def _touching(results: Results) -> tuple[Table | None, int]:
    """Merges and splits, and the number of objects that touch."""
    rows, objects = [], 0
    for name in ranking(results):
        counts = _errors(results, name).get("touching") or {}
        if counts.get("objects"):
            objects = counts["objects"]
            # Where nothing is found, nothing can be merged or split: that is no merit.
            values = {**counts, **{f"{key}_share": counts[key] / objects for key in _APART}} if counts["found"] else {}
            shown = cells(TOUCHING, {**values, "found": counts["found"]})
            rows.append(Row(name, shown, oracle=is_oracle(results["methods"][name])))
    table = with_reasons(Table(TOUCHING, tuple(rows)), _why_apart)
    return (table if rows else None), objects


def _why_apart(row: Row, column: Column, cell: Cell) -> str:
    if cell.value is None:
        return "No object that touches another is found at the row's score threshold."
    return ""


def _errors(results: Results, name: str) -> Mapping[str, Any]:
    return results["methods"][name].get("errors") or {}
