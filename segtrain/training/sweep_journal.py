"""Journal of a sweep: one line for the start and the end of each job, in ``sweep.jsonl`` of the sweep's folder."""

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from segtrain.errors import SegtrainError
from segtrain.locks import append_line
from segtrain.training.patience import sign_of

JOURNAL = "sweep.jsonl"
_MULTIRUN = "multirun.yaml"  # that Hydra writes into the folder of every sweep
State = Literal["running", "finished", "pruned", "failed", "interrupted"]
_REPEATED = ("seed", "data.fold")  # settings by which a training is repeated: none of their values is the better one
# Settings of the command, which change nothing of what a job learns.
_OF_THE_COMMAND = ("sweep.reference", "output_dir", "overwrite", "resume", "threads", "device", "logger", "hydra")


@dataclass(frozen=True)
class SweepJob:
    """A job of a sweep.

    Attributes:
        number: its number, from 0.
        overrides: settings that its command gives, as typed.
        state: whether it runs or how it ended.
        folder: name of its folder in that of the sweep.
        value: best value of `monitor` among its validations; None without one.
        minutes: minutes that it has taken in all of its attempts.
        error: error line of a failed job.
        time: seconds since 1970 at which it began or ended.
        monitor: number of the validations by which jobs are ranked: ``trainer.monitor``.
        drawn: True for a job of a search.
    """

    number: int
    overrides: Sequence[str]
    state: State
    folder: str
    value: float | None = None
    minutes: float = 0.0
    error: str | None = None
    time: float = 0.0
    monitor: str = "mask_ap"
    drawn: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """Values of its settings by key, those of the command left out."""
        return settings_of(self.overrides)


def settings_of(overrides: Sequence[str]) -> dict[str, str]:
    """Return the values that overrides give to keys, except settings of the command, such as the folder.

    >>> settings_of(["optimizer.lr=1e-3", "+x=y", "output_dir=runs/a", "hydra.verbose=true"])
    {'optimizer.lr': '1e-3', 'x': 'y'}
    """
    pairs = (override.lstrip("+").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs if not {key, re.split("[./]", key)[0]} & set(_OF_THE_COMMAND)}


def note(folder: Path, job: SweepJob) -> None:
    """Add a line to the journal of a sweep; jobs in several processes may do so at once.

    Args:
        folder: folder of the sweep; made if it is missing.
        job: the job in its present state.
    """
    value = job.value if job.value is not None and math.isfinite(job.value) else None
    entry = asdict(replace(job, value=value, overrides=list(job.overrides), time=job.time or time.time()))
    del entry["minutes"]  # follows from the times
    append_line(folder / JOURNAL, json.dumps(entry))


def read_journal(folder: Path, *, ended: bool = False) -> list[SweepJob]:
    """Read the jobs that have begun, by number, each as its last line states it.

    Args:
        folder: folder of a sweep; without a journal no job has begun. A line that a crash cut is left out: the one
            before it counts.
        ended: True if no job runs any more, so that those without an end were killed.
    """
    path = folder / JOURNAL
    if not path.is_file():
        return []
    jobs: dict[int, SweepJob] = {}
    began: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            job = SweepJob(**json.loads(line))
        except (ValueError, TypeError):
            continue
        spent = jobs[job.number].minutes if job.number in jobs else 0.0
        if job.state == "running":
            began[job.number] = job.time
        elif job.number in began:
            spent += (job.time - began.pop(job.number)) / 60
        jobs[job.number] = replace(job, minutes=spent)
    found = [jobs[number] for number in sorted(jobs)]
    return [replace(job, state="interrupted") if ended and job.state == "running" else job for job in found]


def is_sweep_folder(path: Path) -> bool:
    """Return True for the folder of a sweep, with a journal or with Hydra's record alone."""
    return path.is_dir() and any((path / name).is_file() for name in (JOURNAL, _MULTIRUN))


def job_folders(sweep: Path) -> list[Path]:
    """List the folders of the jobs of a sweep that have begun, by number; of one without a journal, its numbered ones.

    Args:
        sweep: folder of the sweep.
    """
    if jobs := read_journal(sweep):
        return [sweep / job.folder for job in jobs]
    numbered = [path for path in sweep.iterdir() if path.is_dir() and path.name.isdecimal()]
    return sorted(numbered, key=lambda path: int(path.name))


def require_same_settings(folder: Path, job: SweepJob, overrides: Sequence[str]) -> None:
    """Check that a job of a repeated sweep is the one that has begun in its folder.

    Args:
        folder: folder of the sweep.
        job: the job as the journal states it.
        overrides: settings of the job now.

    Raises:
        SegtrainError: a setting differs.
    """
    require_equal(folder, f"job {job.number}", job.settings, settings_of(overrides))


