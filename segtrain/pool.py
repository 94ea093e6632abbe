"""Tasks that are shared among forked processes, which have all data that the command has read."""

import ctypes
import logging
import multiprocessing
import os
import pickle
import platform
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

import rich

from segtrain.errors import SegtrainError
from segtrain.runtime import limit_threads, quick_collections
from segtrain.stopping import held_signals, ignore_stop_signals, stop_requested

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A", contravariant=True)
B = TypeVar("B", covariant=True)
Advance = Callable[[float], None]  # called with the share of an item that was done since the last call
_PAUSE = 0.5  # seconds between two looks for a signal
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
logger = logging.getLogger(__name__)


def can_fork() -> bool:
    """Return True if processes can be forked safely, which is so on Linux only."""
    return platform.system() == "Linux"


def in_processes(
    work: Callable[[T, Advance], R],
    items: Sequence[T],
    processes: int,
    advance: Callable[[int, float], None] = lambda number, share: None,
) -> Iterator[tuple[int, R]]:
    """Call a function for each item, in several processes, and yield the results as they come.

    The processes have one thread each, and a copy of this one's memory when they were made; only the results and their
    log messages come back. With a single process, or a single item, the function is called in this process.

    A deferred signal (see `segtrain.stopping.finishing_work`) is passed on: `stop_requested` is true in them too.

    Args:
        work: function of an item; its result can be pickled.
        items: arguments.
        processes: number of processes.
        advance: called in this process with the index of an item, and the share of it that was done.

    Yields:
        The index of the item, and its result.

    Raises:
        SegtrainError: a process was killed.
        Exception: the function has raised it; a note states its traceback in the other process. One that cannot be
            pickled becomes a RuntimeError.

    >>> sorted(in_processes(lambda item, advance: item**2, [3, 4], processes=2))
    [(0, 9), (1, 16)]
    """
    count = min(processes, len(items))

    def work_on(number: int, advance: Advance) -> R:
        return work(items[number], advance)

    with lasting_processes(work_on, count) as share:
        yield from share(range(len(items)), advance)


class Share(Protocol[A, B]):
    """Interface of a function that shares tasks among processes, and yields their results as they come."""

    def __call__(self, tasks: Sequence[A], advance: Callable[[int, float], None] = ..., /) -> Iterator[tuple[int, B]]:
        """Yield the index of each task with its result; ``advance`` as for `in_processes`."""
        ...


@contextmanager
def lasting_processes(work: Callable[[T, Advance], R], processes: int) -> Iterator[Share[T, R]]:
    """Keep processes for tasks that come up one after the other; see `in_processes`.

    Args:
        work: function of a task; tasks and results can be pickled.
        processes: number of processes; with one, the function is called in this process.

    Yields:
        Function that shares tasks among them.

    >>> with lasting_processes(lambda task, advance: task**2, processes=2) as share:
    ...     sorted(share([3, 4])), sorted(share([5]))
    ([(0, 9), (1, 16)], [(0, 25)])
    """
    if processes < 2 or not can_fork():
        yield partial(_here, work)
        return
    workers = _start(work, processes)
    try:
        yield partial(_shared, workers)
    finally:
        for worker in workers:
            worker.end()


def _no_advance(number: int, share: float) -> None:
    """Ignore what was done of a task."""


def _here(
    work: Callable[[T, Advance], R], tasks: Sequence[T], advance: Callable[[int, float], None] = _no_advance
) -> Iterator[tuple[int, R]]:
    """Work on tasks in this process."""
    for number, task in enumerate(tasks):
        yield number, work(task, partial(advance, number))


def _shared(
    workers: Sequence["_Worker"], tasks: Sequence[Any], advance: Callable[[int, float], None] = _no_advance
) -> Iterator[tuple[int, Any]]:
    """Share tasks among processes."""
    waiting = iter(enumerate(tasks))
    busy: dict[Any, _Worker] = {}  # by connection
    for worker, task in zip(workers, waiting, strict=False):
        busy.update(worker.given(*task))
    while busy:
        _hand_on_stop(workers)
        for connection in wait(list(busy), _PAUSE):
            worker = busy.pop(connection)
            number, result, share = worker.answer()
            if share is not None:
                advance(number, share)
                busy[worker.connection] = worker
                continue
            following = next(waiting, None)
            if following is not None:
                busy.update(worker.given(*following))
            yield number, result


