"""Steps that segmenters of one image have in common, computed once while several are tried on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
# Results by function and arguments, with the arguments, which must live as long as their identity is used.
_known: dict[Any, tuple[Any, Any]] | None = None


@contextmanager
def sharing_steps() -> Iterator[None]:
    """Remember the results of `shared_step` functions inside; the block is to deal with a single image."""
    global _known
    before, _known = _known, {}
    try:
        yield
    finally:
        _known = before


def shared_step(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function return the same result, which must not be changed, for the same arguments of `sharing_steps`.

    Arrays are the same only if they are one object.

    >>> @shared_step
    ... def double(values):
    ...     return 2 * values
    >>> values = np.ones(2)
    >>> with sharing_steps():
    ...     double(values) is double(values)
    True
    """

    @wraps(function)
    def call(*given: P.args, **named: P.kwargs) -> R:
        if _known is None:
            return function(*given, **named)
        key = (function, *map(_identity, given), *((name, _identity(value)) for name, value in sorted(named.items())))
        if key not in _known:
            result = function(*given, **named)
            for array in result if isinstance(result, tuple) else (result,):
                if isinstance(array, np.ndarray):
                    array.flags.writeable = False
            _known[key] = (given, named), result
        found: R = _known[key][1]
        return found

    return call


def _identity(value: object) -> object:
    """Return what stands for an argument: its value, or its identity where it is an array or a tensor."""
    return value if isinstance(value, int | float | str | bool | None) else id(value)
