"""Commands in several processes: the first one composes and checks the configuration, the others follow it."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from segtrain.cli.command_line import Command, show_error
from segtrain.nodes import quote_override

T = TypeVar("T")
Task = Callable[[dict[str, Any], Path, Command], object]


@dataclass(frozen=True)
class Job:
    """Task of one run, as the first process sends it to the others.

    Attributes:
        config: composed, resolved and checked configuration.
        output_dir: folder of the run.
        command: command that asked for it.
    """

    config: dict[str, Any]
    output_dir: Path
    command: Command


def several() -> bool:
    """Return True if ``torchrun`` has started this process, alone or with others; needs no import of PyTorch."""
    return {"RANK", "WORLD_SIZE"} <= os.environ.keys()


@contextmanager
def joined() -> Iterator[bool]:
    """Join the other processes of a command, and leave them at the end.

    Yields:
        True in the first process, which calls `start` for each run and `finish` at the end; False in the others, which
        call `follow`.
    """
    if not several():
        yield True
        return
    from segtrain import distributed

    with distributed.joined():
        try:
            if not distributed.is_first():
                _be_silent()
            yield distributed.is_first()
        except Exception:
            distributed.is_first_to_report()  # of a bug, whose traceback follows
            raise


def agree(make: Callable[[], T]) -> T:
    """Return to all processes what a function returns in the first one."""
    if not several():
        return make()
    from segtrain import distributed

    return distributed.from_first(make)


def start(task: Task, job: Job) -> object:
    """Run a task in all processes at once, and return the result of the first one."""
    # Hydra's own configuration is for the record, which the first process writes.
    agree(lambda: replace(job, command=replace(job.command, hydra=None)))
    return task(job.config, job.output_dir, job.command)


def finish() -> None:
    """Tell the other processes that there is no further run."""
    agree(lambda: None)


def follow(load: Callable[[], Task]) -> None:
    """Run what the first process starts, until it has no further run.

    Args:
        load: function that imports the task.
    """
    while (job := agree(_nothing)) is not None:
        load()(job.config, job.output_dir, job.command)


def report(message: str) -> None:
    """Print the error that ends a command, once for all processes."""
    if several():
        from segtrain import distributed

        if not distributed.is_first_to_report():
            return
    show_error(message)


def program_of(program: Sequence[str]) -> tuple[str, ...]:
    """Return the first words of a command, with the ``torchrun`` that has started it, if it was one.

    Args:
        program: first words of the command in a process of its own, such as ``("python", "train.py")``.

    >>> program_of(("python", "train.py"))
    ('python', 'train.py')
    """
    count = int(os.environ.get("WORLD_SIZE", "1")) if several() else 1
    if count == 1:
        return tuple(program)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    machines = [f"--nnodes={count // here}"] if count > here else []
    script = program[1:] if program[0] == "python" else ("--no-python", *program)
    return ("torchrun", *machines, f"--nproc_per_node={here}", *script)


def report_stop(message: str) -> None:
    """Print in the first process alone how a command was stopped by a signal, which all processes receive."""
    if several():
        from segtrain import distributed

        if not distributed.is_first():
            distributed.wait_for_report()
            return
    report(message)


def remember(folder: Path) -> None:
    """Remember the folder of a run, or of a sweep, for a command that ``torchrun`` starts again."""
    if several():
        from segtrain import distributed

        distributed.keep("folder", str(folder))
        if distributed.kept("earlier") is None:
            distributed.keep("earlier", json.dumps(_begun(folder)))


def continued(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with which a command continues in its folder, if ``torchrun`` has started it again.

    Args:
        arguments: options and overrides, as typed.
    """
    if not several():
        return list(arguments)
    from segtrain import distributed

    folder = distributed.kept("folder")
    if folder is None:
        return list(arguments)
    # A run that these processes replace is there again if they have ended before they saved anything.
    own = _begun(Path(folder)).items() - json.loads(distributed.kept("earlier") or "{}").items()
    settings = {"output_dir": quote_override(folder), **({"resume": "auto"} if own else {})}
    kept = [argument for argument in arguments if re.split("[.=]", argument.lstrip("+"))[0] not in settings]
    return [*kept, *(f"{key}={value}" for key, value in settings.items())]


def _begun(folder: Path) -> dict[str, int]:
    """Return the files that tell of a run in a folder, or in those of the jobs of a sweep, with their times."""
    names = "checkpoints/last.pt", ".unfinished"
    found = [path for name in names for below in ("", "[!.]*/") for path in folder.glob(f"{below}{name}")]
    return {str(path): path.stat().st_mtime_ns for path in found}


def _nothing() -> Job | None:
    return None


def _be_silent() -> None:
    """Leave messages and progress to the first process."""
    import rich

    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    logging.captureWarnings(True)
    rich.reconfigure(quiet=True)
