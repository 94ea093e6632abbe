"""Tables: columns, cells and rows, and their builder from the methods of an evaluation."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from segtrain.benchmark.results import MethodScores, Results
from segtrain.evaluation import TrackName
from segtrain.metrics.metric import Metric
from segtrain.metrics.registry import METRICS
from segtrain.report.text import DECIMALS, number_text, sentence

Interval = tuple[float, float]
Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        key: name of its value in a row.
        title: header.
        hint: explanation of the header.
        better: direction of the best values, which are marked; None to mark nothing.
        decimals: digits after the decimal point.
        scale: factor by which a number is multiplied before it is shown.
        signed: True if the number is a difference, shown with its sign.
    """

    key: str
    title: str
    hint: str
    better: Literal["high", "low"] | None = "high"
    decimals: int = DECIMALS
    scale: float = 1.0
    signed: bool = False

    def text(self, value: float | None) -> str:
        """Format a value of this column."""
        return number_text(value, self.decimals, self.scale, signed=self.signed)


SPEED = Column("seconds", "ms/image", "Median milliseconds to segment an image", "low", 1, 1000.0)


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Attributes:
        value: number; None if it is undefined.
        text: number as it is shown.
        best: True if it is the best of its column.
        details: text in small print beside the number, such as its interval.
        why: reason why the number is 0 or undefined.
    """

    value: float | None
    text: str
    best: bool = False
    details: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Row:
    """Numbers of a method, of a category, or of a method on a category; an ``upper_bound`` is not ranked."""

    method: str
    cells: tuple[Cell, ...]
    category: str | None = None
    upper_bound: bool = False


@dataclass(frozen=True)
class Table:
    """A table, ready to draw.

    Attributes:
        columns: columns of numbers.
        rows: rows in their order.
        label: name for screen readers.
        caption: line of description.
        ranked: True if rows are sorted by the first column.
        sortable: True if a click on a header sorts the rows.
        first_head: header of the rows' ``category``.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    label: str = ""
    caption: str = ""
    ranked: bool = False
    sortable: bool = True
    first_head: str = "category"

    @property
    def heads(self) -> tuple[str, ...]:
        """Headers of the columns of names."""
        with_methods = not self.rows or any(row.method for row in self.rows)
        with_categories = any(row.category is not None for row in self.rows)
        return (self.first_head,) * with_categories + ("method",) * with_methods


def metric_column(metric: Metric) -> Column:
    """Make the column of a metric."""
    return Column(metric.key, metric.title, metric.hint)


def is_zero(value: float | None) -> bool:
    """Return True if a number is defined and shown as 0."""
    return value is not None and abs(value) < 0.0005


def is_blank(value: float | None) -> bool:
    """Return True if a number is undefined or shown as 0."""
    return value is None or is_zero(value)


def make_cells(
    columns: Sequence[Column], values: Values, intervals: Mapping[str, Interval] | None = None
) -> tuple[Cell, ...]:
    """Make the cells of a row.

    Args:
        columns: columns of the table.
        values: numbers by the columns' keys; undefined where absent.
        intervals: low and high ends by the columns' keys.
    """
    cells = []
    for column in columns:
        value, ends = values.get(column.key), (intervals or {}).get(column.key)
        around = (f"[{column.text(ends[0])}, {column.text(ends[1])}]",) if ends and value is not None else ()
        cells.append(Cell(value, column.text(value), details=around))
    return tuple(cells)


def mark_best(table: Table) -> Table:
    """Mark the best cells of each column, within each category if there are some.

    Values that are shown as the same number are marked together; if all are the same, none is marked. Upper bounds are
    neither marked nor compared.
    """
    groups: dict[str | None, list[int]] = {}
    for place, row in enumerate(table.rows):
        if not row.upper_bound:
            groups.setdefault(row.category, []).append(place)
    cells = [list(row.cells) for row in table.rows]
    for rows in groups.values():
        for i, column in enumerate(table.columns):
            texts = [cells[place][i].text for place in rows if cells[place][i].value is not None]
            if column.better is None or len(set(texts)) < 2:
                continue
            best = max(texts, key=float) if column.better == "high" else min(texts, key=float)
            for place in rows:
                if cells[place][i].text == best:
                    cells[place][i] = replace(cells[place][i], best=True)
    return replace(table, rows=tuple(replace(r, cells=tuple(c)) for r, c in zip(table.rows, cells, strict=True)))


