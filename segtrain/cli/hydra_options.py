"""Hydra's own options: those that a command takes, and the check of their values."""

from collections.abc import Sequence
from itertools import zip_longest

from segtrain.errors import SegtrainError
from segtrain.values import join_choices

_MULTIRUN = {"-m", "--multirun"}
_RUN_OPTIONS = {*_MULTIRUN, "-r", "--run"}
_PRINTED = ("job", "hydra", "all")
_INFORMATION = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
# With one of these no task runs, or not on the configuration that would be checked. Those that take a value have its
# choices, or its description.
_OTHER_OPTIONS: dict[str, str | tuple[str, ...] | None] = {
    "-h": None, "--help": None, "--hydra-help": None, "--version": None, "--resolve": None,
    "-sc": None, "--shell-completion": None,
    "-c": _PRINTED, "--cfg": _PRINTED, "-i": _INFORMATION, "--info": _INFORMATION,
    "-p": "a package", "--package": "a package",
    "-cp": "a folder", "--config-path": "a folder", "-cd": "a folder", "--config-dir": "a folder",
    "-cn": "a name", "--config-name": "a name", "--experimental-rerun": "a file",
}  # fmt: skip
_MAY_LACK_VALUE = {"-i", "--info"}


def check_options(arguments: Sequence[str]) -> bool:
    """Check the options among the arguments of a command.

    Args:
        arguments: options and overrides, as typed.

    Returns:
        True if a task will run on the configuration that the overrides make.

    Raises:
        SegtrainError: an option is unknown, or its value is wrong or missing; Hydra would print its whole usage.

    >>> check_options(["--multirun", "seed=0,1"]), check_options(["--cfg", "job"])
    (True, False)
    """
    options = {argument.partition("=")[0]: argument for argument in arguments if argument.startswith("-")}
    for option, given in options.items():
        if option not in _RUN_OPTIONS | _OTHER_OPTIONS.keys():
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
        takes_value = is_option and _OTHER_OPTIONS.get(argument) is not None
    return [*overrides, *options]


def is_sweep(arguments: Sequence[str]) -> bool:
    """Return True if the arguments ask for a run of each combination of values.

    >>> is_sweep(["--multirun", "seed=0,1"])
    True
    """
    return not _MULTIRUN.isdisjoint(arguments) or "hydra.mode=MULTIRUN" in arguments


def _check_option(argument: str, following: str) -> None:
    option, separator, value = argument.partition("=")
    allowed = _OTHER_OPTIONS.get(option)
    if not separator and following:
        argument, value = f"{option} {following}", following
    if isinstance(allowed, str) and not value:
        raise SegtrainError(f"{option}: give {allowed}")
    if isinstance(allowed, tuple) and value not in allowed and (value or option not in _MAY_LACK_VALUE):
        raise SegtrainError(f"{argument}: choose {join_choices(allowed)}")
