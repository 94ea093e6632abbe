"""Hydra's plugin ``hydra/sweeper=segtrain_optuna``: a sweep whose jobs are drawn by what those before have reached.

The search is a sweep as any other: the same journal, table and page, the same launchers, and the same command goes on.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segtrain.cli.command_line import Command
from segtrain.cli.hydra_options import search_jobs_at_once
from segtrain.cli.sweep_space import Space, read_space
from segtrain.cli.sweep_study import DrawnJob, SearchSettings, SweepStudy, TrialJudge
from segtrain.errors import SegtrainError
from segtrain.io import one_line
from segtrain.nodes import config_folder
from segtrain.training.sweep_journal import SweepJob, note, read_journal

TARGET = "hydra_plugins.segtrain_optuna.OptunaSweeper"  # in configs/hydra/sweeper/segtrain_optuna.yaml


class OptunaSweeper(Sweeper):
    """Sweeper that draws the settings of its jobs by Optuna, from what the jobs before have reached.

    Args:
        params: overrides by key, besides those of the command.
        settings: fields of `SearchSettings`.
    """

    def __init__(self, params: DictConfig, **settings: Any) -> None:
        self.params, self.settings = params, SearchSettings.of(settings)
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives to a sweeper, and make its launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run the jobs of the search that are left.

        Args:
            arguments: overrides of the command, without Hydra's own keys.

        Returns:
            Outcomes of the jobs of this command.

        Raises:
            SegtrainError: the space cannot be read, or the folder holds another sweep.
        """
        from segtrain.console import print_text  # not before: help and mistakes need no console

        assert self.config is not None
        assert self.launcher is not None
        space = space_of(self.config, arguments)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        study = SweepStudy(folder, space, self.settings, self.config.trainer.monitor, read_journal(folder))
        OmegaConf.save(self.config, folder / "multirun.yaml")
        own = space.own_values(self.config)
        if outside := [key for key, value in own.items() if value is None]:
            print_text(f"The preset itself is not tried first: its {', '.join(outside)} lies outside of the space")
        else:
            study.try_first({key: value for key, value in own.items() if value is not None})
        if self.settings.pruner != "none" and self.config.trainer.validate_every is None:
            print_text("No job ends early: with trainer.validate_every=null there is one validation, at the end.")
        returns: list[JobReturn] = []
        at_once = search_jobs_at_once(self.config.hydra.launcher, self.settings.n_jobs, self.settings.n_trials)
        while jobs := study.next_jobs(at_once):
            composed = [job for job in jobs if self._composes(folder, job)]
            for _, together in itertools.groupby(enumerate(composed), lambda place: place[1].number - place[0]):
                batch = [job for _, job in together]
                returns += self.launcher.launch([job.overrides for job in batch], initial_job_idx=batch[0].number)
            study.settle(read_journal(folder))
        return returns

    def _composes(self, folder: Path, job: DrawnJob) -> bool:
        """Return True if the settings of a job go together; else it has failed."""
        try:
            self.validate_batch_is_legal([job.overrides])
        except (HydraException, OmegaConfBaseException) as error:
            text = one_line(error)
            note(folder, SweepJob(job.number, job.overrides, "failed", str(job.number), error=text))
            return False
        return True


def register_sweeper() -> None:
    """Make the sweeper known to Hydra.

    Hydra finds plugins in the package ``hydra_plugins`` alone, which is for distributions of their own; under a name in
    it, it takes a class of any module, which other processes can import.
    """
    Plugins.instance().class_name_to_class[TARGET] = OptunaSweeper


def is_search(hydra_config: Any) -> bool:
    """Return True if Hydra's own configuration is that of a search.

    Args:
        hydra_config: the node ``hydra``; None for a run that Hydra has not started.
    """
    return hydra_config is not None and hydra_config.mode is RunMode.MULTIRUN and _is_ours(hydra_config.sweeper)


def space_of(config: DictConfig, arguments: Sequence[str]) -> Space:
    """Read the space of a search.

    Args:
        config: composed configuration of the command, with Hydra's own.
        arguments: overrides of the command, without Hydra's own keys; they count before those of the configuration.

    Raises:
        SegtrainError: see `read_space`.
    """
    params = OmegaConf.to_container(config.hydra.sweeper.params, resolve=False) or {}
    assert isinstance(params, dict)
    return read_space([*(f"{key!s}={value!s}" for key, value in params.items()), *arguments])


def find_space(config_name: str, arguments: Sequence[str]) -> Space | None:
    """Find the space of a search among the arguments of a sweep, and check what only a search needs.

    Args:
        config_name: root among the YAML files: "train" or "evaluate".
        arguments: overrides, as typed.

    Returns:
        None of a sweep that is no search, and of arguments that cannot be composed.

    Raises:
        SegtrainError: a setting of the search is wrong.
    """
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        try:
            overrides = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(list(arguments))
            swept = [override for override in overrides if override.is_sweep_override()]
            single = [str(override.input_line) for override in overrides if override not in swept]
            config = hydra.compose(config_name, single, return_hydra_config=True)
        except (HydraException, ValueError):
            return None
        if any(override.key_or_group == "sweep" for override in swept):
            raise SegtrainError("sweep: choose one space")
        if not _is_ours(config.hydra.sweeper):
            intervals = [override.input_line for override in swept if override.is_interval_sweep()]
            if intervals and config.hydra.runtime.choices["hydra/sweeper"] == "basic":
                raise SegtrainError(f"{intervals[0]}: an interval is for a search; add hydra/sweeper=segtrain_optuna")
            return None
        if config_name != "train":
            raise SegtrainError("hydra/sweeper=segtrain_optuna searches the settings of a training; use it with train")
        SearchSettings.of(config.hydra.sweeper)
        if config.trainer.monitor == "loss" and not config.trainer.validation_losses:
            raise SegtrainError("trainer.monitor=loss needs trainer.validation_losses=true")
        return space_of(config, [argument for argument in arguments if not argument.startswith("hydra")])


def _is_ours(sweeper: Any) -> bool:
    return sweeper is not None and sweeper.get("_target_") == TARGET


def judge_of(command: Command) -> TrialJudge | None:
    """Return the judge of a job of a search; None for other runs, and in processes beside the first one.

    Args:
        command: command that has started the run.
    """
    if not is_search(command.hydra):
        return None
    return TrialJudge(Path(command.hydra.sweep.dir), command.hydra.job.num, command.hydra.sweeper.pruner)