def explain(table: Table, why: Callable[[Row, Column, Cell], str]) -> Table:
    """Add reasons to cells of a table.

    Args:
        table: the table.
        why: reason of a cell; empty for none.
    """
    rows = [
        replace(
            row, cells=tuple(replace(c, why=why(row, col, c)) for col, c in zip(table.columns, row.cells, strict=True))
        )
        for row in table.rows
    ]
    return replace(table, rows=tuple(rows))


def cell_reasons(results: Results, track: TrackName) -> dict[tuple[str, str], str]:
    """Collect the reasons that concern all of a method's numbers of a key.

    Args:
        results: an evaluation.
        track: class-agnostic or class-aware.

    Returns:
        A sentence by method and key.
    """
    return {
        (method, key): sentence(reason.why)
        for reason in reversed(results.reasons)  # the most severe one is kept
        if track in reason.tracks and not reason.categories
        for method in reason.rows
        for key in reason.keys
    }


def method_table(
    results: Results,
    columns: Sequence[Column],
    values: Callable[[str, MethodScores], Values | None],
    label: str,
    caption: str = "",
    *,
    intervals: Callable[[MethodScores], Mapping[str, Interval]] | None = None,
    ranked: bool = False,
) -> Table:
    """Make a table with a row for each method, best first, upper bounds last, the best of each column marked.

    Args:
        results: an evaluation.
        columns: columns of the table.
        values: function of a method's name and scores that returns its numbers; None leaves the method out.
        label: name of the table.
        caption: line of description.
        intervals: low and high ends by key; None to show none.
        ranked: True to sort rows by the first column.
    """
    rows = []
    for name in results.ranked:
        method = results.methods[name]
        if (numbers := values(name, method)) is not None:
            cells = make_cells(columns, numbers, intervals(method) if intervals else None)
            rows.append(Row(name, cells, upper_bound=method.oracle))
    return mark_best(Table(tuple(columns), tuple(rows), label, caption, ranked))


def track_table(
    results: Results,
    track: TrackName,
    label: str = "",
    caption: str = "",
    *,
    keys: Collection[str] | None = None,
    intervals: bool = False,
) -> Table:
    """Make the table of a track's metrics, with the speed in the last column.

    Args:
        results: an evaluation.
        track: class-agnostic or class-aware.
        label: name of the table.
        caption: line of description.
        keys: metrics to show; None for all that any method has.
        intervals: True to show the intervals of the numbers.
    """
    columns = [
        metric_column(metric)
        for metric in METRICS
        if (keys is None or metric.key in keys)
        and any(metric.key in own.metrics for method in results.methods.values() if (own := method.track(track)))
    ]

    def values(name: str, method: MethodScores) -> Values | None:
        own = method.track(track)
        return None if own is None else {**own.metrics, SPEED.key: method.seconds}

    def ends(method: MethodScores) -> Mapping[str, Interval]:
        own = method.track(track)
        return own.intervals if own else {}

    table = method_table(
        results, [*columns, SPEED], values, label, caption, intervals=ends if intervals else None, ranked=True
    )
    reasons = cell_reasons(results, track)
    return explain(table, lambda row, column, _: reasons.get((row.method, column.key), ""))


def shown_difference(results: Results, first: str, second: str, key: str) -> float | None:
    """Subtract the shown values of a class-agnostic metric of two methods, so that a reader gets the same difference.

    Args:
        results: an evaluation.
        first: name of the first method.
        second: name of the method that is subtracted.
        key: ``Metric.key``.

    Returns:
        First minus second, rounded; None where one of them is undefined. ``results.json`` holds the exact difference.
    """
    values = [results.methods[name].metric(key) for name in (first, second)]
    known = [round(value, DECIMALS) for value in values if value is not None]
    return round(known[0] - known[1], DECIMALS) if len(known) == 2 else None
