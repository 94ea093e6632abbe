"""The ``segtrain`` command and its table of commands."""

import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version

import segtrain
from segtrain.errors import SegtrainError
from segtrain.io import discard_output, flush_output, open_missing_streams, unread_output_discarded
from segtrain.values import join_choices

# Nothing heavy is imported here: each command imports what it needs when it runs.

USAGE = "usage: segtrain COMMAND [ARGUMENTS]"
# Packages whose versions may change numbers or files.
DEPENDENCIES = ("torch", "torchvision", "pycocotools", "numpy", "scikit-image", "albumentations", "hydra-core")


@dataclass(frozen=True)
class Entry:
    """A command of ``segtrain``.

    Attributes:
        help: one line.
        run: function of the first words of the command and its arguments that returns the exit code.
    """

    help: str
    run: Callable[[Sequence[str], Sequence[str]], int]


def _launch(config_name: str, program: Sequence[str], arguments: Sequence[str]) -> int:
    from segtrain.cli.launch import launch

    launch(config_name, program, arguments)
    return 0


def _check(program: Sequence[str], arguments: Sequence[str]) -> int:
    from segtrain.cli import check_html
    from segtrain.data.check.command import main

    return main(arguments, check_html)


def _run(module: str, program: Sequence[str], arguments: Sequence[str]) -> int:
    """Run the command of a module; an error of its input, or of a file, is one line on stderr."""
    try:
        code: int = import_module(module).main(arguments)
    except (SegtrainError, OSError) as error:
        return _failed(error)
    return code


COMMANDS = {
    "train": Entry("fine-tune a network on COCO-format data", partial(_launch, "train")),
    "evaluate": Entry(
        "benchmark networks against classical segmentation, and write a report", partial(_launch, "evaluate")
    ),
    "compare": Entry(
        "say what changed between two evaluations, and whether that is more than chance",
        partial(_run, "segtrain.cli.compare_command"),
    ),
    "predict": Entry(
        "segment new images with a trained network or a classical method", partial(_run, "segtrain.cli.predict")
    ),
    "export": Entry(
        "write a trained network for torchvision, ONNX or torch.export", partial(_run, "segtrain.cli.export_command")
    ),
    "check": Entry("check a COCO data set for mistakes", _check),
    "convert": Entry("convert labels of other tools to COCO json", partial(_run, "segtrain.convert.convert_command")),
    "curves": Entry("draw the curves of training runs, several in one chart", partial(_run, "segtrain.cli.run_curves")),
    "replay": Entry("repeat a training step whose loss was not finite", partial(_run, "segtrain.cli.replay")),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ``segtrain`` command.

    Args:
        arguments: words after ``segtrain``; None for those of the process.

    Returns:
        The exit code.
    """
    open_missing_streams()
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    answers = {"-h": _help, "--help": _help, "--version": _versions}
    if name in COMMANDS:
        code = COMMANDS[name].run(("segtrain", name), rest)
    elif name in answers:
        code = _answer(answers[name])
    else:
        code = _failed(f"{name}: no such command; choose {join_choices(list(COMMANDS))}")
    flush_output()
    return code


def _answer(text: Callable[[], str]) -> int:
    """Print a text."""
    try:
        with unread_output_discarded():
            print(text(), flush=True)
    except OSError as error:  # such as a full disk
        discard_output()
        return _failed(error)
    return 0


def _failed(message: object) -> int:
    """Print an error, and return the exit code."""
    from segtrain.console import print_error

    print_error(message)
    return 1


def _versions() -> str:
    """List the versions that results depend on, without importing the packages."""
    own = f"segtrain {segtrain.__version__}, Python {platform.python_version()}"
    return "\n".join([own, *(f"{name} {version(name)}" for name in DEPENDENCIES)])


def _help() -> str:
    lines = [f"  {name:<10}{entry.help}" for name, entry in COMMANDS.items()]
    more = ["", "segtrain COMMAND --help describes a command; segtrain --version lists versions."]
    return "\n".join([USAGE, "", *lines, *more])
