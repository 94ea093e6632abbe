"""The ``replay`` command: repeat a step whose loss was not finite."""

from collections.abc import Sequence
from pathlib import Path

from segtrain.console import CommandParser, print_error
from segtrain.errors import SegtrainError
from segtrain.nodes import import_beside_options
from segtrain.training.nan_bundle import replay_bundle


def main(arguments: Sequence[str]) -> int:
    """Repeat the step of a bundle and print its numbers.

    Args:
        arguments: what follows ``segtrain replay``.

    Returns:
        The exit code.
    """
    parser = CommandParser(prog="segtrain replay", description="Repeat a step whose loss was not finite.")
    parser.add_argument("bundle", type=Path, help="folder of the bundle, such as RUN/nan/step_120")
    parser.add_argument("--trust", nargs="*", default=[], help="packages beside segtrain whose code it may name")
    try:
        given = parser.parse_args(arguments)
        import_beside_options()
        report = replay_bundle(given.bundle, given.trust)
    except SegtrainError as error:
        print_error(error)
        return 1
    print("\n".join(report.lines()))
    return 0
