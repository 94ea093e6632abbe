"""The command line as a whole: every mistake is found, and the nearest name is offered."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from segtrain.nodes import nearest


def compose(config_name: str, arguments: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """Compose a configuration out of those overrides that can be applied. Hydra must be initialised.

    Args:
        config_name: the root.
        arguments: overrides, as typed; of a sweep (``seed=0,1``) the first value counts.

    Returns:
        The configuration, and one line for each override that was left out. Hydra itself stops at the first.
    """
    arguments = list(dict.fromkeys(arguments))
    try:
        return hydra.compose(config_name, [_first_value(o) for o in _parsed(arguments)]), []
    except (HydraException, ValueError):
        pass
    mistakes: list[str] = []
    options, values = _sort(arguments, mistakes)
    cfg, applied = hydra.compose(config_name), list[str]()
    for override in [*options, *values]:
        text = _first_value(override)
        try:
            cfg, applied = hydra.compose(config_name, [*applied, text]), [*applied, text]
        except (ConfigCompositionException, ValueError) as error:
            mistakes.append(f"{override.input_line}: {_reason(error, override, cfg)}")
    return cfg, mistakes


def about_data(arguments: Sequence[str]) -> list[str]:
    """Those overrides that say which data are used: themselves, or the checkpoint that they come from."""
    keys = [override.key_or_group.partition(".")[0] for override in _parsed(arguments)]
    return [argument for argument, key in zip(arguments, keys, strict=True) if key in ("data", "checkpoint")]


def _parsed(arguments: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(arguments))


def _first_value(override: Override) -> str:
    if not override.is_sweep_override():
        return str(override.input_line)
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


def _sort(arguments: Sequence[str], mistakes: list[str]) -> tuple[list[Override], list[Override]]:
    """Choices of options that exist, and overrides of values; what is neither is reported."""
    loader = GlobalHydra.instance().config_loader()
    options: list[Override] = []
    values: list[Override] = []
    for argument in arguments:
        try:
            (override,) = _parsed([argument])
        except HydraException:
            mistakes.append(f"{argument}: not of the form KEY=VALUE; special characters need quotes: 'KEY=\"VALUE\"'")
            continue
        known = loader.get_group_options(override.key_or_group)
        chosen = [] if override.is_delete() else _first_value(override).partition("=")[2].strip("[]'\"").split(",")
        unknown = [option for option in chosen if option not in known]
        if not known:
            values.append(override)
        elif unknown:
            mistakes.append(f"{argument}: no such option; {nearest(unknown[0], known)}")
        else:
            options.append(override)
    return options, values


def _reason(error: Exception, override: Override, cfg: DictConfig) -> str:
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        # One choice implies another: `trainer: ${data}`.
        group = error.missing_cfg_file.rpartition("/")[0]
        return f"no {group} goes with it; choose other {override.key_or_group}, or {group}={' or '.join(error.options)}"
    if "defaults list" in str(error):
        return "this script has no such group; --help lists them"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) or override.is_delete():
        return f"no such key; {_nearest_key(override.key_or_group, cfg)}"
    reason = str(cause or error).splitlines()[0]
    return f"{reason[:1].lower()}{reason[1:]}"


def _nearest_key(key: str, cfg: DictConfig) -> str:
    """What to offer: a key of that name elsewhere (``epochs`` is ``trainer.epochs``), or one alike."""
    keys = [*_keys(OmegaConf.to_container(cfg)), *GlobalHydra.instance().config_loader().list_groups("")]
    parent, _, name = key.rpartition(".")
    siblings = {_name(k): k for k in keys if k.rpartition(".")[0] == parent}
    found = [k for k in keys if _name(k) == name] or [siblings[n] for n in get_close_matches(name, siblings, n=1)]
    if not found and parent and siblings:
        return f"{parent} has {', '.join(siblings)}"
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
