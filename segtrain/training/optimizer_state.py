"""Saved states of optimizers: checks of what an optimizer takes as it comes, and a step that is tried on a copy."""

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segtrain.errors import SegtrainError
from segtrain.io import printable

# What a state that does not fit raises, by its kind and by the optimizer.
_MISFITS = (ValueError, LookupError, TypeError, AttributeError, RuntimeError)
_AVERAGES = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"}  # of each value of a parameter
_OF_PYTORCH = {"defaults", "param_groups", "state", "step"}  # the latter where a scheduler counts the steps
_REMEDY = "repeat the optimizer of that run, or begin another run with segmenter.weights=PATH"


def restore_optimizer(
    optimizer: torch.optim.Optimizer, saved: Mapping[str, Any], source: str, entries: int | None = None
) -> None:
    """Continue with the averages of a saved optimizer, but with the settings of this one.

    Args:
        optimizer: optimizer of the same class.
        saved: result of its ``state_dict``.
        source: path of the file, for messages.
        entries: number of parameters that had a state when it was saved; None in files that do not tell.

    Raises:
        SegtrainError: the state belongs to other parameters, or the optimizer cannot go on from it.
    """
    own = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    if entries is not None and entries != len(saved["state"]):
        found = len(saved["state"])
        raise SegtrainError(
            f"{source}: its training.optimizer.state has {found} entries, not {entries}; the file is damaged"
        )
    _check_state(optimizer, saved, source)
    try:
        optimizer.load_state_dict(dict(saved))
    except _MISFITS as error:
        raise SegtrainError(
            f"{source}: its training.optimizer is over other parameters ({_in_one_line(error)}); repeat the optimizer "
            "and segmenter.frozen_stages of that run"
        ) from None
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update(settings)
    for number, (group, parameter) in enumerate(_parameters(optimizer)):
        try:
            step_of_copy(optimizer, group, parameter, optimizer.state.get(parameter, {}))
        except _MISFITS as error:
            reason = f"{type(error).__name__}: {_in_one_line(error)}"
            raise SegtrainError(
                f"{source}: the optimizer cannot go on from its training.optimizer.state[{number}] ({reason}); "
                f"{_REMEDY}"
            ) from None


def step_of_copy(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], parameter: Tensor, state: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Step copies of a parameter and its state along a gradient of 0.

    Args:
        optimizer: optimizer, which stays as it is.
        group: settings.
        parameter: parameter, which stays as it is.
        state: state of the parameter before.

    Returns:
        The new state; None where it is not known, since the optimizer has attributes of its own that are more than
        numbers and texts, such as another optimizer, which a step of a copy would change.

    >>> weight = nn.Parameter(torch.zeros(3))
    >>> adam = torch.optim.Adam([weight])
    >>> sorted(step_of_copy(adam, adam.param_groups[0], weight, {}))
    ['exp_avg', 'exp_avg_sq', 'step']
    """
    probe = nn.Parameter(parameter.detach().clone())
    probe.grad = torch.zeros_like(probe)
    # copy.copy() takes what PyTorch's __getstate__ returns, which lacks the attributes of other optimizers.
    twin = object.__new__(type(optimizer))
    for name, value in vars(optimizer).items():
        if name.endswith("_hooks"):
            setattr(twin, name, OrderedDict())
        elif isinstance(value, int | float | str | None):
            setattr(twin, name, value)
        elif name not in _OF_PYTORCH:
            return None
    twin.defaults = dict(optimizer.defaults)
    twin.param_groups = [{**group, "params": [probe]}]
    twin.state = defaultdict(dict, {probe: copy.deepcopy(dict(state))})
    twin.step()
    return dict(twin.state[probe])


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Yield each parameter, in the order of its number in a saved state, with its group."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield group, parameter


def _check_state(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any], source: str) -> None:
    """Compare saved states with those after one step; an optimizer converts what it loads, also integers and texts."""
    groups = saved["param_groups"]
    numbers = [number for group in groups for number in group["params"]]
    if unknown := [number for number in saved["state"] if number not in numbers]:
        raise SegtrainError(
            f"{source}: its training.optimizer.state[{unknown[0]}] has no parameter; the file is damaged"
        )
    if [len(group["params"]) for group in groups] != [len(group["params"]) for group in optimizer.param_groups]:
        return  # of another model, as loading says
    then = {number: group for group in groups for number in group["params"]}
    for number, (group, parameter) in zip(numbers, _parameters(optimizer), strict=True):
        state = saved["state"].get(number, {})
        if not state:
            continue
        try:  # with the settings of that time: momentum may be given or taken away since
            usual = step_of_copy(optimizer, {**group, **then[number]}, parameter, {}) or {}
        except _MISFITS:  # these settings are replaced, and may be damaged
            usual = {}
        for key in [*usual, *(key for key in state if key not in usual)]:
            name = f"training.optimizer.state[{number}].{printable(str(key))}"
            if key not in state:
                raise SegtrainError(f"{source}: lacks {name}; {_REMEDY}")
            wanted = usual.get(key)
            if wanted is None and key in _AVERAGES and state[key] is not None:
                wanted = parameter
            if (text := _mismatch(state[key], wanted, parameter)) is not None:
                raise SegtrainError(f"{source}: its {name} is {text}; the file is damaged")


def _mismatch(value: object, wanted: object, parameter: Tensor) -> str | None:
    """Say in which way a value of a state is not like that after one step; None if it is like it."""
    number = isinstance(wanted, int | float) or (isinstance(wanted, Tensor) and wanted.ndim == 0)
    if number and parameter.ndim:
        fits = isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
        return None if fits else f"{_described(value)}, not a number"
    if not isinstance(wanted, Tensor):
        return None
    if isinstance(value, Tensor):
        # Other tensors, such as a history, may grow.
        shaped = wanted.shape != parameter.shape or value.shape == wanted.shape
        alike = value.is_floating_point() == wanted.is_floating_point() and value.is_complex() == wanted.is_complex()
        if shaped and alike:
            return None
    return f"{_described(value)}, not {_described(wanted)}"


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, str):
        return repr(printable(value))
    return "None" if value is None else type(value).__name__


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
