"""Start of a command from its overrides: composition, checks, output folder, and errors as one line."""

import os
import shlex
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segtrain.cli import processes
from segtrain.cli.command_line import Command, logging_of_a_run, show, start_logging
from segtrain.cli.config import expand_paths, find_problems, register_schemas
from segtrain.cli.failures import describe_failure
from segtrain.cli.help import help_text
from segtrain.cli.hydra_options import check_options, is_sweep, overrides_first, with_search_path
from segtrain.cli.optuna_sweeper import find_space, register_sweeper
from segtrain.cli.overrides import SweptJobs, accept_shell_paths, compose, expand, expand_shorthand
from segtrain.cli.requeue import failed_jobs_in_one_line, goes_on, requeued
from segtrain.cli.sweep_jobs import JobsFailed, check_repeated, find_finished, interruption_noted, tell_of_finished
from segtrain.cli.trial import check_torchvision, find_refusals
from segtrain.errors import SegtrainError
from segtrain.io import flush_output, open_missing_streams, remove_leftovers, unread_output_discarded
from segtrain.locks import locked_folder
from segtrain.nodes import config_folder, import_beside_options, own_folders
from segtrain.stopping import Stopped, stop_signals

_RECORD_OF_A_SWEEP = "multirun.yaml"
_RESULTS = ("checkpoints", "results.json")
_RESUMED = {"train": "checkpoints", "evaluate": "rows"}  # what resume=auto goes on with
T = TypeVar("T")


@dataclass(frozen=True)
class Finished(Generic[T]):
    """Outcome of a task that was run from Python.

    Attributes:
        folder: folder of the run.
        result: return value of the task.
    """

    folder: Path
    result: T


def launch(config_name: str, program: Sequence[str], arguments: Sequence[str]) -> None:
    """Run the task of a root under Hydra.

    Args:
        config_name: root among the YAML files: "train" or "evaluate".
        program: first words of the command.
        arguments: Hydra's options and overrides.

    Raises:
        SystemExit: with code 1 after one line on stderr, when the user's input is at fault.
    """
    open_missing_streams()
    debugging = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises exceptions instead of printing them
    import_beside_options()
    register_schemas()
    register_sweeper()
    OmegaConf.register_new_resolver("help_text", partial(help_text, program), replace=True)
    OmegaConf.register_new_resolver("program", lambda: shlex.join(processes.program_of(program)), replace=True)

    def main(cfg: DictConfig) -> object:
        hydra_config = HydraConfig.get()
        output_dir = Path(hydra_config.runtime.output_dir)
        in_sweep = hydra_config.mode is RunMode.MULTIRUN
        sweep_dir, number = (Path(hydra_config.sweep.dir), hydra_config.job.num) if in_sweep else (None, 0)
        # Of a sweep in one process, the callback hears of an error, and the other jobs go on.
        is_job = sweep_dir is not None and config_name == "train" and not processes.several()
        # Here and not around Hydra, which would add a line of its own to the error.
        errors = nullcontext() if is_job else _errors_as_one_line(debugging)
        kept = _removed_if_empty(output_dir, sweep_dir)
        command = _command(config_name, program, arguments)
        with errors, kept, locked_folder(output_dir), interruption_noted(sweep_dir, number, command), requeued():
            remove_leftovers(output_dir)
            values = {**_checked((cfg, (), ()))[0], "output_dir": str(output_dir)}
            if is_job:
                assert sweep_dir is not None
                if (job := find_finished(sweep_dir, number, command.overrides)) is not None:
                    return tell_of_finished(job)
            else:
                start_logging()  # for jobs the callback has done it
            again = is_job and not values["overwrite"] and (output_dir / "checkpoints" / "last.pt").exists()
            if "resume" in values and (again or goes_on(output_dir, overwrite=values["overwrite"])):
                values["resume"] = {**values["resume"], "path": "auto"} | {
                    key: "keep" for key in values["resume"] if key == "schedule"
                }
            processes.remember(sweep_dir or output_dir)
            return processes.start(load_task(config_name), processes.Job(values, output_dir, command))

    arguments = [accept_shell_paths(argument) for argument in arguments]
    # Errors are reported before this process leaves the others, which then know why it did.
    one_line = _errors_as_one_line
    with one_line(debugging), stop_signals(), processes.joined() as leads, one_line(debugging):
        if not leads:
            processes.follow(partial(load_task, config_name))
            return
        arguments = processes.continued(arguments)
        written_out = list(map(expand_shorthand, with_search_path(arguments)))
        sweep_dir = _check_command(config_name, written_out)
        sys.argv = [program[-1], *overrides_first(written_out)]  # where Hydra looks for them
        reserved = nullcontext() if sweep_dir is None else _reserved(sweep_dir)
        answering = nullcontext() if check_options(written_out) else unread_output_discarded()
        try:
            with failed_jobs_in_one_line(), reserved, answering:
                hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name)(main)()
                flush_output()
        except JobsFailed:
            processes.finish()
            raise
        processes.finish()


