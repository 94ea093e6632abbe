"""The ``replay`` command: repeat a step whose loss was not finite."""

from collections.abc import Sequence
from pathlib import Path

from segtrain.console import CommandParser, print_text
from segtrain.nodes import import_beside_options
from segtrain.training.nan_bundle import replay_bundle


def main(arguments: Sequence[str]) -> int:
    """Repeat the step of a bundle and print its numbers.

    Args:
        arguments: what follows ``segtrain replay``.

    Returns:
        The exit code.

    Raises:
        SegtrainError: an argument or the bundle is at fault.
    """
    parser = CommandParser(prog="segtrain replay", description="Repeat a step whose loss was not finite.")
    parser.add_argument("bundle", type=Path, help="folder of the bundle, such as RUN/nan/step_120")
    parser.add_argument("--trust", nargs="*", default=[], help="packages beside segtrain whose code it may name")
    given = parser.parse_args(arguments)
    import_beside_options()
    print_text("\n".join(replay_bundle(given.bundle, given.trust).lines()))
    return 0
