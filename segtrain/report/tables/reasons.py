"""How a report tells why numbers are 0 or missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from segtrain.report.tables.cells import METRICS, SPEED, Cell, Column, Results, Row, Table, listed, number

_TITLES = {column.key: column.title for column in (*METRICS, SPEED)}
_OTHERS = {"per_category": "some categories", "class_aware": "all class-aware numbers"}
_NAMED, _LISTED = 6, 5  # methods and categories that a line names


class ReasonLine(NamedTuple):
    """One reason as a report tells it.

    Attributes:
        what: the numbers, and the methods that they are of.
        why: a sentence; where ``more`` goes on, without its full stop.
        more: what the sentence would go on to name, to be folded; empty if that is nothing.
        number: how many that are.
    """

    what: str
    why: str
    more: str = ""
    number: int = 0


def reason_lines(results: Results) -> list[ReasonLine]:
    """What is 0 or missing, of which methods, and why.

    Args:
        results: the content of ``results.json``.
    """
    lines = []
    for entry in results.get("reasons") or ():
        what = f"{_keys(entry, results)} of {_rows(entry['rows'], results)}"
        said = [note["said"] for note in entry.get("categories") or ()]
        if len(said) <= _LISTED + 1:
            lines.append(ReasonLine(what, _sentence(entry["why"], listed(said) if said else "")))
        else:
            why = f"{_capital(entry['why'])}: {', '.join(said[:_LISTED])}"
            lines.append(ReasonLine(what, why, f"{listed(said[_LISTED:])}.", len(said) - _LISTED))
    return lines


def explained(table: Table, results: Results, track: str) -> Table:
    """The table, each cell that is 0, next to 0 or missing with its reason."""
    known = by_cell(results, track)
    return with_reasons(table, lambda row, column, _: known.get((row.method, column.key), ""))


def explained_categories(table: Table, results: Results) -> Table:
    """The same for the table of categories."""
    known = by_cell(results, "class_aware")
    named: dict[tuple[str, str | None], str] = {}
    for entry in results.get("reasons") or ():
        for row in entry["rows"] if "per_category" in entry["keys"] else ():
            for note in entry.get("categories") or ():
                named.setdefault((row, note["name"]), _sentence(entry["why"], note["said"]))

    def why(row: Row, column: Column, cell: Cell) -> str:
        if not blank(cell.value):
            return ""
        own = named.get((row.method, row.category)) or known.get((row.method, "per_category"))
        return own or known.get((row.method, "fg_iou" if column.key == "iou" else column.key), "")

    return with_reasons(table, why)


def with_reasons(table: Table, why: Callable[[Row, Column, Cell], str]) -> Table:
    """The table, each cell with why it is as it is, where that is to be said."""
    rows = [
        replace(
            row,
            cells=tuple(
                replace(cell, why=why(row, column, cell)) for column, cell in zip(table.columns, row.cells, strict=True)
            ),
        )
        for row in table.rows
    ]
    return replace(table, rows=tuple(rows))


def blank(value: object) -> bool:
    """Whether a number is undefined or shown as 0."""
    return number(value) is None or is_zero(value)


def is_zero(value: object) -> bool:
    """Whether a number is known and shown as 0."""
    known = number(value)
    return known is not None and abs(known) < 0.0005


def by_cell(results: Results, track: str) -> dict[tuple[str, str], str]:
    """Reasons that concern all of a row's numbers of a key."""
    return {
        (row, key): _sentence(entry["why"])
        for entry in reversed(results.get("reasons") or ())  # the gravest is kept
        if track in entry["tracks"] and not entry.get("categories")
        for row in entry["rows"]
        for key in entry["keys"]
    }


def _sentence(why: str, named: str = "") -> str:
    return f"{_capital(why)}{': ' if named else ''}{named}."


def _capital(why: str) -> str:
    return why[0].upper() + why[1:]


def _keys(entry: Mapping[str, Any], results: Results) -> str:
    keys = entry["keys"]
    aware = "class-aware " if entry["tracks"] == ["class_aware"] and set(keys) - _OTHERS.keys() else ""
    tracks = [method.get(track) or {} for method in results["methods"].values() for track in entry["tracks"]]
    known = [key for key in _TITLES if any(key in values for values in tracks)]
    left = [key for key in known if key not in keys]
    if len(keys) > 4 and len(left) <= 2:
        but = f" but {' and '.join(_TITLES[key] for key in left)}" if left else ""
        return f"every {aware}number{but}"
    return aware + listed([_OTHERS.get(key) or _TITLES.get(key, key) for key in keys])


def _rows(rows: Sequence[str], results: Results) -> str:
    methods = results["methods"]
    with_masks = [
        name
        for name, method in methods.items()
        if ((method.get("class_agnostic") or {}).get("coco") or {}).get("segm") is not None
    ]
    for every, said in ((list(methods), "every method"), (with_masks, "every method with masks")):
        if len(every) > 1 and set(rows) == set(every):
            return said
    return listed(rows) if len(rows) <= _NAMED + 1 else f"{', '.join(rows[:_NAMED])} and {len(rows) - _NAMED} more"
