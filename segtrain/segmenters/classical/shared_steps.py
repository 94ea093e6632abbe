"""Steps that segmenters of one image have in common, computed once while several are tried on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
_MOST = 2**28  # bytes of results that are remembered; of more, the oldest are forgotten
# Results by function and arguments, with the arguments, which must live as long as their identity is used.
_known: dict[Any, tuple[Any, Any]] | None = None
_bytes = 0


@contextmanager
def sharing_steps() -> Iterator[None]:
    """Remember the results of `shared_step` functions inside; the block is to deal with a single image."""
    global _known, _bytes
    before, _known, _bytes = (_known, _bytes), {}, 0
    try:
        yield
    finally:
        _known, _bytes = before


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
            for array in _arrays_of(result):
                array.flags.writeable = False
            _remember(key, ((given, named), result))
        else:
            result = _known[key][1]
        return result

    return call


def _remember(key: object, entry: tuple[Any, Any]) -> None:
    """Keep a result with its arguments, and forget the oldest ones where there are too many."""
    global _bytes
    assert _known is not None
    _known[key] = entry
    _bytes += sum(array.nbytes for array in _arrays_of(entry[1]))
    while _bytes > _MOST and len(_known) > 1:
        _, oldest = _known.pop(next(iter(_known)))
        _bytes -= sum(array.nbytes for array in _arrays_of(oldest))


def _arrays_of(result: object) -> list[np.ndarray[Any, Any]]:
    """List the arrays of a result."""
    return [array for array in (result if isinstance(result, tuple) else (result,)) if isinstance(array, np.ndarray)]


def _identity(value: object) -> object:
    """Return what stands for an argument: its value, or its identity where it is an array or a tensor."""
    return value if isinstance(value, int | float | str | bool | None) else id(value)
