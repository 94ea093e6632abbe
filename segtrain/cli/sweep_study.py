"""Study of a search: Optuna's record in the folder of a sweep, from which its jobs are drawn and by which they end."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_type_hints

from segtrain.cli.sweep_space import Space
from segtrain.errors import SegtrainError
from segtrain.training.patience import sign_of
from segtrain.training.sweep_journal import SweepJob, require_equal, settings_of
from segtrain.values import Natural, Positive, check_value

STUDY = "optuna.jsonl"
_NAME = "sweep"
_JOB, _PRUNED, _BEGUN = "job", "pruned", "begun_with"  # attributes of a trial, and of the study
_STARTUP = (4, 10)  # least and most jobs that are drawn at random
_WARM_UP = 10  # percent of the training in which no job is ended
_RUNG, _FACTOR = 10, 3  # first rung of successive halving, percent of the training, and the factor to the next


@dataclass(frozen=True)
class SearchSettings:
    """Settings of a search; every field is a key of ``configs/hydra/sweeper/segtrain_optuna.yaml``.

    Attributes:
        n_trials: number of jobs.
        n_jobs: number of jobs at once; "auto" for what suits the launcher.
        sampler: what draws the settings.
        seed: seed of the sampler.
        pruner: rule by which jobs end early.
    """

    n_trials: Positive
    n_jobs: Literal["auto"] | Positive
    sampler: Literal["tpe", "gp", "random"]
    seed: Natural
    pruner: Literal["median", "asha", "none"]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "SearchSettings":
        """Check plain values.

        Args:
            values: value of each field.

        Raises:
            SegtrainError: lists the values that do not fit.

        >>> SearchSettings.of({"n_trials": 0, "n_jobs": 1, "sampler": "tpe", "seed": 0, "pruner": "none"})
        Traceback (most recent call last):
        segtrain.errors.SegtrainError: hydra.sweeper.n_trials=0: give a whole number from 1
        """
        hints = get_type_hints(cls, include_extras=True)
        problems = [
            line for name, hint in hints.items() for line in check_value(f"hydra.sweeper.{name}", values[name], hint)
        ]
        if problems:
            raise SegtrainError("; ".join(problems))
        return cls(**{name: values[name] for name in hints})


class DrawnJob(NamedTuple):
    """Job of a search: its number in the sweep, and its overrides."""

    number: int
    overrides: list[str]


class SweepStudy:
    """Study of a search, which goes on where an earlier command has left it.

    Each job of the sweep is a trial of the study. One that a kill has ended is still under way in the study, and is
    repeated, as is one that has failed; both keep their number.

    Args:
        folder: folder of the sweep.
        space: what the search varies.
        settings: settings of the search.
        monitor: name of the number that it follows; of "loss" low values are good.
        jobs: jobs of the sweep so far.

    Raises:
        SegtrainError: the folder holds another search, or a sweep that is none.
    """

    def __init__(
        self, folder: Path, space: Space, settings: SearchSettings, monitor: str, jobs: Sequence[SweepJob]
    ) -> None:
        self._space, self._settings = space, settings
        _end_last_line(folder / STUDY)
        # Optuna's own lock, left by a command that was killed: this one has locked the folder, and its jobs wait.
        (folder / f"{STUDY}.lock").unlink(missing_ok=True)
        self._study = _open(folder, settings.pruner, "maximize" if sign_of(monitor) > 0 else "minimize")
        if jobs and not self._study.trials:
            raise SegtrainError(f"{folder}: holds a sweep that is no search; choose another output_dir=")
        now = {**settings_of(space.fixed), **{dimension.key: dimension.given for dimension in space.dimensions}}
        now["trainer.monitor"] = monitor
        require_equal(folder, "the search", self._study.user_attrs.get(_BEGUN, now), now)
        self._study.set_user_attr(_BEGUN, now)
        self._distributions = {dimension.key: _distribution(dimension) for dimension in space.dimensions}
        self.settle(jobs)
        self._again = [self._job(trial) for trial in self._under_way()]
        self._again += [self._repeat(trial) for trial in self._failed()]

    def try_first(self, values: Mapping[str, str | float]) -> None:
        """Let the first job of a new search have given settings.

        Args:
            values: value of each key.
        """
        if not self._study.trials:
            self._study.enqueue_trial(dict(values))

    def next_jobs(self, at_once: int) -> list[DrawnJob]:
        """Draw the next jobs, those that were interrupted or have failed in an earlier command first.

        Args:
            at_once: largest number of jobs.

        Returns:
            Jobs by number; empty once all jobs have been drawn.
        """
        jobs: list[DrawnJob] = []
        while len(jobs) < at_once and self._again:
            jobs.append(self._again.pop(0))
        while len(jobs) < at_once and self._count() < self._settings.n_trials:
            jobs.append(self._draw())
        return sorted(jobs)

    def settle(self, jobs: Sequence[SweepJob]) -> None:
        """Record how jobs have ended.

        Args:
            jobs: jobs of the sweep; those that have not ended are left.
        """
        import optuna

        outcomes = {job.number: (job.state, job.value) for job in jobs}
        for trial in self._under_way():
            state, value = outcomes.get(trial.user_attrs.get(_JOB, -1), (None, None))
            if state == "finished" and value is not None:
                self._study.tell(trial.number, value)
            elif state == "pruned":
                self._study.tell(trial.number, state=optuna.trial.TrialState.PRUNED)
            elif state in ("finished", "failed") or _JOB not in trial.user_attrs:  # killed while it was drawn
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def _count(self) -> int:
        return len({trial.user_attrs[_JOB] for trial in self._study.trials if _JOB in trial.user_attrs})

    def _draw(self) -> DrawnJob:
        number = self._count()
        self._study.sampler = _sampler(self._settings, number)
        trial = self._study.ask(self._distributions)
        trial.set_user_attr(_JOB, number)
        return self._job(trial)

    def _repeat(self, trial: Any) -> DrawnJob:
        """Make a new trial of a job that has failed: Optuna's trials end once."""
        self._study.enqueue_trial(trial.params, user_attrs={_JOB: trial.user_attrs[_JOB]})
        return self._job(self._study.ask(self._distributions))

    def _job(self, trial: Any) -> DrawnJob:
        return DrawnJob(trial.user_attrs[_JOB], self._space.overrides(trial.params))

    def _under_way(self) -> list[Any]:
        import optuna

        return list(self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)))

    def _failed(self) -> list[Any]:
        """List the last trials of the jobs that have failed."""
        import optuna

        last = {trial.user_attrs.get(_JOB): trial for trial in self._study.trials}
        return [trial for job, trial in last.items() if job is not None and trial.state is optuna.trial.TrialState.FAIL]


