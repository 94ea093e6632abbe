"""Stop by a signal: the work in progress is finished, and its results are saved."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# Ctrl-C; SLURM, `docker stop` and spot machines; SLURM's warning before a limit of time.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
_AGENT = "TORCHELASTIC_RUN_ID"  # in the environment of processes that torchrun has started
_SHOW_CURSOR = b"\x1b[?25h"  # progress bars hide it


class Stopped(KeyboardInterrupt):
    """End of a run that a signal has asked for.

    Args:
        number: number of the signal.
        text: one line for the user; empty if no work had begun.

    >>> Stopped(signal.SIGTERM).exit_code
    143
    """

    def __init__(self, number: int, text: str = "") -> None:
        super().__init__(text)
        self.number = number

    @property
    def exit_code(self) -> int:
        """Exit code of a process that ends by the signal, as shells count."""
        return 128 + self.number


class _Signals:
    """Signals that were received, and the depth of blocks that they must not interrupt."""

    def __init__(self) -> None:
        self.received = 0
        self.deferred = 0  # depth of `finishing_work`

    def handle(self, number: int, _: FrameType | None) -> None:
        if self.received and _AGENT in os.environ:
            return  # torchrun repeats what the terminal or SLURM has sent to all; after 30 s it kills
        if self.received:
            _leave(number)
        self.received = number
        if not self.deferred:
            raise Stopped(number)
        if sys.stderr is not None and sys.stderr.isatty():
            os.write(2, b"\nstopping after this step; once more to end at once\n")


_signals = _Signals()


@contextmanager
def stop_signals(*more: int) -> Iterator[None]:
    """Raise `Stopped` at the first of `SIGNALS` inside, and end the process at once at a second one.

    Under ``torchrun`` a second signal has no effect. Outside the main thread, where Python handles no signals, neither
    has any.

    Args:
        *more: numbers of further signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*SIGNALS, *more)}
    _signals.received = 0
    for number in before:
        signal.signal(number, _signals.handle)
    try:
        yield
    finally:
        _signals.received = 0
        for number, handler in before.items():
            if handler is not None:  # None: not set from Python, and so not to be set again
                signal.signal(number, handler)


@contextmanager
def finishing_work() -> Iterator[None]:
    """Defer signals inside until `stop_if_asked` is called, so that every step is finished."""
    _signals.deferred += 1
    try:
        yield
    finally:
        _signals.deferred -= 1


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a signal end the work inside at once, although it is part of `finishing_work`.

    Raises:
        Stopped: a signal was received, inside or before.
    """
    deferred, _signals.deferred = _signals.deferred, 0
    try:
        stop_if_asked()
        yield
        stop_if_asked()  # Python drops exceptions that meet it in a destructor
    finally:
        _signals.deferred = deferred


def stop_requested() -> int:
    """Return the number of the deferred signal; 0 without one."""
    return _signals.received


def stop_if_asked() -> None:
    """Raise `Stopped` if a signal was deferred.

    Raises:
        Stopped: a signal was received.
    """
    if _signals.received:
        raise Stopped(_signals.received)


@contextmanager
def held_signals() -> Iterator[None]:
    """Let `SIGNALS` wait inside, here and in processes that are forked, until each has set what they do."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_stop_signals(noted: int | None = None) -> None:
    """Ignore `SIGNALS` in this process, which its parent ends, those too that were held when it was forked.

    Args:
        noted: number of a signal that is noted for `stop_requested` instead.
    """

    def note(number: int, _: FrameType | None) -> None:
        _signals.received = number

    for number in SIGNALS:
        signal.signal(number, note if number == noted else signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _leave(number: int) -> NoReturn:
    """End the process without any clean-up; every file is whole at any time."""
    if os.isatty(1):
        os.write(1, _SHOW_CURSOR)
    os._exit(128 + number)
