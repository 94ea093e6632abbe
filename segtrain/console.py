"""Parser and types of commands' arguments, lines of text in the terminal, and the progress of long stages.

Progress is a bar in a terminal, and elsewhere a line in the log every 30 seconds.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from math import inf
from typing import NoReturn, TypeVar

import rich
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from segtrain.errors import SegtrainError
from segtrain.io import one_line, unread_output_discarded, without_controls

T = TypeVar("T")
INTERVAL = 30.0  # seconds between two lines
SHORT = 1.0  # seconds; a stage that has not taken so long says nothing
logger = logging.getLogger(__name__)


def print_error(message: object) -> None:
    """Print an error as one line on stderr."""
    print("error:", one_line(message), file=sys.stderr)


def print_text(text: object, *, flush: bool = False) -> None:
    """Print text that may hold names of files, without the characters by which these would control a terminal."""
    with unread_output_discarded():
        print(without_controls(str(text)), flush=flush)


def print_table(table: RenderableType) -> None:
    """Print a table as wide as the terminal, and into a file or a pipe at its full width."""
    console = rich.get_console()
    own = console.width
    if not console.is_terminal:
        unlimited = console.options.update(max_width=sys.maxsize)
        console.width = max(own, console.measure(table, options=unlimited).maximum)
    try:
        console.print(table)
    finally:
        if not console.is_terminal:
            console.width = own


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number of things in words.

    Args:
        number: their number.
        noun: what one of them is called.
        plural: what several are called; None for the noun with an s.

    >>> counted(1, "image"), counted(1200, "object"), counted(2, "category", "categories")
    ('1 image', '1,200 objects', '2 categories')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


class CommandParser(argparse.ArgumentParser):
    """Parser of the arguments of a command whose errors are one line, as all errors are.

    >>> CommandParser(prog="segtrain check").parse_args(["--hlep"])
    Traceback (most recent call last):
    segtrain.errors.SegtrainError: unrecognized arguments: --hlep; see segtrain check --help
    """

    def error(self, message: str) -> NoReturn:
        """Raise an error in place of printing the usage."""
        raise SegtrainError(f"{message}; see {self.prog} --help")


def whole_number(text: str) -> int:
    """Read a whole number from 1 on, as the type of an argument.

    Raises:
        argparse.ArgumentTypeError: the text is no such number.

    >>> whole_number("12")
    12
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)


def positive_number(text: str) -> float:
    """Read a number above 0, as the type of an argument.

    Raises:
        argparse.ArgumentTypeError: the text is no such number.

    >>> positive_number("0.25")
    0.25
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


class Stage:
    """Position within a long stage of a command.

    Args:
        name: name of the stage, such as "tuning edge_tuned".
        total: number of steps; None for a stage whose position is a share in [0, 1].
        show: called after each change of the position.

    Attributes:
        done: steps done, or the share that is done.
        state: further words, such as "loss 0.412".
    """

    def __init__(self, name: str, total: int | None, show: Callable[["Stage"], None]) -> None:
        self.name, self.total, self._show = name, total, show
        self.done: float = 0
        self.state = ""

    @property
    def share(self) -> float:
        """Share of the stage that is done, in [0, 1]."""
        return min(1.0, self.done / self.total if self.total else self.done)

    @property
    def position(self) -> str:
        """Position in words: "12 of 80", or "43 %"."""
        return f"{100 * self.share:.0f} %" if self.total is None else f"{self.done:.0f} of {self.total}"

    def advance(self, steps: float = 1) -> None:
        """Move forward by a number of steps."""
        self.update(self.done + steps)

    def update(self, done: float | None = None, state: str | None = None) -> None:
        """Move to a position, and change the further words.

        Args:
            done: steps done, or the share that is done; None leaves it.
            state: further words; None leaves them.
        """
        self.done = self.done if done is None else done
        self.state = self.state if state is None else state
        self._show(self)


class Heartbeat:
    """Writer of the position of a process, at most once in an interval, whatever the number of stages.

    Args:
        say: function that receives a line.
        clock: function that returns the time in seconds.
        interval: least number of seconds between two lines.
    """

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic, interval: float = INTERVAL
    ) -> None:
        self._say, self._clock, self._interval = say, clock, interval
        self._last = clock()

    def of_stage(self) -> Callable[[Stage], None]:
        """Start the clock of a stage, and return a function that writes its position and times when a line is due."""
        started = self._clock()

        def beat(stage: Stage) -> None:
            now = self._clock()
            if now - self._last >= self._interval and now - started >= SHORT:
                self._last = now
                spent = f"{timedelta(seconds=int(now - started))}"
                if 0 < stage.share < 1:
                    left = (now - started) * (1 - stage.share) / stage.share
                    spent += f" ({timedelta(seconds=round(left))} left)"
                self._say(", ".join(filter(None, [f"{stage.name}: {stage.position}", stage.state, spent])))

        return beat


_heartbeat = Heartbeat(logger.info)


@contextmanager
def progress(
    name: str,
    total: int | None = None,
    *,
    console: Console | None = None,
    transient: bool = False,
    heartbeat: Heartbeat | None = None,
) -> Iterator[Stage]:
    """Show the progress of a stage while the block runs.

    Args:
        name: name of the stage.
        total: number of steps; None for a stage whose position is a share in [0, 1].
        console: where a bar is drawn; None for rich's own. If it is no terminal, lines go to the log instead.
        transient: remove the bar at the end.
        heartbeat: writer of the lines; None for the one that all stages of this process share.

    >>> with progress("reading", total=2) as stage:
    ...     stage.advance()
    ...     stage.position
    '1 of 2'
    """
    console = rich.get_console() if console is None else console
    if not console.is_terminal:
        yield Stage(name, total, (_heartbeat if heartbeat is None else heartbeat).of_stage())
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[position]}"))
    more = (TextColumn("{task.fields[state]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, *more, console=console, transient=transient) as bars:
        task = bars.add_task(name, total=1.0 if total is None else total, position="", state="")

        def show(stage: Stage) -> None:
            bars.update(task, completed=stage.done, position=stage.position, state=stage.state)

        stage = Stage(name, total, show)
        show(stage)
        yield stage


def with_progress(name: str, items: Collection[T], *, transient: bool = False) -> Iterator[T]:
    """Iterate over items while showing how many are done.

    Args:
        name: name of the stage.
        items: passed on one by one.
        transient: remove the bar at the end.

    >>> list(with_progress("squaring", [1, 2, 3]))
    [1, 2, 3]
    """
    with progress(name, len(items), transient=transient) as stage:
        for item in items:
            yield item
            stage.advance()
