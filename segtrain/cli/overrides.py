"""Checks of all overrides of a command, and suggestions of the nearest names for mistyped ones."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

from segtrain.cli.config import type_of
from segtrain.cli.hydra_options import SEARCH_PATH
from segtrain.errors import SegtrainError
from segtrain.nodes import nearest
from segtrain.values import describe_type

_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
# A value that begins with `~`, alone or in a list or a mapping.
_HOME = re.compile(r"""(?<=[=,:\[])(\s*)(~[^,:\[\]{}]*)""")

# Options of Hydra that packages bring.
_PACKAGES = {
    "hydra/launcher=joblib": 'hydra-joblib-launcher (the extra "segtrain[joblib]")',
    **dict.fromkeys(
        ("hydra/launcher=submitit_local", "hydra/launcher=submitit_slurm"),
        'hydra-submitit-launcher (the extra "segtrain[slurm]")',
    ),
    **dict.fromkeys(("hydra/launcher=ray", "hydra/launcher=ray_aws"), "hydra-ray-launcher"),
    "hydra/launcher=rq": "hydra-rq-launcher",
}
_MOST_COMBINATIONS = 96  # jobs of a sweep whose settings are checked one by one: each takes about a quarter of a second


def accept_shell_paths(argument: str) -> str:
    """Rewrite paths of an override that a shell understands and Hydra's grammar does not.

    Values that begin with ``~`` are put in quotes, and ``${NAME}`` in capitals, which is no key of the configuration,
    becomes the environment variable.

    >>> accept_shell_paths("output_dir=~/runs/a"), accept_shell_paths("checkpoint=[a,~/b]")
    ('output_dir="~/runs/a"', 'checkpoint=[a,"~/b"]')
    >>> accept_shell_paths("data.root=${DISK}/cells"), accept_shell_paths("~segmenters.otsu")
    ('data.root=${oc.env:DISK}/cells', '~segmenters.otsu')
    """
    argument = _VARIABLE.sub(r"${oc.env:\1}", argument)
    if argument.startswith("-") or "'" in argument or '"' in argument:
        return argument
    return _HOME.sub(r'\1"\2"', argument)


def expand_shorthand(argument: str) -> str:
    """Write ``resume=VALUE`` out as ``resume.path=VALUE``, and leave other arguments.

    >>> expand_shorthand("resume=auto"), expand_shorthand("seed=1")
    ('resume.path=auto', 'seed=1')
    """
    key, separator, value = argument.partition("=")
    return f"resume.path={value}" if separator and key == "resume" else argument


def compose(config_name: str, arguments: Sequence[str]) -> tuple[DictConfig, list[str], list[str]]:
    """Compose a configuration out of those overrides that can be applied. Hydra must be initialised.

    Args:
        config_name: the root.
        arguments: overrides, as typed, without sweeps (``seed=0,1``).

    Returns:
        The configuration; one line for each override that was left out; the keys of the others that set a value.
        Hydra itself stops at the first mistake.
    """
    arguments = list(dict.fromkeys(reversed(arguments)))[::-1]  # of repeated ones the last counts
    try:
        overrides = _parsed(arguments)
        if not any(override.is_sweep_override() for override in overrides):
            return hydra.compose(config_name, arguments), [], _keys_of_values(overrides)
    except (HydraException, ValueError):
        pass
    mistakes: list[str] = []
    places = [argument for argument in arguments if argument.startswith(SEARCH_PATH)]
    others = [argument for argument in arguments if argument not in places]
    options, values = _sort(config_name, places, others, mistakes)
    cfg, applied, changed = hydra.compose(config_name, places), places, list[str]()
    waiting = [*options, *values]
    while waiting:
        good, cfg, error = _apply(config_name, applied, waiting, cfg)
        applied += [str(override.input_line) for override in waiting[:good]]
        changed += [override.key_or_group for override in waiting[:good] if override in values]
        if error is not None:
            mistakes.append(f"{waiting[good].input_line}: {_reason(error, waiting[good], cfg, config_name)}")
        waiting = waiting[good + 1 :]
    return cfg, mistakes, changed


def _keys_of_values(overrides: Sequence[Override]) -> list[str]:
    """List the keys that overrides set, without groups and Hydra's own keys."""
    groups = GlobalHydra.instance().config_loader().list_groups("")
    keys = (override.key_or_group for override in overrides)
    return [key for key in keys if "/" not in key and key not in groups and not key.startswith("hydra.")]


def _apply(
    config_name: str, applied: Sequence[str], overrides: Sequence[Override], cfg: DictConfig
) -> tuple[int, DictConfig, Exception | None]:
    """Apply overrides up to the first one that cannot be applied; it is found by bisection, since composing takes long.

    Returns:
        The number of overrides before it, the configuration with these, and its error; None if all can be applied.
    """
    texts = [str(override.input_line) for override in overrides]
    good, bad, count = 0, len(texts) + 1, len(texts)
    failure: Exception | None = None
    while bad - good > 1:
        try:
            cfg = hydra.compose(config_name, [*applied, *texts[:count]])
            good = count
        except (ConfigCompositionException, ValueError) as error:
            bad, failure = count, error
        count = (good + bad) // 2
    return good, cfg, failure if good < len(texts) else None


class SweptJobs(NamedTuple):
    """Jobs of a sweep whose settings are checked.

    Attributes:
        values: overrides of jobs that together hold each value, beside the first values of the other keys.
        combinations: overrides of the other jobs; none where these are many.
        total: number of jobs of the sweep.
    """

    values: list[list[str]]
    combinations: list[list[str]]
    total: int

    @property
    def are_all(self) -> bool:
        """True if each job of the sweep is among these."""
        return len(self.values) + len(self.combinations) == self.total


def expand(arguments: Sequence[str]) -> SweptJobs:
    """List the jobs of a sweep; of an interval both ends are values. Hydra must be initialised.

    Args:
        arguments: overrides, as typed.

    Raises:
        SegtrainError: a pattern matches no option.
    """
    swept = [_values(argument) for argument in arguments]
    first = [own[0] for own in swept]
    others = [(place, value) for place, own in enumerate(swept) for value in own[1:]]
    values = [first, *([*first[:place], value, *first[place + 1 :]] for place, value in others)]
    count = math.prod(map(len, swept))
    jobs = map(list, itertools.product(*swept)) if count <= _MOST_COMBINATIONS else ()
    return SweptJobs(values, [job for job in jobs if job not in values], count)


def about_data(arguments: Sequence[str]) -> list[str]:
    """Select the overrides that choose the data: ``data`` and its keys, or the checkpoint that names them."""
    keys = [override.key_or_group.partition(".")[0] for override in _parsed(arguments)]
    return [argument for argument, key in zip(arguments, keys, strict=True) if key in ("data", "checkpoint")]


def given_keys(arguments: Sequence[str]) -> set[str]:
    """List the keys and groups that overrides set."""
    return {override.key_or_group for override in _parsed(arguments)}


def _parsed(arguments: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(arguments))


def _values(argument: str) -> list[str]:
    """List the overrides that one override sweeps over; itself if it is no sweep, or none that can be read."""
    try:
        # The options of a group, for glob(), are the loader's.
        (override,) = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides([argument])
    except HydraException:
        return [argument]
    if not override.is_sweep_override():
        return [argument]
    value = override.value()
    values = [value.start, value.end] if isinstance(value, IntervalSweep) else override.sweep_string_iterator()
    if not (jobs := [f"{override.get_key_element()}={value}" for value in values]):
        raise SegtrainError(f"{argument}: matches no option; --help lists them")
    return jobs


def _sort(
    config_name: str, places: list[str], arguments: Sequence[str], mistakes: list[str]
) -> tuple[list[Override], list[Override]]:
    """Separate choices of existing options from overrides of values, and report overrides that are neither."""
    options: list[Override] = []
    values: list[Override] = []
    for argument in arguments:
        try:
            (override,) = _parsed([argument])
        except HydraException:
            mistakes.append(f"{argument}: not of the form KEY=VALUE; special characters need quotes: 'KEY=\"VALUE\"'")
            continue
        if override.is_sweep_override():
            mistakes.append(f"{argument}: several values; write a list as KEY=[A,B], or add --multirun to try each")
            continue
        loader = GlobalHydra.instance().config_loader()
        known = loader.get_group_options(override.key_or_group, config_name=config_name, overrides=places)
        chosen = [] if override.is_delete() else argument.partition("=")[2].strip("[]'\"").split(",")
        unknown = [option for option in chosen if option not in known]
        package = _PACKAGES.get(f"{override.key_or_group}={unknown[0]}") if unknown else None
        if package is not None:
            mistakes.append(f"{argument}: needs a package that is not installed: pip install {package}")
        elif known and unknown:
            mistakes.append(f"{argument}: no such option; {nearest(unknown[0], known, '--help lists them')}")
        else:
            (options if known else values).append(override)
    return options, values


def _reason(error: Exception, override: Override, cfg: DictConfig, config_name: str) -> str:
    cause = error.__cause__
    if config_name == "evaluate" and override.key_or_group == "segmenter":
        return f"no such key; write +segmenter@segmenters.NAME={override.get_value_element_as_str()}"
    if "defaults list" in str(error):
        return "no such group; --help lists them"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) or override.is_delete():
        return f"no such key; {_nearest_key(override.key_or_group, cfg)}"
    if isinstance(cause, ValidationError):
        return f"give {describe_type(type_of(config_name, override.key_or_group))}"
    reason = str(cause or error).splitlines()[0]
    return f"{reason[:1].lower()}{reason[1:]}"


def _nearest_key(key: str, cfg: DictConfig) -> str:
    """Suggest a key of that name elsewhere (``trainer.epochs`` for ``epochs``), or a similar one."""
    keys = [*_keys(OmegaConf.to_container(cfg)), *GlobalHydra.instance().config_loader().list_groups("")]
    parent, _, name = key.rpartition(".")
    siblings = {_name(k): k for k in keys if k.rpartition(".")[0] == parent}
    found = [k for k in keys if _name(k) == name] or [siblings[n] for n in get_close_matches(name, siblings, n=1)]
    if not found and parent and siblings:
        return nearest(name, list(siblings), f"--cfg job lists the keys of {parent}")
    likely = get_close_matches(name, map(_name, keys), n=1)
    found = found or get_close_matches(key, keys, n=1) or [k for k in keys if _name(k) in likely]
    return f"did you mean {min(found, key=len)}?" if found else "--cfg job lists all keys"


def _name(key: str) -> str:
    return key.rpartition(".")[2]


def _keys(values: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            if not str(key).startswith("_"):
                yield f"{prefix}{key}"
                yield from _keys(value, f"{prefix}{key}.")
