"""The ``compare`` command: what changed between two evaluations, and whether that is more than chance."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from segtrain.console import CommandParser, print_table, print_text, whole_number
from segtrain.errors import SegtrainError
from segtrain.io import expand_path, unread_output_discarded, without_controls, write_atomically
from segtrain.nodes import nearest

DROPPED = 3  # exit code where a number fell beyond its limit; 1 is that of errors
_MARKS = {"html": b'content="segtrain compare"', "json": b'{\n  "first": {'}  # of files that may be replaced


def main(arguments: Sequence[str]) -> int:
    """Compare two evaluations.

    Args:
        arguments: what follows ``segtrain compare``.

    Returns:
        The exit code: 0, or 3 where a number fell by more than ``--max-drop`` allows.

    Raises:
        SegtrainError: an argument is wrong, or the evaluations cannot be compared.
    """
    options = _parser().parse_args(arguments)
    # These import torch, for which help and wrong arguments need not wait.
    from segtrain.cli.command_line import logging_to_terminal
    from segtrain.comparison.compare import compare_results
    from segtrain.comparison.drops import find_drops, read_limits
    from segtrain.comparison.page import compare_page
    from segtrain.comparison.sides import Side
    from segtrain.comparison.words import describe_changes, describe_drops, describe_pairing, terminal_table
    from segtrain.metrics.registry import METRICS
    from segtrain.runtime import usable_cores

    limits = read_limits(options.max_drop)
    known = [metric.key for metric in METRICS]
    if unknown := [key for key in options.metrics if key not in known]:
        raise SegtrainError(f"--metrics {unknown[0]}: no such metric; {nearest(unknown[0], known)}")
    for kind in _MARKS:
        _refuse_others(getattr(options, kind), kind)
    first, second = (Side.load(expand_path(path)) for path in (options.first, options.second))
    with logging_to_terminal():
        compared = compare_results(
            first,
            second,
            annotations=None if options.annotations is None else expand_path(options.annotations),
            resamples=options.resamples,
            processes=usable_cores(),
        )
    drops = find_drops(compared, limits, beyond_chance=options.beyond_chance)
    with unread_output_discarded():
        print_table(terminal_table(compared, options.metrics))
    said = [*describe_pairing(compared), *describe_changes(compared), *compared.notes]
    judged = describe_drops(drops, limits, beyond_chance=options.beyond_chance) if limits else []
    for sentence in (*said, *judged):
        print_text(sentence)
    if options.json is not None:
        write_atomically(options.json, compared.to_json(drops))
    if options.html is not None:
        write_atomically(options.html, without_controls(compare_page(compared, judged)))
        print_text(f"Comparison: {options.html}")
    return DROPPED if drops else 0


def _refuse_others(path: Path | None, kind: str) -> None:
    """Refuse to replace a file that is no comparison."""
    if path is None or not path.exists():
        return
    if path.is_dir() or _MARKS[kind] not in path.read_bytes()[:1000]:
        raise SegtrainError(f"{path}: exists already, and is no page of segtrain compare; choose another --{kind}")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="segtrain compare",
        description="Say what rose and what fell between two evaluations, and whether that is more than chance. "
        "Evaluations of the same data are paired, by the predictions beside results.json; others are compared by "
        "their stored intervals.",
        epilog="Exit code: 0, 3 where a number fell by more than --max-drop allows, 1 for errors.",
    )
    help_of = "results.json of the %s evaluation, or its folder"
    parser.add_argument("first", metavar="FIRST", help=help_of % "earlier")
    parser.add_argument("second", metavar="SECOND", help=help_of % "later")
    parser.add_argument(
        "--max-drop", action="append", default=[], metavar="KEY=LIMIT",
        help="largest fall (first minus second) of a metric that any method may have, such as mask_ap=0.02 or "
        "class_aware.mask_ap=0.02; may be given several times, or with commas. It counts whether or not it may be "
        "chance",
    )  # fmt: skip
    parser.add_argument("--beyond-chance", action="store_true", help="count only falls that are more than chance")
    parser.add_argument(
        "--annotations", metavar="FILE", help="annotation file of both, if it lies elsewhere than when they were made"
    )
    parser.add_argument(
        "--resamples", type=whole_number, metavar="N", help="resamples of the images (default: the first's)"
    )
    parser.add_argument(
        "--metrics", type=lambda text: text.split(","), default=["mask_ap", "miou", "f1_50"], metavar="KEY,...",
        help="metrics of the table (default: mask_ap,miou,f1_50)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all changes as json")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write all changes as a page")
    return parser
