"""Parts of a configuration, held against the signatures of what their ``_target_`` names."""

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from hydra.utils import get_object

Node = dict[str, Any]


def target_nodes(config: object, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every node with a ``_target_``, with its dotted path."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield path, dict(config)
        for key, value in config.items():
            yield from target_nodes(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, list):
        for index, value in enumerate(config):
            yield from target_nodes(value, f"{path}[{index}]")


def check_node(path: str, node: Node) -> Iterator[str]:
    """What is wrong with the arguments of a ``_target_`` node: unknown, missing or, for our own parts, of a wrong type.

    Args:
        path: where the node stands in the configuration.
        node: with its ``_target_``.
    """
    try:
        target: Callable[..., object] = get_object(node["_target_"])
    except (ImportError, ValueError) as error:
        yield f"{path}._target_: {' '.join(str(error).split())}"
        return
    arguments = {key: value for key, value in node.items() if not (key.startswith("_") and key.endswith("_"))}
    parameters = inspect.signature(target).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in arguments:
        if name not in parameters and not takes_any:
            yield f"{path}.{name}: {node['_target_']} has no such argument; {nearest(name, list(parameters))}"
    for name, parameter in parameters.items():
        fillable = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and fillable and name not in arguments and not node.get("_partial_"):
            yield f"{path}.{name}: missing, {node['_target_']} needs it"
    if getattr(target, "__module__", "").startswith("segtrain"):
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
        for name in arguments.keys() & hints.keys():
            if next(target_nodes(arguments[name]), None) is None:
                yield from check_value(f"{path}.{name}", arguments[name], hints[name])


def check_value(path: str, value: object, hint: Any) -> Iterator[str]:
    """What is wrong with a value, if anything.

    Args:
        path: where it stands in the configuration.
        value: plain.
        hint: its type; ``Annotated[..., msgspec.Meta(...)]`` for a range.
    """
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`", "")
        choices = f"; use {' or '.join(_choices(hint))}" if "enum" in reason else ""
        yield f"{path}={'null' if value is None else value}: {reason[:1].lower()}{reason[1:]}{choices}"
    except TypeError:  # a type that plain values cannot have, such as a tensor's
        return


def _choices(hint: Any) -> list[str]:
    """What to offer for a type that holds a ``Literal``."""
    if hint in (int, NoneType):
        return ["a whole number" if hint is int else "null"]
    if get_origin(hint) is Literal:
        return list(map(str, get_args(hint)))
    return [choice for inner in get_args(hint) for choice in _choices(inner)]


def nearest(name: str, known: Sequence[str]) -> str:
    """What to offer in place of a name that is not known: the most alike, or all of them."""
    match = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {match[0]}?" if match else f"use {' or '.join(known)}"
