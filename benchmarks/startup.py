"""Time until a command answers: help, composed configurations, and typing errors.

    python benchmarks/startup.py --check

Each is a process of its own, started in an empty folder. Beside it stands the same command with what a
run needs imported first, as in a script that imports all at the top.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness import alternate, arguments, finish
from rows import Row

ROOT = Path(__file__).parent.parent
RUN = "import sys; from segtrain.cli.main import main; sys.exit(main(sys.argv[1:]))"
WORK_FIRST = "import segtrain.cli.train, segtrain.cli.evaluate; "
COMPLETION = {"COMP_LINE": "segtrain train data.", "COMP_POINT": "20"}
# Row, what is typed, and the seconds that an answer may take.
TYPED = (
    ("startup_segtrain_help", ["--help"], 0.3),
    ("startup_help", ["train", "--help"], 1.0),
    ("startup_configuration", ["train", "--cfg", "job"], 0.6),
    ("startup_completion", ["train", "--shell-completion", "query=bash"], 0.5),
    ("startup_mistake", ["train", "trainer.epoch=3"], 1.0),
)


def main(options: argparse.Namespace) -> None:
    """Measure every command, and print the rows."""
    finish(rows(options), options)


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Measure every command beside one that imports everything first."""
    for name, typed, most in TYPED:
        ours, stock = alternate(lambda given: answer(RUN, given), stock_answer, [typed], options.repeats)
        yield Row(name, f"segtrain {' '.join(typed)}", "s", ours, None, most, beside=stock)


def stock_answer(typed: list[str]) -> None:
    """Run a command after all imports that a run needs."""
    answer(WORK_FIRST + RUN, typed)


def answer(code: str, typed: list[str]) -> None:
    """Run a command in a process of its own.

    Args:
        code: Python code of the process.
        typed: command-line arguments.
    """
    environment = {**os.environ, **COMPLETION, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", code, *typed], cwd=folder, env=environment, capture_output=True)


if __name__ == "__main__":
    main(arguments("Seconds until a command answers.").parse_args())