def require_equal(folder: Path, what: str, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Check that a part of a repeated sweep has the settings with which it was begun.

    Args:
        folder: folder of the sweep.
        what: name of the part.
        then: its values by key when it was begun.
        now: those of the command.

    Raises:
        SegtrainError: a setting differs.
    """
    for key in {**then, **now}:
        if then.get(key) != now.get(key):
            was, is_now = (f"{key}={given[key]}" if key in given else f"no {key}" for given in (then, now))
            raise SegtrainError(
                f"{folder}: {what} was begun with {was}, and now has {is_now}; repeat the same command, or choose "
                "another output_dir=, or overwrite=true"
            )


@dataclass(frozen=True)
class SweepGroup:
    """Jobs that differ in their seed, or in the fold of a cross-validation, alone.

    Attributes:
        settings: values of the settings that differ within the sweep, without the seed and the fold.
        jobs: the jobs, by number.
    """

    settings: Mapping[str, str]
    jobs: Sequence[SweepJob]

    @property
    def values(self) -> list[float]:
        """Best values of the finished jobs."""
        return [job.value for job in self.jobs if job.state == "finished" and job.value is not None]

    @property
    def mean(self) -> float | None:
        """Mean of the values; None without any."""
        return sum(self.values) / len(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the values (n - 1); None of less than two."""
        values, mean = self.values, self.mean
        if mean is None or len(values) < 2:
            return None
        return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))

    @property
    def best(self) -> SweepJob:
        """The finished job with the best value, or else the first job."""
        return best_job(self.jobs) or self.jobs[0]

    @property
    def minutes(self) -> float:
        """Minutes of all its jobs together."""
        return sum(job.minutes for job in self.jobs)

    @property
    def state(self) -> str:
        """States of its jobs in words."""
        return describe_states(self.jobs)

    @property
    def name(self) -> str:
        """Its settings in one line, with the last parts of their keys."""
        named = [f"{short_key(key, list(self.settings))}={value}" for key, value in self.settings.items()]
        return " ".join(named) or "all jobs"


def monitor_of(jobs: Sequence[SweepJob]) -> str:
    """Return the number by which the jobs of a sweep are ranked, which is the same for all of them.

    >>> monitor_of([SweepJob(0, [], "finished", "0", 0.5, monitor="miou")])
    'miou'
    """
    return jobs[0].monitor if jobs else SweepJob.monitor


def best_job(jobs: Sequence[SweepJob]) -> SweepJob | None:
    """Return the finished job with the best value; None without any.

    >>> jobs = [SweepJob(n, [], "finished", str(n), n / 10, monitor="loss") for n in (3, 1, 2)]
    >>> best_job(jobs).number
    1
    """
    sign = sign_of(monitor_of(jobs))
    finished = [(sign * job.value, job) for job in jobs if job.state == "finished" and job.value is not None]
    return max(finished, key=lambda entry: entry[0])[1] if finished else None


def describe_states(jobs: Sequence[SweepJob]) -> str:
    """Count jobs by their states, in words.

    >>> describe_states([SweepJob(0, [], "finished", "0"), SweepJob(1, [], "failed", "1")])
    '1 finished, 1 failed'
    """
    states = [job.state for job in jobs]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no job has begun"


def short_key(key: str, keys: Sequence[str]) -> str:
    """Return the last part of a key, or the whole one if another of the keys ends alike.

    >>> short_key("optimizer.lr", ["optimizer.lr", "seed"]), short_key("a.x", ["a.x", "b.x"])
    ('lr', 'a.x')
    """
    last = key.rpartition(".")[2]
    return key if sum(other.rpartition(".")[2] == last for other in keys) > 1 else last


def differing_keys(jobs: Sequence[SweepJob]) -> list[str]:
    """List the settings that are not the same in all jobs.

    >>> differing_keys([SweepJob(n, ["a=1", f"seed={n}"], "finished", str(n)) for n in range(2)])
    ['seed']
    """
    settings = [job.settings for job in jobs]
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if len({each.get(key) for each in settings}) > 1]


def group_jobs(jobs: Sequence[SweepJob]) -> list[SweepGroup]:
    """Group jobs that differ in their seed or fold alone, the best mean first, those without a value last.

    >>> jobs = [SweepJob(n, [f"lr={n // 2}", f"seed={n % 2}"], "finished", str(n), n / 10) for n in range(4)]
    >>> [(group.name, round(group.mean, 2), round(group.spread, 2)) for group in group_jobs(jobs)]
    [('lr=1', 0.25, 0.07), ('lr=0', 0.05, 0.07)]
    """
    keys = [key for key in differing_keys(jobs) if key not in _REPEATED]
    found: dict[tuple[str, ...], list[SweepJob]] = {}
    for job in jobs:
        found.setdefault(tuple(job.settings.get(key, "") for key in keys), []).append(job)
    groups = [SweepGroup(dict(zip(keys, values, strict=True)), own) for values, own in found.items()]
    sign = sign_of(monitor_of(jobs))
    return sorted(groups, key=lambda group: -math.inf if group.mean is None else sign * group.mean, reverse=True)
