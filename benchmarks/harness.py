"""What every benchmark shares: its options, fair timing, and the table, json and verdict at its end."""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One figure of a benchmark.

    Attributes:
        name: unique among all benchmarks.
        what: was measured, and on which data.
        unit: of the two medians, such as ``ms``.
        ours: our median.
        stock: the other side's; None where the bound is on ours alone.
        bound: how many times better than stock ours must be; without a stock side, the most that ours may be.
        greater: whether more is better, as with images per second; without a stock side ``bound`` is then the least.
        beside: the other side's median where the bound is on ours alone nevertheless; for the reader.
    """

    name: str
    what: str
    unit: str
    ours: float
    stock: float | None
    bound: float
    greater: bool = False
    beside: float | None = None

    @property
    def other(self) -> float | None:
        """The other side's median, whether or not the bound is on it."""
        return self.beside if self.stock is None else self.stock

    @property
    def ratio(self) -> float | None:
        """How many times better than the other side ours is; None without one."""
        if self.other is None:
            return None
        better, worse = (self.ours, self.other) if self.greater else (self.other, self.ours)
        return better / worse if worse > 0 else math.inf

    @property
    def miss(self) -> str | None:
        """By how much the bound is missed; None if it is held."""
        ratio, bound = self.ratio, self.bound
        if self.stock is not None and ratio is not None:
            return None if ratio >= bound else f"{self.name}: {ratio:.2f}x, {bound:g}x is the least"
        held = self.ours >= bound if self.greater else self.ours <= bound
        side = "least" if self.greater else "most"
        return None if held else f"{self.name}: {self.ours:.4g} {self.unit}, {bound:g} {self.unit} is the {side}"


def arguments(description: str) -> argparse.ArgumentParser:
    """The options of every benchmark; without data of its own a benchmark draws some, and its rows say so."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--nuclei", type=Path, metavar="DIR", help="BBBC038 nuclei as COCO folder")
    parser.add_argument("--coco", type=Path, metavar="DIR", help="images and annotations of COCO 2017, or some of them")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="published weights of a network")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="of a training by segtrain")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the rows")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bound is missed")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement, the warm-up not counted")
    return parser


def alternate(
    ours: Callable[[T], object],
    stock: Callable[[T], object],
    items: Sequence[T],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Seconds that each side takes for one item: the median over the repetitions of the mean over the items.

    The sides take turns at every item, and who begins changes, so that neither a busy machine nor a warm cache favours
    one. The first repetition is a warm-up and does not count.

    Args:
        ours: our side.
        stock: the other.
        items: what both are called with.
        repeats: repetitions that count.
        clock: seconds; ``time.process_time`` for processor time.
    """
    sides = (ours, stock)
    means: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        spent = [0.0, 0.0]
        for number, item in enumerate(items):
            for turn in (0, 1):
                side = (repeat + number + turn) % 2
                started = clock()
                sides[side](item)
                spent[side] += clock() - started
        if repeat:
            for kept, total in zip(means, spent, strict=True):
                kept.append(total / len(items))
    return median(means[0]), median(means[1])


def finish(rows: Iterable[Row], options: argparse.Namespace) -> None:
    """Print the rows, write them where ``--json`` says, and with ``--check`` exit with 1 if a bound is missed."""
    rows = list(rows)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps({row.name: _record(row) for row in rows}, indent=2) + "\n")
    misses = [row.miss for row in rows if row.miss]
    for miss in misses:
        print(f"missed: {miss}", file=sys.stderr)
    if misses and options.check:
        sys.exit(1)


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    head = ("row", "ours", "stock", "ratio", "bound", "what")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]) for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    def amount(value: float) -> str:
        return f"{value:.4g} {row.unit}"

    other, ratio = "" if row.other is None else amount(row.other), "" if row.ratio is None else f"{row.ratio:.2f}x"
    bound = f"≥ {row.bound:g}x" if row.stock is not None else f"{'≥' if row.greater else '≤'} {amount(row.bound)}"
    return row.name, amount(row.ours), other, ratio, bound, row.what


def _record(row: Row) -> dict[str, float | str | None]:
    ratio = row.ratio if row.ratio is None or math.isfinite(row.ratio) else None
    return {"ours": row.ours, "stock": row.other, "ratio": ratio, "bound": row.bound, "unit": row.unit}