def run(config_name: str, overrides: Sequence[str]) -> Finished[Any]:
    """Run the task of a root from Python, in the folder that its configuration names.

    Args:
        config_name: root among the YAML files: "train" or "evaluate".
        overrides: as on the command line, such as ``["experiment=nuclei", "data.root=DIR"]``.

    Raises:
        SegtrainError: an override, a setting or the data are at fault.
    """
    if isinstance(overrides, str):
        raise SegtrainError(f"{config_name} takes a list of overrides; write {config_name}([{overrides!r}])")
    overrides = [expand_shorthand(accept_shell_paths(override)) for override in overrides]
    with stop_signals(), processes.joined() as leads:
        job = processes.agree(partial(_job, config_name, overrides))
        locked = locked_folder(job.output_dir) if leads else nullcontext()
        with logging_of_a_run(), _removed_if_empty(job.output_dir), locked:
            if leads:
                remove_leftovers(job.output_dir)
            return Finished(job.output_dir, load_task(config_name)(job.config, job.output_dir, job.command))


def _job(config_name: str, overrides: Sequence[str]) -> processes.Job:
    """Compose the task of a run from Python, and make its folder."""
    try:
        config = compose_runs(config_name, overrides)[0]
    except (HydraException, OmegaConfBaseException) as error:
        raise SegtrainError(" ".join(str(error).split())) from error
    output_dir = Path(config["output_dir"])
    _check_output_dir(config_name, output_dir, config["overwrite"], _resumes_in_place(config))
    output_dir.mkdir(parents=True, exist_ok=True)
    command = Command(
        ("segtrain", config_name),
        overrides,
        overrides,
        (config_folder(), *own_folders()),
        log_name=f"{config_name}.log",
    )
    return processes.Job(config, output_dir, command)


def compose_runs(config_name: str, overrides: Sequence[str], *, sweep: bool = False) -> list[dict[str, Any]]:
    """Compose and check the configuration of a run, or of runs that together hold each value of a sweep.

    Args:
        config_name: root among the YAML files: "train" or "evaluate".
        overrides: as on the command line, such as ``["seed=3"]``.
        sweep: True to read several values (``seed=0,1``) as a sweep.

    Returns:
        Plain, resolved values of each run.

    Raises:
        SegtrainError: lists every override that cannot be applied, and every value and argument that is wrong; or a
            path names an environment variable that is not set.

    >>> [values["seed"] for values in compose_runs("train", ["seed=3,4"], sweep=True)]
    [3, 4]
    """
    register_schemas()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        overrides = with_search_path(overrides)
        jobs = expand(overrides) if sweep else SweptJobs([overrides], [], 1)
        composed = [compose(config_name, job) for job in jobs.values]
        for job in jobs.combinations:
            if any(mistakes for _, mistakes, _ in composed):  # others would repeat them, and finding them takes long
                break
            composed.append(compose(config_name, job))
        if not jobs.are_all:
            show(f"{jobs.total} jobs: each value is checked now, and each combination of values as its job starts")
        return _checked(*composed)


def load_task(config_name: str) -> processes.Task:
    """Import the task of a root, whose result sweepers optimise if it is a number.

    This imports PyTorch, which ``--help`` and messages about mistakes do not need.
    """
    if config_name == "train":
        from segtrain.cli.train import run_training

        return run_training
    from segtrain.cli.evaluate import run_evaluation

    return run_evaluation


@contextmanager
def _removed_if_empty(folder: Path, sweep_dir: Path | None = None) -> Iterator[None]:
    """Remove the folder of a run that ends in an error before it has written anything.

    Args:
        folder: folder of the run; folders above it that are then empty are removed too, up to the working directory.
        sweep_dir: folder of the sweep that the run is part of; it counts as empty if it holds Hydra's record alone.
    """
    try:
        yield
    except BaseException:
        here = Path.cwd()
        above = [path for path in folder.absolute().parents if here in path.parents]
        with suppress(OSError):  # it holds something
            folder.rmdir()
            if sweep_dir is not None and [path.name for path in sweep_dir.iterdir()] == [_RECORD_OF_A_SWEEP]:
                (sweep_dir / _RECORD_OF_A_SWEEP).unlink()
                sweep_dir.rmdir()
            for path in filter(Path.exists, above):
                path.rmdir()
        raise


