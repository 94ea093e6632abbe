"""From overrides to a task: composition, checks, the output folder, and errors as one line."""

import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segtrain.cli.command_line import Command, logging_of_a_run, start_logging
from segtrain.cli.config import config_folder, find_problems, register_schemas
from segtrain.cli.help import help_text
from segtrain.cli.overrides import compose
from segtrain.errors import SegtrainError
from segtrain.values import join_choices

Task = Callable[[dict[str, Any], Path, Command], object]

_RESULTS = ("checkpoints", "results.json")
_MULTIRUN = {"-m", "--multirun"}
_RUN_OPTIONS = {*_MULTIRUN, "-r", "--run"}
_PRINTED = ("job", "hydra", "all")
_INFORMATION = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
# With one of these of Hydra's options no task runs, or not on the configuration that would be checked here. Those that
# take a value have its choices, or its description.
_OTHER_OPTIONS: dict[str, str | Sequence[str] | None] = {
    "-h": None, "--help": None, "--hydra-help": None, "--version": None, "--resolve": None,
    "-sc": None, "--shell-completion": None,
    "-c": _PRINTED, "--cfg": _PRINTED, "-i": _INFORMATION, "--info": _INFORMATION,
    "-p": "a package", "--package": "a package",
    "-cp": "a folder", "--config-path": "a folder", "-cd": "a folder", "--config-dir": "a folder",
    "-cn": "a name", "--config-name": "a name", "--experimental-rerun": "a file",
}  # fmt: skip
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
    debugging = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions on instead of printing them
    register_schemas()
    OmegaConf.register_new_resolver("help_text", partial(help_text, program), replace=True)

    def main(cfg: DictConfig) -> object:
        output_dir = Path(HydraConfig.get().runtime.output_dir)
        # Here and not around Hydra, which would add a line of its own to the error.
        with _errors_as_one_line(debugging), _removed_if_empty(output_dir):
            values = {**_checked(cfg), "output_dir": str(output_dir)}
            start_logging()
            return load_task(config_name)(values, output_dir, _command(config_name, program, arguments))

    sys.argv = [program[-1], *arguments]  # where Hydra looks for them
    with _errors_as_one_line(debugging):
        _check_command(config_name, arguments)
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name)(main)()


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
    try:
        config = compose_run(config_name, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise SegtrainError(" ".join(str(error).split())) from error
    output_dir = Path(config["output_dir"])
    _check_output_dir(output_dir, config["overwrite"], config.get("resume") == "auto")
    output_dir.mkdir(parents=True, exist_ok=True)
    command = Command(
        ("segtrain", config_name), overrides, overrides, (config_folder(),), log_name=f"{config_name}.log"
    )
    with logging_of_a_run(), _removed_if_empty(output_dir):
        return Finished(output_dir, load_task(config_name)(config, output_dir, command))


def compose_run(config_name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Compose and check the configuration of a run.

    Args:
        config_name: root among the YAML files: "train" or "evaluate".
        overrides: as on the command line; of a sweep (``seed=0,1``) the first value counts.

    Returns:
        Plain, resolved values.

    Raises:
        SegtrainError: lists every override that cannot be applied, and every value and argument that is wrong.

    >>> compose_run("train", ["seed=3"])["seed"]
    3
    """
    register_schemas()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg, mistakes, changed = compose(config_name, overrides)
        return _checked(cfg, mistakes, changed)


def load_task(config_name: str) -> Task:
    """Import the task of a root, whose result sweepers optimise if it is a number.

    It imports PyTorch, for which ``--help`` and messages about mistakes do not wait.
    """
    if config_name == "train":
        from segtrain.cli.train import run_training

        return run_training
    from segtrain.cli.evaluate import run_evaluation

    return run_evaluation


@contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """Remove the folder of a run that ends in an error before it has written anything.

    Args:
        folder: folder of the run; those above it that are empty then go too, up to the working directory.
    """
    try:
        yield
    except BaseException:
        here = Path.cwd()
        inner = [path for path in folder.absolute().parents if here in path.parents]
        with suppress(OSError):  # it holds something
            for path in (folder, *inner):
                path.rmdir()
        raise


@contextmanager
def _errors_as_one_line(debugging: bool) -> Iterator[None]:
    try:
        yield
    except (SegtrainError, HydraException, OmegaConfBaseException, OSError) as error:
        if debugging:
            raise
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _checked(cfg: DictConfig, mistakes: Sequence[str] = (), changed: Collection[str] = ()) -> dict[str, Any]:
    """Return a configuration as plain, resolved values.

    Args:
        cfg: composed.
        mistakes: overrides that could not be applied. With any of them, only parts that the others have changed are
            looked at: importing the rest would take seconds, and what comes from the YAML files is right.
        changed: keys of the overrides that were applied.

    Raises:
        SegtrainError: lists the mistakes, and every value and argument that is wrong.
    """
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    named = {str(key): value for key, value in values.items()}
    if problems := [*mistakes, *find_problems(named, changed if mistakes else None)]:
        raise SegtrainError("; ".join(problems))
    return named


def _command(config_name: str, program: Sequence[str], arguments: Sequence[str]) -> Command:
    """Describe the command whose task Hydra is running now."""
    hydra_config = HydraConfig.get()
    folders = [Path(source.path) for source in hydra_config.runtime.config_sources if source.schema == "file"]
    overrides = list(hydra_config.overrides.task)
    return Command(program, arguments, overrides, folders, hydra_config, f"{config_name}.log")


def _check_command(config_name: str, arguments: Sequence[str]) -> None:
    """Find mistakes before Hydra makes or changes the run's folder."""
    options = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    if unknown := [option for option in options if option not in _RUN_OPTIONS | _OTHER_OPTIONS.keys()]:
        given = next(argument for argument in arguments if argument.startswith(unknown[0]))
        raise SegtrainError(f"{given}: no such option; settings are given as KEY=VALUE, see --help")
    if not _OTHER_OPTIONS.keys().isdisjoint(options):
        _check_option_values(arguments)
        return
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    values = compose_run(config_name, overrides)
    resume = values.get("resume") == "auto"
    if resume and not any(override.startswith("output_dir=") for override in overrides):
        raise SegtrainError("resume=auto needs output_dir=DIR, the folder of the run to go on with")
    folder = Path(values["output_dir"])
    multirun = {"-m", "--multirun"}.intersection(options)
    jobs = [path for path in folder.glob("*") if path.name.isdecimal()] if multirun else []
    for path in (folder, *sorted(jobs)):
        _check_output_dir(path, values["overwrite"], resume)


def _check_option_values(arguments: Sequence[str]) -> None:
    """Find Hydra's options with a wrong value or without one: Hydra itself would print its whole usage."""
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        option, separator, value = argument.partition("=")
        allowed = _OTHER_OPTIONS.get(option)
        if not separator and not following.startswith("-"):
            value, argument = following, f"{option} {following}"
        if isinstance(allowed, str) and not value:
            raise SegtrainError(f"{option}: give {allowed}")
        if isinstance(allowed, tuple) and value not in allowed and (value or allowed is not _INFORMATION):
            raise SegtrainError(f"{argument}: choose {join_choices(allowed)}")


def _check_output_dir(folder: Path, overwrite: bool, resume: bool) -> None:
    held = [name for name in _RESULTS if (folder / name).exists()]
    if held and not overwrite and not resume:
        raise SegtrainError(
            f"{folder} already holds {' and '.join(held)}; choose another output_dir=, or overwrite=true"
            + (", or resume=auto to go on with it" if "checkpoints" in held else "")
        )
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        reason = error.strerror if nearest.is_dir() else f"{nearest} is a file"
        raise SegtrainError(f"output_dir {folder} cannot be written ({reason}); choose another output_dir=") from error
