"""Runtime environment: threads, control groups, seeds, and their description for reports."""

import gc
import math
import os
import platform
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

import segtrain
from segtrain import distributed
from segtrain.errors import SegtrainError

_GROUPS = Path("/sys/fs/cgroup")  # folder where control groups are mounted
_MEMBERSHIP = Path("/proc/self/cgroup")  # file that lists those of this process


def limit_threads(count: int) -> None:
    """Limit the threads of the linear algebra of NumPy and SciPy, and those of PyTorch if it is loaded.

    OpenCV's threads are stopped where samples are made, in ``segtrain.data.label_layers``.
    """
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)
    threadpool_limits(count)


def thread_count(threads: Literal["auto"] | int, busy_workers: int) -> int:
    """Resolve the number of threads to compute with.

    Two threads beside one busy process on two cores are slower than one. Processes that compute together on a machine
    share its cores.

    Args:
        threads: number of threads, at least 1; "auto" for the cores that busy workers leave.
        busy_workers: number of loader processes that take a core each.

    Raises:
        SegtrainError: ``threads`` is neither "auto" nor a number of threads.
    """
    if threads != "auto" and (type(threads) is not int or threads < 1):
        raise SegtrainError(f"threads={threads}: not a number of threads; use auto, or a whole number from 1")
    cores = usable_cores()
    return max(1, cores // distributed.local_size() - busy_workers) if threads == "auto" else threads


def usable_cores() -> int:
    """Count the cores that a machine's processes may use: the least of affinity, cgroup and ``OMP_NUM_THREADS``.

    A container has a quota of time rather than cores of its own; more threads than it allows wait for each other.

    >>> usable_cores() >= 1
    True
    """
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    quotas = map(_cores_of, control_groups("cpu"))
    limits += [max(1, math.ceil(quota)) for quota in quotas if quota is not None]
    if (stated := _stated_threads()) is not None:
        limits.append(stated * distributed.local_size())  # it is a number for each process
    return min(limits)


def _stated_threads() -> int | None:
    """Read ``OMP_NUM_THREADS``; None without a number above 0.

    For several processes ``torchrun`` sets it to 1 if it is not set, whatever the number of cores. A 1 that the user
    has set looks the same, so that 1 is ignored there; ``threads=1`` is the way to ask for one thread.
    """
    stated = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # of nested regions the first
    if not stated.isdecimal() or int(stated) == 0:
        return None
    return None if stated == "1" and distributed.local_size() > 1 else int(stated)


class ControlGroup(NamedTuple):
    """Control group of Linux that limits a process, as that of a container does.

    Attributes:
        folder: folder of its files; it need not exist.
        version: 1 or 2, which name their files differently.
    """

    folder: Path
    version: int


def control_groups(
    controller: Literal["memory", "cpu"], root: Path = _GROUPS, membership: Path = _MEMBERSHIP
) -> Iterator[ControlGroup]:
    """Yield the control groups that may limit this process: its own ones, and those that they are in.

    Args:
        controller: what they limit.
        root: folder where control groups are mounted.
        membership: file that lists those of the process, as ``/proc/self/cgroup`` does.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:  # no Linux
        return
    for _, controllers, own in lines:
        if controllers and controller not in controllers.split(","):  # of version 1, about something else
            continue
        base, version = (root / controller, 1) if controllers else (root, 2)
        place = base / own.lstrip("/")
        # In a container the path may be that of the host, and the group itself is mounted at the root.
        for folder in (place, *(parent for parent in place.parents if parent.is_relative_to(base))):
            yield ControlGroup(folder, version)


def _cores_of(group: ControlGroup) -> float | None:
    """Read how many cores a control group may use; None without a limit."""
    try:
        if group.version == 2:
            quota, period = (group.folder / "cpu.max").read_text().split()
        else:
            quota, period = ((group.folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # there is no such group, or its limit is "max"
        return None


def seed_everything(seed: int) -> None:
    """Seed the generators of Python and NumPy, and those of PyTorch if it is loaded.

    Raises:
        SegtrainError: not all of them take this seed.
    """
    if not 0 <= seed < 2**32:
        raise SegtrainError(f"seed={seed}: out of range; use a whole number from 0 to {2**32 - 1}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries that still use the global generator
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


def seed_draws(seed: int) -> None:
    """Seed as `seed_everything` does, but PyTorch's generator on the CPU alone unless CUDA is in use.

    ``torch.manual_seed`` notes each call for CUDA until that is used, which takes time and memory if there are many.

    >>> seed_draws(0)
    >>> first = random.random()
    >>> seed_draws(0)
    >>> random.random() == first
    True
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        seed_everything(seed)
        return
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries that still use the global generator
    if torch is not None:
        torch.default_generator.manual_seed(seed)


@contextmanager
def quick_collections() -> Iterator[None]:
    """Exclude the objects that exist now from all garbage collections within the block.

    A collection looks at every object, and those of the imported modules alone take a quarter of a second. Objects that
    the program itself has frozen stay frozen.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def describe_environment(device: str, precision: str, threads: int) -> dict[str, str | int | float]:
    """Describe the software and hardware that times and numbers depend on.

    Args:
        device: device that computes, such as "cpu" or "cuda:0".
        precision: precision of the network's computations.
        threads: number of threads to compute with.
    """
    # Processes of one machine share its cores and its memory bus, which times depend on.
    processes = {"processes": distributed.size()} if distributed.size() > 1 else {}
    packages = ("torch", "torchvision", "numpy", "scipy", "scikit-image", "pycocotools", "hotcoco")
    return {
        "date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %z}",
        "segtrain": segtrain.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        **processes,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "device": device,
        **_gpu(device),
        "precision": precision,
    }


def _gpu(device: str) -> dict[str, str]:
    """Name the card of a CUDA device; nothing for the CPU."""
    if not device.startswith("cuda"):
        return {}
    import torch  # here, since it takes seconds and 500 MB, and not every evaluation needs it

    return {"gpu": torch.cuda.get_device_name(device)}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
