"""Arguments of the commands that take a model, and the exit codes of these commands."""

import argparse
from collections.abc import Callable

from segtrain.cli.command_line import logging_to_terminal
from segtrain.console import print_error, whole_number
from segtrain.stopping import Stopped, stop_signals


def exit_code(command: Callable[[], int], stopped: str) -> int:
    """Run a command with its messages in the terminal, and a stop as one line on stderr.

    Args:
        command: function that reads the arguments, works, and returns the exit code.
        stopped: what becomes of the work after a stop.

    Raises:
        SegtrainError: an argument or the input is at fault.
    """
    try:
        with stop_signals(), logging_to_terminal():
            return command()
    except Stopped as stop:
        print_error(f"stopped; {stopped}")
        return stop.exit_code


def add_network_arguments(parser: argparse.ArgumentParser, limit: str) -> None:
    """Add ``--max-dets`` and ``--trust``.

    Args:
        parser: parser of the command.
        limit: what the largest number of detections limits.
    """
    about = f"{limit} (default: as trained)"
    parser.add_argument("--max-dets", type=whole_number, metavar="N", help=about)
    about = "packages whose code a checkpoint may name"
    parser.add_argument("--trust", type=_names, default=(), metavar="A,B", help=about)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]
