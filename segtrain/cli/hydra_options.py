"""Hydra's own options: those that a command takes, the check of their values, and the jobs that run at once."""

import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from segtrain.errors import SegtrainError
from segtrain.nodes import own_folders
from segtrain.values import join_choices

_MULTIRUN = {"-m", "--multirun"}
_RUN_OPTIONS = {*_MULTIRUN, "-r", "--run"}
_PRINTED = ("job", "hydra", "all")
_INFORMATION = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
# Options with which no task runs, or not with the configuration that would be checked. For an option that takes a value
# its choices, or its description.
_OTHER_OPTIONS: dict[str, str | tuple[str, ...] | None] = {
    "-h": None, "--help": None, "--hydra-help": None, "--version": None, "--resolve": None,
    "-sc": None, "--shell-completion": None,
    "-c": _PRINTED, "--cfg": _PRINTED, "-i": _INFORMATION, "--info": _INFORMATION,
    "-p": "a package", "--package": "a package",
    "-cp": "a folder", "--config-path": "a folder",
    "-cn": "a name", "--config-name": "a name", "--experimental-rerun": "a file",
}  # fmt: skip
_CONFIG_DIR = ("-cd", "--config-dir")
_VALUES = {**_OTHER_OPTIONS, **dict.fromkeys(_CONFIG_DIR, "a folder")}
_MAY_LACK_VALUE = {"-i", "--info"}
SEARCH_PATH = "hydra.searchpath="


def check_options(arguments: Sequence[str]) -> bool:
    """Check the options among the arguments of a command.

    Args:
        arguments: options and overrides, as typed.

    Returns:
        True if a task will run with the configuration that the overrides give.

    Raises:
        SegtrainError: an option is unknown, or its value is wrong or missing.

    >>> check_options(["--multirun", "seed=0,1"]), check_options(["--cfg", "job"])
    (True, False)
    """
    options = {argument.partition("=")[0]: argument for argument in arguments if argument.startswith("-")}
    for option, given in options.items():
        if option not in _RUN_OPTIONS | _VALUES.keys():
            raise SegtrainError(f"{given}: no such option; settings are given as KEY=VALUE, see --help")
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        _check_option(argument, "" if following.startswith("-") else following)
    return _OTHER_OPTIONS.keys().isdisjoint(options)


def overrides_first(arguments: Sequence[str]) -> list[str]:
    """Sort the arguments of a command as Hydra's parser takes them: overrides, then options with their values.

    >>> overrides_first(["--cfg", "job", "seed=3"])
    ['seed=3', '--cfg', 'job']
    """
    overrides: list[str] = []
    options: list[str] = []
    takes_value = False
    for argument in arguments:
        is_option = argument.startswith("-")
        (options if is_option or takes_value else overrides).append(argument)
        takes_value = is_option and _VALUES.get(argument) is not None
    return [*overrides, *options]


def with_search_path(arguments: Sequence[str]) -> list[str]:
    """Add the folder of the user's own options to the places where Hydra looks for YAML files.

    It is the folder of ``--config-dir``, which this replaces, or ``conf`` in the working directory.

    Args:
        arguments: options and overrides, as typed.

    Raises:
        SegtrainError: the folder does not exist, or ``--config-dir`` names none.

    >>> with_search_path(["--config-dir=segtrain", "seed=3"])[1:]
    ['seed=3']
    >>> with_search_path(["hydra.searchpath=[file:///options]"])
    ['hydra.searchpath=[file:///options]']
    """
    others: list[str] = []
    folder = None
    waiting = False
    for argument in arguments:
        option, separator, value = argument.partition("=")
        if waiting or (option in _CONFIG_DIR and separator):
            folder, waiting = Path(argument if waiting else value).expanduser(), False
        elif option in _CONFIG_DIR:
            waiting = True
        else:
            others.append(argument)
    if waiting or folder == Path():
        raise SegtrainError("--config-dir: give a folder")
    if folder is not None and not folder.is_dir():
        raise SegtrainError(f"--config-dir {folder}: no such folder")
    given = any(argument.startswith(SEARCH_PATH) for argument in others)
    if folder is not None and given:
        raise SegtrainError("--config-dir and hydra.searchpath say the same; give one of them")
    if folder is None and not given:
        folder = next((path for path in own_folders()), None)
    if folder is None:
        return others
    return [f"{SEARCH_PATH}[{json.dumps(f'file://{folder.absolute()}', ensure_ascii=False)}]", *others]


def is_sweep(arguments: Sequence[str]) -> bool:
    """Return True if the arguments ask for a run of each combination of values.

    >>> is_sweep(["--multirun", "seed=0,1"])
    True
    """
    return not _MULTIRUN.isdisjoint(arguments) or "hydra.mode=MULTIRUN" in arguments


def jobs_at_once(launcher: DictConfig, jobs: int) -> int:
    """Return how many jobs a launcher runs at once on this machine.

    Args:
        launcher: ``hydra.launcher``.
        jobs: number of jobs.
    """
    target = str(launcher.get("_target_", "")).lower()
    if "joblib" in target:
        from joblib import effective_n_jobs

        return max(1, min(jobs, int(effective_n_jobs(launcher.get("n_jobs")))))
    return jobs if "submitit" in target and target.endswith("locallauncher") else 1


def search_jobs_at_once(launcher: DictConfig, given: Literal["auto"] | int, jobs: int) -> int:
    """Return how many jobs of a search are drawn, and then launched, at once.

    Args:
        launcher: ``hydra.launcher``.
        given: ``hydra.sweeper.n_jobs``; "auto" for as many as the launcher runs at once on this machine, one for each
            core at most, since each job is drawn by what those before it have reached.
        jobs: number of jobs of the search.
    """
    if given != "auto":
        return min(given, jobs)
    from segtrain.runtime import usable_cores

    return jobs_at_once(launcher, min(jobs, usable_cores()))


def _check_option(argument: str, following: str) -> None:
    option, separator, value = argument.partition("=")
    allowed = _VALUES.get(option)
    if not separator and following:
        argument, value = f"{option} {following}", following
    if isinstance(allowed, str) and not value:
        raise SegtrainError(f"{option}: give {allowed}")
    if isinstance(allowed, tuple) and value not in allowed and (value or option not in _MAY_LACK_VALUE):
        raise SegtrainError(f"{argument}: choose {join_choices(allowed)}")
