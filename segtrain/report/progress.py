"""What the terminal shows while the rows of a benchmark run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def progress_bar(methods: Mapping[str, object], images: int) -> Iterator[Callable[[str], Callable[[], None]]]:
    """A bar over all images of all methods; given a method's name it returns what to call after each of its images."""
    columns = (TextColumn("{task.description:<16}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn()) as progress:
        task = progress.add_task("", total=len(methods) * images, visible=bool(methods))

        def start(name: str) -> Callable[[], None]:
            progress.update(task, description=name)
            return lambda: progress.advance(task)

        yield start
