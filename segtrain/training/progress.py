"""What the terminal shows while a run trains."""

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TrainingProgress:
    """A bar from 0 to the nearest limit, with the time that remains."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task("training", total=1.0, state="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, epoch: int, step: int, minutes: float, progress: float, loss: float) -> None:
        """Show where the run is.

        Args:
            epoch: whole epochs done.
            step: steps taken.
            minutes: of training.
            progress: in [0, 1].
            loss: of the last step.
        """
        state = f"epoch {epoch}  step {step}  {minutes:.1f} min  loss {loss:.3f}"
        self._progress.update(self._task, completed=min(progress, 1.0), state=state)
