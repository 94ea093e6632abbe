"""Memory of a device that is free, held, and used at most.

Devices are those of PyTorch, or None for the memory of the machine, which is that of the CPU.
"""

import ctypes
import gc
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

from segtrain.runtime import ControlGroup, control_groups

if TYPE_CHECKING:  # it takes seconds and 500 MB, and an evaluation of result files does not need it
    import torch

# Files of a control group, by its version: limit, use, and the line of ``memory.stat`` with what can be reclaimed.
_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def _cuda(device: "torch.device | None") -> Any:
    """Return ``torch.cuda`` for a CUDA device; None for the machine."""
    if device is None or device.type != "cuda":
        return None
    import torch

    return torch.cuda


def free_memory(device: "torch.device | None" = None) -> int:
    """Return the bytes that can still be allocated: on a CUDA device, or in the machine and the process's cgroups.

    >>> free_memory() > 0
    True
    """
    if cuda := _cuda(device):
        free, _ = cuda.mem_get_info(device)
        kept = cuda.memory_reserved(device) - cuda.memory_allocated(device)
        return int(free + kept)
    limits = [own for group in control_groups("memory") if (own := _free_in(group)) is not None]
    return max(0, min([int(psutil.virtual_memory().available), *limits]))


def held_memory(device: "torch.device | None" = None) -> int:
    """Return the bytes that this process holds: on a CUDA device, or resident in the machine.

    >>> held_memory() > 0
    True
    """
    cuda = _cuda(device)
    return int(cuda.memory_allocated(device) if cuda else psutil.Process().memory_info().rss)


def _free_in(group: ControlGroup) -> int | None:
    """Return the free bytes of a control group, cached files counted as free; None without a limit."""
    limit, used, reclaimable = _FILES[group.version]
    try:
        allowed = int((group.folder / limit).read_text())  # "max" without one
        statistics = dict(line.split() for line in (group.folder / "memory.stat").read_text().splitlines())
        return allowed - int((group.folder / used).read_text()) + int(statistics.get(reclaimable, 0))
    except (OSError, ValueError):
        return None


def peak_memory(device: "torch.device | None" = None) -> float:
    """Return the peak memory of this process in GiB: on the device, or resident on the CPU."""
    if cuda := _cuda(device):
        return float(cuda.max_memory_allocated(device)) / 2**30
    info = psutil.Process().memory_info()
    return float(getattr(info, "peak_wset", 0) or _peak_resident() or info.rss) / 2**30


def _peak_resident() -> int:
    try:
        import resource
    except ImportError:  # Windows, where psutil knows it
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def restart_peak_memory(device: "torch.device | None" = None) -> int | None:
    """Let `peak_memory` begin again at what this process holds now, and return its bytes.

    Returns:
        None where the system cannot begin again (it needs Linux, or a CUDA device).

    >>> held = restart_peak_memory()
    """
    if cuda := _cuda(device):
        cuda.reset_peak_memory_stats(device)
        return int(cuda.memory_allocated(device))
    _give_back_freed()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5)
    except OSError:
        return None
    return _status_bytes("VmRSS")


class MemoryAbove:
    """Peak memory within a ``with`` block, above the memory held at its start.

    Args:
        device: device whose memory is measured; on the CPU the resident memory of the process.

    Attributes:
        gib: set at the end of the block; None where the system cannot tell (it needs Linux, or a CUDA device).
    """

    def __init__(self, device: "torch.device | None" = None) -> None:
        self._device = device
        self._start: int | None = None
        self.gib: float | None = None

    def __enter__(self) -> Self:
        self._start = restart_peak_memory(self._device)
        return self

    def __exit__(self, *_: object) -> None:
        cuda = _cuda(self._device)
        peak = cuda.max_memory_allocated(self._device) if cuda else _status_bytes("VmHWM")
        if self._start is not None and peak is not None:
            self.gib = max(0, peak - self._start) / 2**30


def _give_back_freed() -> None:
    """Return freed memory to the system; otherwise it is counted as used before, and its reuse is not counted."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if platform.system() == "Linux" else None
    if trim is not None:  # glibc's; others keep little
        trim(0)


def _status_bytes(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