def _hand_on_stop(workers: Sequence["_Worker"]) -> None:
    """Tell the processes that a signal waits, so that they end what they can end early."""
    if stop_requested():
        for worker in workers:
            pid = worker.process.pid
            assert pid  # to signal 0 would be to signal all processes of the group
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)


@dataclass(frozen=True)
class _Worker:
    """Process that works on one task after the other.

    Attributes:
        process: the process.
        connection: this process's end of the pipe to it.
    """

    process: BaseProcess
    connection: Connection

    def given(self, number: int, task: object) -> "dict[Connection, _Worker]":
        """Send a task and its index; return this worker by its connection."""
        with suppress(BrokenPipeError):  # `answer` says that it has gone
            self.connection.send((number, task))
        return {self.connection: self}

    def answer(self) -> tuple[int, Any, float | None]:
        """Receive the index of a task, and its result or else the share of it that was done."""
        try:
            number, content, share, records = self.connection.recv()
        except (EOFError, OSError):  # the latter if it has ended while it sent
            raise SegtrainError(
                "a process that shared the work has ended (killed, or out of memory); threads=1 works in one process"
            ) from None
        for record in records:
            logging.getLogger(record.name).handle(record)
        if isinstance(content, BaseException):
            raise content
        return number, content, share

    def end(self) -> None:
        """End the process at once: what it has not sent is lost anyway."""
        self.connection.close()
        self.process.kill()
        self.process.join()


def _start(work: Callable[[Any, Advance], Any], count: int) -> list[_Worker]:
    context = multiprocessing.get_context("fork")
    workers: list[_Worker] = []
    # A collection in the processes would write to all objects, which copies the memory that they share.
    with quick_collections(), held_signals(), warnings.catch_warnings():
        # Python 3.12 warns of threads, which hold no lock here: those of torch, NumPy and OpenCV wait for work.
        warnings.simplefilter("ignore", DeprecationWarning)
        for _ in range(count):
            own, other = context.Pipe()
            ours = [*(worker.connection for worker in workers), own]
            process = context.Process(target=_serve, args=(work, other, ours, os.getpid()), daemon=True)
            process.start()
            other.close()
            workers.append(_Worker(process, own))
    return workers


def _serve(
    work: Callable[[Any, Advance], Any], connection: Connection, others: Sequence[Connection], parent: int
) -> None:
    """Work on the tasks that come through the connection, until it is closed."""
    _end_with(parent)
    ignore_stop_signals(noted=signal.SIGUSR1)
    for other in others:  # with copies of them here, nobody would notice that the parent has closed its own
        other.close()
    records: list[logging.LogRecord] = []
    _be_silent(records)
    limit_threads(1)
    if (cv2 := sys.modules.get("cv2")) is not None:
        cv2.setNumThreads(0)  # a fork has no copy of its threads
    os.environ["RAYON_NUM_THREADS"] = "1"

    def send(number: int, content: object, share: float | None = None) -> None:
        connection.send((number, content, share, records))
        records.clear()

    with suppress(EOFError, ConnectionError):
        while True:
            number, task = connection.recv()
            try:
                result: object = work(task, partial(send, number, None))
            except Exception as error:
                result = _sendable(error)
            send(number, result)


def _sendable(error: Exception) -> Exception:
    """Return an error with its traceback as a note; a RuntimeError with it, if the error cannot be pickled."""
    where = f"in a process that shared the work:\n{traceback.format_exc()}"
    error.add_note(where)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(where)
    return error


def _end_with(parent: int) -> None:
    """Let the system end this process when its parent ends, however that happens."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before
        os._exit(1)


class _Keeping(logging.Handler):
    """Handler that keeps records, in a form that can be pickled."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self._records.append(record)


def _be_silent(records: list[logging.LogRecord]) -> None:
    """Leave messages and progress to the parent, whose console another thread of it may have held."""
    rich.reconfigure(quiet=True, force_terminal=False)
    root = logging.getLogger()
    root.handlers = [_Keeping(records)]