class TrialJudge:
    """Judge of the validations of a job, which records them in the study and may end the job.

    Values are recorded at each percent of the training, the best so far each time: trainings that validate at different
    times, since they end after equal minutes, are compared at equal shares.

    Args:
        folder: folder of the sweep.
        number: number of the job.
        pruner: name of the rule by which jobs end early.
    """

    def __init__(self, folder: Path, number: int, pruner: str) -> None:
        self._study, self._pruner = _open(folder, pruner), pruner
        self._trial = _trial_of(self._study, number)
        self._storage = self._study._storage
        # An earlier attempt may have been killed just after it was to end.
        self._storage.set_trial_user_attr(self._trial._trial_id, _PRUNED, None)

    def __call__(self, progress: float, value: float) -> str | None:
        """Record a validation.

        Args:
            progress: share of the training that is done.
            value: number that the search follows; nan, where it is undefined, is left out.

        Returns:
            Why the job ends here, in words; None if it goes on.
        """
        import optuna

        if not math.isfinite(value):
            return None
        identity, percent = self._trial._trial_id, min(100, math.ceil(100 * progress))
        known = self._storage.get_trial(identity).intermediate_values
        last = max(known, default=None)
        if last is not None:
            for between in range(last + 1, percent):
                self._storage.set_trial_intermediate_value(identity, between, known[last])
            better = max if self._study.direction is optuna.study.StudyDirection.MAXIMIZE else min
            value = better(value, known[last])
        if last is None or percent >= last:
            self._storage.set_trial_intermediate_value(identity, percent, value)
        if progress >= 1 or not self._study.pruner.prune(self._study, self._storage.get_trial(identity)):
            return None
        reason = f"pruned by {self._pruner} at {percent} % of the training"
        self._storage.set_trial_user_attr(identity, _PRUNED, reason)
        return reason


def why_pruned(folder: Path, number: int) -> str | None:
    """Return why a job of a search was ended early, in words; None if it was not.

    Args:
        folder: folder of the sweep.
        number: number of the job.
    """
    reason: str | None = _trial_of(_open(folder, "none"), number).user_attrs.get(_PRUNED)
    return reason


def _open(folder: Path, pruner: str, direction: str | None = None) -> Any:
    """Open the study of a sweep; with a direction it is made if it is missing."""
    import optuna  # half a second to import
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = (folder / STUDY).absolute()  # Optuna's lock is a link to it, which would lead nowhere from another folder
    storage, rule = JournalStorage(JournalFileBackend(str(file))), _rule(pruner)
    if direction is None:
        return optuna.load_study(study_name=_NAME, storage=storage, pruner=rule)
    return optuna.create_study(study_name=_NAME, storage=storage, pruner=rule, direction=direction, load_if_exists=True)


def _rule(name: str) -> Any:
    from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner

    if name == "median":
        return MedianPruner(n_startup_trials=_STARTUP[0], n_warmup_steps=_WARM_UP)
    return SuccessiveHalvingPruner(_RUNG, _FACTOR) if name == "asha" else NopPruner()


def _sampler(settings: SearchSettings, number: int) -> Any:
    """Make the sampler of a job; its draws do not depend on the jobs that were drawn in the same process before."""
    import numpy as np
    import optuna

    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    least, most = _STARTUP
    startup = min(most, max(least, settings.n_trials // 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if settings.sampler == "tpe":
            return optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=startup, multivariate=True, constant_liar=True
            )
        if settings.sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
    return optuna.samplers.RandomSampler(seed=seed)


def _distribution(dimension: Any) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.kind == "choice":
        return CategoricalDistribution(dimension.choices)
    if dimension.kind == "int":
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step or 1)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _trial_of(study: Any, number: int) -> Any:
    """Return the last trial of a job."""
    return [trial for trial in study.trials if trial.user_attrs.get(_JOB) == number][-1]


def _end_last_line(path: Path) -> None:
    """Drop the last line of a file if a kill has cut it: Optuna reads no file with such a line."""
    if path.is_file():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
