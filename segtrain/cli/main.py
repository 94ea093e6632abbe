"""The ``segtrain`` command and its table of commands."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import segtrain

# Nothing heavy is imported here: each command imports what it needs when it runs.

USAGE = "usage: segtrain COMMAND [ARGUMENTS]"


@dataclass(frozen=True)
class Entry:
    """A command of ``segtrain``.

    Attributes:
        help: one line.
        run: receives the first words of the command and what follows them; returns the exit code.
    """

    help: str
    run: Callable[[Sequence[str], Sequence[str]], int]


def train(config: dict[str, Any], output_dir: Any, command: Any) -> object:
    """Import the verb ``train`` and run it."""
    from segtrain.cli.train import train

    return train(config, output_dir, command)


def evaluate(config: dict[str, Any], output_dir: Any, command: Any) -> object:
    """Import the verb ``evaluate`` and run it."""
    from segtrain.cli.evaluate import evaluate

    return evaluate(config, output_dir, command)


def run_train(program: Sequence[str], arguments: Sequence[str]) -> int:
    """Run ``train`` with Hydra's options and overrides."""
    from segtrain.cli.launch import launch

    launch(train, "train", program, arguments)
    return 0


def run_evaluate(program: Sequence[str], arguments: Sequence[str]) -> int:
    """Run ``evaluate`` with Hydra's options and overrides."""
    from segtrain.cli.launch import launch

    launch(evaluate, "evaluate", program, arguments)
    return 0


def run_check(program: Sequence[str], arguments: Sequence[str]) -> int:
    """Run the check of a data set."""
    from segtrain.data.check.command import main

    return main(arguments)


COMMANDS = {
    "train": Entry("fine-tune a network on COCO-format data", run_train),
    "evaluate": Entry("benchmark it against classical segmentation, and write the report", run_evaluate),
    "check": Entry("check a COCO data set before it costs an hour", run_check),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ``segtrain`` command.

    Args:
        arguments: what follows ``segtrain``; None for those of the process.

    Returns:
        The exit code.
    """
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in COMMANDS:
        return COMMANDS[name].run(("segtrain", name), rest)
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"segtrain {segtrain.__version__}")
        return 0
    print(f"error: {name}: no such command; use {' or '.join(COMMANDS)}", file=sys.stderr)
    return 1


def _help() -> str:
    lines = [f"  {name:<10}{entry.help}" for name, entry in COMMANDS.items()]
    more = ["", "segtrain COMMAND --help says more of each; segtrain --version names the version."]
    return "\n".join([USAGE, "", *lines, *more])
