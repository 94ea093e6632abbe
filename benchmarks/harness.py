"""Common parts of benchmarks: options, fair timing, and the table, files and verdict at the end."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import TypeVar

from rows import Row, table, write_json, write_rows
from saved import RESULTS, save

T = TypeVar("T")


def arguments(description: str) -> argparse.ArgumentParser:
    """Parse the options of a benchmark; without data of the user it draws some, which its rows state."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--nuclei", type=Path, metavar="DIR", help="BBBC038 nuclei as COCO folder")
    parser.add_argument("--coco", type=Path, metavar="DIR", help="images and annotations of COCO 2017, or some of them")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="published weights of a network")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="of a training by segtrain")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the rows")
    parser.add_argument("--hand-on", type=Path, help=argparse.SUPPRESS)  # whole rows, for run.py
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bound is missed")
    parser.add_argument("--save", type=Path, nargs="?", const=RESULTS, metavar="FILE", help=f"write {RESULTS.name}")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement, the warm-up not counted")
    return parser


def alternate(
    ours: Callable[[T], object],
    stock: Callable[[T], object],
    items: Sequence[T],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
    fresh: Callable[[T], T] = lambda item: item,
) -> tuple[float, float]:
    """Measure the seconds of each side per item: the median over the repetitions of the mean over the items.

    The sides take turns at every item, and alternate in which begins, so that neither a busy machine nor a warm cache
    favours one. The first repetition is a warm-up and does not count.

    Args:
        ours: function of our side.
        stock: function of the other side.
        items: arguments of both functions.
        repeats: number of repetitions that count.
        clock: clock in seconds; ``time.process_time`` for processor time.
        fresh: copies an item before each call, outside of the timing, for sides that write into it.
    """
    sides = (ours, stock)
    means: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        spent = [0.0, 0.0]
        for number, item in enumerate(items):
            for turn in (0, 1):
                side = (repeat + number + turn) % 2
                given = fresh(item)
                started = clock()
                sides[side](given)
                spent[side] += clock() - started
        if repeat:
            for kept, total in zip(means, spent, strict=True):
                kept.append(total / len(items))
    return median(means[0]), median(means[1])


def finish(rows: Iterable[Row], options: argparse.Namespace) -> None:
    """Print the rows, and write them to the files of ``--json`` and ``--save``.

    With ``--check`` the process exits with 1 if a bound is missed.
    """
    rows = list(rows)
    print(table(rows))
    if options.json:
        write_json(rows, options.json)
    if options.hand_on:
        write_rows(rows, options.hand_on)
    if options.save:
        save(options.save, Path(sys.argv[0]).name, rows, options.repeats)
    if verdict(rows) and options.check:
        sys.exit(1)


def verdict(rows: Iterable[Row]) -> bool:
    """Print the bounds that are missed, and return True if there are any."""
    misses = [row.miss for row in rows if row.miss]
    for miss in misses:
        print(f"missed: {miss}", file=sys.stderr)
    return bool(misses)
