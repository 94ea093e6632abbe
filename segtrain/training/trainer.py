"""The training loop."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from segtrain.data.loader import Batch, TrainingLoader
from segtrain.errors import SegtrainError
from segtrain.runtime import peak_memory
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.training.checkpoint import Checkpoint, load_checkpoint
from segtrain.training.learner import Learner, Meter
from segtrain.training.settings import TrainSettings
from segtrain.training.threads import ThreadTuner

logger = logging.getLogger(__name__)
HEADLINE = "mask_ap"  # of the validation; decides which weights are the best
Validate = Callable[[MaskRCNN, int], dict[str, float]]  # (segmenter, step) -> metrics


class Logger(Protocol):
    """Where a run's numbers go."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers by name, such as ``train/loss``."""
        ...


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


class Trainer:
    """One training run.

    Args:
        recipe: how to train.
        learner: the segmenter and its optimizer.
        loader: of the training images.
        validate: gives the numbers of the current weights.
        journal: where numbers go.
        folder: for ``best.pt`` and ``last.pt``.
        start: where to begin: an earlier run's state, or zeros with ``training`` None.
        threads: sets how many threads a step computes with.

    Raises:
        SegtrainError: ``start`` belongs to another model.
    """

    def __init__(
        self,
        recipe: TrainSettings,
        learner: Learner,
        loader: TrainingLoader,
        validate: Validate,
        journal: Logger,
        folder: Path,
        start: Checkpoint,
        threads: ThreadTuner,
    ) -> None:
        self.recipe, self.learner, self.loader, self.validate = recipe, learner, loader, validate
        self.journal, self.folder, self.start, self.threads = journal, folder, start, threads
        self.epoch, self.step, self.seconds, self.metrics = start.epoch, start.step, start.minutes * 60, start.metrics
        self.batch, self.best, self.validated_at = 0, math.nan, -1  # batches done of this epoch; ...; step
        if start.training is not None:
            learner.restore(start.training, start.model)
            self.batch, self.best, self.validated_at = (start.training[k] for k in ("batch", "best", "validated_at"))
        self.validations = start.validations  # that best.pt holds the best of
        self.saved_at = self.seconds
        self.validation_seconds = 0.0
        self.meter = Meter()

    @property
    def progress(self) -> float:
        """The share of the training that is done."""
        return self.recipe.limits.progress(self.epochs, self.step, self.seconds / 60)

    @property
    def epochs(self) -> float:
        """Epochs done, fractions included."""
        return self.epoch + self.batch / len(self.loader)

    def fit(self) -> float:
        """Train until the first limit is reached, and validate.

        Returns:
            The best validation's mask AP; nan if it is undefined.

        Raises:
            SegtrainError: the loss is not finite, or no image can be read.
        """
        with TrainingProgress() as bar:
            while self.progress < 1:
                self._train_epoch(bar)
                every = self.recipe.validate_every
                if every is not None and self.batch == 0 and self.epoch % every == 0 and self.progress < 1:
                    self._validate()
                self._save_last()
        if self.validated_at != self.step:
            self._validate()
            self._save_last()
        minutes = f"{self.seconds / 60:.1f} min of training, {self.validation_seconds / 60:.1f} min of validation"
        logger.info(f"done: {self.step} steps, {self.epochs:.2f} epochs, {minutes}; best {HEADLINE} {self.best:.4f}")
        return self.best

    def _train_epoch(self, bar: TrainingProgress) -> None:
        """Train to the end of the epoch, or to the limit within it."""
        self.learner.segmenter.train()
        first_step, first_batch = self.step, self.batch
        started = time.perf_counter()
        for fetched, batches in self._batches_of_steps():
            waited = time.perf_counter() - started
            self._take_step(batches)
            self.batch = fetched
            # Up to here, saving and logging left out: these are the minutes that count.
            took = time.perf_counter() - started
            self.seconds += took
            self.threads.step_took(took)
            self.meter.time_step(took, waited)
            if self.step % self.recipe.log_every == 0 or self.progress >= 1:
                self._log()
            bar.update(self.epoch, self.step, self.seconds / 60, self.progress, self.meter.last_loss)
            minutes = self.recipe.checkpoint_minutes
            if minutes is not None and self.seconds - self.saved_at >= minutes * 60:
                self._save_last()
            if self.progress >= 1:
                break
            started = time.perf_counter()
        else:
            self.batch = len(self.loader)
        began_at_the_end = first_batch >= len(self.loader)  # saved behind the last batch, or with smaller ones
        if self.batch == len(self.loader):
            self.epoch, self.batch = self.epoch + 1, 0
        if self.step == first_step and not began_at_the_end:
            raise SegtrainError("no image of a whole epoch could be read; see the skipped files above")

    def _batches_of_steps(self) -> Iterator[tuple[int, list[Batch]]]:
        """The rest of the epoch, in groups of ``accumulate_steps`` batches, each with the count fetched so far."""
        group: list[Batch] = []
        for fetched, batch in enumerate(self.loader.epoch(self.epoch, self.batch), self.batch + 1):
            self.meter.skip(batch.skipped)
            if batch.images:
                group.append(batch)
            if group and (len(group) == self.recipe.accumulate_steps or fetched == len(self.loader)):
                yield fetched, group
                group = []

    def _take_step(self, batches: Sequence[Batch]) -> None:
        self.learner.take_step(batches, self.step, self.progress, self.meter)
        self.step += 1

    def _log(self) -> None:
        self.journal.scalars(
            self.step,
            {
                **self.meter.flush(),
                "train/learning_rate": self.learner.learning_rate,
                "train/epoch": self.epochs,
                "train/minutes": self.seconds / 60,
                "train/threads": self.threads.chosen,
                "train/memory_gib": peak_memory(self.learner.segmenter.device),
            },
        )

    def _validate(self) -> None:
        started = time.perf_counter()
        with self.learner.using_weights(), self.threads.validating():
            self.metrics = self.validate(self.learner.segmenter, self.step)
        self.validated_at = self.step
        took = time.perf_counter() - started
        self.validation_seconds += took
        values = {f"validation/{name}": value for name, value in self.metrics.items()}
        self.journal.scalars(self.step, {**values, "validation/seconds": took})
        better = not self.best >= self.metrics[HEADLINE]  # true as well while either is nan
        path = self.folder / "best.pt"
        if not path.exists():
            better, self.validations = True, 0  # of those before there are no weights
        self.validations = None if self.validations is None else self.validations + 1
        if better:
            self.best = self.metrics[HEADLINE]
            self._snapshot(None).save(path)
        else:  # the same weights, for which all of the run was needed
            self._with_totals(load_checkpoint(path)).save(path)
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        logger.info(
            f"step {self.step}, epoch {self.epochs:.2f}, {self.seconds / 60:.1f} min of training, validated in "
            f"{took:.0f} s: {numbers}{'  (best so far)' if better else ''}"
        )

    def _save_last(self) -> None:
        position = {"batch": self.batch, "best": self.best, "validated_at": self.validated_at}
        self._snapshot({**self.learner.state(), **position}).save(self.folder / "last.pt")
        self.saved_at = self.seconds

    def _snapshot(self, training: dict[str, object] | None) -> Checkpoint:
        point = replace(self.start, model=self.learner.weights, epoch=self.epoch, step=self.step)
        return self._with_totals(replace(point, metrics=dict(self.metrics), training=training))

    def _with_totals(self, point: Checkpoint) -> Checkpoint:
        return replace(point, minutes=self.seconds / 60, validations=self.validations)
