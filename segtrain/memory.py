"""Memory of a device that is used and that is free, and a context that stops before the machine's is used up."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segtrain.control_groups import ControlGroup, control_groups

# Files of a control group, by its version: limit, use, and the line of ``memory.stat`` with what can be reclaimed.
_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
_LEAST_RESERVE = 256 * 2**20  # bytes that must stay free
_STRIDE = 16 * 2**20  # bytes of results between two looks


class NotEnoughMemoryError(MemoryError):
    """The work would take more memory than is free."""


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be allocated: on a CUDA device, or in the machine and the process's cgroups.

    >>> free_memory(torch.device("cpu")) > 0
    True
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + kept)
    limits = [own for group in control_groups("memory") if (own := _free_in(group)) is not None]
    return max(0, min([int(psutil.virtual_memory().available), *limits]))


def held_memory(device: torch.device) -> int:
    """Return the bytes that this process holds: on a CUDA device, or resident in the machine.

    >>> held_memory(torch.device("cpu")) > 0
    True
    """
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else int(psutil.Process().memory_info().rss)


def _free_in(group: ControlGroup) -> int | None:
    """Return the free bytes of a control group, cached files counted as free; None without a limit."""
    limit, used, reclaimable = _FILES[group.version]
    try:
        allowed = int((group.folder / limit).read_text())  # "max" without one
        statistics = dict(line.split() for line in (group.folder / "memory.stat").read_text().splitlines())
        return allowed - int((group.folder / used).read_text()) + int(statistics.get(reclaimable, 0))
    except (OSError, ValueError):
        return None


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
