"""Processes that train or evaluate together, as ``torchrun`` starts them: their ranks, exchange and end.

Without other processes, every function returns at once and has no effect, so callers need not check for that case.

Numbers and objects travel between the CPUs by gloo, and the gradients of networks on CUDA by NCCL. All processes must
call the same functions in the same order. One that ends breaks the connections of the others, which then raise
`LostProcessError`.

PyTorch is imported where a process joins others, and not by this module: it takes seconds and 500 MB, and commands
without a network do not need it.
"""

import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from segtrain.errors import SegtrainError

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")
# That a process has ended is noticed at once; this is for one that hangs, or whose machine is cut off. It does not hold
# where the others wait for the first process, which makes scores and tables alone.
LOST_AFTER = timedelta(seconds=float(os.environ.get("SEGTRAIN_LOST_AFTER", 900)))

_groups = count()
_meetings = count()
_store: "Store | None" = None
_is_alone = False


class LostProcessError(SegtrainError):
    """Another process of this run has ended, or cannot be reached."""


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that ``torchrun`` has started with this one, and leave them at the end.

    Nothing happens in a process that was started in another way, or that has joined already.

    Raises:
        LostProcessError: the others cannot be reached.
    """
    global _store, _meetings
    if not is_started_by_torchrun() or _joined_group() is not None:
        yield
        return
    import torch
    import torch.distributed as dist
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]
    from torch.distributed.rendezvous import rendezvous

    with noticing_losses():
        store, rank, size = next(rendezvous("env://"))
        _store = PrefixStore(f"segtrain/{_attempt()}/{next(_groups)}", store)
        _meetings = count()
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=_store, rank=rank, world_size=size, timeout=LOST_AFTER)
    try:
        yield
    finally:
        _store = None
        dist.destroy_process_group()


def _attempt() -> str:
    """Return a number of this start, by which it finds nothing that an earlier one has left in the store.

    On a single machine ``torchrun`` keeps its store when it starts the processes again, and addresses of ended ones are
    in it. On several machines, which count restarts differently, each rendezvous makes a new store: with
    ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1``, without which PyTorch 2.14 does not start them together again.
    """
    alone = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if alone else "0"


def is_started_by_torchrun() -> bool:
    """Return True if the environment names a group of processes that this one belongs to."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def _joined_group() -> Any:
    """Return ``torch.distributed`` in a process that belongs to a group, whoever has made it; else None."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def rank() -> int:
    """Return the number of this process, from 0."""
    return 0 if _is_alone or (dist := _joined_group()) is None else int(dist.get_rank())


def size() -> int:
    """Return the number of processes."""
    return 1 if _is_alone or (dist := _joined_group()) is None else int(dist.get_world_size())


@contextmanager
def alone() -> Iterator[None]:
    """Work inside as if there were no other process, so that none waits for this one."""
    global _is_alone
    before, _is_alone = _is_alone, True
    try:
        yield
    finally:
        _is_alone = before


def local_rank() -> int:
    """Return the number of this process among those of its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", rank())) if size() > 1 else 0


