"""Checkpoints that evaluate.py's key ``checkpoint`` names: of runs, of folders that match a pattern, and of sweeps."""

import glob
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from segtrain.console import counted
from segtrain.errors import SegtrainError
from segtrain.io import expand_path
from segtrain.training.checkpoint_paths import checkpoint_file
from segtrain.training.sweep_journal import SweepJob, differing_keys, is_sweep_folder, job_folders, read_journal

logger = logging.getLogger(__name__)
_STATES = {"failed": "has failed", "pruned": "was pruned"}


class NamedCheckpoints(NamedTuple):
    """Checkpoints that were named.

    Attributes:
        paths: paths of checkpoints or of runs' folders; None if none was named.
        notes: sentences on runs that were left out.
    """

    paths: list[str] | None
    notes: list[str]


class _Run(NamedTuple):
    """Folder of a run, or a checkpoint, with the reason why it is left out; None to take it."""

    path: Path
    problem: str | None = None


def find_named(named: str | Sequence[str] | None) -> NamedCheckpoints:
    """Find the checkpoints that are named by files, folders of runs, patterns such as ``runs/*``, or sweeps.

    Of sweeps, and of folders that match a pattern, those jobs and runs are left out that are not finished or hold no
    checkpoint; each is logged. What several patterns match is taken once.

    Args:
        named: value of the key ``checkpoint``.

    Raises:
        SegtrainError: a pattern matches nothing, or no run is left.
    """
    if named is None:
        return NamedCheckpoints(None, [])
    paths: list[str] = []
    notes: list[str] = []
    for given in [named] if isinstance(named, str) else named:
        runs = _runs_of(given)
        if runs is None:
            paths.append(given)
            continue
        if left_out := [run for run in runs if run.problem is not None]:
            said = ", ".join(f"{run.path.name} {run.problem}" for run in left_out)
            notes.append(f"checkpoint={given}: {len(left_out)} of {counted(len(runs), 'run')} left out: {said}")
        taken = [str(run.path) for run in runs if run.problem is None]
        if not taken:
            raise SegtrainError(f"{notes[-1]}; finish one, or name checkpoints themselves")
        known = {Path(path).resolve() for path in paths}
        paths += [path for path in taken if Path(path).resolve() not in known]
    for note in notes:
        logger.warning(note)
    return NamedCheckpoints(paths, notes)


def _runs_of(given: str) -> list[_Run] | None:
    """List the runs of a sweep or a pattern; None for the path of a run or of a checkpoint."""
    path = expand_path(given)
    if _is_sweep(path):
        return _jobs(path)
    if path.exists() or not glob.has_magic(given):
        if path.is_dir() and not _holds_checkpoint(path) and any(path.glob("*/checkpoints/*.pt")):
            raise SegtrainError(
                f"{given}: is no folder of a run, but holds some; name them with 'checkpoint={given}/*'"
            )
        return None
    matches = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - of absolute ones too
    found = [run for match in _in_order(matches) for run in _matched(match)]
    if not found:
        raise SegtrainError(f"checkpoint={given}: matches no folder of a run and no checkpoint; see ls {given}")
    return list(dict.fromkeys(found))


def _matched(path: Path) -> Iterator[_Run]:
    """Yield the runs that a match of a pattern stands for; files that are no checkpoints stand for none."""
    if _is_sweep(path):
        yield from _jobs(path)
    elif path.is_dir() and path.name != "checkpoints":
        states = {job.folder: job for job in read_journal(path.parent)}
        yield _job(path, states[path.name], []) if path.name in states else _checked(path)
    elif path.suffix == ".pt":
        yield _Run(path)


def _is_sweep(path: Path) -> bool:
    return is_sweep_folder(path) and not _holds_checkpoint(path)


def _jobs(sweep: Path) -> list[_Run]:
    """List the jobs of a sweep; of one without a journal, its numbered folders."""
    jobs = read_journal(sweep)
    if not jobs:
        return [_checked(path) for path in job_folders(sweep)]
    keys = differing_keys(jobs)
    return [_job(sweep / job.folder, job, keys) for job in jobs]


def _job(folder: Path, job: SweepJob, keys: Sequence[str]) -> _Run:
    if job.state == "finished":
        return _checked(folder)
    settings = " ".join(f"{key}={value}" for key, value in job.settings.items() if key in keys)
    state = _STATES.get(job.state, "is not finished")
    return _Run(folder, f"({settings}) {state}" if settings else state)


def _checked(folder: Path) -> _Run:
    return _Run(folder, None if _holds_checkpoint(folder) else "holds no checkpoint")


def _holds_checkpoint(folder: Path) -> bool:
    try:
        return bool(checkpoint_file(folder))
    except SegtrainError:
        return False


def _in_order(paths: Sequence[Path]) -> list[Path]:
    """Sort paths by name, numbers in them by their values."""
    return sorted(
        paths,
        key=lambda path: [(len(part), part) if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))],
    )
