"""Worker processes of a loader: the shared memory of their batches, and the error for a worker that died."""

import logging
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from segtrain.errors import SegtrainError
from segtrain.stopping import ignore_stop_signals

logger = logging.getLogger(__name__)
SHARED_MEMORY = Path("/dev/shm")
_SEMAPHORES = 2**20  # bytes that queues between processes may need there
_AHEAD = 2  # batches that each worker loads ahead
_GROWTH = 4  # pixels of an augmented image, times those of the file, with its masks


def free_shared_memory() -> int | None:
    """Return the free bytes of ``/dev/shm``; None on systems without such a limit."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None


def usable_workers(workers: int, batch_bytes: int) -> tuple[int, bool]:
    """Compute how many workers the shared memory allows, and whether batches fit into it.

    Args:
        workers: number of workers in the settings.
        batch_bytes: bytes of the images of a batch, as read from their files.

    Returns:
        The number of workers, 0 where their queues do not fit; and True if batches may be handed over in shared memory,
        False if they must be copied through pipes.
    """
    free = free_shared_memory()
    if not workers or free is None:
        return workers, True
    if free < _SEMAPHORES:
        logger.warning(
            f"{SHARED_MEMORY} has {free // 1024} KB free, too little for workers: images are read between the steps; "
            "give it more (docker run --shm-size=1g), or set trainer.workers=0"
        )
        return 0, True
    needed = (workers * _AHEAD + 1) * batch_bytes * _GROWTH
    if needed > free - _SEMAPHORES:
        logger.info(
            f"{SHARED_MEMORY} has {free / 2**20:.0f} MB free and batches may take {needed / 2**20:.0f} MB: they are "
            "copied through pipes; docker run --shm-size=1g gives more"
        )
        return workers, False
    return workers, True


def start_worker(_: int) -> None:
    """Prepare a worker process: it uses a single thread, and ignores signals.

    Signals reach whole groups of processes; the parent finishes its step first, and then ends its workers.
    """
    torch.set_num_threads(1)
    ignore_stop_signals()


@contextmanager
def noticing_deaths() -> Iterator[None]:
    """Turn the death of a worker, which a loader notices, into an error of one line.

    Raises:
        SegtrainError: a worker has died, or there is no memory to hand a batch over.
    """
    try:
        yield
    except RuntimeError as error:
        if not re.search(r"DataLoader worker|shared memory|unable to (mmap|open|write)", str(error)):
            raise
        free = free_shared_memory()
        shared = "" if free is None else f", or a full {SHARED_MEMORY} ({free / 2**20:.0f} MB free)"
        said = " ".join(str(error).split("\n")[0].split())[:160]
        raise SegtrainError(
            f"a process that loads images has died ({said}); most often the system wants memory{shared}: set "
            "trainer.workers=0 or fewer, or trainer.batch_size lower, and go on with resume=auto"
        ) from None


@contextmanager
def deaths_noticed_between_batches() -> Iterator[None]:
    """Keep PyTorch from raising the error of a dead worker in the middle of a step.

    PyTorch raises it in a signal handler; the loader also notices the death when it waits for a batch.
    """
    before = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    yield
    if before is not None:
        try:
            signal.signal(signal.SIGCHLD, before)
        except ValueError:  # not the main thread, where PyTorch has not set it either
            return
