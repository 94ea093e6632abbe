"""Rows of a benchmark: a measured figure with its bound, as text and as json."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """Measured figure of a benchmark.

    Attributes:
        name: name, unique among all benchmarks.
        what: description of the measurement and its data.
        unit: unit of the two medians, such as ``ms``.
        ours: median of our side.
        stock: median of the other side; None where the bound is on ours alone.
        bound: least ratio by which ours must be better than stock; without a stock side, the largest value of ours;
            None for a figure that is only shown, such as a part of another one.
        greater: True if greater values are better, as with images per second; without a stock side ``bound`` is then
            the least value of ours.
        beside: median of the other side where the bound is on ours alone, for the reader.
    """

    name: str
    what: str
    unit: str
    ours: float
    stock: float | None
    bound: float | None
    greater: bool = False
    beside: float | None = None

    @property
    def other(self) -> float | None:
        """Median of the other side, from ``stock`` or ``beside``."""
        return self.beside if self.stock is None else self.stock

    @property
    def ratio(self) -> float | None:
        """Ratio by which ours is better than the other side; None without one."""
        if self.other is None:
            return None
        better, worse = (self.ours, self.other) if self.greater else (self.other, self.ours)
        return better / worse if worse > 0 else math.inf

    @property
    def margin(self) -> float | None:
        """Ratio by which the row is better than its bound; the bound holds from 1 on. None without a bound."""
        if self.bound is None:
            return None
        if self.stock is not None and self.ratio is not None:
            reached, least = self.ratio, self.bound
        else:
            reached, least = (self.ours, self.bound) if self.greater else (self.bound, self.ours)
        return reached / least if least > 0 else math.inf

    @property
    def miss(self) -> str | None:
        """Description of a missed bound; None if it holds."""
        ratio, bound = self.ratio, self.bound
        if bound is None:
            return None
        if self.stock is not None and ratio is not None:
            return None if ratio >= bound else f"{self.name}: {ratio:.2f}x, {bound:g}x is the least"
        held = self.ours >= bound if self.greater else self.ours <= bound
        side = "least" if self.greater else "most"
        return None if held else f"{self.name}: {self.ours:.4g} {self.unit}, {bound:g} {self.unit} is the {side}"


def table(rows: Sequence[Row]) -> str:
    """Format the rows as aligned text."""
    head = ("row", "ours", "stock", "ratio", "bound", "what")
    lines = [head, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]) for line in lines
    )


def cells(row: Row) -> tuple[str, ...]:
    """Format the cells of a row: name, ours, stock, ratio, bound, what."""

    def amount(value: float) -> str:
        return f"{value:.4g} {row.unit}"

    other, ratio = "" if row.other is None else amount(row.other), "" if row.ratio is None else f"{row.ratio:.2f}x"
    return row.name, amount(row.ours), other, ratio, _bound(row), row.what


def _bound(row: Row) -> str:
    if row.bound is None:
        return ""
    return f"≥ {row.bound:g}x" if row.stock is not None else f"{'≥' if row.greater else '≤'} {row.bound:.4g} {row.unit}"


def write_json(rows: Iterable[Row], path: Path) -> None:
    """Write the figures by name; infinities and NaN become null."""
    path.write_text(json.dumps({row.name: _record(row) for row in rows}, indent=2) + "\n")


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write complete rows, for ``read_rows``."""
    path.write_text(json.dumps([asdict(row) for row in rows]))


def read_rows(path: Path) -> list[Row]:
    """Read the rows that ``write_rows`` has written."""
    return [Row(**record) for record in json.loads(path.read_text())]


def _record(row: Row) -> dict[str, float | str | None]:
    ratio = row.ratio if row.ratio is None or math.isfinite(row.ratio) else None
    return {"ours": row.ours, "stock": row.other, "ratio": ratio, "bound": row.bound, "unit": row.unit}
