"""How a report tells why numbers are 0 or missing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from segtrain.reporting.tables.cells import METRICS, SPEED, Results, Table, listed

_TITLES = {column.key: column.title for column in (*METRICS, SPEED)}
_OTHERS = {"per_category": "some categories", "class_aware": "all class-aware numbers"}
_NAMED = 6  # methods that a line names


def reason_lines(results: Results) -> list[tuple[str, str]]:
    """What is 0 or missing, of which methods, and why, a sentence each.

    Args:
        results: the content of ``results.json``.
    """
    return [
        (f"{_keys(entry, results)} of {_rows(entry['rows'], results)}", _sentence(entry["why"]))
        for entry in results.get("reasons") or ()
    ]


def explained(table: Table, results: Results, track: str) -> Table:
    """The table, each cell that is 0 or missing with its reason."""
    known = _by_cell(results, track)
    rows = [
        replace(
            row,
            cells=tuple(
                replace(cell, why=known.get((row.method, column.key), ""))
                for column, cell in zip(table.columns, row.cells, strict=True)
            ),
        )
        for row in table.rows
    ]
    return replace(table, rows=tuple(rows))


def _by_cell(results: Results, track: str) -> dict[tuple[str, str], str]:
    return {
        (row, key): _sentence(entry["why"])
        for entry in results.get("reasons") or ()
        if track in entry["tracks"]
        for row in entry["rows"]
        for key in entry["keys"]
    }


def _sentence(why: str) -> str:
    return f"{why[0].upper()}{why[1:]}."


def _keys(entry: Mapping[str, Any], results: Results) -> str:
    keys = entry["keys"]
    aware = "class-aware " if entry["tracks"] == ["class_aware"] and not set(keys) & _OTHERS.keys() else ""
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
