"""Sweeps of ``train``: Hydra's callback for their jobs, and the rules by which a repeated sweep goes on."""

import itertools
import logging
import math
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from segtrain.cli.command_line import OF_THE_PLACE, Command, show, show_error, start_logging, without_keys
from segtrain.cli.failures import describe_failure
from segtrain.cli.hydra_options import jobs_at_once, search_jobs_at_once
from segtrain.cli.optuna_sweeper import is_search, space_of
from segtrain.cli.sweep_study import STUDY, why_pruned
from segtrain.errors import SegtrainError
from segtrain.io import one_line
from segtrain.nodes import shell_line
from segtrain.stopping import Stopped
from segtrain.training.sweep_journal import (
    JOURNAL,
    SweepJob,
    best_job,
    differing_keys,
    note,
    read_journal,
    require_same_settings,
    settings_of,
)

logger = logging.getLogger(__name__)


class JobsFailed(SystemExit):
    """Exit with code 1 of a sweep whose jobs have all ended, some of them in an error."""


class SweepCallback(Callback):
    """Keeper of the files of a sweep: ``sweep.jsonl``, ``sweep.csv`` and ``sweep.html``.

    Hydra makes one in the process of the command, of which each launcher gives its jobs a copy.

    Args:
        program: first words of the command, as typed in a shell.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        self._count = 0
        self._keys: list[str] = []  # settings in which the jobs differ
        self._threads: int | None = None  # of each job; None to leave them

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Count the jobs, and divide the cores among those that run at once."""
        for name in ("hydra", "hydra_plugins"):  # their lines begin with the second job
            logging.getLogger(name).setLevel(logging.WARNING)
        folder = Path(config.hydra.sweep.dir)
        if config.overwrite:
            for name in (JOURNAL, STUDY):
                (folder / name).unlink(missing_ok=True)
        overrides: list[str] = OmegaConf.to_container(config.hydra.overrides.task)  # type: ignore[assignment]
        if is_search(config.hydra):
            sweeper = config.hydra.sweeper
            self._count = sweeper.n_trials
            self._keys = [dimension.key.lstrip("+") for dimension in space_of(config, overrides).dimensions]
            at_once = search_jobs_at_once(config.hydra.launcher, sweeper.n_jobs, sweeper.n_trials)
        else:
            jobs = [SweepJob(number, job, "running", "") for number, job in enumerate(combinations(overrides))]
            self._count, self._keys = len(jobs), differing_keys(jobs)
            at_once = jobs_at_once(config.hydra.launcher, len(jobs))
        if at_once > 1:
            from segtrain.runtime import usable_cores

            self._threads = max(1, usable_cores() // at_once)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Announce a job, and note that it has begun, unless an earlier command has finished it."""
        if config.hydra.mode is not RunMode.MULTIRUN:
            return
        start_logging()
        if self._threads is not None:
            import rich  # not before: help and mistakes need no console

            os.environ["OMP_NUM_THREADS"] = str(self._threads)  # which threads=auto takes as its limit
            rich.reconfigure(force_terminal=False)  # the bars of several jobs would overwrite each other
        folder = Path(config.hydra.sweep.dir)
        job = self._job(config)
        logger.info(f"job {job.number}{f' of {self._count}' if self._count else ''}{self._told(job)}")
        if find_finished(folder, job.number, job.overrides) is None:
            note(folder, job)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note how a job has ended, and let a sweep with a failed job go on."""
        if config.hydra.mode is not RunMode.MULTIRUN:
            return
        folder = Path(config.hydra.sweep.dir)
        job = self._job(config)
        # Its property `return_value` would print and raise the error.
        result = job_return._return_value
        if job_return.status is JobStatus.FAILED:
            error = describe_failure(result)
            if error is None:  # a bug
                traceback.print_exception(result)
                error = f"{type(result).__name__}: {result}"
            error = one_line(error)
            show_error(f"error: job {job.number}{self._told(job)}: {error}")
            note(folder, replace(job, state="failed", error=error))
            job_return.status, job_return.return_value = JobStatus.COMPLETED, math.nan
        elif find_finished(folder, job.number, job.overrides) is None:
            pruned = job.drawn and why_pruned(folder, job.number) is not None
            value = result if isinstance(result, float) else None
            note(folder, replace(job, state="pruned" if pruned else "finished", value=value))
        _write(folder, read_journal(folder))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the files of the sweep, and print its table.

        Raises:
            JobsFailed: a job has failed.
        """
        folder = Path(config.hydra.sweep.dir)
        jobs = read_journal(folder, ended=True)
        _write(folder, jobs)
        from segtrain.report.sweep_table import PAGE, SweepTable

        show(SweepTable(jobs))
        for job in jobs:
            if job.state == "failed":
                show(f"job {job.number} has failed: {job.error}")
        show(f"Sweep: {folder / PAGE}")
        if is_search(config.hydra):
            for line in self._best(jobs):
                show(line)
        if any(job.state not in ("finished", "pruned") for job in jobs):
            raise JobsFailed(1)

    def _told(self, job: SweepJob) -> str:
        """Return the settings in which a job differs from others, in parentheses."""
        settings = " ".join(f"{key}={value}" for key, value in job.settings.items() if key in self._keys)
        return f" ({settings})" if settings else ""

    def _best(self, jobs: Sequence[SweepJob]) -> list[str]:
        """Say which job of a search is the best, and which command trains as it does."""
        job = best_job(jobs)
        if job is None:
            return ["No finished job of the search has a value."]
        line = f"{self._program} {shell_line(without_keys(job.overrides, OF_THE_PLACE))}".rstrip()
        best = f"Best: job {job.number}, {job.monitor} {job.value:.4f}{self._told(job)}"
        return [best, f"Train with its settings: {line}"]

    def _job(self, config: DictConfig) -> SweepJob:
        folder = Path(config.hydra.runtime.output_dir).name
        return SweepJob(
            config.hydra.job.num, list(config.hydra.overrides.task), "running", folder,
            monitor=config.trainer.monitor, drawn=is_search(config.hydra),
        )  # fmt: skip


def combinations(overrides: Sequence[str]) -> list[list[str]]:
    """List the overrides of all jobs of a sweep, in the order of Hydra's own sweeper.

    Args:
        overrides: those of the command, without Hydra's own keys.

    Returns:
        Empty if an override has no finite number of values, which is for other sweepers.

    >>> combinations(["seed=0,1", "device=cpu"])
    [['seed=0', 'device=cpu'], ['seed=1', 'device=cpu']]
    """
    values: dict[str, list[str]] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            values[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            return []
    return [list(job) for job in itertools.product(*values.values())]


def find_finished(folder: Path, number: int, overrides: Sequence[str]) -> SweepJob | None:
    """Find a job that an earlier command has finished in the folder of a sweep; None without one.

    Args:
        folder: folder of the sweep.
        number: number of the job.
        overrides: its settings now.
    """
    job = next((job for job in read_journal(folder) if job.number == number), None)
    if job is None or job.state not in ("finished", "pruned") or not (folder / job.folder).is_dir():
        return None
    return job if job.settings == settings_of(overrides) else None


def tell_of_finished(job: SweepJob) -> float:
    """Log that a job is skipped, and return its value; nan without one."""
    value = "" if job.value is None else f", {job.monitor} {job.value:.4f}"
    logger.info(f"job {job.number} is finished already{value}")
    return math.nan if job.value is None else job.value


@contextmanager
def interruption_noted(folder: Path | None, number: int, command: Command) -> Iterator[None]:
    """Note that the job inside was stopped by a signal, and tell how the sweep goes on.

    Args:
        folder: folder of the sweep; None for a run that is not part of one.
        number: number of the job.
        command: command that has started the job.

    Raises:
        Stopped: as it was raised inside, with the command of the whole sweep.
    """
    try:
        yield
    except Stopped as stop:
        journal = [] if folder is None else read_journal(folder)
        running = [job for job in journal if job.number == number and job.state == "running"]
        if folder is None or not running:
            raise
        note(folder, replace(running[0], state="interrupted", time=0.0))
        _write(folder, read_journal(folder))
        how = str(stop).partition("; ")[0] or "interrupted"
        again = command.line_of_sweep(folder)
        raise Stopped(stop.number, f"job {number}: {how}; go on with: {again}") from None


def check_repeated(folder: Path, overrides: Sequence[str], *, search: bool = False) -> set[str]:
    """Check that a sweep in a folder that holds one repeats it, before its first job starts.

    Args:
        folder: folder of the sweep.
        overrides: those of the command.
        search: True for a search, which compares its space and not its jobs.

    Returns:
        Names of the folders of jobs that were begun, and are skipped or go on.

    Raises:
        SegtrainError: a job has other settings than the one that was begun under its number.
    """
    begun = read_journal(folder)
    own = [override for override in overrides if not override.startswith("hydra")]
    jobs = [] if search else combinations(own)
    for job in begun:
        if job.number < len(jobs):
            require_same_settings(folder, job, jobs[job.number])
    return {job.folder for job in begun}


def _write(folder: Path, jobs: Sequence[SweepJob]) -> None:
    from segtrain.report.sweep_table import write_sweep

    try:
        write_sweep(folder, jobs)
    except (OSError, SegtrainError) as error:  # the journal, of which they can be made again, is whole
        logger.warning(f"the files of the sweep are not written: {error}")
