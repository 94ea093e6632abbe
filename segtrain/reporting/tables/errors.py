"""The tables of what methods get wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segtrain.reporting.figures.error_plot import ErrorPlot, error_plot
from segtrain.reporting.tables.cells import Column, Results, Row, Table, Track, cells, is_oracle, ranking

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
    Column("merged", "merged", "Touching objects that share a detection with another", None, 0),
    Column("merged_share", "merged, %", "Share of the touching objects", None, 1, 100.0),
    Column("split", "split", "Touching objects that were found in pieces", None, 0),
    Column("split_share", "split, %", "Share of the touching objects", None, 1, 100.0),
)


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
    return Table(columns, tuple(rows)) if rows else None


def _touching(results: Results) -> tuple[Table | None, int]:
    """Merges and splits, and the number of objects that touch."""
    rows, objects = [], 0
    for name in ranking(results):
        counts = _errors(results, name).get("touching") or {}
        if objects := counts.get("objects") or objects:
            shares = {f"{key}_share": counts[key] / objects for key in ("merged", "split") if key in counts}
            if shares:
                rows.append(
                    Row(name, cells(TOUCHING, {**counts, **shares}), oracle=is_oracle(results["methods"][name]))
                )
    return (Table(TOUCHING, tuple(rows)) if rows else None), objects


def _errors(results: Results, name: str) -> Mapping[str, Any]:
    return results["methods"][name].get("errors") or {}
