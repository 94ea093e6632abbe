"""Overrides as a whole: every mistake is reported, each with the nearest name that exists."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

from segtrain.cli.config import type_of
from segtrain.nodes import nearest
from segtrain.values import describe_type


def compose(config_name: str, arguments: Sequence[str]) -> tuple[DictConfig, list[str], list[str]]:
    """Compose a configuration out of those overrides that can be applied. Hydra must be initialised.

    Args:
        config_name: the root.
        arguments: overrides, as typed; of a sweep (``seed=0,1``) the first value counts.

    Returns:
        The configuration; one line for each override that was left out; the keys of the others that set a value.
        Hydra itself stops at the first mistake.
    """
    arguments = list(dict.fromkeys(arguments))
    try:
        overrides = _parsed(arguments)
        cfg = hydra.compose(config_name, [_first_value(override) for override in overrides])
        return cfg, [], [override.key_or_group for override in overrides]
    except (HydraException, ValueError):
        pass
    mistakes: list[str] = []
    options, values = _sort(arguments, mistakes)
    cfg, applied, changed = hydra.compose(config_name), list[str](), list[str]()
    for override in [*options, *values]:
        text = _first_value(override)
        try:
            cfg, applied = hydra.compose(config_name, [*applied, text]), [*applied, text]
        except (ConfigCompositionException, ValueError) as error:
            mistakes.append(f"{override.input_line}: {_reason(error, override, cfg, config_name)}")
        else:
            changed += [override.key_or_group] if override in values else []
    return cfg, mistakes, changed


def about_data(arguments: Sequence[str]) -> list[str]:
    """Select the overrides that say which data are used: ``data`` itself, or the checkpoint that names it."""
    keys = [override.key_or_group.partition(".")[0] for override in _parsed(arguments)]
    return [argument for argument, key in zip(arguments, keys, strict=True) if key in ("data", "checkpoint")]


def given_keys(arguments: Sequence[str]) -> set[str]:
    """List the keys and groups that overrides set."""
    return {override.key_or_group for override in _parsed(arguments)}


def _parsed(arguments: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(arguments))


def _first_value(override: Override) -> str:
    if not override.is_sweep_override():
        return str(override.input_line)
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


def _sort(arguments: Sequence[str], mistakes: list[str]) -> tuple[list[Override], list[Override]]:
    """Part choices of options that exist from overrides of values; report what is neither."""
    options: list[Override] = []
    values: list[Override] = []
    for argument in arguments:
        try:
            (override,) = _parsed([argument])
        except HydraException:
            mistakes.append(f"{argument}: not of the form KEY=VALUE; special characters need quotes: 'KEY=\"VALUE\"'")
            continue
        known = GlobalHydra.instance().config_loader().get_group_options(override.key_or_group)
        chosen = [] if override.is_delete() else _first_value(override).partition("=")[2].strip("[]'\"").split(",")
        unknown = [option for option in chosen if option not in known]
        if known and unknown:
            mistakes.append(f"{argument}: no such option; {nearest(unknown[0], known, '--help lists them')}")
        else:
            (options if known else values).append(override)
    return options, values


def _reason(error: Exception, override: Override, cfg: DictConfig, config_name: str) -> str:
    cause = error.__cause__
    if config_name == "evaluate" and override.key_or_group == "segmenter":
        return f"no such key; write +segmenter@segmenters.NAME={_first_value(override).partition('=')[2]}"
    if "defaults list" in str(error):
        return "no such group; --help lists them"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) or override.is_delete():
        return f"no such key; {_nearest_key(override.key_or_group, cfg)}"
    if isinstance(cause, ValidationError):
        return f"give {describe_type(type_of(config_name, override.key_or_group))}"
    reason = str(cause or error).splitlines()[0]
    return f"{reason[:1].lower()}{reason[1:]}"


def _nearest_key(key: str, cfg: DictConfig) -> str:
    """Offer a key of that name elsewhere (``epochs`` is ``trainer.epochs``), or one alike."""
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