@contextmanager
def _reserved(folder: Path) -> Iterator[None]:
    """Keep a folder, which is made if it is missing, from other commands."""
    folder.mkdir(parents=True, exist_ok=True)
    with _removed_if_empty(folder), locked_folder(folder):
        yield


@contextmanager
def _errors_as_one_line(debugging: bool) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        failure = describe_failure(error)
        if debugging or failure is None:
            raise
        processes.report(f"error: {failure}")
        sys.exit(1)
    except Stopped as stop:
        processes.report_stop(str(stop) or "interrupted")
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        processes.report("interrupted")
        sys.exit(130)


def _checked(*composed: tuple[DictConfig, Sequence[str], Collection[str]]) -> list[dict[str, Any]]:
    """Return configurations as plain, resolved values.

    Args:
        composed: configuration of each run, the overrides that could not be applied, and the keys of those that were.
            If some could not be applied, only parts that the others have changed are checked, since importing the rest
            takes seconds, and the values of the YAML files are known to be right.

    Raises:
        SegtrainError: lists the mistakes, and every value and argument that is wrong; or a path names an environment
            variable that is not set.
    """
    runs: list[dict[str, Any]] = []
    problems: list[str] = []
    mistyped = any(mistakes for _, mistakes, _ in composed)
    for cfg, mistakes, applied in composed:
        values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        assert isinstance(values, dict)
        runs.append(expand_paths({str(key): value for key, value in values.items()}))
        if not mistyped:
            check_torchvision(runs[-1])
        changed = applied if mistyped else None
        problems += [*mistakes, *find_problems(runs[-1], changed), *find_refusals(runs[-1], changed)]
    if problems:
        raise SegtrainError("; ".join(dict.fromkeys(problems)))
    return runs


def _command(config_name: str, program: Sequence[str], arguments: Sequence[str]) -> Command:
    """Describe the command whose task Hydra is running now."""
    hydra_config = HydraConfig.get()
    folders = [Path(source.path) for source in hydra_config.runtime.config_sources if source.schema == "file"]
    overrides = list(map(accept_shell_paths, hydra_config.overrides.task))  # variables have their values now
    return Command(processes.program_of(program), arguments, overrides, folders, hydra_config, f"{config_name}.log")


def _check_command(config_name: str, arguments: Sequence[str]) -> Path | None:
    """Find mistakes before Hydra makes or changes the run's folder.

    Returns:
        The folder of a sweep with a journal, if the command names it; None otherwise.
    """
    if not check_options(arguments):
        return None
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    sweep = is_sweep(arguments)
    space = find_space(config_name, overrides) if sweep else None
    of_hydra = [override for override in overrides if override.startswith("hydra")]
    composed = overrides if space is None else [*of_hydra, *space.given]
    runs = compose_runs(config_name, composed, sweep=sweep)
    values = runs[0]
    resume = _resumes_in_place(values)
    is_named = any(override.startswith("output_dir=") for override in overrides)
    if resume and not is_named:
        raise SegtrainError("resume=auto needs output_dir=DIR, the folder of the run to go on with")
    folder = Path(values["output_dir"])
    jobs = [path for path in folder.glob("*") if path.name.isdecimal()] if sweep else []
    has_journal = sweep and config_name == "train"
    if has_journal and (reference := values["sweep"]["reference"]) is not None:
        from segtrain.report.learning_section import reference_row  # only here: it imports what reports need

        reference_row(Path(reference))
    if has_journal and len({run["trainer"]["monitor"] for run in runs}) > 1:
        raise SegtrainError("trainer.monitor: the jobs of a sweep are ranked by one number; give a single value")
    goes_on_there = has_journal and not values["overwrite"]
    begun = check_repeated(folder, overrides, search=space is not None) if goes_on_there else set()
    for path in (folder, *sorted(jobs)):
        _check_output_dir(config_name, path, values["overwrite"], resume or path.name in begun)
    return folder if has_journal and is_named else None


def _resumes_in_place(config: Mapping[str, Any]) -> bool:
    """Return True if a run goes on in its own folder."""
    return bool(config.get("resume", {}).get("path") == "auto")


def _check_output_dir(config_name: str, folder: Path, overwrite: bool, resume: bool) -> None:
    held = [name for name in _RESULTS if (folder / name).exists()]
    if held and not overwrite and not resume:
        raise SegtrainError(
            f"{folder} already holds {' and '.join(held)}; choose another output_dir=, or overwrite=true"
            + (", or resume=auto to go on with it" if (folder / _RESUMED[config_name]).exists() else "")
        )
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        reason = error.strerror if nearest.is_dir() else f"{nearest} is a file"
        raise SegtrainError(f"output_dir {folder} cannot be written ({reason}); choose another output_dir=") from error
