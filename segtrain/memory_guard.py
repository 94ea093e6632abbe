"""Context that stops a computation of PyTorch before it uses up the memory of the machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segtrain.memory import free_memory

_LEAST_RESERVE = 256 * 2**20  # bytes that must stay free
_STRIDE = 16 * 2**20  # bytes of results between two looks


class NotEnoughMemoryError(MemoryError):
    """The work would take more memory than is free."""


@contextmanager
def sparing_memory(device: torch.device) -> Iterator[None]:
    """Stop the computation inside if the memory of the machine is nearly used up; only in this thread.

    Otherwise the system would kill the process without a message. CUDA devices raise errors of their own.

    Raises:
        NotEnoughMemoryError: little memory is left.
    """
    with _Watch(device) if device.type == "cpu" else nullcontext():
        yield


class _Watch(TorchDispatchMode):
    """Check of the free memory between operations; at least twice the largest tensor must stay free.

    Args:
        device: the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device, self._made, self._largest = device, 0, 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [value.nbytes for value in tree_leaves(result) if isinstance(value, Tensor)]
        self._made, self._largest = self._made + sum(sizes), max([self._largest, *sizes])
        if self._made >= _STRIDE:
            self._made = 0
            if free_memory(self._device) < max(_LEAST_RESERVE, 2 * self._largest):
                raise NotEnoughMemoryError
        return result