def local_size() -> int:
    """Return the number of processes of this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", size())) if size() > 1 else 1


def is_first() -> bool:
    """Return True in the process that writes files and messages."""
    return rank() == 0


def share(items: Sequence[T]) -> Sequence[T]:
    """Return this process's share of some items: every n-th one, for n processes.

    >>> share(["a", "b", "c"])
    ['a', 'b', 'c']
    """
    return items[rank() :: size()] if size() > 1 else items


def total(numbers: Sequence[float]) -> list[float]:
    """Add up numbers over all processes, one by one.

    >>> total([1, 2.5])
    [1.0, 2.5]
    """
    return _reduced(numbers, "SUM")


def largest(numbers: Sequence[float]) -> list[float]:
    """Return the largest of each number over all processes.

    >>> largest([1, 2.5])
    [1.0, 2.5]
    """
    return _reduced(numbers, "MAX")


def gather(value: T) -> list[T]:
    """Return the values of all processes, by rank; `collect` is cheaper where only the first one needs them.

    >>> gather("here")
    ['here']
    """
    if size() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * size()
    with noticing_losses():
        _meet_first()
        dist.all_gather_object(values, value)
    return values


def collect(value: T) -> list[T] | None:
    """Return the values of all processes, by rank, to the first one; None to the others.

    >>> collect("here")
    ['here']
    """
    if size() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] | None = [None] * size() if is_first() else None
    with noticing_losses():
        _meet_first()
        dist.gather_object(value, values)
    return values


def from_first(make: Callable[[], T]) -> T:
    """Return to all processes what a function returns in the first one; the others do not call it.

    Args:
        make: function whose result can be pickled.

    >>> from_first(lambda: "made once")
    'made once'
    """
    if size() == 1:
        return make()
    import torch.distributed as dist

    values: list[Any] = [make() if is_first() else None]
    with noticing_losses():
        _meet_first()
        dist.broadcast_object_list(values)
    made: T = values[0]
    return made


@contextmanager
def in_turn() -> Iterator[None]:
    """Run a block in the first process, then in the first one of every other machine, then in all others.

    Files that the block draws, downloads or caches are made once on each machine, or once for all in shared folders.
    """
    turn = 0 if is_first() else 1 if local_rank() == 0 else 2
    for _ in range(turn):
        barrier()
    yield
    for _ in range(turn, 2):
        barrier()


def barrier() -> None:
    """Wait until all processes are here."""
    gather(None)


def keep(key: str, value: str) -> None:
    """Keep a value for the processes that ``torchrun`` starts in place of these after a failure.

    Args:
        key: name of the value.
        value: the value; it replaces an earlier one.
    """
    if (store := _lasting_store()) is not None:
        store.set(f"segtrain/{key}", value)


def kept(key: str) -> str | None:
    """Return a value that processes before these have kept; None without one.

    >>> kept("folder") is None
    True
    """
    store = _lasting_store()
    if store is None or not store.check([f"segtrain/{key}"]):
        return None
    return str(store.get(f"segtrain/{key}").decode())


def restarts_left() -> int:
    """Return how many times ``torchrun`` would start these processes again."""
    most, done = (int(os.environ.get(f"TORCHELASTIC_{name}", 0)) for name in ("MAX_RESTARTS", "RESTART_COUNT"))
    return most - done


def is_first_to_report() -> bool:
    """Return True in the first process that calls this, so that the error that ends a run is printed only once."""
    if _store is None or size() == 1:
        return True
    try:
        return bool(_store.add("reports", 1) == 1)
    except RuntimeError:  # it went with the process that held it
        return is_first()


def wait_for_report(seconds: float = 10.0) -> None:
    """Wait until a process has reported how the command ended, but not for ever."""
    end = time.monotonic() + seconds
    with suppress(RuntimeError):
        while _store is not None and _store.add("reports", 0) == 0 and time.monotonic() < end:
            time.sleep(0.1)


@contextmanager
def noticing_losses() -> Iterator[None]:
    """Raise `LostProcessError` where communication inside fails."""
    try:
        yield
    except RuntimeError as error:
        import torch.distributed as dist

        # Errors of gloo have no class of their own; their messages begin with a path of its sources.
        if not isinstance(error, dist.DistError) and "gloo/" not in str(error):
            raise
        remedy = "torchrun starts all again" if restarts_left() else "go on with the same command and resume=auto"
        raise LostProcessError(
            "another process of this run has ended or cannot be reached (killed, out of memory, or its machine is cut "
            f"off); {remedy}"
        ) from error


def differing(what: object) -> list[int]:
    """Return the ranks of the processes whose value differs from that of the first one.

    Args:
        what: value that can be pickled, the same bytes for equal values.

    >>> differing((1, 2))
    []
    """
    values = gather(pickle.dumps(what))
    return [number for number, value in enumerate(values) if value != values[0]]


def _lasting_store() -> "Store | None":
    """Return the store of ``torchrun`` itself, which outlives the processes that it starts."""
    if (store := _store) is None:
        return None
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    while isinstance(store, PrefixStore):
        store = store.underlying_store
    return store


def _meet_first() -> None:
    """Wait until the first process has come here too, however long it takes."""
    assert _store is not None
    key, pause = f"meeting/{next(_meetings)}", 0.001
    if is_first():
        _store.set(key, "")
    while not _store.check([key]):
        time.sleep(pause)
        pause = min(1.5 * pause, 1.0)


def _reduced(numbers: Sequence[float], operation: Literal["SUM", "MAX"]) -> list[float]:
    values = [float(number) for number in numbers]
    if size() == 1:
        return values
    import torch
    import torch.distributed as dist

    tensor = torch.tensor(values, dtype=torch.float64)
    with noticing_losses():
        dist.all_reduce(tensor, getattr(dist.ReduceOp, operation))
    reduced: list[float] = tensor.tolist()
    return reduced
