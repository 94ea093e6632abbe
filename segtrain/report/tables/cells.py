"""What the tables of a report hold; HTML, Markdown and the terminal only draw it."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from segtrain.metrics import registry

Results = Mapping[str, Any]  # the parsed results.json
Track = Literal["class_agnostic", "class_aware"]
MISSING = "–"


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        key: where the number stands in a track of ``results.json``.
        title: the header.
        hint: the header in plain words.
        better: which end of the column is marked; None marks nothing.
        decimals: digits behind the point.
        scale: the number is shown multiplied by this.
        signed: the number is a difference, and shown with its sign.
    """

    key: str
    title: str
    hint: str
    better: Literal["high", "low"] | None = "high"
    decimals: int = 3
    scale: float = 1.0
    signed: bool = False


METRICS = tuple(Column(metric.key, metric.title, metric.hint) for metric in registry.METRICS)
SPEED = Column("seconds", "ms/image", "Median milliseconds to segment an image", "low", 1, 1000.0)


@dataclass(frozen=True)
class Cell:
    """One number: as it is (None: undefined), as it is shown, and whether it is the best of its column.

    ``details`` are what a table shows small beside it: its interval, what else is known of it. ``why`` says why it is 0
    or undefined.
    """

    value: float | None
    text: str
    best: bool = False
    details: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Row:
    """One method's numbers; ``category`` is set in the per-category table only, ``oracle`` on an upper bound."""

    method: str
    cells: tuple[Cell, ...]
    category: str | None = None
    oracle: bool = False


@dataclass(frozen=True)
class Table:
    """Columns and rows, ready to draw."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


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


def track_table(
    results: Results, track: Track, keys: Collection[str] | None = None, *, intervals: bool = True
) -> Table:
    """Every method that has this track, best first, with its speed in the last column.

    Args:
        results: the content of ``results.json``.
        track: which one.
        keys: of the columns to take; None takes all that any method has.
        intervals: whether numbers carry theirs.
    """
    tracks = [values for m in results["methods"].values() if (values := m.get(track)) is not None]
    columns = [c for c in METRICS if any(c.key in values for values in tracks) and (keys is None or c.key in keys)]
    columns.append(SPEED)
    rows = []
    for name in ranking(results):
        method = results["methods"][name]
        if (values := method.get(track)) is not None:
            known = {column.key: interval(values, column.key) for column in columns} if intervals else {}
            found = cells(columns, {**values, "seconds": seconds(method)}, known)
            rows.append(Row(name, found, oracle=is_oracle(method)))
    return Table(tuple(columns), mark_best(columns, rows))


def cells(
    columns: Sequence[Column],
    values: Mapping[str, Any],
    intervals: Mapping[str, tuple[float, float] | None] | None = None,
) -> tuple[Cell, ...]:
    """The numbers of a row.

    Args:
        columns: what to show.
        values: by key; undefined where absent.
        intervals: low and high by key.
    """
    found = []
    for column in columns:
        value, ends = number(values.get(column.key)), (intervals or {}).get(column.key)
        around = (f"[{shown(column, ends[0])}, {shown(column, ends[1])}]",) if ends and value is not None else ()
        found.append(Cell(value, MISSING if value is None else shown(column, value), details=around))
    return tuple(found)


def shown(column: Column, value: float) -> str:
    """A number as its column shows it."""
    rounded = round(value * column.scale, column.decimals) + 0.0  # no "-0.000"
    text = f"{rounded:{'+' if column.signed else ''}.{column.decimals}f}"
    return text.replace("-", "−") if column.signed else text


def mark_best(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Row, ...]:
    """Mark what reads as the best: values shown alike are marked alike, and where all are alike nothing is best.

    Oracles are neither marked nor compared with.
    """
    marked = [list(row.cells) for row in rows]
    for place, column in enumerate(columns):
        texts = [row.cells[place].text for row in rows if row.cells[place].value is not None and not row.oracle]
        if column.better is None or len(set(texts)) < 2:
            continue
        best = max(texts, key=float) if column.better == "high" else min(texts, key=float)
        for row, found in zip(rows, marked, strict=True):
            if not row.oracle and found[place].value is not None and found[place].text == best:
                found[place] = replace(found[place], best=True)
    return tuple(replace(row, cells=tuple(found)) for row, found in zip(rows, marked, strict=True))


def listed(entries: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(entries[:-1]), entries[-1]]))
