"""Commands in several processes: the first one composes and checks the configuration, the others follow it."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from segtrain.cli.command_line import Command, show_error

T = TypeVar("T")
Task = Callable[[dict[str, Any], Path, Command], object]


@dataclass(frozen=True)
class Job:
    """Task of one run, as the first process hands it out.

    Attributes:
        config: composed, resolved and checked configuration.
        output_dir: folder of the run.
        command: command that asked for it.
    """

    config: dict[str, Any]
    output_dir: Path
    command: Command


def several() -> bool:
    """Return True if ``torchrun`` has started this process with others.

    Only then PyTorch is imported for it.
    """
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


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
        load: imports the task.
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


def _nothing() -> Job | None:
    return None


def _be_silent() -> None:
    """Leave messages and progress to the first process."""
    import rich

    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    logging.captureWarnings(True)
    rich.reconfigure(quiet=True)
